/** Recordings: decodes a file to mono samples and animates all of it. */

import type { Animator, Frame } from "./animator";
import { splitConcatenated } from "./concatenated";
import { cancellationNote, Downmix } from "./downmix";
import { UserError } from "./errors";
import { concat } from "./resample";
import { type Channels, readWav, truncationNote, writeWav } from "./wav";

const DEFAULT_RATE_HZ = 48_000; // of decoding, for formats whose own rate is not read here
const FLAC = 0x664c6143; // "fLaC", the first bytes of such a file
const MIN_DECODE_HZ = 8_000; // that every browser supports
const MAX_DECODE_HZ = 96_000;
const DURATION_TOLERANCE_S = 0.001; // for FLAC that the browser resamples
const MIN_DURATION_S = 0.02;
const MAX_DURATION_S = 20 * 60;
const PROBE_BYTES = 2 ** 20; // decoded first of a file that states a longer duration, if not more
const MAX_SAMPLE = 64; // 36 dB above full scale; 16-bit samples stored as floats are larger
const PLAYER_TOLERANCE_S = 0.1; // between the durations of the animation and of the browser's player
const BLOCK_S = 0.5; // of audio per computation
const YIELD_MS = 12; // of computation, after which the page may draw

/** Mono samples in +-1. */
interface MonoAudio {
  samples: Float32Array<ArrayBuffer>;
  rateHz: number;
  notes: string[]; // sentences for the user about what was guessed
}

export interface Recording extends MonoAudio {
  name: string;
  url: string; // for an audio element
}

/** Reads any audio file that the browser can decode. WAV and FLAC keep their sample rate. */
export async function readRecording(file: File): Promise<Recording> {
  const { name } = file;
  if (file.size === 0) throw new UserError(`${name} is empty.`);
  const url = URL.createObjectURL(file);
  const headerS = await readHeaderDuration(url);
  const bytes = await file.arrayBuffer().catch(() => {
    throw new UserError(`${name} cannot be read: it was removed or is too large for this browser.`);
  });
  const parts: MonoAudio[] = [];
  for (const part of splitConcatenated(bytes)) {
    const channels = readWav(name, part) ?? (await decode(name, part, headerS, parts[0]?.rateHz));
    checkDuration(name, channels.nSamples / channels.rateHz); // before the downmix, which needs memory
    parts.push(toMono(name, channels));
  }
  const audio = parts.reduce((before, after) => append(name, before, after));
  checkAudio(name, audio);
  const canPlayFile = Math.abs(headerS - audio.samples.length / audio.rateHz) < PLAYER_TOLERANCE_S;
  return { name, url: canPlayFile ? url : URL.createObjectURL(writeWav(audio.samples, audio.rateHz)), ...audio };
}

/**
 * Computes all frames of a recording. Returns null if `onProgress` cancels it.
 *
 * The page can draw in between. `onProgress` receives the finished part, from 0 to 1, and returns whether to continue.
 */
export async function animateRecording(
  { samples, rateHz }: Recording,
  animator: Animator,
  onProgress: (ratio: number) => boolean,
): Promise<{ frames: Frame[]; msPerS: number } | null> {
  const frames: Frame[] = [];
  const blockSamples = Math.ceil(BLOCK_S * rateHz);
  let startMs = performance.now();
  let computeMs = 0;
  for (let first = 0; first < samples.length; first += blockSamples) {
    frames.push(...(await animator.push(samples.subarray(first, first + blockSamples))));
    if (performance.now() - startMs < YIELD_MS) continue;
    computeMs += performance.now() - startMs;
    await new Promise((resolve) => setTimeout(resolve));
    if (!onProgress(first / samples.length)) return null;
    startMs = performance.now();
  }
  frames.push(...(await animator.flush()));
  computeMs += performance.now() - startMs;
  return { frames, msPerS: (computeMs * rateHz) / samples.length };
}

/** Averages the channels, or uses the loudest if they cancel each other. */
function toMono(name: string, { nChannels, nSamples, rateHz, sample, notes }: Channels): MonoAudio {
  const downmix = new Downmix(nChannels);
  const samples = new Float32Array(nSamples).map((_, index) => downmix.mean((channel) => sample(channel, index)));
  const loudest = downmix.loudestIfCancelled();
  if (loudest === null) return { samples, rateHz, notes };
  const note = cancellationNote(name, nChannels, loudest);
  return { samples: samples.map((_, index) => sample(loudest, index)), rateHz, notes: [...notes, note] };
}

function append(name: string, before: MonoAudio, after: MonoAudio): MonoAudio {
  if (before.rateHz !== after.rateHz) {
    throw new UserError(`${name} contains recordings at ${before.rateHz} and ${after.rateHz} Hz; expected one sample rate.`);
  }
  const notes = [...new Set([...before.notes, ...after.notes])];
  return { samples: concat(before.samples, after.samples), rateHz: before.rateHz, notes };
}

function checkAudio(name: string, { samples, rateHz }: MonoAudio): void {
  if (samples.length / rateHz < MIN_DURATION_S) throw new UserError(`${name} contains no audio.`);
  checkDuration(name, samples.length / rateHz);
  if (!samples.every(Number.isFinite)) throw new UserError(`${name} contains NaN or infinite samples; expected finite samples.`);
  const peak = samples.reduce((most, sample) => Math.max(most, Math.abs(sample)), 0);
  if (peak > MAX_SAMPLE) throw new UserError(`${name}: samples of up to ${Math.round(peak)}; expected floats within +-1.`);
}

function checkDuration(name: string, durationS: number): void {
  if (durationS > MAX_DURATION_S) throw new UserError(`${name} is too long; expected at most ${MAX_DURATION_S / 60} minutes.`);
}

/** Returns the duration that a file states: Infinity if the browser does not know it, NaN if it cannot play the file. */
async function readHeaderDuration(url: string): Promise<number> {
  const audio = new Audio(url);
  audio.preload = "metadata";
  await new Promise((resolve) => (audio.onloadedmetadata = audio.onerror = resolve));
  return audio.duration;
}

/** Decodes a file, or a part of one that states `headerS`, by the browser, at `fixedHz` or at its own rate. */
async function decode(name: string, bytes: ArrayBuffer, headerS: number, fixedHz?: number): Promise<Channels> {
  const flac = readFlacHeader(new DataView(bytes));
  const ownHz = flac && flac.rateHz >= MIN_DECODE_HZ && flac.rateHz <= MAX_DECODE_HZ ? flac.rateHz : DEFAULT_RATE_HZ;
  const rateHz = fixedHz ?? ownHz;
  if (!(headerS <= MAX_DURATION_S)) await probeDuration(name, bytes, headerS);
  const buffer = await decodeAt(rateHz, bytes).catch(() => {
    throw new UserError(`${name} cannot be decoded by this browser; expected WAV, FLAC, OGG or MP3.`);
  });
  const channels = Array.from({ length: buffer.numberOfChannels }, (_, channel) => buffer.getChannelData(channel));
  const isTruncated = flac !== null && buffer.duration < flac.durationS - DURATION_TOLERANCE_S;
  return {
    nChannels: channels.length,
    nSamples: buffer.length,
    rateHz,
    sample: (channel, index) => channels[channel][index],
    notes: isTruncated ? [truncationNote(name, buffer.duration, flac.durationS)] : [],
  };
}

function decodeAt(rateHz: number, bytes: ArrayBuffer): Promise<AudioBuffer> {
  return new OfflineAudioContext(1, 1, rateHz).decodeAudioData(bytes);
}

/**
 * Decodes longer and longer beginnings of a file that states a long duration, until one is too long: the stated duration is wrong
 * in truncated and concatenated files. If no beginning can be decoded, the header is at the end, and the file is complete.
 */
async function probeDuration(name: string, bytes: ArrayBuffer, headerS: number): Promise<void> {
  const firstBytes = Math.max(PROBE_BYTES, Math.ceil((1.1 * MAX_DURATION_S * bytes.byteLength) / headerS));
  let isDecoded = bytes.byteLength <= firstBytes;
  for (let size = firstBytes; size < bytes.byteLength; size *= 2) {
    const beginning = await decodeAt(DEFAULT_RATE_HZ, bytes.slice(0, size)).catch(() => null);
    if (!beginning) continue;
    isDecoded = true;
    checkDuration(name, beginning.duration);
  }
  if (!isDecoded && headerS < Infinity) checkDuration(name, headerS);
}

/** Reads the first block of a FLAC file; the duration is 0 s if the encoder did not know it. */
function readFlacHeader(view: DataView): { rateHz: number; durationS: number } | null {
  if (view.byteLength < 26 || view.getUint32(0) !== FLAC) return null;
  const rateHz = view.getUint32(18) >>> 12; // 20 bits
  const nSamples = (view.getUint8(21) & 15) * 2 ** 32 + view.getUint32(22); // 36 bits
  return { rateHz, durationS: nSamples / rateHz };
}
