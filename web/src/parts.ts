/**
 * Files joined end to end, as text-to-speech servers send them. A browser reads such a file as its first part goes: it drops what
 * comes at another sample rate or with other channels, and decodes other codebooks to noise. So each part is decoded for itself.
 */

const ANY = "."; // byte
const BEGINNINGS = [
  "RIFF....WAVE", "RF64....WAVE", "BW64....WAVE",
  'fLaC.\0\0"', "OggS\0\x02", "\0\0\0.ftyp", "\x1aE\xdf\xa3.B\x86", // the last one is WebM
].map((pattern) => [...pattern].map((letter) => (letter === ANY ? null : letter.charCodeAt(0))));
const OGG_PAGE_BYTES = 27; // before the sizes of its segments
const SYNC = 0xff; // the first byte of a frame of MP3 or AAC
const RUN = 3; // frames in a row, which are no accident
const MP3_BITRATES = [
  [8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160], // MPEG-2 and 2.5
  [32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320], // MPEG-1
];
const MP3_RATES_HZ = [44_100, 48_000, 32_000];
const MPEG_1 = 3;
const RESERVED = 1; // instead of a version

/** The files that a file is made of, nearly always the one that it is; MP3 and AAC are parted only where their kind changes. */
export function partsOf(file: ArrayBuffer): ArrayBuffer[] {
  const bytes = new Uint8Array(file);
  const own = BEGINNINGS.find((pattern) => stands(pattern, bytes, 0));
  const starts = own ? places(own, bytes) : changes(bytes);
  return starts.length > 1 ? starts.map((start, k) => file.slice(start, starts[k + 1])) : [file];
}

function stands(pattern: readonly (number | null)[], bytes: Uint8Array, at: number): boolean {
  return pattern.every((byte, offset) => byte === null || byte === bytes[at + offset]);
}

/** Where files begin. Several streams of one Ogg file begin page after page. */
function places(pattern: readonly (number | null)[], bytes: Uint8Array): number[] {
  const found: number[] = [];
  let pageEnd = -1;
  for (let at = 0; at >= 0; at = bytes.indexOf(pattern[0]!, at + 1)) {
    if (!stands(pattern, bytes, at)) continue;
    if (at !== pageEnd) found.push(at);
    const segments = bytes.subarray(at + OGG_PAGE_BYTES, at + OGG_PAGE_BYTES + bytes[at + OGG_PAGE_BYTES - 1]);
    pageEnd = at + OGG_PAGE_BYTES + segments.reduce((sum, size) => sum + size, segments.length);
  }
  return found;
}

/** A frame of MP3 or AAC: its length in bytes, and a number that stands for its format, sample rate and channels. */
interface Coded {
  length: number;
  kind: number;
}

/** The start of the file, and where frames of another kind begin. */
function changes(bytes: Uint8Array): number[] {
  const starts = [0];
  let kind: number | null = null;
  for (let at = bytes.indexOf(SYNC); at >= 0; ) {
    const frame = frameAt(bytes, at);
    const known = frame !== null && (frame.kind === kind || isRun(bytes, at, frame.kind));
    if (known && kind !== null && frame.kind !== kind) starts.push(at);
    if (known) kind = frame.kind;
    at = bytes.indexOf(SYNC, at + (known ? frame.length : 1));
  }
  return starts;
}

function isRun(bytes: Uint8Array, at: number, kind: number): boolean {
  for (let number = 0; number < RUN; number++) {
    const frame = frameAt(bytes, at);
    if (frame?.kind !== kind) return false;
    at += frame.length;
  }
  return true;
}

/** The frame whose header stands at a place; MPEG audio of ISO 11172-3 and 13818-3, layer III, and ADTS of ISO 13818-7. */
function frameAt(bytes: Uint8Array, at: number): Coded | null {
  const [sync, second, third, fourth, fifth, sixth] = bytes.subarray(at, at + 6);
  if (sync !== SYNC || sixth === undefined) return null;
  if ((second & 0xf6) === 0xf0) {
    const length = ((fourth & 0x03) << 11) | (fifth << 3) | (sixth >> 5);
    return length > 7 ? { length, kind: ((third & 0xfd) << 8) | (fourth & 0xc0) } : null;
  }
  const version = (second >> 3) & 3;
  const bitrate = MP3_BITRATES[version === MPEG_1 ? 1 : 0][(third >> 4) - 1];
  const fullHz = MP3_RATES_HZ[(third >> 2) & 3];
  if ((second & 0xe6) !== 0xe2 || version === RESERVED || !bitrate || !fullHz) return null;
  const rateHz = fullHz >> (version === MPEG_1 ? 0 : version === 2 ? 1 : 2);
  const length = Math.floor(((version === MPEG_1 ? 144_000 : 72_000) * bitrate) / rateHz) + ((third >> 1) & 1);
  const isMono = fourth >> 6 === 3;
  return { length, kind: ((second & 0xfe) << 16) | ((third & 0x0c) << 8) | Number(isMono) };
}
