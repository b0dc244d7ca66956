"""What a stream goes through, with the same bits however it is cut: a change of the sample rate, and a model's 16 ms steps."""

import math

import numpy as np
import onnxruntime as ort

from facedistill.runtime.model import Model, is_of_memory, output_name

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
        n_kernel = 2 * self._half + 1
        self._taps = -(-n_kernel // self.up)
        kernel = np.zeros(self._taps * self.up)
        for first in range(0, n_kernel, BLOCK_SAMPLES):
            offsets = np.arange(first, min(first + BLOCK_SAMPLES, n_kernel)) - self._half
            window = np.i0(KAISER_BETA * np.sqrt(1 - (offsets / self._half) ** 2)) / np.i0(KAISER_BETA)
            kernel[first : first + len(offsets)] = np.sinc(offsets / widest) * window
        total = kernel[:n_kernel].sum()
        kernel *= self.up
        kernel /= total
        phases = kernel.reshape(self._taps, self.up).T[:, ::-1]
        self._phases = phases.astype(np.float32, order="C")  # (up, taps), the oldest sample first
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
        first = self._n_in - len(self._samples)  # index of audio[0]
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


class StreamingSession:
    """The recurrence of a streaming graph, without copies: samples in, one frame of the grid a step of 16 ms out."""

    def __init__(self, model: Model) -> None:
        self.model = model
        self._hop, rows = model.metadata.hop_samples, model.max_rows
        self._samples = np.zeros((rows + 2) * self._hop, np.float32)  # from the hop before the first that is not computed yet
        self._pairs = np.lib.stride_tricks.sliding_window_view(self._samples, 2 * self._hop)[:: self._hop]
        self._frames = np.zeros((rows, 2 * self._hop), np.float32)
        self._curves = np.zeros((rows, len(model.metadata.curves)), np.float32)
        # Two sets take turns: a run reads the end of one as its states, and writes them, the new rows behind, to the other's.
        self._buffers = tuple(
            {name: np.zeros((rows + n_rows, width), kind) for name, (kind, (n_rows, width)) in model.states.items()}
            for _ in range(2)
        )
        self._bindings: dict[tuple[int, int], ort.IOBinding] = {}
        self.reset()

    @property
    def n_bytes(self) -> int:
        """What the buffers hold, those before and after a step included."""
        buffers = [buffer for side in self._buffers for buffer in side.values()]
        return sum(array.nbytes for array in (self._samples, self._frames, self._curves, *buffers))

    def push(self, samples: np.ndarray) -> list[np.ndarray]:
        """Hears (S,) float32 samples; gives the frames that they complete, (L, K) float32 in blocks. MemoryError if it lacks."""
        room = self.model.max_rows * self._hop
        return [self._push(samples[first : first + room]) for first in range(0, len(samples), room)]

    def reset(self) -> None:
        """Forgets what was heard."""
        self._turn = 0
        self.restore({"samples": np.zeros(0, np.float32), **self.model.initial_state()})

    def state(self) -> dict[str, np.ndarray]:
        """What the next step needs, copied."""
        states = {name: rows.copy() for name, rows in self._states().items()}
        return {"samples": self._samples[: self._n_samples].copy(), **states}

    def fits(self, state: dict[str, np.ndarray]) -> bool:
        """Whether `restore` can go on from a state."""
        states = self._states()
        return len(state["samples"]) < 2 * self._hop and all(state[name].shape == states[name].shape for name in states)

    def restore(self, state: dict[str, np.ndarray]) -> None:
        """Goes on from what `state` gave."""
        self._n_samples = len(state["samples"])
        self._samples[: self._n_samples] = state["samples"]
        for name, rows in self._states().items():
            rows[:] = state[name]

    def _states(self) -> dict[str, np.ndarray]:
        """What the next run will read."""
        return {name: buffer[self.model.max_rows :] for name, buffer in self._buffers[self._turn].items()}

    def _push(self, samples: np.ndarray) -> np.ndarray:
        n_given = self._n_samples + len(samples)
        self._samples[self._n_samples : n_given] = samples
        self._n_samples = n_given
        n_rows = max(0, n_given // self._hop - 1)
        if n_rows:
            self._frames[:n_rows] = self._pairs[:n_rows]
            try:
                self.model.session.run_with_iobinding(self._binding(n_rows))
            except Exception as error:
                if not is_of_memory(error):
                    raise
                raise MemoryError(str(error)) from None
            self._turn = 1 - self._turn
            self._n_samples -= n_rows * self._hop
            self._samples[: self._n_samples] = self._samples[n_rows * self._hop : n_given]
        return self._curves[:n_rows].copy()

    def _binding(self, n_rows: int) -> ort.IOBinding:
        """The buffers of a run, tied to the session once for every number of rows."""
        key = n_rows, self._turn
        if key not in self._bindings:
            own, other = self._states(), self._buffers[1 - self._turn]
            outputs = {output_name(name): buffer[self.model.max_rows - n_rows :] for name, buffer in other.items()}
            binding = self._bindings[key] = self.model.session.io_binding()
            for name, array in {"frames": self._frames[:n_rows], **own}.items():
                binding.bind_ortvalue_input(name, ort.OrtValue.ortvalue_from_numpy(array))
            for name, array in {"curves": self._curves[:n_rows], **outputs}.items():
                binding.bind_ortvalue_output(name, ort.OrtValue.ortvalue_from_numpy(array))
        return self._bindings[key]
