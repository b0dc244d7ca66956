/** Recordings: a file in, one channel of samples out, and the frames of all of it. */

import type { Animator, Frame } from "./animator";
import { Trouble } from "./beside";
import { partsOf } from "./parts";
import { joined } from "./resample";
import { type Channels, endsEarly, readWav, wavOf } from "./wav";

const OTHER_RATE_HZ = 48_000; // at which everything is decoded that does not say its own rate
const FLAC = 0x664c6143; // "fLaC", how such a file begins
const LOWEST_HZ = 8_000; // that every browser can decode at
const HIGHEST_HZ = 96_000;
const ROUNDED_S = 0.001; // of a length, where the browser changes the rate
const SHORTEST_S = 0.02;
const LONGEST_S = 20 * 60;
const PROBED_BYTES = 2 ** 20; // of a file that announces hours, decoded first if not more
const CANCELLED = 0.25; // of the loudest channel's power divided by n^2, which the mean has where the n - 1 others are silent
const MAX_SAMPLE = 64; // 36 dB above full scale: numbers of 16-bit samples that are given as floats are beyond it
const IN_STEP_S = 0.1; // between the length of what is animated and of what the browser plays
const BLOCK_S = 0.5; // of sound computed at once
const BREATH_MS = 12; // of computing after which the page may draw

/** One channel of samples in +-1. */
interface Sound {
  samples: Float32Array<ArrayBuffer>;
  rateHz: number;
  notes: string[]; // sentences that are shown: what was guessed
}

export interface Recording extends Sound {
  name: string;
  url: string; // for an audio element
}

/** Decodes any audio file that the browser can; WAV and FLAC keep their own rate. */
export async function readRecording(file: File): Promise<Recording> {
  const { name } = file;
  if (file.size === 0) throw new Trouble(`${name} is empty.`);
  const url = URL.createObjectURL(file);
  const fileS = await announcedS(url);
  const bytes = await file.arrayBuffer().catch(() => {
    throw new Trouble(`${name} cannot be read: it is gone, or too large for this browser.`);
  });
  const sounds: Sound[] = [];
  for (const part of partsOf(bytes)) {
    const channels = readWav(name, part) ?? (await decoded(name, part, fileS, sounds[0]?.rateHz));
    refuseLonger(name, channels.nSamples / channels.rateHz); // before they become one
    sounds.push(mono(name, channels));
  }
  const sound = sounds.reduce((before, after) => inARow(name, before, after));
  check(name, sound);
  const isInStep = Math.abs(fileS - sound.samples.length / sound.rateHz) < IN_STEP_S;
  return { name, url: isInStep ? url : URL.createObjectURL(wavOf(sound.samples, sound.rateHz)), ...sound };
}

/**
 * All frames of a recording and the milliseconds that a second of it took, or nothing where `goesOn` says no.
 *
 * The page draws in between; `goesOn` hears how much is done, from 0 to 1.
 */
export async function animated(
  { samples, rateHz }: Recording,
  animator: Animator,
  goesOn: (done: number) => boolean,
): Promise<{ frames: Frame[]; msPerS: number } | null> {
  const frames: Frame[] = [];
  const blockSamples = Math.ceil(BLOCK_S * rateHz);
  let startMs = performance.now();
  let spentMs = 0;
  for (let first = 0; first < samples.length; first += blockSamples) {
    frames.push(...(await animator.push(samples.subarray(first, first + blockSamples))));
    if (performance.now() - startMs < BREATH_MS) continue;
    spentMs += performance.now() - startMs;
    await new Promise((resolve) => setTimeout(resolve));
    if (!goesOn(first / samples.length)) return null;
    startMs = performance.now();
  }
  frames.push(...(await animator.flush()));
  spentMs += performance.now() - startMs;
  return { frames, msPerS: (spentMs * rateHz) / samples.length };
}

/** The mean of all channels, or the loudest where they cancel, as those of a balanced microphone do. */
function mono(name: string, { nChannels, nSamples, rateHz, sample, notes }: Channels): Sound {
  const samples = new Float32Array(nSamples);
  const powers = new Float64Array(nChannels);
  let power = 0;
  for (let index = 0; index < nSamples; index++) {
    let sum = 0;
    for (let channel = 0; channel < nChannels; channel++) {
      const value = sample(channel, index);
      sum += value;
      powers[channel] += value ** 2;
    }
    samples[index] = sum / nChannels;
    power += samples[index] ** 2;
  }
  const loudest = powers.indexOf(Math.max(...powers));
  if (!(power < (CANCELLED / nChannels ** 2) * powers[loudest])) return { samples, rateHz, notes };
  const told = [...notes, cancelling(name, nChannels, loudest)];
  return { samples: samples.map((_, index) => sample(loudest, index)), rateHz, notes: told };
}

/** What is told where one channel, counted from 0, is used instead of the mean of all. */
export function cancelling(name: string, nChannels: number, used: number): string {
  return `${name}: its ${nChannels} channels cancel each other; channel ${used + 1}, the loudest, is used.`;
}

function inARow(name: string, before: Sound, after: Sound): Sound {
  if (before.rateHz !== after.rateHz) {
    throw new Trouble(`${name} joins recordings at ${before.rateHz} and ${after.rateHz} Hz; expected one rate.`);
  }
  const notes = [...new Set([...before.notes, ...after.notes])];
  return { samples: joined(before.samples, after.samples), rateHz: before.rateHz, notes };
}

function check(name: string, { samples, rateHz }: Sound): void {
  if (samples.length / rateHz < SHORTEST_S) throw new Trouble(`${name} has no sound in it.`);
  refuseLonger(name, samples.length / rateHz);
  if (!samples.every(Number.isFinite)) throw new Trouble(`${name} holds samples that are not finite numbers.`);
  const peak = samples.reduce((most, sample) => Math.max(most, Math.abs(sample)), 0);
  if (peak > MAX_SAMPLE) throw new Trouble(`${name}: samples of up to ${Math.round(peak)}; expected floats within +-1.`);
}

function refuseLonger(name: string, durationS: number): void {
  if (durationS > LONGEST_S) throw new Trouble(`${name} is longer than ${LONGEST_S / 60} minutes, the most that the page takes.`);
}

/** The length that a file announces; infinite where the browser cannot tell, NaN where it cannot play it at all. */
async function announcedS(url: string): Promise<number> {
  const audio = new Audio(url);
  audio.preload = "metadata";
  await new Promise((resolve) => (audio.onloadedmetadata = audio.onerror = resolve));
  return audio.duration;
}

/** Has the browser decode a file, one that announces `fileS` or is a part of it, at a rate that is given or its own. */
async function decoded(name: string, bytes: ArrayBuffer, fileS: number, givenHz?: number): Promise<Channels> {
  const flac = flacHeader(new DataView(bytes));
  const ownHz = flac && flac.rateHz >= LOWEST_HZ && flac.rateHz <= HIGHEST_HZ ? flac.rateHz : OTHER_RATE_HZ;
  const rateHz = givenHz ?? ownHz;
  if (!(fileS <= LONGEST_S)) await refuseHours(name, bytes, fileS);
  const buffer = await decodedAt(rateHz, bytes).catch(() => {
    throw new Trouble(`${name} is no sound that this browser can read: WAV, FLAC, OGG and MP3 are.`);
  });
  const channels = Array.from({ length: buffer.numberOfChannels }, (_, channel) => buffer.getChannelData(channel));
  const isCut = flac !== null && buffer.duration < flac.durationS - ROUNDED_S;
  return {
    nChannels: channels.length,
    nSamples: buffer.length,
    rateHz,
    sample: (channel, index) => channels[channel][index],
    notes: isCut ? [endsEarly(name, buffer.duration, flac.durationS)] : [],
  };
}

function decodedAt(rateHz: number, bytes: ArrayBuffer): Promise<AudioBuffer> {
  return new OfflineAudioContext(1, 1, rateHz).decodeAudioData(bytes);
}

/**
 * Decodes more and more of a file that announces hours, until there is too much: whether a file was cut or joined, its announced
 * length is wrong. Where no beginning of it can be decoded, what announces it stands at its end, and it is whole.
 */
async function refuseHours(name: string, bytes: ArrayBuffer, fileS: number): Promise<void> {
  const firstBytes = Math.max(PROBED_BYTES, Math.ceil((1.1 * LONGEST_S * bytes.byteLength) / fileS)); // enough, if it is right
  let isRead = bytes.byteLength <= firstBytes;
  for (let size = firstBytes; size < bytes.byteLength; size *= 2) {
    const beginning = await decodedAt(OTHER_RATE_HZ, bytes.slice(0, size)).catch(() => null);
    if (!beginning) continue;
    isRead = true;
    refuseLonger(name, beginning.duration);
  }
  if (!isRead && fileS < Infinity) refuseLonger(name, fileS);
}

/** What the first block of a FLAC file says; it lasts 0 s where that was not known. */
function flacHeader(view: DataView): { rateHz: number; durationS: number } | null {
  if (view.byteLength < 26 || view.getUint32(0) !== FLAC) return null;
  const rateHz = view.getUint32(18) >>> 12; // 20 bits
  const nSamples = (view.getUint8(21) & 15) * 2 ** 32 + view.getUint32(22); // 36 bits
  return { rateHz, durationS: nSamples / rateHz };
}
