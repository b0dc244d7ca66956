// Runs in the audio thread: passes on what is heard, about 10 ms at once, and when it ended.
const BLOCK_SAMPLES = 512;
const CANCELLED = 0.25; // as in recording.ts; here of all that was heard so far
const HEARD_S = 0.1; // before a channel is chosen

class Listener extends AudioWorkletProcessor {
  block = new Float32Array(BLOCK_SAMPLES);
  filled = 0;
  powers = []; // of the channels
  power = 0; // of their mean
  nHeard = 0; // samples of that
  chosen = null; // the channel that is used for good once they have cancelled

  process([channels]) {
    for (const sample of channels.length > 0 ? this.mono(channels) : []) {
      this.block[this.filled++] = sample;
      if (this.filled === BLOCK_SAMPLES) {
        this.port.postMessage({ samples: this.block.slice(), endS: currentTime + channels[0].length / sampleRate });
        this.filled = 0;
      }
    }
    return true;
  }

  mono(channels) {
    if (channels.length !== this.powers.length) {
      this.powers = channels.map(() => 0);
      this.power = 0;
      this.nHeard = 0;
      this.chosen = null;
    }
    const mean = channels[0].map((_, index) => channels.reduce((sum, channel) => sum + channel[index], 0) / channels.length);
    if (this.chosen === null) this.choose(channels, mean);
    return this.chosen === null ? mean : channels[this.chosen];
  }

  choose(channels, mean) {
    const energy = (samples) => samples.reduce((sum, sample) => sum + sample ** 2, 0);
    channels.forEach((channel, index) => (this.powers[index] += energy(channel)));
    this.power += energy(mean);
    this.nHeard += mean.length;
    if (this.nHeard < HEARD_S * sampleRate) return;
    const most = Math.max(...this.powers);
    if (!(this.power < (CANCELLED / channels.length ** 2) * most)) return;
    this.chosen = this.powers.indexOf(most);
    this.port.postMessage({ nChannels: channels.length, chosen: this.chosen });
  }
}

registerProcessor("listener", Listener);
