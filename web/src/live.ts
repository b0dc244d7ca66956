/** The live animation of the microphone. */

import { type Animator, type Clip, FPS, type Frame } from "./animator";
import { UserError } from "./errors";
import type { Microphone } from "./microphone";
import { concat } from "./resample";

export const MAX_CLIP_S = 60; // of frames that are kept: they are plotted and can be saved
const MAX_LATENCY_MS = 5000; // beyond it this machine will not catch up

export class LiveClip implements Clip {
  readonly name = "microphone";
  readonly curves: readonly string[];
  readonly frames: Frame[] = [];
  latencyMs = 0; // from the capture of the newest frame's audio to the end of its computation
  msPerS = 0; // of computation per second of audio
  private audioS = 0;
  private computeMs = 0;
  private startS: number | null = null;
  private pending: Float32Array[] = [];
  private queue = Promise.resolve();

  /** Animates the microphone from now on. `onError` is called when this fails. */
  constructor(
    readonly animator: Animator,
    readonly microphone: Microphone,
    onError: (error: unknown) => void,
  ) {
    this.curves = animator.model.metadata.curves;
    microphone.onBlock = (samples, endS) => {
      this.startS ??= endS - samples.length / microphone.rateHz;
      if (this.pending.push(samples) > 1) return; // blocks pile up on a busy machine: many at once cost less than one by one
      setTimeout(() => (this.queue = this.queue.then(() => this.animate(this.pending.splice(0).reduce(concat))).catch(onError)));
    };
  }

  private async animate(samples: Float32Array): Promise<void> {
    const startMs = performance.now();
    this.frames.push(...(await this.animator.push(samples)));
    this.frames.splice(0, this.frames.length - MAX_CLIP_S * FPS);
    this.computeMs += performance.now() - startMs;
    this.audioS += samples.length / this.microphone.rateHz;
    this.msPerS = this.computeMs / this.audioS;
    const newest = this.frames.at(-1);
    if (!newest) return;
    this.latencyMs = 1000 * (this.microphone.nowS - this.startS! - newest.timeS);
    if (this.latencyMs > MAX_LATENCY_MS) throw new UserError("This machine is too slow for this model: choose a smaller one.");
  }
}
