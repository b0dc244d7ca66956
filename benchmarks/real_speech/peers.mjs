// Runs a lip-sync package for browsers on recordings, in node, at the pace of a browser: blocks of 128 samples and a frame of
// animation at 60 Hz. The packages are used as they are; what a browser would give them is made here.
//
// node peers.mjs PEER JOB.json    JOB: {rate_hz, fps, recordings: [FILE of float32], calibration, out: FILE}
// writes {recordings: [{shape: [share of each frame]}]}; frame t has heard what sounds before t / fps.
import { readFileSync, writeFileSync } from "node:fs";
import { createRequire } from "node:module";

const BLOCK_SAMPLES = 128; // of the Web Audio API
const TICK_HZ = 60;
const require = createRequire(import.meta.url);

// A browser ----------------------------------------------------------------------------------------------------------

const registry = new Map();

class Port {
  onmessage = null;
  peer = null;
  postMessage(data) {
    this.peer?.onmessage?.({ data });
  }
}

globalThis.AudioWorkletProcessor = class {
  port = new Port();
};

globalThis.AudioWorkletNode = class {
  constructor(context, name, options = {}) {
    const Processor = registry.get(name);
    this.context = context;
    this.port = new Port();
    this.processor = new Processor({ ...options });
    [this.port.peer, this.processor.port.peer] = [this.processor.port, this.port];
    const described = Processor.parameterDescriptors ?? [];
    this.parameters = new Map(described.map(({ name, defaultValue }) => [name, { value: defaultValue }]));
  }

  hear(block) {
    const values = Object.fromEntries([...this.parameters].map(([name, { value }]) => [name, [value]]));
    this.processor.process([[block]], [], values);
  }
};

function browser(rateHz) {
  globalThis.sampleRate = rateHz;
  globalThis.currentTime = 0;
  globalThis.registerProcessor = (name, Processor) => registry.set(name, Processor);
  globalThis.fetch = async (path) => ({ ok: true, arrayBuffer: async () => new Uint8Array(readFileSync(path)).buffer });
  Object.defineProperty(globalThis, "performance", { value: { now: () => 1000 * globalThis.currentTime }, configurable: true });
}

// Plays samples to `hear(block)`, and calls `tick(seconds since the last)` 60 times a second and `frame()` at every frame.
function play(samples, rateHz, fps, { hear, tick = () => {}, frame }) {
  const events = [];
  const duration = samples.length / rateHz;
  for (let index = 0; index / TICK_HZ < duration; index++) events.push([index / TICK_HZ, 0]);
  for (let index = 0; index / fps < duration; index++) events.push([index / fps, 1]);
  events.sort((one, other) => one[0] - other[0] || one[1] - other[1]);
  let heard = 0;
  let ticked = 0;
  for (const [time, kind] of events) {
    while (heard + BLOCK_SAMPLES <= time * rateHz + 1e-6) {
      globalThis.currentTime = heard / rateHz;
      hear(samples.subarray(heard, heard + BLOCK_SAMPLES));
      heard += BLOCK_SAMPLES;
    }
    globalThis.currentTime = time;
    if (kind === 1) frame();
    else {
      tick(time - ticked);
      ticked = time;
    }
  }
}

// The AnalyserNode of the Web Audio API: Blackman window, smoothing over time, decibels as bytes.
class Analyser {
  smoothing = 0.8;
  minDb = -100;
  maxDb = -30;
  fftSize = 2048;
  samples = new Float32Array(2048);

  get frequencyBinCount() {
    return this.fftSize / 2;
  }

  connect() {}

  hear(block) {
    this.samples.copyWithin(0, block.length);
    this.samples.set(block, this.samples.length - block.length);
  }

  getByteFrequencyData(bytes) {
    const size = this.fftSize;
    this.smoothed ??= new Float64Array(size / 2);
    const re = new Float64Array(size);
    const im = new Float64Array(size);
    for (let n = 0; n < size; n++) {
      const phase = (2 * Math.PI * n) / size;
      re[n] = this.samples[n] * (0.42 - 0.5 * Math.cos(phase) + 0.08 * Math.cos(2 * phase));
    }
    fft(re, im);
    for (let k = 0; k < size / 2; k++) {
      this.smoothed[k] = this.smoothing * this.smoothed[k] + ((1 - this.smoothing) * Math.hypot(re[k], im[k])) / size;
      const db = 20 * Math.log10(this.smoothed[k]);
      bytes[k] = Math.max(0, Math.min(255, Math.floor((255 * (db - this.minDb)) / (this.maxDb - this.minDb))));
    }
  }
}

function fft(re, im) {
  const size = re.length;
  for (let i = 1, j = 0; i < size; i++) {
    let bit = size >> 1;
    for (; j & bit; bit >>= 1) j ^= bit;
    j ^= bit;
    if (i < j) [re[i], re[j], im[i], im[j]] = [re[j], re[i], im[j], im[i]];
  }
  for (let length = 2; length <= size; length <<= 1) {
    for (let k = 0; k < length / 2; k++) {
      const [cos, sin] = [Math.cos((-2 * Math.PI * k) / length), Math.sin((-2 * Math.PI * k) / length)];
      for (let i = k; i < size; i += length) {
        const j = i + length / 2;
        const [x, y] = [re[j] * cos - im[j] * sin, re[j] * sin + im[j] * cos];
        [re[j], im[j], re[i], im[i]] = [re[i] - x, im[i] - y, re[i] + x, im[i] + y];
      }
    }
  }
}

// The packages -------------------------------------------------------------------------------------------------------

// Each: (job) => async (samples, push); `push` takes the shares of one frame.
const PEERS = {
  // As it is shipped, it never shows its viseme number 0, aa: it asks whether there is a number by whether it is true.
  async headaudio({ rate_hz, fps }) {
    const { HeadAudio } = await import("@met4citizen/headaudio/modules/headaudio.mjs");
    await import("@met4citizen/headaudio/modules/headworklet.mjs");
    const model = require.resolve("@met4citizen/headaudio/dist/model-en-mixed.bin");
    return async (samples, push) => {
      const node = new HeadAudio({});
      await node.loadModel(model);
      const shares = Object.fromEntries(node.visemeNames.map((name) => [name.slice("viseme_".length), 0]));
      node.onvalue = (name, value) => (shares[name.slice("viseme_".length)] = value);
      const [hear, tick] = [(block) => node.hear(block), (seconds) => node.update(1000 * seconds)];
      play(samples, rate_hz, fps, { hear, tick, frame: () => push(shares) });
    };
  },

  async "wawa-lipsync"({ rate_hz, fps }) {
    let analyser = null;
    globalThis.window = {
      AudioContext: class {
        sampleRate = rate_hz;
        createAnalyser() {
          return (analyser = new Analyser());
        }
      },
    };
    const { Lipsync, VISEMES } = require("wawa-lipsync");
    const names = Object.values(VISEMES).map((name) => name.slice("viseme_".length));
    return async (samples, push) => {
      const lipsync = new Lipsync();
      const shares = () => Object.fromEntries(names.map((name) => [name, Number(lipsync.viseme === `viseme_${name}`)]));
      const [hear, tick] = [(block) => analyser.hear(block), () => lipsync.processAudio()];
      play(samples, rate_hz, fps, { hear, tick, frame: () => push(shares()) });
    };
  },

  async wlipsync({ rate_hz, fps, calibration }) {
    const { configuration, createWLipSyncNode } = await import("wlipsync/wlipsync.js");
    await import("wlipsync/audio-processor.js");
    configuration.wasmModule = await WebAssembly.compile(readFileSync(require.resolve("wlipsync/wlipsync.wasm")));
    const start = async (profile) => {
      const node = await createWLipSyncNode({}, profile);
      while (node.processor.inputBufferIndex === -1) await new Promise((resolve) => setTimeout(resolve, 1));
      node.processor.inputBuffer.fill(0);
      return node;
    };
    const profile = await calibrated(start, calibration, rate_hz);
    return async (samples, push) => {
      const node = await start(profile);
      const shares = () => Object.fromEntries(Object.entries(node.weights).map(([name, weight]) => [name, weight * node.volume]));
      play(samples, rate_hz, fps, { hear: (block) => node.hear(block), frame: () => push(shares()) });
    };
  },
};

// uLipSync's calibration: the user says vowels, whose MFCCs are kept. Its settings are those of its sample profiles.
const PROFILE = { targetSampleRate: 16000, sampleCount: 1024, melFilterBankChannels: 30, compareMethod: 2, useStandardization: false };

async function calibrated(start, calibration, rateHz) {
  const zeros = [{ name: "-", mfccCalibrationDataList: [{ array: new Array(12).fill(0) }] }];
  const found = new Map();
  for (const { recording, points } of calibration) {
    const node = await start({ ...PROFILE, mfccNum: 12, mfccDataCount: 1, mfccs: zeros });
    const memory = () => new Float32Array(node.processor.inputBuffer.buffer, node.processor.exports.mfccOut.value, 12);
    const samples = floats(recording);
    const waiting = points.map(([time, name]) => [time + PROFILE.sampleCount / PROFILE.targetSampleRate / 2, name]);
    let executed = false;
    const told = node.port.onmessage;
    node.port.onmessage = (event) => {
      executed = true;
      told(event);
    };
    for (let heard = 0; heard + BLOCK_SAMPLES <= samples.length && waiting.length; heard += BLOCK_SAMPLES) {
      executed = false;
      node.hear(samples.subarray(heard, heard + BLOCK_SAMPLES));
      while (executed && waiting.length && waiting[0][0] * rateHz <= heard + BLOCK_SAMPLES) {
        const [, name] = waiting.shift();
        found.set(name, [...(found.get(name) ?? []), { array: [...memory()] }]);
      }
    }
  }
  const count = Math.min(...[...found.values()].map((list) => list.length));
  const mfccs = [...found].map(([name, list]) => ({ name, mfccCalibrationDataList: list.slice(0, count) }));
  return { ...PROFILE, mfccNum: 12, mfccDataCount: count, mfccs };
}

// ---------------------------------------------------------------------------------------------------------------------

function floats(path) {
  const bytes = readFileSync(path);
  return new Float32Array(bytes.buffer.slice(bytes.byteOffset, bytes.byteOffset + bytes.length));
}

const [peer, path] = process.argv.slice(2);
const job = JSON.parse(readFileSync(path, "utf-8"));
browser(job.rate_hz);
const animate = await PEERS[peer](job);
const recordings = [];
for (const file of job.recordings) {
  const shapes = {};
  await animate(floats(file), (shares) => {
    for (const [name, share] of Object.entries(shares)) (shapes[name] ??= []).push(Number(share.toFixed(6)));
  });
  recordings.push(shapes);
}
writeFileSync(job.out, JSON.stringify({ recordings }));
