/** The curves of the last seconds: the liveliest, each in a lane of its own, left and right of a pair in the same one. */

import { FPS, type Frame, type Take } from "./animator";

const SHOWN = 6;
const SPAN_S = 4;
const LEAST_TOP = 0.1; // the height of a lane, so that a face at rest is flat
const LABEL_PX = 134;
const PAD_PX = 8;
const SIDE = /(Left|Right)$/;

/** A lane: the name without its side, and the curves that bear it, left first. */
export interface Lane {
  name: string;
  curves: number[];
}

/** The `SHOWN` lanes that vary most, in the order of the curves, and how high the highest of their curves goes. */
export function liveliest({ curves, frames }: Take): { lanes: Lane[]; top: number } {
  const spreads = curves.map((_, k) => {
    const mean = frames.reduce((sum, frame) => sum + frame.weights[k], 0) / frames.length;
    return frames.reduce((sum, frame) => sum + (frame.weights[k] - mean) ** 2, 0);
  });
  const lanes = [...Map.groupBy(curves.keys(), (k) => curves[k].replace(SIDE, ""))].map(([name, ks]) => ({ name, curves: ks }));
  const spread = (lane: Lane) => Math.max(...lane.curves.map((k) => spreads[k]));
  const chosen = new Set(lanes.toSorted((a, b) => spread(b) - spread(a)).slice(0, SHOWN));
  const kept = lanes.filter((lane) => chosen.has(lane));
  const seen = kept.flatMap((lane) => lane.curves);
  const top = frames.reduce((most, { weights }) => Math.max(most, ...seen.map((k) => weights[k])), LEAST_TOP);
  return { lanes: kept, top };
}

export class Plot {
  private readonly pen: CanvasRenderingContext2D;
  private readonly style: CSSStyleDeclaration;
  private width = 0;
  private height = 0;

  constructor(private readonly canvas: HTMLCanvasElement) {
    this.pen = canvas.getContext("2d", { willReadFrequently: true })!;
    this.style = getComputedStyle(canvas);
    new ResizeObserver(() => this.resize()).observe(canvas);
  }

  /** Draws the `SPAN_S` seconds up to frame `number`. */
  draw(frames: readonly Frame[], number: number, lanes: readonly Lane[], top: number): void {
    const { pen, width, height } = this;
    const right = width - PAD_PX;
    const lane = (height - PAD_PX) / SHOWN;
    const first = Math.max(0, number - SPAN_S * FPS);
    const seen = frames.slice(first, number + 1);
    const stepPx = (right - LABEL_PX) / (SPAN_S * FPS);
    const x = (index: number) => right + (first + index - number) * stepPx;
    const ink = this.style.color;
    const colours = [this.style.getPropertyValue("--left"), this.style.getPropertyValue("--right")];
    pen.clearRect(0, 0, width, height);
    pen.font = "13px system-ui, sans-serif";
    pen.lineWidth = 2;
    lanes.forEach(({ name, curves }, row) => {
      const base = (row + 1) * lane;
      pen.fillStyle = ink;
      pen.fillText(name, PAD_PX, base - 6);
      pen.globalAlpha = 0.2;
      pen.fillRect(LABEL_PX, base, right - LABEL_PX, 1);
      pen.globalAlpha = 1;
      curves.forEach((k, side) => {
        pen.strokeStyle = curves.length > 1 ? colours[side] : ink;
        pen.setLineDash(side === 0 ? [] : [4, 6]); // both are seen where they are equal
        pen.beginPath();
        seen.forEach(({ weights }, index) => pen.lineTo(x(index), base - (weights[k] / top) * (lane - 6)));
        pen.stroke();
      });
    });
  }

  private resize(): void {
    const ratio = Math.min(devicePixelRatio, 2);
    this.width = this.canvas.clientWidth;
    this.height = this.canvas.clientHeight;
    this.canvas.width = this.width * ratio;
    this.canvas.height = this.height * ratio;
    this.pen.scale(ratio, ratio);
  }
}
