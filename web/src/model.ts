/** Released models, run by onnxruntime in WebAssembly in steps of 16 ms. */

import * as ort from "onnxruntime-web/wasm";
import wasmUrl from "onnxruntime-web/ort-wasm-simd-threaded.wasm?url";
import { fetchAsset } from "./assets";
import { UserError } from "./errors";
import { concat } from "./resample";

ort.env.wasm.numThreads = 1; // more threads need HTTP headers that few servers send
ort.env.wasm.wasmPaths = { wasm: wasmUrl };

/** A model's entry in `models/index.json`; numbers of samples are at `sampleRateHz`. */
export interface ModelMetadata {
  file: string;
  name: string;
  precision: string;
  bytes: number;
  sampleRateHz: number;
  windowSamples: number;
  pastSamples: number;
  hopSamples: number;
  curves: string[];
  states: { input: string; output: string; type: "float32" | "uint8"; shape: [number, number] }[];
}

/** A loaded model. Any number of streams may share it. */
export class Model {
  private constructor(
    readonly metadata: ModelMetadata,
    readonly session: ort.InferenceSession,
  ) {}

  static async load(metadata: ModelMetadata): Promise<Model> {
    const bytes = new Uint8Array(await (await fetchAsset(`models/${metadata.file}`)).arrayBuffer());
    const session = await ort.InferenceSession.create(bytes, { executionProviders: ["wasm"] }).catch((error: unknown) => {
      throw new UserError(`This browser cannot run ${metadata.file}: ${error instanceof Error ? error.message : error}`);
    });
    return new Model(metadata, session);
  }
}

/** A stream through a model, which keeps the model's state between calls. */
export class StreamingSession {
  private samples: Float32Array; // not yet consumed; the stream begins after silence
  private readonly states: Record<string, ort.Tensor> = {};

  constructor(private readonly model: Model) {
    this.samples = new Float32Array(model.metadata.pastSamples);
    for (const { input, type, shape } of model.metadata.states) {
      const zeros = new (type === "float32" ? Float32Array : Uint8Array)(shape[0] * shape[1]);
      this.states[input] = new ort.Tensor(type as "float32", zeros as Float32Array, shape);
    }
  }

  /** Consumes samples and returns the grid frames that they complete, each an array of K curves. */
  async push(samples: Float32Array): Promise<Float32Array[]> {
    const { hopSamples, curves, states } = this.model.metadata;
    this.samples = concat(this.samples, samples);
    const nRows = Math.floor(this.samples.length / hopSamples) - 1;
    if (nRows < 1) return [];
    const width = 2 * hopSamples;
    const frames = new Float32Array(nRows * width); // (L, 512): each row overlaps the next by half
    for (let row = 0; row < nRows; row++) {
      frames.set(this.samples.subarray(row * hopSamples, row * hopSamples + width), row * width);
    }
    this.samples = this.samples.slice(nRows * hopSamples);
    const feeds = { frames: new ort.Tensor("float32", frames, [nRows, width]), ...this.states };
    const outputs = await this.model.session.run(feeds);
    for (const { input, output, type, shape } of states) {
      const newest = (outputs[output].data as Float32Array).slice(-shape[0] * shape[1]); // or Uint8Array
      this.states[input] = new ort.Tensor(type as "float32", newest, shape);
    }
    const values = outputs.curves.data as Float32Array;
    return Array.from({ length: nRows }, (_, row) => values.slice(row * curves.length, (row + 1) * curves.length));
  }
}
