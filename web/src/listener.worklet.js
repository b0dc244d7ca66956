// Runs in the audio thread: passes on what is heard, about 10 ms at once, and when it ended.
const BLOCK_SAMPLES = 512;

class Listener extends AudioWorkletProcessor {
  block = new Float32Array(BLOCK_SAMPLES);
  filled = 0;

  process([channels]) {
    for (const sample of channels[0] ?? []) {
      this.block[this.filled++] = sample;
      if (this.filled === BLOCK_SAMPLES) {
        this.port.postMessage({ samples: this.block.slice(), endS: currentTime + channels[0].length / sampleRate });
        this.filled = 0;
      }
    }
    return true;
  }
}

registerProcessor("listener", Listener);
