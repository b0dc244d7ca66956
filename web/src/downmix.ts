/** Mixes channels to mono, for recordings and for the microphone. */

const CANCELLATION_RATIO = 0.25; // of the power that the mean of n channels has if all but the loudest are silent: 1 / n^2

/** Averages channels and measures whether they cancel each other, as the channels of a balanced microphone do. */
export class Downmix {
  nSamples = 0;
  private readonly powers: Float64Array;
  private meanPower = 0;

  constructor(readonly nChannels: number) {
    this.powers = new Float64Array(nChannels);
  }

  /** Averages one sample of all channels. */
  mean(sample: (channel: number) => number): number {
    let sum = 0;
    for (let channel = 0; channel < this.nChannels; channel++) {
      const value = sample(channel);
      sum += value;
      this.powers[channel] += value ** 2;
    }
    const mean = sum / this.nChannels;
    this.meanPower += mean ** 2;
    this.nSamples++;
    return mean;
  }

  /** Returns the loudest channel if the channels cancel each other. */
  loudestIfCancelled(): number | null {
    const loudest = this.powers.indexOf(Math.max(...this.powers));
    return this.meanPower < (CANCELLATION_RATIO / this.nChannels ** 2) * this.powers[loudest] ? loudest : null;
  }
}

/** Formats the note that one channel, counted from 0, is used instead of the mean. */
export function cancellationNote(name: string, nChannels: number, channel: number): string {
  return `${name}: its ${nChannels} channels cancel each other; channel ${channel + 1}, the loudest, is used.`;
}
