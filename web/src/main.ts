/** The page: a recording or the microphone in, a face that speaks out. Nothing leaves the machine. */

import "./style.css";
import { Animator, FPS, type Take } from "./animator";
import { beside, Trouble } from "./beside";
import { Face } from "./face";
import { animatedGlb } from "./glb";
import { KEPT_S, Live } from "./live";
import { liveLinkCsv } from "./livelink";
import { Microphone } from "./microphone";
import { type Facts, Model } from "./model";
import { type Lane, liveliest, Plot } from "./plot";
import { animated, readRecording, type Recording } from "./recording";
import { Stage } from "./stage";
import { attempt, download, fail, onFile, say, ui } from "./ui";

const DEFAULT_MODEL = "tiny-real-time";
const CHOSEN_S = 10; // of the microphone, after which the lanes are chosen
const SLACK = 1; // frames that the face may be early or late, and that wait of the microphone, whose frames come several at once
const TOLD_MS = 500; // between two updates of the numbers and lanes of the microphone
const PLOTTED = 3; // frames a drawing of the curves, where the processor draws: all between them and the face is drawn with them

const plot = new Plot(ui.plot);
const models = new Map<string, Promise<Model>>();
let released: Facts[] = [];
let stage: Stage | null = null;
let face: Face | null = null;
let faceFile: (() => Promise<ArrayBuffer>) | null = null; // what is animated and saved: the fine head where a light one is shown
let recording: Recording | null = null;
let live: Live | null = null;
let take: Take | null = null;
let lanes: { lanes: Lane[]; top: number } = { lanes: [], top: 1 };
let wishes = 0; // what the person asks for is numbered: what an older wish brings is dropped
let drawn = "";
let plotted = "";
let ticks = 0;
let shown = 0;
let toldMs = 0;

/** A new wish; tells whether it is still the last one. */
function wish(): () => boolean {
  const own = ++wishes;
  return () => own === wishes;
}

async function chosenModel(): Promise<Model> {
  const named = released.filter((facts) => facts.name === ui.model.value);
  const facts = named.find(({ precision }) => precision === ui.precision.value);
  if (!facts) throw new Trouble("There are no models: reload the page.");
  let model = models.get(facts.file);
  if (!model) {
    model = Model.load(facts);
    models.set(facts.file, model);
    model.catch(() => models.delete(facts.file));
  }
  return model;
}

function offerPrecisions(): void {
  const wanted = ui.precision.value;
  const precisions = released.filter((facts) => facts.name === ui.model.value).map((facts) => facts.precision);
  ui.precision.replaceChildren(...precisions.map((precision) => new Option(precision)));
  if (precisions.includes(wanted)) ui.precision.value = wanted;
}

async function hearFile(file: File): Promise<void> {
  const wanted = wish();
  stopMicrophone();
  ui.player.pause();
  say(`Reading ${file.name} …`);
  const read = await readRecording(file);
  if (!wanted()) return;
  recording = read;
  await animateRecording();
}

/** Computes all frames of the recording with the chosen model, and plays it if it is a new one. */
async function animateRecording(): Promise<void> {
  if (!recording) return;
  const wanted = wish();
  const { name, url, samples, rateHz, notes } = recording;
  const model = await chosenModel();
  const animator = new Animator(model, rateHz, ui.ensemble.checked);
  const done = await animated(recording, animator, (ratio) => {
    if (wanted()) say(`Animating ${name}: ${10 * Math.floor(10 * ratio)} %`);
    return wanted();
  });
  if (!done || !wanted()) return;
  say(notes.join(" "));
  shows({ name, curves: model.facts.curves, frames: done.frames });
  ui.source.textContent = `${name}, ${(samples.length / rateHz).toFixed(1)} s at ${rateHz.toLocaleString("en")} Hz`;
  ui.late.textContent = `${Math.round(1000 * animator.lookaheadS)} ms, if it were live`;
  tellCost(model, done.msPerS);
  if (ui.player.src !== url) await play(recording);
}

async function play({ name, url, notes }: Recording): Promise<void> {
  URL.revokeObjectURL(ui.player.src);
  ui.player.src = url;
  ui.player.hidden = false;
  await ui.player.play().catch((error: DOMException) => {
    if (error.name === "NotAllowedError") say([...notes, "Ready: press play."].join(" "));
    else if (error.name !== "AbortError") throw new Trouble(`This browser cannot play ${name}; its curves can be saved.`);
  });
}

async function toggleMicrophone(): Promise<void> {
  const wanted = wish();
  if (live) return stopMicrophone();
  ui.player.pause();
  const model = await chosenModel();
  const lost = () => attempt(() => {
    stopMicrophone();
    throw new Trouble("The microphone went away.");
  });
  const microphone = await Microphone.open(lost, say);
  if (!wanted()) return microphone.stop();
  recording = null;
  ui.player.hidden = true;
  ui.microphone.textContent = "Stop listening";
  ui.source.textContent = `the microphone at ${microphone.rateHz.toLocaleString("en")} Hz; the last ${KEPT_S} s are kept`;
  follow(microphone, model);
}

/** Animates what the microphone hears from now on. */
function follow(microphone: Microphone, model: Model): void {
  const own = new Live(new Animator(model, microphone.rateHz, ui.ensemble.checked), microphone, (error) => {
    if (live !== own) return;
    stopMicrophone();
    fail(error);
  });
  live = own;
  shows(live);
}

function stopMicrophone(): void {
  live?.microphone.stop();
  live = null;
  ui.microphone.textContent = "Use the microphone";
}

/** Another model or smoothing: the same sound once more. */
async function changed(): Promise<void> {
  if (!live) return animateRecording();
  const wanted = wish();
  const model = await chosenModel();
  if (wanted() && live) follow(live.microphone, model);
}

function shows(other: Take): void {
  take = other;
  drawn = plotted = "";
  ui.csv.disabled = ui.glb.disabled = take.frames.length === 0;
  if (take.frames.length > 0) choose(take);
}

/** Chooses the lanes of the plot. */
function choose(seen: Take): void {
  lanes = liveliest(seen);
  ui.top.textContent = lanes.top.toFixed(2);
}

function tellCost(model: Model, msPerS: number): void {
  ui.cost.textContent = `${msPerS.toFixed(1)} ms a second of sound`;
  ui.bytes.textContent = `${model.facts.name}, ${model.facts.precision}, ${(model.facts.bytes / 1e6).toFixed(2)} MB`;
}

/** Now and then, while the microphone is heard. */
function tellLive(nowMs: number): void {
  if (!live || live.frames.length === 0 || nowMs - toldMs < TOLD_MS) return;
  toldMs = nowMs;
  ui.csv.disabled = ui.glb.disabled = false;
  choose({ ...live, frames: live.frames.slice(-CHOSEN_S * FPS) });
  ui.late.textContent = `${Math.round(live.lateMs)} ms, measured`;
  tellCost(live.animator.model, live.msPerS);
}

/**
 * The number of the frame that belongs to this moment; -1 where the face rests. One after the other, as long as that is within
 * `SLACK` of what is due: the screen's clock and the sound's do not beat together, and frames would be shown twice or not at all.
 */
function current(): number {
  if (!take || (!live && !recording)) return -1;
  const last = take.frames.length - 1;
  const due = live ? last - SLACK : Math.floor(ui.player.currentTime * FPS);
  const still = !live && ui.player.paused;
  shown = still ? due : Math.min(Math.max(shown + 1, due - SLACK), due + SLACK);
  return Math.min(shown, last);
}

function draw(nowMs: number): void {
  requestAnimationFrame(draw);
  tellLive(nowMs);
  const number = current();
  const frame = take?.frames[number];
  const state = `${frame?.timeS} ${ui.plot.width} ${ui.plot.height}`;
  const moved = state !== drawn;
  drawn = state;
  if (moved) face?.show(take?.curves ?? [], frame?.weights ?? []);
  if (state !== plotted && take?.frames.length && ticks++ % (stage?.light ? PLOTTED : 1) === 0) {
    plotted = state;
    plot.draw(take.frames, frame ? number : take.frames.length - 1, lanes.lanes, lanes.top);
  }
  stage?.draw(moved, nowMs);
}

/** What there is to save now, with frames from the first on: the microphone's oldest are gone. */
function taken(): Take {
  const { name, curves, frames } = take!;
  return { name, curves, frames: frames.map(({ weights }, index) => ({ timeS: index / FPS, weights })) };
}

function save({ name }: Take, suffix: string, written: Blob): void {
  download(name.replace(/\.[^.]*$/, "") + suffix, written);
}

function saveCsv(): void {
  const saved = taken();
  save(saved, ".csv", new Blob([liveLinkCsv(saved)], { type: "text/csv" }));
}

async function saveGlb(): Promise<void> {
  if (!faceFile) throw new Trouble("There is no face to animate: use your own.");
  const saved = taken(); // before the wait, in which another may begin
  save(saved, ".glb", animatedGlb(await faceFile(), saved, FPS));
}

async function hearDropped(file: File | undefined): Promise<void> {
  if (!file) throw new Trouble("Drop a recording, or a GLB file.");
  if (/\.(glb|vrm)$/i.test(file.name)) await wearFile(file);
  else await hearFile(file);
}

async function wearFile(file: File): Promise<void> {
  const bytes = await file.arrayBuffer();
  wear(await Face.read(file.name, bytes), async () => bytes);
}

function wear(other: Face, file: () => Promise<ArrayBuffer>): void {
  face = other;
  faceFile = file;
  drawn = "";
  stage?.put(face);
}

function wire(): void {
  onFile(ui.file, hearFile);
  onFile(ui.face, wearFile);
  ui.microphone.onclick = () => attempt(toggleMicrophone);
  ui.model.onchange = () => {
    offerPrecisions();
    attempt(changed);
  };
  ui.precision.onchange = ui.ensemble.onchange = () => attempt(changed);
  ui.csv.onclick = () => attempt(saveCsv);
  ui.glb.onclick = () => attempt(saveGlb);
  ui.stage.addEventListener("webglcontextlost", () => fail(new Trouble("The graphics card dropped the face: reload the page.")));
  document.ondragover = document.ondragleave = document.ondrop = (event: DragEvent) => {
    event.preventDefault();
    const file = event.dataTransfer?.files[0];
    const inside = event.type === "dragleave" && event.relatedTarget !== null;
    document.body.classList.toggle("dropping", event.type === "dragover" || inside);
    if (event.type === "drop") attempt(() => hearDropped(file));
  };
}

async function startModels(): Promise<void> {
  released = (await (await beside("models/index.json")).json()) as Facts[];
  ui.model.replaceChildren(...[...new Set(released.map((facts) => facts.name))].map((name) => new Option(name)));
  ui.model.value = released.some((facts) => facts.name === DEFAULT_MODEL) ? DEFAULT_MODEL : released[0].name;
  offerPrecisions();
  for (const input of [ui.file, ui.microphone, ui.model, ui.precision, ui.ensemble]) input.disabled = false;
}

async function startFace(): Promise<void> {
  const served = async (name: string) => (await beside(name)).arrayBuffer();
  const name = stage?.light ? "head-light.glb" : "head.glb";
  const bytes = await served(name);
  const read = await Face.read(name, bytes);
  if (face) return; // the person's own has come first
  wear(read, async () => (stage?.light ? served("head.glb") : bytes));
}

wire();
attempt(() => {
  stage = new Stage(ui.stage); // first: it knows which head it can draw
});
attempt(startModels);
attempt(startFace);
requestAnimationFrame(draw);
