/** The CSV format of Live Link Face, as written by `facedistill.formats.live_link`. */

import type { Clip } from "./animator";

const ROTATIONS = [
  "HeadYaw", "HeadPitch", "HeadRoll",
  "LeftEyeYaw", "LeftEyePitch", "LeftEyeRoll", "RightEyeYaw", "RightEyePitch", "RightEyeRoll",
];
const SWAPPED: Record<string, string> = { // the app's column order differs from ARKit's
  jawLeft: "jawRight", jawRight: "jawLeft", mouthLeft: "mouthRight", mouthRight: "mouthLeft",
};
const TICKS_PER_S = 60_000;

export function liveLinkCsv({ curves, frames }: Clip): Blob {
  const order = curves.map((name) => SWAPPED[name] ?? name);
  const columns = order.map((name) => curves.indexOf(name));
  const header = ["Timecode", "BlendshapeCount", ...order.map((name) => name[0].toUpperCase() + name.slice(1)), ...ROTATIONS];
  const rows = frames.map(({ timeS, weights }) => [
    timecode(timeS),
    order.length + ROTATIONS.length,
    ...columns.map((k) => weights[k].toFixed(10)),
    ...ROTATIONS.map(() => "0.0000000000"),
  ]);
  return new Blob([header, ...rows].map((row) => `${row.join(",")}\n`), { type: "text/csv" });
}

/** Formats a time as HH:MM:SS:FF.fff, with FF in 1/60 s and fff in thousandths of it. */
function timecode(timeS: number): string {
  const ticks = Math.round(timeS * TICKS_PER_S);
  const seconds = Math.floor(ticks / TICKS_PER_S);
  const two = (value: number) => String(Math.floor(value)).padStart(2, "0");
  const clock = `${two((seconds / 3600) % 24)}:${two((seconds / 60) % 60)}:${two(seconds % 60)}`;
  return `${clock}:${two((ticks % TICKS_PER_S) / 1000)}.${String(ticks % 1000).padStart(3, "0")}`;
}
