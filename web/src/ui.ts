/** The controls of the page, and what it says. */

import { sentenceOf } from "./beside";

const at = <T extends HTMLElement>(id: string) => document.getElementById(id) as T;
export const ui = {
  file: at<HTMLInputElement>("file"), microphone: at<HTMLButtonElement>("microphone"),
  player: at<HTMLAudioElement>("player"),
  model: at<HTMLSelectElement>("model"), precision: at<HTMLSelectElement>("precision"),
  ensemble: at<HTMLInputElement>("ensemble"),
  face: at<HTMLInputElement>("face"), csv: at<HTMLButtonElement>("csv"), glb: at<HTMLButtonElement>("glb"),
  stage: at<HTMLCanvasElement>("stage"), plot: at<HTMLCanvasElement>("plot"), said: at("said"),
  source: at("source"), top: at("top"), late: at("late"), cost: at("cost"), bytes: at("bytes"),
};

/** Runs something that the person asked for, and shows its sentence if it fails. */
export function attempt(action: () => Promise<void> | void): void {
  say("");
  Promise.resolve().then(action).catch(fail);
}

export function say(sentence: string, trouble = false): void {
  if (ui.said.textContent !== sentence) ui.said.textContent = sentence; // what stays the same is not read out again
  ui.said.classList.toggle("trouble", trouble);
}

export function fail(error: unknown): void {
  say(sentenceOf(error), true);
}

/** Calls `action` with the file that was chosen; the same one may be chosen again. */
export function onFile(input: HTMLInputElement, action: (file: File) => Promise<void>): void {
  input.onchange = () => {
    const file = input.files?.[0];
    input.value = "";
    if (file) attempt(() => action(file));
  };
}

/** Lets the person save a file. */
export function download(name: string, content: Blob): void {
  const link = document.createElement("a");
  link.href = URL.createObjectURL(content);
  link.download = name;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 10_000);
}
