/** An animation put into a GLB, the same as `facedistill.formats.gltf` writes; all else in the file stays as it is. */

import type { Take } from "./animator";
import { Trouble } from "./beside";
import { lettersOf } from "./names";

const GLTF = 0x46546c67;
const JSON_CHUNK = 0x4e4f534a;
const BIN_CHUNK = 0x004e4942;
const HEADER_BYTES = 12;
const CHUNK_BYTES = 8; // before each chunk: its length and its kind
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

/** A face, a GLB, that moves as the take does. */
export function animatedGlb(face: ArrayBuffer, take: Take, fps: number): Blob {
  const { content, binary, further } = opened(face);
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

  const times = Float32Array.from(take.frames, (frame) => frame.timeS);
  const input = append(times, { min: [times[0]], max: [times[times.length - 1]] });
  const byLetters = new Map(take.curves.map((name, k) => [lettersOf(name), k]));
  const shown = new Set<number>();
  const samplers: object[] = [];
  const channels: object[] = [];
  (content.nodes ?? []).forEach((node, index) => {
    const mesh = content.meshes?.[node.mesh ?? -1];
    const columns = (mesh?.extras?.targetNames ?? []).map((name) => byLetters.get(lettersOf(name)));
    if (columns.every((k) => k === undefined)) return;
    const rest = node.weights ?? mesh?.weights ?? []; // what has no curve stays as it is
    const values = take.frames.flatMap(({ weights }) =>
      columns.map((k, target) => (k === undefined ? (rest[target] ?? 0) : weights[k])),
    );
    for (const k of columns) if (k !== undefined) shown.add(k);
    channels.push({ sampler: samplers.length, target: { node: index, path: "weights" } });
    samplers.push({ input, output: append(Float32Array.from(values)), interpolation: "LINEAR" });
  });
  const others = take.curves.map((_, k) => k).filter((k) => !shown.has(k));
  const otherWeights = take.frames.map(({ weights }) => others.map((k) => weights[k]));
  const hidden = others.length > 0 ? { otherNames: others.map((k) => take.curves[k]), otherWeights } : {};
  const extras = { [NAME]: { fps, names: take.curves, ...hidden } };
  content.animations = [{ name: NAME, channels, samplers, extras }, ...(content.animations ?? [])];
  content.buffers = [{ ...content.buffers?.[0], byteLength: length }, ...(content.buffers ?? []).slice(1)];
  const text = padded(new TextEncoder().encode(JSON.stringify(content)), " ".charCodeAt(0));
  const chunks = [words(text.length, JSON_CHUNK), text, words(length, BIN_CHUNK), ...parts, further];
  const total = chunks.reduce((sum, chunk) => sum + chunk.length, HEADER_BYTES);
  return new Blob([words(GLTF, 2, total), ...chunks], { type: "model/gltf-binary" });
}

/** The JSON of a GLB that the loader has read already, its first buffer and whatever chunks follow that. */
function opened(face: ArrayBuffer): { content: Content; binary: Uint8Array<ArrayBuffer>; further: Uint8Array<ArrayBuffer> } {
  const view = new DataView(face);
  const jsonStart = HEADER_BYTES + CHUNK_BYTES;
  const jsonEnd = jsonStart + view.getUint32(HEADER_BYTES, true);
  const content = JSON.parse(new TextDecoder().decode(new Uint8Array(face, jsonStart, jsonEnd - jsonStart)));
  const hasBinary = jsonEnd + CHUNK_BYTES <= face.byteLength && view.getUint32(jsonEnd + 4, true) === BIN_CHUNK;
  if (content.buffers?.[0]?.uri) throw new Trouble("This face keeps its data outside the GLB: it can be shown, but not saved.");
  const binaryEnd = hasBinary ? jsonEnd + CHUNK_BYTES + view.getUint32(jsonEnd, true) : jsonEnd;
  const binary = hasBinary ? new Uint8Array(face, jsonEnd + CHUNK_BYTES, binaryEnd - jsonEnd - CHUNK_BYTES) : new Uint8Array(0);
  return { content, binary: padded(binary, 0), further: new Uint8Array(face, binaryEnd) };
}

function padded(bytes: Uint8Array<ArrayBuffer>, filler: number): Uint8Array<ArrayBuffer> {
  const whole = new Uint8Array(Math.ceil(bytes.length / 4) * 4).fill(filler);
  whole.set(bytes);
  return whole;
}

function words(...values: number[]): Uint8Array<ArrayBuffer> {
  return new Uint8Array(Uint32Array.from(values).buffer);
}
