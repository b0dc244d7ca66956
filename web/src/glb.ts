/** Adds an animation to a GLB, as `facedistill.formats.gltf` does; everything else in the file is kept. */

import { type Clip, FPS } from "./animator";
import { UserError } from "./errors";
import { canonicalName } from "./names";

const GLTF = 0x46546c67;
const JSON_CHUNK = 0x4e4f534a;
const BIN_CHUNK = 0x004e4942;
const HEADER_BYTES = 12;
const CHUNK_BYTES = 8; // before each chunk: its length and its type
const FLOAT = 5126;
const NAME = "facedistill"; // of the animation and of its extras

interface Content {
  buffers?: { byteLength: number; uri?: string }[];
  bufferViews?: object[];
  accessors?: object[];
  nodes?: { mesh?: number; weights?: number[] }[];
  meshes?: { weights?: number[]; extras?: { targetNames?: string[] } }[];
  animations?: object[];
}

/** Writes a GLB of the face with the clip as its first animation. */
export function animatedGlb(face: ArrayBuffer, { curves, frames }: Clip): Blob {
  const { content, binary, otherChunks } = readGlb(face);
  const parts: Uint8Array<ArrayBuffer>[] = [binary];
  let length = binary.length;

  function append(values: Float32Array<ArrayBuffer>, limits = {}): number {
    parts.push(new Uint8Array(values.buffer));
    const views = (content.bufferViews ??= []);
    const accessors = (content.accessors ??= []);
    views.push({ buffer: 0, byteOffset: length, byteLength: values.byteLength });
    accessors.push({ bufferView: views.length - 1, componentType: FLOAT, count: values.length, type: "SCALAR", ...limits });
    length += values.byteLength;
    return accessors.length - 1;
  }

  const times = Float32Array.from(frames, (frame) => frame.timeS);
  const input = append(times, { min: [times[0]], max: [times[times.length - 1]] });
  const byName = new Map(curves.map((name, k) => [canonicalName(name), k]));
  const used = new Set<number | undefined>();
  const samplers: object[] = [];
  const channels: object[] = [];
  (content.nodes ?? []).forEach((node, index) => {
    const mesh = content.meshes?.[node.mesh ?? -1];
    const columns = (mesh?.extras?.targetNames ?? []).map((name) => byName.get(canonicalName(name)));
    if (columns.every((k) => k === undefined)) return;
    columns.forEach((k) => used.add(k));
    const rest = node.weights ?? mesh?.weights ?? []; // for targets without a curve
    const values = frames.flatMap(({ weights }) => columns.map((k, i) => (k === undefined ? (rest[i] ?? 0) : weights[k])));
    channels.push({ sampler: samplers.length, target: { node: index, path: "weights" } });
    samplers.push({ input, output: append(Float32Array.from(values)), interpolation: "LINEAR" });
  });
  const others = [...curves.keys()].filter((k) => !used.has(k));
  const otherWeights = frames.map(({ weights }) => others.map((k) => weights[k]));
  const unused = others.length > 0 ? { otherNames: others.map((k) => curves[k]), otherWeights } : {};
  const extras = { [NAME]: { fps: FPS, names: curves, ...unused } };
  content.animations = [{ name: NAME, channels, samplers, extras }, ...(content.animations ?? [])];
  content.buffers = [{ ...content.buffers?.[0], byteLength: length }, ...(content.buffers ?? []).slice(1)];
  const text = padded(new TextEncoder().encode(JSON.stringify(content)), " ".charCodeAt(0));
  const chunks = [Uint32Array.of(text.length, JSON_CHUNK), text, Uint32Array.of(length, BIN_CHUNK), ...parts, otherChunks];
  const total = chunks.reduce((sum, chunk) => sum + chunk.byteLength, HEADER_BYTES);
  return new Blob([Uint32Array.of(GLTF, 2, total), ...chunks], { type: "model/gltf-binary" });
}

/** Splits a valid GLB into its JSON, its first buffer and all further chunks. */
function readGlb(face: ArrayBuffer): { content: Content; binary: Uint8Array<ArrayBuffer>; otherChunks: Uint8Array<ArrayBuffer> } {
  const view = new DataView(face);
  const jsonStart = HEADER_BYTES + CHUNK_BYTES;
  const jsonEnd = jsonStart + view.getUint32(HEADER_BYTES, true);
  const content = JSON.parse(new TextDecoder().decode(new Uint8Array(face, jsonStart, jsonEnd - jsonStart)));
  if (content.buffers?.[0]?.uri) throw new UserError("This face stores its data outside the GLB: it can be shown but not saved.");
  const hasBinary = jsonEnd + CHUNK_BYTES <= face.byteLength && view.getUint32(jsonEnd + 4, true) === BIN_CHUNK;
  const start = hasBinary ? jsonEnd + CHUNK_BYTES : jsonEnd;
  const length = hasBinary ? view.getUint32(jsonEnd, true) : 0;
  const binary = padded(new Uint8Array(face, start, length), 0);
  return { content, binary, otherChunks: new Uint8Array(face, start + length) };
}

/** Pads to a multiple of 4 bytes. */
function padded(bytes: Uint8Array<ArrayBuffer>, filler: number): Uint8Array<ArrayBuffer> {
  const whole = new Uint8Array(Math.ceil(bytes.length / 4) * 4).fill(filler);
  whole.set(bytes);
  return whole;
}
