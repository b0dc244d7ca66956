"""Steps of 16 ms through a model: its state between them, and buffers that are made once."""

import numpy as np
import onnxruntime as ort

from facedistill.runtime.model import Model


class Steps:
    """The recurrence of a streaming graph. Two sets of histories take turns as input and output, so that nothing is copied."""

    def __init__(self, model: Model) -> None:
        self.model = model
        self._frames = np.zeros((model.max_rows, 2 * model.facts.hop_samples), np.float32)
        self._curves = np.zeros((model.max_rows, len(model.facts.curves)), np.float32)
        self._histories = model.no_history(), model.no_history()
        self._turn = 0
        self._bindings: dict[tuple[int, int], ort.IOBinding] = {}

    def run(self, hops: np.ndarray) -> np.ndarray:
        """Computes the grid frames of consecutive hops.

        Args:
            hops: (L + 1, hop) float32 samples; the first is the hop before the new ones.

        Returns:
            (L, K) float32.
        """
        n_steps, hop = len(hops) - 1, hops.shape[1]
        curves = np.empty((n_steps, self._curves.shape[1]), np.float32)
        for first in range(0, n_steps, self.model.max_rows):
            n_rows = min(self.model.max_rows, n_steps - first)
            self._frames[:n_rows, :hop] = hops[first : first + n_rows]
            self._frames[:n_rows, hop:] = hops[first + 1 : first + n_rows + 1]
            self.model.session.run_with_iobinding(self._binding(n_rows))
            self._turn = 1 - self._turn
            curves[first : first + n_rows] = self._curves[:n_rows]
        return curves

    def reset(self) -> None:
        """Forgets what was heard."""
        self.restore(self.model.no_history())

    def state(self) -> dict[str, np.ndarray]:
        """The histories, copied."""
        return {name: history.copy() for name, history in self._histories[self._turn].items()}

    def restore(self, state: dict[str, np.ndarray]) -> None:
        """Goes on from what `state` gave."""
        for name, history in self._histories[self._turn].items():
            history[:] = state[name]

    def _binding(self, n_rows: int) -> ort.IOBinding:
        """The buffers of a run, tied to the session once for every number of rows."""
        key = n_rows, self._turn
        if key not in self._bindings:
            binding = self.model.session.io_binding()
            before, after = self._histories[self._turn], self._histories[1 - self._turn]
            for name, array in {"frames": self._frames[:n_rows], **before}.items():
                binding.bind_ortvalue_input(name, ort.OrtValue.ortvalue_from_numpy(array))
            for name, array in {"curves": self._curves[:n_rows], **{f"next_{name}": after[name] for name in after}}.items():
                binding.bind_ortvalue_output(name, ort.OrtValue.ortvalue_from_numpy(array))
            self._bindings[key] = binding
        return self._bindings[key]
