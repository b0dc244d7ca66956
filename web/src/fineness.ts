/** How fine the picture of the face is: coarser, step by step, as long as frames come late and that helps. */

const FRAME_MS = 1000 / 60;
const LATE_MS = FRAME_MS / 25; // in the mean: one frame in so many is a frame late
const SEEN = 60; // frames between two steps
const WARM = 30; // frames after a pause that are not counted: shaders are compiled and sound is decoded then
const PAUSE_MS = 250; // without a frame; a machine that needs as long for each is beyond help
const STEP = 0.85;
const COARSEST = 0.35;
const HELP = 0.9; // of the lateness before, at most, after a step that has helped

export class Fineness {
  /** Pixels of the picture a pixel of the page. */
  ratio: number;
  private settled = false;
  private beforeMs = Infinity;
  private count = -WARM;
  private firstMs = 0;
  private lastMs = 0;

  constructor(ratio: number) {
    this.ratio = ratio;
  }

  /** Counts a frame that is drawn at this moment; tells whether the ratio is another one now. */
  drawn(nowMs: number): boolean {
    if (nowMs - this.lastMs > PAUSE_MS) this.count = -WARM;
    this.lastMs = nowMs;
    if (this.count++ === 0) this.firstMs = nowMs;
    if (this.settled || this.count <= SEEN) return false;
    const frameMs = (nowMs - this.firstMs) / SEEN;
    this.count = 0;
    return this.step(frameMs - FRAME_MS);
  }

  private step(lateMs: number): boolean {
    const late = lateMs > LATE_MS;
    if (late && lateMs > HELP * this.beforeMs) {
      this.settled = true; // it is not the pixels: the screen is a slow one, say
      this.ratio /= STEP;
      return true;
    }
    const coarser = late && this.ratio * STEP >= COARSEST;
    this.beforeMs = coarser ? lateMs : Infinity;
    if (coarser) this.ratio *= STEP;
    return coarser;
  }
}
