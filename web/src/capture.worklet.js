// Runs in the audio thread: posts the input about every 10 ms, with the time at which it ends.
const BLOCK_QUANTA = 4; // of 128 samples

class CaptureProcessor extends AudioWorkletProcessor {
  quanta = []; // each an array of channels

  process([channels]) {
    if (channels.length > 0) this.quanta.push(channels.map((samples) => samples.slice()));
    if (this.quanta.length === BLOCK_QUANTA) {
      this.port.postMessage({ quanta: this.quanta, endS: currentTime + channels[0].length / sampleRate });
      this.quanta = [];
    }
    return true;
  }
}

registerProcessor("capture", CaptureProcessor);
