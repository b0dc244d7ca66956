/** The web demo: a recording or the microphone animates a face. All computation is local. */

import "./style.css";
import { Animator, type Clip, FPS } from "./animator";
import { fetchAsset } from "./assets";
import { UserError } from "./errors";
import { Face } from "./face";
import { animatedGlb } from "./glb";
import { LiveClip, MAX_CLIP_S } from "./live";
import { liveLinkCsv } from "./livelink";
import { Microphone } from "./microphone";
import { Model, type ModelMetadata } from "./model";
import { Plot } from "./plot";
import { animateRecording, readRecording, type Recording } from "./recording";
import { Stage } from "./stage";
import { download, onFile, run, showError, showMessage, ui } from "./ui";

const DEFAULT_MODEL = "tiny-real-time";
const PLOT_SELECTION_S = 10; // of live frames, by which the plotted curves are selected
const MAX_DRIFT_FRAMES = 1; // of the face from the audio; also the live buffer, since microphone frames arrive several at once
const LIVE_UPDATE_MS = 500; // between updates of the live statistics
const SOFTWARE_PLOT_FRAMES = 3; // per drawing of the plot with software rendering

const plot = new Plot(ui.plot);
const models = new Map<string, Promise<Model>>();
let released: ModelMetadata[] = [];
let stage: Stage | null = null;
let face: Face | null = null;
let readFaceFile: (() => Promise<ArrayBuffer>) | null = null; // for the GLB; the full head where the light one is shown
let recording: Recording | null = null;
let live: LiveClip | null = null;
let clip: Clip | null = null;
let nRequests = 0;
let drawnState = "";
let plottedState = "";
let nPlotTicks = 0;
let shownFrame = 0;
let liveUpdateMs = 0;

/** Starts a request. The returned function checks that no newer one has started: older results are dropped. */
function startRequest(): () => boolean {
  const request = ++nRequests;
  return () => request === nRequests;
}

async function loadSelectedModel(): Promise<Model> {
  const metadata = released.find(({ name, precision }) => name === ui.model.value && precision === ui.precision.value);
  if (!metadata) throw new UserError("There are no models: reload the page.");
  let model = models.get(metadata.file);
  if (!model) {
    model = Model.load(metadata);
    models.set(metadata.file, model);
    model.catch(() => models.delete(metadata.file));
  }
  return model;
}

function listPrecisions(): void {
  const selected = ui.precision.value;
  const precisions = released.filter(({ name }) => name === ui.model.value).map(({ precision }) => precision);
  ui.precision.replaceChildren(...precisions.map((precision) => new Option(precision)));
  if (precisions.includes(selected)) ui.precision.value = selected;
}

async function openRecording(file: File): Promise<void> {
  const isCurrent = startRequest();
  stopMicrophone();
  ui.player.pause();
  showMessage(`Reading ${file.name} …`);
  const read = await readRecording(file);
  if (!isCurrent()) return;
  recording = read;
  await showRecording();
}

/** Animates the recording with the selected model, and plays it if it is new. */
async function showRecording(): Promise<void> {
  if (!recording) return;
  const isCurrent = startRequest();
  const { name, url, samples, rateHz, notes } = recording;
  const model = await loadSelectedModel();
  const animator = new Animator(model, rateHz, ui.ensemble.checked);
  const result = await animateRecording(recording, animator, (ratio) => {
    if (isCurrent()) showMessage(`Animating ${name}: ${10 * Math.floor(10 * ratio)} %`);
    return isCurrent();
  });
  if (!result || !isCurrent()) return;
  showMessage(notes.join(" "));
  setClip({ name, curves: model.metadata.curves, frames: result.frames });
  ui.source.textContent = `${name}, ${(samples.length / rateHz).toFixed(1)} s at ${rateHz.toLocaleString("en")} Hz`;
  showStatistics(model, result.msPerS, `${Math.round(1000 * animator.latencyS)} ms, algorithmic`);
  if (ui.player.src !== url) await play(recording);
}

async function play({ name, url, notes }: Recording): Promise<void> {
  URL.revokeObjectURL(ui.player.src);
  ui.player.src = url;
  ui.player.hidden = false;
  await ui.player.play().catch((error: DOMException) => {
    if (error.name === "NotAllowedError") showMessage([...notes, "Ready: press play."].join(" "));
    else if (error.name !== "AbortError") throw new UserError(`This browser cannot play ${name}; its curves can be saved.`);
  });
}

async function toggleMicrophone(): Promise<void> {
  const isCurrent = startRequest();
  if (live) return stopMicrophone();
  ui.player.pause();
  const model = await loadSelectedModel();
  const onEnded = () => failMicrophone(new UserError("The microphone was disconnected."));
  const microphone = await Microphone.open(onEnded, showMessage);
  if (!isCurrent()) return microphone.stop();
  recording = null;
  ui.player.hidden = true;
  ui.microphone.textContent = "Stop the microphone";
  ui.source.textContent = `microphone at ${microphone.rateHz.toLocaleString("en")} Hz; the last ${MAX_CLIP_S} s are kept`;
  startLive(microphone, model);
}

/** Animates the microphone from now on. */
function startLive(microphone: Microphone, model: Model): void {
  const started = new LiveClip(new Animator(model, microphone.rateHz, ui.ensemble.checked), microphone, (error) => {
    if (live === started) failMicrophone(error);
  });
  live = started;
  setClip(live);
}

function stopMicrophone(): void {
  live?.microphone.stop();
  live = null;
  ui.microphone.textContent = "Use the microphone";
}

function failMicrophone(error: unknown): void {
  stopMicrophone();
  showError(error);
}

/** Animates the same audio with another model or smoothing. */
async function restart(): Promise<void> {
  if (!live) return showRecording();
  const isCurrent = startRequest();
  const model = await loadSelectedModel();
  if (isCurrent() && live) startLive(live.microphone, model);
}

function setClip(other: Clip): void {
  clip = other;
  drawnState = plottedState = "";
  showClip(clip);
}

/** Updates the downloads and the selection of the plot. */
function showClip({ curves, frames }: Clip): void {
  ui.csv.disabled = ui.glb.disabled = frames.length === 0;
  if (frames.length > 0) ui.top.textContent = plot.selectCurves(curves, frames).toFixed(2);
}

function showStatistics({ metadata }: Model, msPerS: number, latency: string): void {
  ui.late.textContent = latency;
  ui.cost.textContent = `${msPerS.toFixed(1)} ms per second of audio`;
  ui.bytes.textContent = `${metadata.name}, ${metadata.precision}, ${(metadata.bytes / 1e6).toFixed(2)} MB`;
}

function updateLive(nowMs: number): void {
  if (!live || live.frames.length === 0 || nowMs - liveUpdateMs < LIVE_UPDATE_MS) return;
  liveUpdateMs = nowMs;
  showClip({ ...live, frames: live.frames.slice(-PLOT_SELECTION_S * FPS) });
  showStatistics(live.animator.model, live.msPerS, `${Math.round(live.latencyMs)} ms, measured`);
}

/**
 * Returns the index of the frame to show now, or -1 for the face at rest. Frames are shown in sequence while they are within
 * `MAX_DRIFT_FRAMES` of the audio: the clocks of display and audio differ, which would repeat or skip frames.
 */
function currentFrame(): number {
  if (!clip || (!live && !recording)) return -1;
  const last = clip.frames.length - 1;
  const due = live ? last - MAX_DRIFT_FRAMES : Math.floor(ui.player.currentTime * FPS);
  const isPaused = !live && ui.player.paused;
  shownFrame = isPaused ? due : Math.min(Math.max(shownFrame + 1, due - MAX_DRIFT_FRAMES), due + MAX_DRIFT_FRAMES);
  return Math.min(shownFrame, last);
}

function draw(nowMs: number): void {
  requestAnimationFrame(draw);
  updateLive(nowMs);
  const index = currentFrame();
  const frame = clip?.frames[index];
  const state = `${frame?.timeS} ${ui.plot.width} ${ui.plot.height}`;
  const hasMoved = state !== drawnState;
  drawnState = state;
  if (hasMoved) face?.setWeights(clip?.curves ?? [], frame?.weights ?? []);
  if (state !== plottedState && clip?.frames.length && nPlotTicks++ % (stage?.isSoftware ? SOFTWARE_PLOT_FRAMES : 1) === 0) {
    plottedState = state;
    plot.draw(clip, frame ? index : clip.frames.length - 1);
  }
  stage?.render(hasMoved, nowMs);
}

/** Saves the current clip from time 0: live clips have dropped their oldest frames. */
async function save(suffix: string, format: (saved: Clip) => Blob | Promise<Blob>): Promise<void> {
  const { name, curves, frames } = clip!;
  const saved = { name, curves, frames: frames.map(({ weights }, index) => ({ timeS: index / FPS, weights })) };
  download(name.replace(/\.[^.]*$/, "") + suffix, await format(saved));
}

async function formatGlb(saved: Clip): Promise<Blob> {
  if (!readFaceFile) throw new UserError("There is no face to animate: open a GLB file.");
  return animatedGlb(await readFaceFile(), saved);
}

async function openDropped(file: File | undefined): Promise<void> {
  if (!file) throw new UserError("Drop a recording or a GLB file.");
  await (/\.(glb|vrm)$/i.test(file.name) ? openFace(file) : openRecording(file));
}

async function openFace(file: File): Promise<void> {
  const bytes = await file.arrayBuffer();
  setFace(await Face.read(file.name, bytes), async () => bytes);
}

function setFace(other: Face, readFile: () => Promise<ArrayBuffer>): void {
  face = other;
  readFaceFile = readFile;
  drawnState = "";
  stage?.setFace(face);
}

function bindControls(): void {
  onFile(ui.file, openRecording);
  onFile(ui.face, openFace);
  ui.microphone.onclick = () => run(toggleMicrophone);
  ui.model.onchange = () => {
    listPrecisions();
    run(restart);
  };
  ui.precision.onchange = ui.ensemble.onchange = () => run(restart);
  ui.csv.onclick = () => run(() => save(".csv", liveLinkCsv));
  ui.glb.onclick = () => run(() => save(".glb", formatGlb));
  ui.stage.addEventListener("webglcontextlost", () => showError(new UserError("The WebGL context was lost: reload the page.")));
  document.ondragover = document.ondragleave = document.ondrop = (event: DragEvent) => {
    event.preventDefault();
    const file = event.dataTransfer?.files[0];
    const isInside = event.type === "dragleave" && event.relatedTarget !== null;
    document.body.classList.toggle("dropping", event.type === "dragover" || isInside);
    if (event.type === "drop") run(() => openDropped(file));
  };
}

async function startModels(): Promise<void> {
  released = (await (await fetchAsset("models/index.json")).json()) as ModelMetadata[];
  const names = [...new Set(released.map(({ name }) => name))];
  ui.model.replaceChildren(...names.map((name) => new Option(name)));
  if (names.includes(DEFAULT_MODEL)) ui.model.value = DEFAULT_MODEL;
  listPrecisions();
  for (const input of [ui.file, ui.microphone, ui.model, ui.precision, ui.ensemble]) input.disabled = false;
}

async function startFace(): Promise<void> {
  const read = async (name: string) => (await fetchAsset(name)).arrayBuffer();
  const name = stage?.isSoftware ? "head-light.glb" : "head.glb";
  const bytes = await read(name);
  const head = await Face.read(name, bytes);
  if (!face) setFace(head, async () => (stage?.isSoftware ? read("head.glb") : bytes)); // else the user was faster
}

bindControls();
run(() => {
  stage = new Stage(ui.stage); // first: it determines which head is loaded
});
run(startModels);
run(startFace);
requestAnimationFrame(draw);
