/** Streaming sample rate conversion, equivalent to `facedistill.runtime.resample`. */

const ZERO_CROSSINGS = 10; // of the low-pass filter on each side
const KAISER_BETA = 5;

/** A polyphase low-pass filter without delay: output sample m is at time m / toHz. */
export class Resampler {
  private readonly up: number;
  private readonly down: number;
  private readonly half: number;
  private readonly taps: number;
  private readonly phases: Float32Array[]; // (up, taps), oldest sample first
  private buffer: Float32Array;
  private nIn = 0;
  private nOut = 0;

  constructor(rateHz: number, toHz: number) {
    const divisor = gcd(rateHz, toHz);
    this.up = toHz / divisor;
    this.down = rateHz / divisor;
    const widest = Math.max(this.up, this.down);
    this.half = ZERO_CROSSINGS * widest;
    const kernel = lowPass(this.half, widest);
    const sum = kernel.reduce((total, value) => total + value, 0);
    this.taps = Math.ceil(kernel.length / this.up);
    const weight = (index: number) => ((kernel[index] ?? 0) * this.up) / sum;
    this.phases = Array.from({ length: this.up }, (_, phase) =>
      Float32Array.from({ length: this.taps }, (_, tap) => weight((this.taps - 1 - tap) * this.up + phase)),
    );
    this.buffer = new Float32Array(this.taps);
  }

  /** Returns the index of the last input sample that an output sample depends on. */
  lastInput(sample: number): number {
    return Math.floor((sample * this.down + this.half) / this.up);
  }

  /** Consumes input samples and returns the output samples that they complete. */
  push(samples: Float32Array): Float32Array {
    const input = concat(this.buffer, samples);
    const first = this.nIn - this.buffer.length; // index of input[0]
    this.nIn += samples.length;
    const end = Math.floor((this.nIn * this.up - this.half - 1) / this.down) + 1; // of the outputs with all inputs known
    const out = new Float32Array(Math.max(0, end - this.nOut));
    for (let index = 0; index < out.length; index++) {
      const position = (this.nOut + index) * this.down + this.half;
      const phase = this.phases[position % this.up];
      const oldest = Math.floor(position / this.up) - this.taps + 1 - first;
      let sum = 0;
      for (let tap = 0; tap < this.taps; tap++) sum += input[oldest + tap] * phase[tap];
      out[index] = sum;
    }
    this.nOut += out.length;
    const needed = this.lastInput(this.nOut) - this.taps + 1;
    this.buffer = input.slice(Math.max(0, needed - first));
    return out;
  }

  /** Ends the stream with silence and returns the remaining output samples. */
  flush(): Float32Array {
    const rest = Math.ceil((this.nIn * this.up) / this.down) - this.nOut;
    return this.push(new Float32Array(Math.floor(this.half / this.up) + this.down)).slice(0, rest);
  }
}

export function concat(first: Float32Array, second: Float32Array): Float32Array<ArrayBuffer> {
  const both = new Float32Array(first.length + second.length);
  both.set(first);
  both.set(second, first.length);
  return both;
}

/** A sinc filter with a Kaiser window. */
function lowPass(half: number, widest: number): Float64Array {
  return Float64Array.from({ length: 2 * half + 1 }, (_, index) => {
    const offset = index - half;
    const angle = (Math.PI * offset) / widest;
    const kaiser = bessel0(KAISER_BETA * Math.sqrt(1 - (offset / half) ** 2)) / bessel0(KAISER_BETA);
    return (offset === 0 ? 1 : Math.sin(angle) / angle) * kaiser;
  });
}

/** The modified Bessel function of the first kind and order 0, as its power series. */
function bessel0(x: number): number {
  let term = 1;
  let sum = 1;
  for (let k = 1; term > 1e-17 * sum; k++) sum += term *= (x / 2 / k) ** 2;
  return sum;
}

function gcd(a: number, b: number): number {
  return b === 0 ? a : gcd(b, a % b);
}
