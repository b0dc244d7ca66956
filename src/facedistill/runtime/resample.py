"""Sample rate conversion in a stream, with the same bits however the sound is cut into chunks."""

import math

import numpy as np

ZERO_CROSSINGS = 10  # of the low-pass filter to either side, as in scipy.signal.resample_poly
KAISER_BETA = 5.0
BLOCK_SAMPLES = 2**15  # converted at once: bounds memory


class Resampler:
    """A polyphase low-pass filter without delay: output sample m stands at m / to_hz."""

    def __init__(self, rate_hz: int, to_hz: int) -> None:
        divisor = math.gcd(rate_hz, to_hz)
        self.up, self.down = to_hz // divisor, rate_hz // divisor
        widest = max(self.up, self.down)
        self._half = ZERO_CROSSINGS * widest
        self._taps = -(-(2 * self._half + 1) // self.up)
        kernel = np.zeros(self._taps * self.up)
        for first in range(0, 2 * self._half + 1, BLOCK_SAMPLES):
            offsets = np.arange(first, min(first + BLOCK_SAMPLES, 2 * self._half + 1)) - self._half
            window = np.i0(KAISER_BETA * np.sqrt(1 - (offsets / self._half) ** 2)) / np.i0(KAISER_BETA)
            kernel[first : first + len(offsets)] = np.sinc(offsets / widest) * window
        total = kernel[: 2 * self._half + 1].sum()
        kernel *= self.up
        kernel /= total
        phases = kernel.reshape(self._taps, self.up).T[:, ::-1]  # (up, taps), the oldest sample first
        self._phases = phases.astype(np.float32, order="C")
        self.reset()

    def reset(self) -> None:
        """Forgets everything: before the first sample there is silence."""
        self._samples = np.zeros(self._taps, np.float32)  # the last inputs that outputs to come may need
        self._n_in = self._n_out = 0

    def last_input(self, sample: int) -> int:
        """Index of the last input sample that an output sample hears."""
        return (sample * self.down + self._half) // self.up

    def push(self, samples: np.ndarray) -> np.ndarray:
        """(S,) at the old rate -> the samples at the new rate that can be known by now, float32."""
        blocks = [self._push(samples[first : first + BLOCK_SAMPLES]) for first in range(0, len(samples), BLOCK_SAMPLES)]
        return np.concatenate([np.zeros(0, np.float32), *blocks])

    def flush(self) -> np.ndarray:
        """The rest, up to ceil(S * to_hz / rate_hz) in all: after the last sample there is silence."""
        rest = -(-self._n_in * self.up // self.down) - self._n_out
        return self._push(np.zeros(self._half // self.up + self.down))[:rest]

    def state(self) -> dict[str, np.ndarray]:
        """All that a stream carries on, as arrays."""
        return {"samples": self._samples.copy(), "counts": np.array([self._n_in, self._n_out])}

    def restore(self, state: dict[str, np.ndarray]) -> None:
        """Goes on from what `state` gave."""
        self._samples = state["samples"].copy()
        self._n_in, self._n_out = map(int, state["counts"])

    def _push(self, samples: np.ndarray) -> np.ndarray:
        audio = np.concatenate([self._samples, samples], dtype=np.float32)
        first = self._n_in - len(self._samples)  # index of heard[0]
        self._n_in += len(samples)
        end = (self._n_in * self.up - self._half - 1) // self.down + 1  # of the outputs whose last input is there
        outputs = np.arange(self._n_out, max(end, self._n_out))
        self._n_out += len(outputs)
        needed = self.last_input(self._n_out) - self._taps + 1
        self._samples = audio[max(0, needed - first) :].copy()
        if len(outputs) == 0:
            return np.zeros(0, np.float32)
        newest, phase = np.divmod(outputs * self.down + self._half, self.up)
        windows = np.lib.stride_tricks.sliding_window_view(audio, self._taps)
        oldest = newest - self._taps + 1 - first
        if self.up == 1:  # from a multiple of the new rate: one phase, and no need to gather
            return np.einsum("ij,j->i", windows[oldest[0] :: self.down][: len(outputs)], self._phases[0])
        return np.einsum("ij,ij->i", windows[oldest], self._phases[phase])
