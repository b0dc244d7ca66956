/** Recordings: a file in, one channel of samples out, and the frames of all of it. */

import type { Animator, Frame } from "./animator";
import { Trouble } from "./beside";
import { readWav, type Sound, wavOf } from "./wav";

const OTHER_RATE_HZ = 48_000; // at which everything is decoded that does not say its own rate
const FLAC = 0x664c6143; // "fLaC", how such a file begins
const SHORTEST_S = 0.02;
const LONGEST_S = 20 * 60;
const BLOCK_S = 0.5; // of sound computed at once
const BREATH_MS = 12; // of computing after which the page may draw

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
  checkLength(name, fileS); // before hours of sound are decoded
  const bytes = await file.arrayBuffer();
  const sound = readWav(name, bytes) ?? (await decoded(name, bytes));
  checkLength(name, sound.samples.length / sound.rateHz);
  if (!sound.samples.every(Number.isFinite)) throw new Trouble(`${name} holds samples that are not finite numbers.`);
  return { name, url: Number.isNaN(fileS) ? URL.createObjectURL(wavOf(sound)) : url, ...sound };
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

function checkLength(name: string, durationS: number): void {
  if (durationS < SHORTEST_S) throw new Trouble(`${name} has no sound in it.`);
  if (durationS > LONGEST_S && durationS < Infinity) {
    throw new Trouble(`${name} is ${Math.round(durationS / 60)} minutes long; the page takes up to ${LONGEST_S / 60}.`);
  }
}

/** The length that a file announces; infinite where the browser cannot tell, NaN where it cannot play it at all. */
async function announcedS(url: string): Promise<number> {
  const audio = new Audio(url);
  audio.preload = "metadata";
  await new Promise((resolve) => (audio.onloadedmetadata = audio.onerror = resolve));
  return audio.duration;
}

async function decoded(name: string, bytes: ArrayBuffer): Promise<Sound> {
  const rateHz = flacRateHz(new DataView(bytes)) ?? OTHER_RATE_HZ;
  const buffer = await new OfflineAudioContext(1, 1, rateHz).decodeAudioData(bytes).catch(() => {
    throw new Trouble(`${name} is no sound that this browser can read: WAV, FLAC, OGG and MP3 are.`);
  });
  const samples = new Float32Array(buffer.length);
  for (let channel = 0; channel < buffer.numberOfChannels; channel++) {
    buffer.getChannelData(channel).forEach((sample, index) => (samples[index] += sample / buffer.numberOfChannels));
  }
  return { samples, rateHz };
}

/** The sample rate of a FLAC file, 20 bits of its first block, if it is one that every browser can decode at. */
function flacRateHz(view: DataView): number | null {
  const rateHz = view.byteLength >= 22 && view.getUint32(0) === FLAC ? view.getUint32(18) >>> 12 : 0;
  return rateHz >= 8_000 && rateHz <= 96_000 ? rateHz : null;
}
