/** The CSV of Live Link Face, the same as `facedistill.formats.live_link` writes. */

import type { Take } from "./animator";

const ROTATIONS = [
  "HeadYaw", "HeadPitch", "HeadRoll",
  "LeftEyeYaw", "LeftEyePitch", "LeftEyeRoll", "RightEyeYaw", "RightEyePitch", "RightEyeRoll",
];
const SWAPPED: Record<string, string> = {
  jawLeft: "jawRight", jawRight: "jawLeft", mouthLeft: "mouthRight", mouthRight: "mouthLeft",
};
const TICKS_PER_S = 60_000;

export function liveLinkCsv({ curves, frames }: Take): string {
  const order = curves.map((name) => SWAPPED[name] ?? name); // the app's, which is not ARKit's
  const columns = order.map((name) => curves.indexOf(name));
  const header = ["Timecode", "BlendshapeCount", ...order.map((name) => name[0].toUpperCase() + name.slice(1)), ...ROTATIONS];
  const rows = frames.map(({ timeS, weights }) => [
    timecode(timeS),
    order.length + ROTATIONS.length,
    ...columns.map((k) => weights[k].toFixed(10)),
    ...ROTATIONS.map(() => "0.0000000000"),
  ]);
  return [header, ...rows].map((row) => `${row.join(",")}\n`).join("");
}

/** HH:MM:SS:FF.fff, FF in 60ths of a second, fff in thousandths of one. */
function timecode(timeS: number): string {
  const ticks = Math.round(timeS * TICKS_PER_S);
  const seconds = Math.floor(ticks / TICKS_PER_S);
  const two = (value: number) => String(Math.floor(value)).padStart(2, "0");
  const clock = `${two((seconds / 3600) % 24)}:${two((seconds / 60) % 60)}:${two(seconds % 60)}`;
  return `${clock}:${two((ticks % TICKS_PER_S) / 1000)}.${String(ticks % 1000).padStart(3, "0")}`;
}
