"""Blinks and eye darts, a layer of their own over any curves: seeded, and the same however a stream is cut."""

from collections.abc import Sequence

import numpy as np

from facedistill.rig import eyes


class Eyes:
    """A pair of eyes that blink and look around; times must ascend from call to call."""

    def __init__(self, seed: int = 0) -> None:
        self._blink_rng, self._gaze_rng = np.random.default_rng(seed).spawn(2)
        self._blinks_s = [self._blink_rng.uniform(0, eyes.BLINK_MEAN_S)]
        self._knots_s, self._aims = [0.0], [(0.0, 0.0)]  # gaze is a straight line from knot to knot

    def apply(self, weights: np.ndarray, times_s: np.ndarray, names: Sequence[str]) -> np.ndarray:
        """(T, K) weights of `names` with the layer for lids and gaze, at (T,) times not before those of the last call."""
        changed = weights.copy()
        for name, values in (self._curves(times_s) if len(times_s) else {}).items():
            if name in names:
                changed[:, names.index(name)] = values
        return changed

    def _curves(self, times_s: np.ndarray) -> dict[str, np.ndarray]:
        self._advance(times_s[0], times_s[-1])
        lids = np.zeros(len(times_s))
        for peak_s in self._blinks_s:
            course = slice(*np.searchsorted(times_s, [peak_s - eyes.BLINK_CLOSE_S, peak_s + eyes.BLINK_OPEN_S]))
            lids[course] = np.maximum(lids[course], eyes.raised_cosine(times_s[course] - peak_s))
        right, up = (np.interp(times_s, self._knots_s, axis) for axis in zip(*self._aims, strict=True))
        return eyes.eye_curves(lids, right, up)

    def _advance(self, before_s: float, until_s: float) -> None:
        """Draws what happens up to a time, and the one event after it; drops what is over, so memory does not grow."""
        while self._blinks_s[-1] - eyes.BLINK_CLOSE_S <= until_s:
            self._blinks_s.append(self._blinks_s[-1] + eyes.blink_interval_s(self._blink_rng))
        while self._knots_s[-1] <= until_s:
            start_s = self._knots_s[-1] + eyes.dwell_s(self._gaze_rng, 1)[0]
            self._knots_s += [start_s, start_s + eyes.SACCADE_S]
            self._aims += [self._aims[-1], tuple(eyes.aims(self._gaze_rng, 1)[0])]
        while len(self._blinks_s) > 1 and self._blinks_s[0] + eyes.BLINK_OPEN_S < before_s:
            self._blinks_s.pop(0)
        while len(self._knots_s) > 2 and self._knots_s[1] < before_s:
            self._knots_s.pop(0)
            self._aims.pop(0)
