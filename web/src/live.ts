/** What the microphone hears, animated as it is heard. */

import { type Animator, FPS, type Frame, type Take } from "./animator";
import { Trouble } from "./beside";
import type { Microphone } from "./microphone";
import { joined } from "./resample";

export const KEPT_S = 60; // of frames: what is drawn and can be saved
const TOO_LATE_MS = 5000; // by then this machine will not catch up

export class Live implements Take {
  readonly name = "microphone";
  readonly curves: readonly string[];
  readonly frames: Frame[] = [];
  lateMs = 0; // from when the newest frame was heard to when it was there
  msPerS = 0; // of computing a second of sound
  private heardS = 0;
  private spentMs = 0;
  private startS: number | null = null;
  private waiting: Float32Array[] = [];
  private queue = Promise.resolve();

  /** Animates all that the microphone hears from now on; `failed` is called when that is not possible. */
  constructor(
    readonly animator: Animator,
    readonly microphone: Microphone,
    failed: (error: unknown) => void,
  ) {
    this.curves = animator.model.facts.curves;
    microphone.hear = ({ samples, endS }) => {
      this.startS ??= endS - samples.length / microphone.rateHz;
      if (this.waiting.push(samples) > 1) return; // on a busy machine blocks pile up: many at once cost less than one by one
      setTimeout(() => (this.queue = this.queue.then(() => this.animate(this.waiting.splice(0).reduce(joined))).catch(failed)));
    };
  }

  private async animate(samples: Float32Array): Promise<void> {
    const startMs = performance.now();
    this.frames.push(...(await this.animator.push(samples)));
    this.frames.splice(0, this.frames.length - KEPT_S * FPS);
    this.spentMs += performance.now() - startMs;
    this.heardS += samples.length / this.microphone.rateHz;
    this.msPerS = this.spentMs / this.heardS;
    const newest = this.frames.at(-1);
    if (!newest) return;
    this.lateMs = 1000 * (this.microphone.nowS - this.startS! - newest.timeS);
    if (this.lateMs > TOO_LATE_MS) throw new Trouble("This machine is too slow for this model: choose a smaller one.");
  }
}
