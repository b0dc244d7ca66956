/** Adaptive resolution: lowers the resolution of the face step by step while frames are late and lowering it helps. */

const FRAME_MS = 1000 / 60;
const LATE_MS = FRAME_MS / 25; // mean delay: one frame in 25 is dropped
const STEP_FRAMES = 60; // between two steps
const WARM_UP_FRAMES = 30; // not counted after a pause: shaders are compiled and audio is decoded
const PAUSE_MS = 250; // without a frame; no resolution helps a machine that needs this long for each frame
const STEP_RATIO = 0.85;
const MIN_PIXEL_RATIO = 0.35;
const MAX_DELAY_RATIO = 0.9; // delay after a step that helped, relative to the delay before it

export class AdaptiveResolution {
  /** Device pixels per CSS pixel. */
  pixelRatio: number;
  private isFinal = false;
  private previousDelayMs = Infinity;
  private count = -WARM_UP_FRAMES;
  private firstMs = 0;
  private lastMs = 0;

  constructor(pixelRatio: number) {
    this.pixelRatio = pixelRatio;
  }

  /** Counts a frame that is rendered now. Returns whether the pixel ratio has changed. */
  countFrame(nowMs: number): boolean {
    if (nowMs - this.lastMs > PAUSE_MS) this.count = -WARM_UP_FRAMES;
    this.lastMs = nowMs;
    if (this.count++ === 0) this.firstMs = nowMs;
    if (this.isFinal || this.count <= STEP_FRAMES) return false;
    this.count = 0;
    return this.step((nowMs - this.firstMs) / STEP_FRAMES - FRAME_MS);
  }

  private step(delayMs: number): boolean {
    const isLate = delayMs > LATE_MS;
    if (isLate && delayMs > MAX_DELAY_RATIO * this.previousDelayMs) {
      this.isFinal = true; // the pixels are not the cause: the display may be slow
      this.pixelRatio /= STEP_RATIO;
      return true;
    }
    const lowers = isLate && this.pixelRatio * STEP_RATIO >= MIN_PIXEL_RATIO;
    this.previousDelayMs = lowers ? delayMs : Infinity;
    if (lowers) this.pixelRatio *= STEP_RATIO;
    return lowers;
  }
}
