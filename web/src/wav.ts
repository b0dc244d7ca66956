/**
 * WAV files, read here and not by the browser: Chromium divides positive samples of 16 bits by 32767 and not by 32768. Of that,
 * curves of int8 models would differ from Python's by up to 0.004: a rounding that goes the other way is heard for a while.
 */

import { Trouble } from "./beside";

const PCM = 1;
const FLOAT = 3;
const A_LAW = 6;
const MU_LAW = 7;
const EXTENSIBLE = 0xfffe; // the format proper then stands further on
const LOWEST_HZ = 4_000; // of sound, as in `facedistill.runtime`
const HIGHEST_HZ = 384_000;
const MIN_REST_BYTES = 2048; // behind the sound that a file announces; less is some program's mark
const STREAMED_BYTES = 2 ** 31 - 2 ** 16; // sizes from here on mean "unknown", or that a ds64 chunk has them

/** All channels of a file, in +-1. */
export interface Channels {
  nChannels: number;
  nSamples: number; // of each channel
  rateHz: number;
  sample: (channel: number, index: number) => number;
  notes: string[]; // sentences that are shown
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

/** How the samples of a file are stored: one of each channel, then the next ones. */
interface Layout {
  read: Reader;
  nBytes: number; // of a sample
  nChannels: number;
  rateHz: number;
}

/** The samples of a WAV file; nothing if this is none, or one with compressed samples. */
export function readWav(name: string, bytes: ArrayBuffer): Channels | null {
  const view = new DataView(bytes);
  if (view.byteLength < 12 || !/^(RIFF|RF64|BW64)$/.test(chunk(view, 0)) || chunk(view, 8) !== "WAVE") return null;
  let layout: Layout | null = null;
  let longBytes = Infinity; // of sound, by a ds64 chunk
  for (let at = 12; at + 8 <= view.byteLength; ) {
    const length = view.getUint32(at + 4, true);
    const start = at + 8;
    const left = view.byteLength - start;
    if (chunk(view, at) === "ds64" && left >= 16) longBytes = Number(view.getBigUint64(start + 8, true));
    if (chunk(view, at) === "fmt " && left >= 16) layout = layoutAt(name, view, start);
    if (chunk(view, at) === "data") {
      return layout && channelsAt(name, view, start, length < STREAMED_BYTES ? length : longBytes, layout);
    }
    at = start + length + (length % 2);
  }
  return null;
}

/** What is told of a file that holds less than it announces. */
export function endsEarly(name: string, seconds: number, announcedS: number): string {
  const digits = announcedS - seconds < 0.1 ? 5 : 1; // so that the two differ
  return `${name} ends after ${seconds.toFixed(digits)} s; its header announces ${announcedS.toFixed(digits)} s.`;
}

/** A WAV file of 32-bit floats, which browsers play where they do not play what was read here: 64-bit floats. */
export function wavOf(samples: Float32Array<ArrayBuffer>, rateHz: number): Blob {
  const header = new DataView(new ArrayBuffer(44));
  const write = (at: number, text: string) => [...text].forEach((letter, i) => header.setUint8(at + i, letter.charCodeAt(0)));
  write(0, "RIFF");
  header.setUint32(4, header.byteLength - 8 + samples.byteLength, true);
  write(8, "WAVEfmt ");
  header.setUint32(16, 16, true); // bytes of what follows
  header.setUint16(20, FLOAT, true);
  header.setUint16(22, 1, true); // channels
  header.setUint32(24, rateHz, true);
  header.setUint32(28, rateHz * samples.BYTES_PER_ELEMENT, true);
  header.setUint16(32, samples.BYTES_PER_ELEMENT, true);
  header.setUint16(34, 8 * samples.BYTES_PER_ELEMENT, true);
  write(36, "data");
  header.setUint32(40, samples.byteLength, true);
  return new Blob([header, samples], { type: "audio/wav" });
}

/** What a fmt chunk says; nothing if that cannot be read here. */
function layoutAt(name: string, view: DataView, start: number): Layout | null {
  const stated = view.getUint16(start, true);
  const format = stated === EXTENSIBLE && start + 26 <= view.byteLength ? view.getUint16(start + 24, true) : stated;
  const nChannels = view.getUint16(start + 2, true);
  const rateHz = view.getUint32(start + 4, true);
  const blockBytes = view.getUint16(start + 12, true);
  const bits = view.getUint16(start + 14, true);
  const nBytes = Math.ceil(bits / 8);
  const read = READERS[`${format} ${8 * nBytes}`];
  const usual = nChannels > 0 && rateHz >= LOWEST_HZ && rateHz <= HIGHEST_HZ;
  if (!read || !usual) return null;
  if (blockBytes > 0 && blockBytes !== nChannels * nBytes) {
    const expected = `expected ${nChannels * nBytes}, ${nChannels} of ${bits} bits`;
    throw new Trouble(`${name} keeps samples in blocks of ${blockBytes} bytes; ${expected}.`);
  }
  return { read, nBytes, nChannels, rateHz };
}

/** The samples of a data chunk. Its size is not believed over what is there: it stays 0 where a recorder died. */
function channelsAt(name: string, view: DataView, start: number, announced: number, layout: Layout): Channels {
  const { read, nBytes, nChannels, rateHz } = layout;
  const blockBytes = nChannels * nBytes;
  const left = view.byteLength - start;
  const rest = [0, announced % 2].map((pad) => behindChunks(view, start + announced + pad)); // some leave the pad byte out
  const isLonger = announced > 0 && Math.min(...rest) >= MIN_REST_BYTES;
  const unknown = announced > Number.MAX_SAFE_INTEGER || isLonger || (announced === 0 && rest[0] > 0);
  const nAnnounced = Math.floor((unknown ? left : announced) / blockBytes);
  const nSamples = Math.min(Math.floor(left / blockBytes), nAnnounced);
  return {
    nChannels,
    nSamples,
    rateHz,
    sample: (channel, index) => read(view, start + index * blockBytes + channel * nBytes),
    notes: [
      ...(nSamples < nAnnounced ? [endsEarly(name, nSamples / rateHz, nAnnounced / rateHz)] : []),
      ...(isLonger ? [`${name} goes on after the end that its header announces; all of it is read.`] : []),
    ],
  };
}

/** How many bytes are left at the end of the file behind whole chunks with printable names. */
function behindChunks(view: DataView, at: number): number {
  while (at + 8 <= view.byteLength && /^[ -~]{4}$/.test(chunk(view, at))) {
    const length = view.getUint32(at + 4, true);
    if (at + 8 + length > view.byteLength) break;
    at += 8 + length + (length % 2);
  }
  return Math.max(0, view.byteLength - at);
}

/** A sample of ITU-T G.711, A-law: a sign, 3 bits of exponent and 4 of mantissa. */
function aLaw(code: number): number {
  const [exponent, mantissa] = [((code ^ 0x55) >> 4) & 7, (code ^ 0x55) & 15];
  const size = exponent === 0 ? 2 * mantissa + 1 : (2 * mantissa + 33) * 2 ** (exponent - 1);
  return (code & 0x80 ? size : -size) / 2 ** 12;
}

/** A sample of ITU-T G.711, mu-law. */
function muLaw(code: number): number {
  const size = (2 * (~code & 15) + 33) * 2 ** ((~code >> 4) & 7) - 33;
  return (code & 0x80 ? size : -size) / 2 ** 13;
}

/** The name of the chunk at a place. */
function chunk(view: DataView, at: number): string {
  return String.fromCharCode(...[0, 1, 2, 3].map((offset) => view.getUint8(at + offset)));
}
