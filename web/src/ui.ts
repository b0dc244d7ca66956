/** The controls of the page and its message line. */

import { UserError } from "./errors";

const byId = <T extends HTMLElement>(id: string) => document.getElementById(id) as T;
export const ui = {
  file: byId<HTMLInputElement>("file"), microphone: byId<HTMLButtonElement>("microphone"),
  player: byId<HTMLAudioElement>("player"),
  model: byId<HTMLSelectElement>("model"), precision: byId<HTMLSelectElement>("precision"),
  ensemble: byId<HTMLInputElement>("ensemble"),
  face: byId<HTMLInputElement>("face"), csv: byId<HTMLButtonElement>("csv"), glb: byId<HTMLButtonElement>("glb"),
  stage: byId<HTMLCanvasElement>("stage"), plot: byId<HTMLCanvasElement>("plot"), message: byId("message"),
  source: byId("source"), top: byId("top"), late: byId("late"), cost: byId("cost"), bytes: byId("bytes"),
};

/** Runs an action of the user and shows its error if it fails. */
export function run(action: () => Promise<void> | void): void {
  showMessage("");
  Promise.resolve().then(action).catch(showError);
}

export function showMessage(message: string, isError = false): void {
  if (ui.message.textContent !== message) ui.message.textContent = message; // a screen reader does not repeat an equal message
  ui.message.classList.toggle("error", isError);
}

export function showError(error: unknown): void {
  const text = error instanceof Error ? error.message : String(error);
  showMessage(error instanceof UserError ? text : `Unexpected error: ${text}`, true);
}

/** Calls `action` with each selected file. The same file can be selected again. */
export function onFile(input: HTMLInputElement, action: (file: File) => Promise<void>): void {
  input.onchange = () => {
    const file = input.files?.[0];
    input.value = "";
    if (file) run(() => action(file));
  };
}

export function download(name: string, content: Blob): void {
  const link = document.createElement("a");
  link.href = URL.createObjectURL(content);
  link.download = name;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 10_000);
}
