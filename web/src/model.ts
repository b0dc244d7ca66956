/** Released students, run by onnxruntime in WebAssembly, one step of 16 ms after another. */

import * as ort from "onnxruntime-web/wasm";
import wasmUrl from "onnxruntime-web/ort-wasm-simd-threaded.wasm?url";
import { beside, Trouble } from "./beside";
import { joined } from "./resample";

ort.env.wasm.numThreads = 1; // a page of any server: more threads need headers that few servers send
ort.env.wasm.wasmPaths = { wasm: wasmUrl };

/** What `models/index.json` says of a model; samples are counted at `sampleRateHz`. */
export interface Facts {
  file: string;
  name: string;
  precision: string;
  bytes: number;
  sampleRateHz: number;
  windowSamples: number;
  pastSamples: number;
  hopSamples: number;
  curves: string[];
  histories: Record<string, { type: "float32" | "uint8"; shape: [number, number] }>;
}

type Histories = Record<string, ort.Tensor>;

/** A loaded model; any number of streams may share it. */
export class Model {
  private constructor(
    readonly facts: Facts,
    private readonly session: ort.InferenceSession,
  ) {}

  static async load(facts: Facts): Promise<Model> {
    const bytes = new Uint8Array(await (await beside(`models/${facts.file}`)).arrayBuffer());
    const session = await ort.InferenceSession.create(bytes, { executionProviders: ["wasm"] }).catch((error: unknown) => {
      throw new Trouble(`This browser cannot run the model ${facts.file}: ${error instanceof Error ? error.message : error}`);
    });
    return new Model(facts, session);
  }

  /** Histories of zeros: what a stream starts with. */
  noHistory(): Histories {
    const entries = Object.entries(this.facts.histories).map(([name, { type, shape }]) => {
      const size = shape[0] * shape[1];
      return [name, new ort.Tensor(type, type === "float32" ? new Float32Array(size) : new Uint8Array(size), shape)];
    });
    return Object.fromEntries(entries);
  }

  /** (L, 512) frames and the histories before them -> (L, K) curves, row by row, and the histories after. */
  async run(frames: Float32Array, histories: Histories): Promise<[Float32Array[], Histories]> {
    const width = 2 * this.facts.hopSamples;
    const input = new ort.Tensor("float32", frames, [frames.length / width, width]);
    const outputs = await this.session.run({ frames: input, ...histories });
    const after = Object.entries(histories).map(([name, before]) => {
      const heard = outputs[name.replace("history", "heard")];
      const size = before.data.length;
      const data = (heard.data as Float32Array).slice(heard.data.length - size);
      return [name, new ort.Tensor(before.type as "float32", data, before.dims)];
    });
    const curves = outputs.curves.data as Float32Array;
    const k = this.facts.curves.length;
    const rows = Array.from({ length: curves.length / k }, (_, row) => curves.slice(row * k, (row + 1) * k));
    return [rows, Object.fromEntries(after)];
  }
}

/** The recurrence of a streaming graph: samples in, the frames of the grid that they complete out. */
export class Steps {
  private heard: Float32Array = new Float32Array(0);
  private histories: Histories;

  constructor(private readonly model: Model) {
    this.histories = model.noHistory();
  }

  async push(samples: Float32Array): Promise<Float32Array[]> {
    const hop = this.model.facts.hopSamples;
    this.heard = joined(this.heard, samples);
    const nRows = Math.floor(this.heard.length / hop) - 1;
    if (nRows < 1) return [];
    const frames = new Float32Array(nRows * 2 * hop);
    for (let row = 0; row < nRows; row++) frames.set(this.heard.subarray(row * hop, (row + 2) * hop), row * 2 * hop);
    const [rows, histories] = await this.model.run(frames, this.histories);
    this.histories = histories;
    this.heard = this.heard.slice(nRows * hop);
    return rows;
  }
}
