/** The streaming engine, the same as `facedistill.runtime.animator`: chunks of sound in, frames of curves out. */

import { Model, Steps } from "./model";
import { Resampler } from "./resample";

export const FPS = 60; // of all frames on this page; the ensemble averages a frame with its neighbours

/** A frame of animation: seconds from the first sample, and a weight from 0 to 1 for each curve. */
export interface Frame {
  timeS: number;
  weights: Float32Array;
}

/** What is shown, plotted and downloaded: frames in a row, and the names of their curves. */
export interface Take {
  name: string;
  curves: readonly string[];
  frames: readonly Frame[];
}

/** One stream of sound through one model. Calls must not overlap: wait for one before the next. */
export class Animator {
  private readonly step: number; // time is counted in whole numbers, of which a second has FPS * sampleRateHz
  private readonly period: number;
  private readonly offsets: number[];
  private readonly resampler: Resampler | null;
  private readonly steps: Steps;
  private grid: Float32Array[] = []; // computed frames that frames to come may need, the last of `nGrid`
  private nGrid: number;
  private nSamples = 0; // at the model's rate
  private nFrames = 0;
  private primed = false;

  constructor(
    readonly model: Model,
    readonly rateHz: number,
    ensemble: boolean,
  ) {
    const { hopSamples, sampleRateHz, windowSamples } = model.facts;
    this.step = FPS * hopSamples;
    this.period = sampleRateHz;
    this.offsets = ensemble ? [-sampleRateHz, 0, sampleRateHz] : [0];
    this.resampler = rateHz === sampleRateHz ? null : new Resampler(rateHz, sampleRateHz);
    this.steps = new Steps(model);
    this.nGrid = 2 - windowSamples / hopSamples; // the first frames see too little: they are not kept
  }

  /** How much later than its own time a frame may still depend on the sound: the whole algorithmic delay. */
  get lookaheadS(): number {
    let most = 0;
    for (let frame = 0; frame < this.step; frame++) { // by then every rate has begun anew
      most = Math.max(most, this.heardSamples(frame) / this.rateHz - frame / FPS);
    }
    return most;
  }

  /** How many samples of the stream decide a frame. */
  heardSamples(frame: number): number {
    const { hopSamples, windowSamples, pastSamples } = this.model.facts;
    const time = this.time(frame, this.offsets[this.offsets.length - 1]);
    const last = Math.ceil(time / this.step) * hopSamples + windowSamples - pastSamples - 1;
    return (this.resampler ? this.resampler.lastInput(last) : last) + 1;
  }

  /** Hears more sound: the frames that are known now and were not before. */
  async push(samples: Float32Array): Promise<Frame[]> {
    await this.hear(this.resampler ? this.resampler.push(samples) : samples);
    return this.frames(Math.min(this.nReady(), this.nInside()));
  }

  /** Ends the stream, as if silence followed: the frames that are left. */
  async flush(): Promise<Frame[]> {
    const { hopSamples, windowSamples, pastSamples } = this.model.facts;
    if (this.resampler) await this.hear(this.resampler.flush());
    const nGrid = Math.ceil(this.nSamples / hopSamples) + 1; // up to the end of the sound
    const missing = (nGrid - 1) * hopSamples + windowSamples - pastSamples - this.nSamples;
    await this.compute(new Float32Array(Math.max(0, missing)));
    return this.frames(this.nInside());
  }

  private async hear(samples: Float32Array): Promise<void> {
    if (!this.primed) {
      this.primed = true;
      await this.compute(new Float32Array(this.model.facts.pastSamples)); // before the first sample there is silence
    }
    this.nSamples += samples.length;
    await this.compute(samples);
  }

  private async compute(samples: Float32Array): Promise<void> {
    const rows = await this.steps.push(samples);
    this.grid.push(...rows.slice(Math.max(0, -this.nGrid)));
    this.nGrid += rows.length;
  }

  /** When a prediction stands of which a frame is averaged; nothing stands before the start. */
  private time(frame: number, offset: number): number {
    return Math.max(0, frame * this.period + offset);
  }

  /** Frames from the start to the end of the sound. */
  private nInside(): number {
    return Math.ceil((this.nSamples * FPS) / this.model.facts.sampleRateHz);
  }

  /** Frames, counted from the start, whose grid frames are all known. */
  private nReady(): number {
    const last = this.offsets[this.offsets.length - 1];
    return Math.floor(((this.nGrid - 1) * this.step - last) / this.period) + 1;
  }

  private frames(end: number): Frame[] {
    const known: Frame[] = [];
    for (; this.nFrames < end; this.nFrames++) {
      const predictions = this.offsets.map((offset) => this.prediction(this.time(this.nFrames, offset)));
      const weights = predictions[0].map((_, k) => predictions.reduce((sum, row) => sum + row[k], 0) / predictions.length);
      known.push({ timeS: this.nFrames / FPS, weights });
    }
    const needed = Math.floor(this.time(this.nFrames, this.offsets[0]) / this.step) - (this.nGrid - this.grid.length);
    this.grid.splice(0, Math.max(0, Math.min(needed, this.grid.length - 1)));
    return known;
  }

  /** Between the grid frames before and after a moment; after the last, that is held. */
  private prediction(time: number): Float32Array {
    const part = (time % this.step) / this.step;
    const low = Math.floor(time / this.step) - (this.nGrid - this.grid.length);
    const before = this.grid[Math.min(low, this.grid.length - 1)];
    if (part === 0 || low >= this.grid.length - 1) return before;
    const after = this.grid[low + 1];
    return before.map((value, k) => value * (1 - part) + after[k] * part);
  }
}
