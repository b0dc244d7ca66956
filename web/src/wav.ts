/**
 * WAV files. The browser does not decode them: Chromium divides positive 16-bit samples by 32767 and not by 32768. Curves of int8
 * models would then differ from Python's by up to 0.004, since a value that is rounded differently stays in the model's state.
 */

import { UserError } from "./errors";

const PCM = 1;
const FLOAT = 3;
const A_LAW = 6;
const MU_LAW = 7;
const EXTENSIBLE = 0xfffe; // the format is stored further on
const MIN_RATE_HZ = 4_000; // as in `facedistill.runtime`
const MAX_RATE_HZ = 384_000;
const MIN_EXTRA_BYTES = 2048; // after the data that a header states; fewer are metadata of some program
const STREAMED_BYTES = 2 ** 31 - 2 ** 16; // sizes from here on mean "unknown", or that a ds64 chunk states the size

/** All channels of a file, with samples in +-1. */
export interface Channels {
  nChannels: number;
  nSamples: number; // per channel
  rateHz: number;
  sample: (channel: number, index: number) => number;
  notes: string[]; // sentences for the user
}

type Reader = (view: DataView, at: number) => number;

const READERS: Record<string, Reader | undefined> = {
  [`${PCM} 8`]: (view, at) => (view.getUint8(at) - 128) / 2 ** 7,
  [`${PCM} 16`]: (view, at) => view.getInt16(at, true) / 2 ** 15,
  [`${PCM} 24`]: (view, at) => (view.getUint16(at, true) + view.getInt8(at + 2) * 2 ** 16) / 2 ** 23,
  [`${PCM} 32`]: (view, at) => view.getInt32(at, true) / 2 ** 31,
  [`${A_LAW} 8`]: (view, at) => aLaw(view.getUint8(at)),
  [`${MU_LAW} 8`]: (view, at) => muLaw(view.getUint8(at)),
  [`${FLOAT} 32`]: (view, at) => view.getFloat32(at, true),
  [`${FLOAT} 64`]: (view, at) => view.getFloat64(at, true),
};

/** The format of a file; its channels are interleaved. */
interface Format {
  read: Reader;
  nBytes: number; // per sample
  nChannels: number;
  rateHz: number;
}

/** Reads a WAV file. Returns null if the file is not WAV or is compressed. */
export function readWav(name: string, bytes: ArrayBuffer): Channels | null {
  const view = new DataView(bytes);
  if (view.byteLength < 12 || !/^(RIFF|RF64|BW64)$/.test(chunkId(view, 0)) || chunkId(view, 8) !== "WAVE") return null;
  let format: Format | null = null;
  let longBytes = Infinity; // size of the data by a ds64 chunk
  for (let at = 12; at + 8 <= view.byteLength; ) {
    const id = chunkId(view, at);
    const length = view.getUint32(at + 4, true);
    const start = at + 8;
    const left = view.byteLength - start;
    if (id === "data") return format && readData(name, view, start, length < STREAMED_BYTES ? length : longBytes, format);
    if (id === "ds64" && left >= 16) longBytes = Number(view.getBigUint64(start + 8, true));
    if (id === "fmt " && left >= 16) format = readFormat(name, view, start);
    at = start + length + (length % 2);
  }
  return null;
}

/** Formats the note that a file is shorter than its header states. */
export function truncationNote(name: string, seconds: number, headerS: number): string {
  const digits = headerS - seconds < 0.1 ? 5 : 1; // the two numbers must differ
  return `${name} ends after ${seconds.toFixed(digits)} s; its header announces ${headerS.toFixed(digits)} s.`;
}

/** Writes mono samples as a WAV file of 32-bit floats, which all browsers can play. */
export function writeWav(samples: Float32Array<ArrayBuffer>, rateHz: number): Blob {
  const { BYTES_PER_ELEMENT: nBytes, byteLength } = samples;
  const format = Uint32Array.of(16, (1 << 16) | FLOAT, rateHz, rateHz * nBytes, ((8 * nBytes) << 16) | nBytes); // 1 channel
  const parts = ["RIFF", Uint32Array.of(36 + byteLength), "WAVEfmt ", format, "data", Uint32Array.of(byteLength), samples];
  return new Blob(parts, { type: "audio/wav" });
}

/** Reads a fmt chunk. Returns null if the format is not supported. */
function readFormat(name: string, view: DataView, start: number): Format | null {
  const tag = view.getUint16(start, true);
  const format = tag === EXTENSIBLE && start + 26 <= view.byteLength ? view.getUint16(start + 24, true) : tag;
  const nChannels = view.getUint16(start + 2, true);
  const rateHz = view.getUint32(start + 4, true);
  const blockBytes = view.getUint16(start + 12, true);
  const bits = view.getUint16(start + 14, true);
  const nBytes = Math.ceil(bits / 8);
  const read = READERS[`${format} ${8 * nBytes}`];
  if (!read || nChannels === 0 || rateHz < MIN_RATE_HZ || rateHz > MAX_RATE_HZ) return null;
  if (blockBytes > 0 && blockBytes !== nChannels * nBytes) {
    const expected = `expected ${nChannels * nBytes} (channels: ${nChannels}, bits: ${bits})`;
    throw new UserError(`${name} has a block size of ${blockBytes} bytes; ${expected}.`);
  }
  return { read, nBytes, nChannels, rateHz };
}

/** Reads a data chunk. Its stated size may be wrong: it is 0 if the recorder was interrupted. */
function readData(name: string, view: DataView, start: number, headerBytes: number, format: Format): Channels {
  const { read, nBytes, nChannels, rateHz } = format;
  const blockBytes = nChannels * nBytes;
  const left = view.byteLength - start;
  const extra = [0, headerBytes % 2].map((pad) => bytesAfterChunks(view, start + headerBytes + pad)); // some omit the pad byte
  const isLonger = headerBytes > 0 && Math.min(...extra) >= MIN_EXTRA_BYTES;
  const isUnknown = headerBytes > Number.MAX_SAFE_INTEGER || isLonger || (headerBytes === 0 && extra[0] > 0);
  const nHeader = Math.floor((isUnknown ? left : headerBytes) / blockBytes);
  const nSamples = Math.min(Math.floor(left / blockBytes), nHeader);
  const notes = [];
  if (nSamples < nHeader) notes.push(truncationNote(name, nSamples / rateHz, nHeader / rateHz));
  if (isLonger) notes.push(`${name} goes on after the end that its header announces; all of it is read.`);
  const sample = (channel: number, index: number) => read(view, start + index * blockBytes + channel * nBytes);
  return { nChannels, nSamples, rateHz, sample, notes };
}

/** Skips whole chunks with printable names and returns the number of bytes after them. */
function bytesAfterChunks(view: DataView, at: number): number {
  while (at + 8 <= view.byteLength && /^[ -~]{4}$/.test(chunkId(view, at))) {
    const length = view.getUint32(at + 4, true);
    if (at + 8 + length > view.byteLength) break;
    at += 8 + length + (length % 2);
  }
  return Math.max(0, view.byteLength - at);
}

/** Decodes a sample of ITU-T G.711, A-law: a sign, 3 bits of exponent and 4 of mantissa. */
function aLaw(code: number): number {
  const [exponent, mantissa] = [((code ^ 0x55) >> 4) & 7, (code ^ 0x55) & 15];
  const size = exponent === 0 ? 2 * mantissa + 1 : (2 * mantissa + 33) * 2 ** (exponent - 1);
  return (code & 0x80 ? size : -size) / 2 ** 12;
}

/** Decodes a sample of ITU-T G.711, mu-law. */
function muLaw(code: number): number {
  const size = (2 * (~code & 15) + 33) * 2 ** ((~code >> 4) & 7) - 33;
  return (code & 0x80 ? size : -size) / 2 ** 13;
}

function chunkId(view: DataView, at: number): string {
  return String.fromCharCode(...[0, 1, 2, 3].map((offset) => view.getUint8(at + offset)));
}
