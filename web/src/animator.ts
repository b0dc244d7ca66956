/** The streaming animator, equivalent to `facedistill.runtime.animator`: chunks of audio in, animation frames out. */

import { type Model, StreamingSession } from "./model";
import { Resampler } from "./resample";

export const FPS = 60; // of all animations; the ensemble averages each frame with its neighbours

/** An animation frame: seconds from the first sample, and a weight from 0 to 1 for each curve. */
export interface Frame {
  timeS: number;
  weights: Float32Array;
}

/** An animation: consecutive frames and the names of their curves. */
export interface Clip {
  name: string;
  curves: readonly string[];
  frames: readonly Frame[];
}

/** Animates one audio stream. Calls must not overlap: wait for one before the next. */
export class Animator {
  private readonly step: number; // of the grid; integer time, of which a second has FPS * sampleRateHz units
  private readonly period: number; // of the frames
  private readonly offsets: number[]; // of the predictions that are averaged
  private readonly futureSamples: number;
  private readonly resampler: Resampler | null;
  private readonly session: StreamingSession;
  private grid: Float32Array[] = []; // predictions that later frames may need, the last of `nGrid`
  private nGrid: number;
  private nSamples = 0; // at the model's rate
  private nFrames = 0;

  constructor(
    readonly model: Model,
    readonly rateHz: number,
    ensemble: boolean,
  ) {
    const { hopSamples, sampleRateHz, windowSamples, pastSamples } = model.metadata;
    this.step = FPS * hopSamples;
    this.period = sampleRateHz;
    this.offsets = ensemble ? [-sampleRateHz, 0, sampleRateHz] : [0];
    this.futureSamples = windowSamples - pastSamples;
    this.resampler = rateHz === sampleRateHz ? null : new Resampler(rateHz, sampleRateHz);
    this.session = new StreamingSession(model);
    this.nGrid = 2 - windowSamples / hopSamples; // the first predictions lack past audio and are dropped
  }

  /** The algorithmic latency: how far beyond its own time a frame depends on the audio, at most. */
  get latencyS(): number {
    let most = 0;
    for (let frame = 0; frame < this.step; frame++) { // after `step` frames the pattern repeats
      const gridFrame = Math.ceil(this.time(frame, this.offsets.at(-1)!) / this.step);
      const last = gridFrame * this.model.metadata.hopSamples + this.futureSamples - 1;
      most = Math.max(most, ((this.resampler?.lastInput(last) ?? last) + 1) / this.rateHz - frame / FPS);
    }
    return most;
  }

  /** Consumes audio and returns the frames that it completes. */
  async push(samples: Float32Array): Promise<Frame[]> {
    await this.process(this.resampler?.push(samples) ?? samples);
    const nReady = Math.floor(((this.nGrid - 1) * this.step - this.offsets.at(-1)!) / this.period) + 1;
    return this.framesUntil(Math.min(nReady, this.nInside()));
  }

  /** Ends the stream with silence and returns the remaining frames. */
  async flush(): Promise<Frame[]> {
    if (this.resampler) await this.process(this.resampler.flush());
    const { hopSamples } = this.model.metadata;
    const end = Math.ceil(this.nSamples / hopSamples) * hopSamples + this.futureSamples; // what the last grid frame sees
    await this.predict(new Float32Array(Math.max(0, end - this.nSamples)));
    return this.framesUntil(this.nInside());
  }

  private async process(samples: Float32Array): Promise<void> {
    this.nSamples += samples.length;
    await this.predict(samples);
  }

  private async predict(samples: Float32Array): Promise<void> {
    const rows = await this.session.push(samples);
    this.grid.push(...rows.slice(Math.max(0, -this.nGrid)));
    this.nGrid += rows.length;
  }

  /** The time of a prediction that is averaged in a frame, which is never before the start. */
  private time(frame: number, offset: number): number {
    return Math.max(0, frame * this.period + offset);
  }

  /** The number of frames from the start to the end of the audio. */
  private nInside(): number {
    return Math.ceil((this.nSamples * FPS) / this.model.metadata.sampleRateHz);
  }

  private framesUntil(end: number): Frame[] {
    const frames: Frame[] = [];
    for (; this.nFrames < end; this.nFrames++) {
      const predictions = this.offsets.map((offset) => this.interpolate(this.time(this.nFrames, offset)));
      const weights = predictions[0].map((_, k) => predictions.reduce((sum, row) => sum + row[k], 0) / predictions.length);
      frames.push({ timeS: this.nFrames / FPS, weights });
    }
    const needed = Math.floor(this.time(this.nFrames, this.offsets[0]) / this.step) - (this.nGrid - this.grid.length);
    this.grid.splice(0, Math.max(0, Math.min(needed, this.grid.length - 1)));
    return frames;
  }

  /** Interpolates the grid linearly, and holds its last row. */
  private interpolate(time: number): Float32Array {
    const part = (time % this.step) / this.step;
    const low = Math.floor(time / this.step) - (this.nGrid - this.grid.length);
    const before = this.grid[Math.min(low, this.grid.length - 1)];
    if (part === 0 || low >= this.grid.length - 1) return before;
    const after = this.grid[low + 1];
    return before.map((value, k) => value * (1 - part) + after[k] * part);
  }
}
