/** The plot of the last seconds: the curves that vary most, in rows; a left and a right curve share a row. */

import { type Clip, FPS, type Frame } from "./animator";

const N_ROWS = 6;
const SPAN_S = 4;
const MIN_TOP = 0.1; // of the vertical axis: a face at rest is flat
const LABEL_PX = 134;
const PAD_PX = 8;
const SIDE = /(Left|Right)$/;

export class Plot {
  private readonly context: CanvasRenderingContext2D;
  private readonly style: CSSStyleDeclaration;
  private rows: { name: string; curves: number[] }[] = []; // names without the side; left curves first
  private top = 1;
  private width = 0;
  private height = 0;

  constructor(private readonly canvas: HTMLCanvasElement) {
    this.context = canvas.getContext("2d", { willReadFrequently: true })!;
    this.style = getComputedStyle(canvas);
    new ResizeObserver(() => this.resize()).observe(canvas);
  }

  /** Selects the curves that vary most in these frames. Returns the top of the vertical axis. */
  selectCurves(curves: readonly string[], frames: readonly Frame[]): number {
    const variances = curves.map((_, k) => {
      const mean = frames.reduce((sum, { weights }) => sum + weights[k], 0) / frames.length;
      return frames.reduce((sum, { weights }) => sum + (weights[k] - mean) ** 2, 0);
    });
    const groups = [...Map.groupBy(curves.keys(), (k) => curves[k].replace(SIDE, ""))];
    const rows = groups.map(([name, ks]) => ({ name, curves: ks, variance: Math.max(...ks.map((k) => variances[k])) }));
    const selected = new Set(rows.toSorted((a, b) => b.variance - a.variance).slice(0, N_ROWS));
    this.rows = rows.filter((row) => selected.has(row)); // in the order of the curves
    const shown = this.rows.flatMap((row) => row.curves);
    this.top = frames.reduce((most, { weights }) => Math.max(most, ...shown.map((k) => weights[k])), MIN_TOP);
    return this.top;
  }

  /** Draws the `SPAN_S` seconds up to frame `last`. */
  draw({ frames }: Clip, last: number): void {
    const { context, width, height, top } = this;
    const right = width - PAD_PX;
    const rowPx = (height - PAD_PX) / N_ROWS;
    const first = Math.max(0, last - SPAN_S * FPS);
    const shown = frames.slice(first, last + 1);
    const stepPx = (right - LABEL_PX) / (SPAN_S * FPS);
    const x = (index: number) => right + (first + index - last) * stepPx;
    const textColour = this.style.color;
    const colours = [this.style.getPropertyValue("--left"), this.style.getPropertyValue("--right")];
    context.clearRect(0, 0, width, height);
    context.font = "13px system-ui, sans-serif";
    context.lineWidth = 2;
    this.rows.forEach(({ name, curves }, row) => {
      const base = (row + 1) * rowPx;
      context.fillStyle = textColour;
      context.fillText(name, PAD_PX, base - 6);
      context.globalAlpha = 0.2;
      context.fillRect(LABEL_PX, base, right - LABEL_PX, 1);
      context.globalAlpha = 1;
      curves.forEach((k, side) => {
        context.strokeStyle = curves.length > 1 ? colours[side] : textColour;
        context.setLineDash(side === 0 ? [] : [4, 6]); // equal curves are both visible
        context.beginPath();
        shown.forEach(({ weights }, index) => context.lineTo(x(index), base - (weights[k] / top) * (rowPx - 6)));
        context.stroke();
      });
    });
  }

  private resize(): void {
    const pixelRatio = Math.min(devicePixelRatio, 2);
    this.width = this.canvas.clientWidth;
    this.height = this.canvas.clientHeight;
    this.canvas.width = this.width * pixelRatio;
    this.canvas.height = this.height * pixelRatio;
    this.context.scale(pixelRatio, pixelRatio);
  }
}
