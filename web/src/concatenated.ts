/**
 * Concatenated files, as text-to-speech servers send them. A browser reads such a file like its first part: it drops audio with
 * another sample rate or number of channels, and decodes audio with other codebooks to noise. So each part is decoded alone.
 */

const ANY = "."; // byte
const SIGNATURES = [
  "RIFF....WAVE", "RF64....WAVE", "BW64....WAVE",
  'fLaC.\0\0"', "OggS\0\x02", "\0\0\0.ftyp", "\x1aE\xdf\xa3.B\x86", // the last one is WebM
].map((pattern) => [...pattern].map((letter) => (letter === ANY ? null : letter.charCodeAt(0))));
const OGG_PAGE_BYTES = 27; // before the sizes of its segments
const SYNC = 0xff; // the first byte of an MP3 or AAC frame
const MIN_RUN_FRAMES = 3; // in a row: fewer may be an accident
const MP3_BITRATES = [
  [8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160], // MPEG-2 and 2.5
  [32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320], // MPEG-1
];
const MP3_RATES_HZ = [44_100, 48_000, 32_000];
const MPEG_1 = 3;
const RESERVED = 1; // MPEG version

type Signature = (typeof SIGNATURES)[number];

/** Splits a file into the files that it concatenates, usually one. MP3 and AAC are split only where their format changes. */
export function splitConcatenated(file: ArrayBuffer): ArrayBuffer[] {
  const bytes = new Uint8Array(file);
  const signature = SIGNATURES.find((candidate) => matches(candidate, bytes, 0));
  const starts = signature ? findSignature(signature, bytes) : findFormatChanges(bytes);
  return starts.length > 1 ? starts.map((start, k) => file.slice(start, starts[k + 1])) : [file];
}

function matches(signature: Signature, bytes: Uint8Array, at: number): boolean {
  return signature.every((byte, offset) => byte === null || byte === bytes[at + offset]);
}

/** Finds the starts of files. Several streams of one Ogg file start in consecutive pages. */
function findSignature(signature: Signature, bytes: Uint8Array): number[] {
  const starts: number[] = [];
  let pageEnd = -1;
  for (let at = 0; at >= 0; at = bytes.indexOf(signature[0]!, at + 1)) {
    if (!matches(signature, bytes, at)) continue;
    if (at !== pageEnd) starts.push(at);
    const segments = bytes.subarray(at + OGG_PAGE_BYTES, at + OGG_PAGE_BYTES + bytes[at + OGG_PAGE_BYTES - 1]);
    pageEnd = at + OGG_PAGE_BYTES + segments.reduce((sum, size) => sum + size, segments.length);
  }
  return starts;
}

/** An MP3 or AAC frame: its length in bytes, and a number that identifies its format, sample rate and channels. */
interface CodedFrame {
  length: number;
  format: number;
}

/** Finds the start of the file and the first frame of each other format. */
function findFormatChanges(bytes: Uint8Array): number[] {
  const starts = [0];
  let format: number | null = null;
  for (let at = bytes.indexOf(SYNC); at >= 0; ) {
    const frame = readFrame(bytes, at);
    const isFrame = frame !== null && (frame.format === format || isRun(bytes, at, frame.format));
    if (isFrame && format !== null && frame.format !== format) starts.push(at);
    if (isFrame) format = frame.format;
    at = bytes.indexOf(SYNC, at + (isFrame ? frame.length : 1));
  }
  return starts;
}

function isRun(bytes: Uint8Array, at: number, format: number): boolean {
  for (let count = 0; count < MIN_RUN_FRAMES; count++) {
    const frame = readFrame(bytes, at);
    if (frame?.format !== format) return false;
    at += frame.length;
  }
  return true;
}

/** Reads a frame header: MPEG audio layer III of ISO 11172-3 and 13818-3, or ADTS of ISO 13818-7. */
function readFrame(bytes: Uint8Array, at: number): CodedFrame | null {
  const [sync, second, third, fourth, fifth, sixth] = bytes.subarray(at, at + 6);
  if (sync !== SYNC || sixth === undefined) return null;
  if ((second & 0xf6) === 0xf0) {
    const length = ((fourth & 0x03) << 11) | (fifth << 3) | (sixth >> 5);
    return length > 7 ? { length, format: ((third & 0xfd) << 8) | (fourth & 0xc0) } : null;
  }
  const version = (second >> 3) & 3;
  const bitrate = MP3_BITRATES[version === MPEG_1 ? 1 : 0][(third >> 4) - 1];
  const fullHz = MP3_RATES_HZ[(third >> 2) & 3];
  if ((second & 0xe6) !== 0xe2 || version === RESERVED || !bitrate || !fullHz) return null;
  const rateHz = fullHz >> (version === MPEG_1 ? 0 : version === 2 ? 1 : 2);
  const length = Math.floor(((version === MPEG_1 ? 144_000 : 72_000) * bitrate) / rateHz) + ((third >> 1) & 1);
  const isMono = fourth >> 6 === 3;
  return { length, format: ((second & 0xfe) << 16) | ((third & 0x0c) << 8) | Number(isMono) };
}
