"""Steps of 16 ms through a model: samples in, one frame of the grid a step out; the state between them in buffers made once."""

import numpy as np
import onnxruntime as ort

from facedistill.runtime.model import Model, is_of_memory, output_name


class StreamingSession:
    """The recurrence of a streaming graph, without copies.

    Two sets of buffers take turns as input and output: a run reads the last rows of one set as its states, and writes them,
    with the new rows behind, to the end of the other.
    """

    def __init__(self, model: Model) -> None:
        self.model = model
        self._hop, rows = model.metadata.hop_samples, model.max_rows
        self._samples = np.zeros((rows + 2) * self._hop, np.float32)  # from the hop before the first that is not computed yet
        self._pairs = np.lib.stride_tricks.sliding_window_view(self._samples, 2 * self._hop)[:: self._hop]
        self._frames = np.zeros((rows, 2 * self._hop), np.float32)
        self._curves = np.zeros((rows, len(model.metadata.curves)), np.float32)
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
        """Hears (S,) float32 samples; gives the frames that they complete, (L, K) float32 in blocks.

        Raises:
            MemoryError: there is not enough of it.
        """
        room = self.model.max_rows * self._hop
        return [rows for first in range(0, len(samples), room) for rows in self._push(samples[first : first + room])]

    def reset(self) -> None:
        """Forgets what was heard."""
        self._turn = self._n_samples = 0
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

    def _push(self, samples: np.ndarray) -> list[np.ndarray]:
        n_given = self._n_samples + len(samples)
        self._samples[self._n_samples : n_given] = samples
        self._n_samples = n_given
        n_rows = n_given // self._hop - 1
        if n_rows < 1:
            return []
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
        return [self._curves[:n_rows].copy()]

    def _binding(self, n_rows: int) -> ort.IOBinding:
        """The buffers of a run, tied to the session once for every number of rows."""
        key = n_rows, self._turn
        if key not in self._bindings:
            binding = self.model.session.io_binding()
            outputs = {
                output_name(name): buffer[self.model.max_rows - n_rows :]
                for name, buffer in self._buffers[1 - self._turn].items()
            }
            for name, array in {"frames": self._frames[:n_rows], **self._states()}.items():
                binding.bind_ortvalue_input(name, ort.OrtValue.ortvalue_from_numpy(array))
            for name, array in {"curves": self._curves[:n_rows], **outputs}.items():
                binding.bind_ortvalue_output(name, ort.OrtValue.ortvalue_from_numpy(array))
            self._bindings[key] = binding
        return self._bindings[key]
