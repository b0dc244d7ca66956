/** The microphone: blocks of samples as they are heard, by an AudioWorklet. */

import { Trouble } from "./beside";
import workletUrl from "./listener.worklet.js?url";
import { cancelling } from "./recording";

/** A block of mono samples, and the second at which it ended by the clock of `nowS`. */
interface Block {
  samples: Float32Array;
  endS: number;
}

/** All channels of the microphone cancel each other: this one alone is heard from now on. */
interface Choice {
  nChannels: number;
  chosen: number;
}

const REFUSED: Record<string, string> = {
  NotAllowedError: "The microphone was not allowed. Allow it beside the address, and try again.",
  NotFoundError: "No microphone was found.",
  NotReadableError: "The microphone cannot be opened: another program may be using it.",
};

export class Microphone {
  hear: (block: Block) => void = () => {};

  private constructor(
    private readonly stream: MediaStream,
    private readonly context: AudioContext,
  ) {}

  /** Asks for the microphone; `lost` is called when it goes away, and `told` with what was guessed of it. */
  static async open(lost: () => void, told: (sentence: string) => void): Promise<Microphone> {
    if (!navigator.mediaDevices?.getUserMedia || !window.AudioWorkletNode) {
      throw new Trouble("This page may not use a microphone: open it over https, or from localhost.");
    }
    const channelCount = 2; // at most: a browser would mix them without a look at whether they cancel
    const audio = { channelCount, echoCancellation: false, noiseSuppression: false, autoGainControl: false };
    const stream = await navigator.mediaDevices.getUserMedia({ audio }).catch((error: DOMException) => {
      throw new Trouble(REFUSED[error.name] ?? `The microphone cannot be opened: ${error.message}`);
    });
    const microphone = new Microphone(stream, new AudioContext({ latencyHint: "interactive" }));
    try {
      await microphone.start(told);
    } catch (error) {
      microphone.stop();
      throw error;
    }
    stream.getAudioTracks()[0].onended = lost;
    return microphone;
  }

  get rateHz(): number {
    return this.context.sampleRate;
  }

  get nowS(): number {
    return this.context.currentTime;
  }

  stop(): void {
    this.hear = () => {};
    for (const track of this.stream.getTracks()) track.stop();
    void this.context.close();
  }

  private async start(told: (sentence: string) => void): Promise<void> {
    await this.context.audioWorklet.addModule(workletUrl).catch(() => {
      throw new Trouble("The part of this page that listens to the microphone did not load: reload the page.");
    });
    const listener = new AudioWorkletNode(this.context, "listener", { numberOfOutputs: 0 });
    listener.port.onmessage = ({ data }: MessageEvent<Block | Choice>) => {
      if ("samples" in data) this.hear(data);
      else told(cancelling("The microphone", data.nChannels, data.chosen));
    };
    this.context.createMediaStreamSource(this.stream).connect(listener);
    await this.context.resume();
  }
}
