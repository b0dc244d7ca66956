/**
 * WAV files, read here and not by the browser: Chromium divides positive samples of 16 bits by 32767 and not by 32768. Of that,
 * curves of int8 models would differ from Python's by up to 0.004: a rounding that goes the other way is heard for a while.
 */

import { Trouble } from "./beside";

const PCM = 1;
const FLOAT = 3;
const EXTENSIBLE = 0xfffe; // the format proper then stands further on
const LOWEST_HZ = 4_000; // of sound, as in `facedistill.runtime`
const HIGHEST_HZ = 384_000;
const STREAMED_BYTES = 2 ** 31 - 2 ** 16; // sizes from here on mean "unknown"

/** One channel of samples in +-1. */
export interface Sound {
  samples: Float32Array<ArrayBuffer>;
  rateHz: number;
}

type Reader = (view: DataView, at: number) => number;

const READERS: Record<string, Reader | undefined> = {
  [`${PCM} 8`]: (view, at) => (view.getUint8(at) - 128) / 2 ** 7,
  [`${PCM} 16`]: (view, at) => view.getInt16(at, true) / 2 ** 15,
  [`${PCM} 24`]: (view, at) => (view.getUint16(at, true) + view.getInt8(at + 2) * 2 ** 16) / 2 ** 23,
  [`${PCM} 32`]: (view, at) => view.getInt32(at, true) / 2 ** 31,
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

/** The mean of all channels; nothing if this is no WAV file, or one with compressed samples. */
export function readWav(file: string, bytes: ArrayBuffer): Sound | null {
  const view = new DataView(bytes);
  if (view.byteLength < 12 || chunk(view, 0) !== "RIFF" || chunk(view, 8) !== "WAVE") return null;
  let layout: Layout | null = null;
  for (let at = 12; at + 8 <= view.byteLength; ) {
    const length = view.getUint32(at + 4, true);
    const start = at + 8;
    const left = view.byteLength - start;
    if (chunk(view, at) === "fmt " && left >= 16) layout = layoutAt(view, start);
    if (chunk(view, at) === "data") {
      if (!layout) return null;
      if (left < length && length < STREAMED_BYTES) throw new Trouble(`${file} ends before the sound that its header announces.`);
      return { samples: mono(view, start, Math.min(left, length), layout), rateHz: layout.rateHz };
    }
    at = start + length + (length % 2);
  }
  return null;
}

/** A WAV file of 32-bit floats, which browsers play where they do not play what was read here: 64-bit floats. */
export function wavOf({ samples, rateHz }: Sound): Blob {
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
function layoutAt(view: DataView, start: number): Layout | null {
  const stated = view.getUint16(start, true);
  const format = stated === EXTENSIBLE && start + 26 <= view.byteLength ? view.getUint16(start + 24, true) : stated;
  const nChannels = view.getUint16(start + 2, true);
  const rateHz = view.getUint32(start + 4, true);
  const bits = view.getUint16(start + 14, true);
  const read = READERS[`${format} ${bits}`];
  const usual = nChannels > 0 && rateHz >= LOWEST_HZ && rateHz <= HIGHEST_HZ;
  return read && usual ? { read, nBytes: bits / 8, nChannels, rateHz } : null;
}

function mono(view: DataView, start: number, length: number, { read, nBytes, nChannels }: Layout): Float32Array<ArrayBuffer> {
  const samples = new Float32Array(Math.floor(length / (nChannels * nBytes)));
  for (let index = 0, at = start; index < samples.length; index++) {
    let sum = 0;
    for (let channel = 0; channel < nChannels; channel++, at += nBytes) sum += read(view, at);
    samples[index] = sum / nChannels;
  }
  return samples;
}

/** The name of the chunk at a place. */
function chunk(view: DataView, at: number): string {
  return String.fromCharCode(...[0, 1, 2, 3].map((offset) => view.getUint8(at + offset)));
}
