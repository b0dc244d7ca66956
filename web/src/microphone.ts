/** Microphone input: blocks of mono samples from an AudioWorklet. */

import workletUrl from "./capture.worklet.js?url";
import { cancellationNote, Downmix } from "./downmix";
import { UserError } from "./errors";
import { concat } from "./resample";

const MIN_DOWNMIX_S = 0.1; // of audio, before a channel may be chosen
const OPEN_ERRORS: Record<string, string> = {
  NotAllowedError: "Microphone access was denied: allow it next to the address of this page and try again.",
  NotFoundError: "No microphone was found.",
  NotReadableError: "The microphone cannot be opened: another program may be using it.",
};

export class Microphone {
  /** Receives blocks of mono samples; `endS` is the end of the block on the clock of `nowS`. */
  onBlock: (samples: Float32Array, endS: number) => void = () => {};
  private downmix = new Downmix(0);
  private channel: number | null = null; // used from now on, since all channels cancel each other

  private constructor(
    private readonly stream: MediaStream,
    private readonly context: AudioContext,
    private readonly onNote: (note: string) => void,
  ) {}

  /** Asks for the microphone. `onEnded` is called when it is disconnected, `onNote` with what the user should know. */
  static async open(onEnded: () => void, onNote: (note: string) => void): Promise<Microphone> {
    if (!navigator.mediaDevices?.getUserMedia || !window.AudioWorkletNode) {
      throw new UserError("The microphone is not available: open this page over https or from localhost.");
    }
    const channelCount = 2; // at most: a browser mixes more without a test for cancellation
    const audio = { channelCount, echoCancellation: false, noiseSuppression: false, autoGainControl: false };
    const stream = await navigator.mediaDevices.getUserMedia({ audio }).catch((error: DOMException) => {
      throw new UserError(OPEN_ERRORS[error.name] ?? `The microphone cannot be opened: ${error.message}`);
    });
    const microphone = new Microphone(stream, new AudioContext({ latencyHint: "interactive" }), onNote);
    try {
      await microphone.start();
    } catch (error) {
      microphone.stop();
      throw error;
    }
    stream.getAudioTracks()[0].onended = onEnded;
    return microphone;
  }

  get rateHz(): number {
    return this.context.sampleRate;
  }

  get nowS(): number {
    return this.context.currentTime;
  }

  stop(): void {
    this.onBlock = () => {};
    for (const track of this.stream.getTracks()) track.stop();
    void this.context.close();
  }

  private async start(): Promise<void> {
    await this.context.audioWorklet.addModule(workletUrl).catch(() => {
      throw new UserError("The audio worklet of this page did not load: reload the page.");
    });
    const capture = new AudioWorkletNode(this.context, "capture", { numberOfOutputs: 0 });
    capture.port.onmessage = ({ data }: MessageEvent<{ quanta: Float32Array[][]; endS: number }>) => {
      this.onBlock(data.quanta.map((channels) => this.mono(channels)).reduce(concat), data.endS);
    };
    this.context.createMediaStreamSource(this.stream).connect(capture);
    await this.context.resume();
  }

  private mono(channels: Float32Array[]): Float32Array {
    if (channels.length !== this.downmix.nChannels) {
      this.downmix = new Downmix(channels.length);
      this.channel = null;
    }
    if (this.channel !== null) return channels[this.channel];
    const mean = channels[0].map((_, index) => this.downmix.mean((channel) => channels[channel][index]));
    if (this.downmix.nSamples >= MIN_DOWNMIX_S * this.rateHz) this.channel = this.downmix.loudestIfCancelled();
    if (this.channel === null) return mean;
    this.onNote(cancellationNote("The microphone", channels.length, this.channel));
    return channels[this.channel];
  }
}
