"""How good the curves of one utterance are, at `FPS`: errors against the truth, lag, jitter.

Except where a source is named, the definitions are ours: the paper has none. What cannot be measured is NaN, or empty.
"""

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

from facedistill.rig.curves import FPS

MAX_LAG_MS = 200  # shifts considered, both ways
_MIN_STD = 1e-6  # a series that varies less is constant: rounding noise has no correlation
_MIN_FRAMES = 6  # shorter series correlate by chance
_JERK_ORDER = 3
_CHUNK_VALUES = 4_000_000  # vertex coordinates held at once, 32 MB of float64


def difference(*, pred: np.ndarray, target: np.ndarray) -> np.ndarray:
    """`pred` minus `target`, in float64; ValueError where their shapes differ."""
    if pred.shape != target.shape:
        raise ValueError(f"prediction {pred.shape} and target {target.shape} differ in shape")
    return pred.astype(np.float64) - target


def mean(values: np.ndarray) -> float:
    """The mean; NaN of no values."""
    return float(values.mean()) if values.size else float("nan")


def correlation(*, pred: np.ndarray, target: np.ndarray) -> float:
    """Pearson correlation of two series (T,): 0 where `pred` alone stands still, NaN where `target` does, or under 6 frames."""
    pred, target = pred.astype(np.float64), target.astype(np.float64)
    if len(target) < _MIN_FRAMES or target.std() <= _MIN_STD:
        return float("nan")
    return float(np.nan_to_num(_pearson(pred, target)))


def lag_ms(*, pred: np.ndarray, target: np.ndarray) -> float:
    """The shift at which a predicted gap series correlates best with the true one, refined between frames by a parabola.

    Every shift is compared on equally many frames: the target without `MAX_LAG_MS` at both ends (at most a quarter of the clip).
    (T,) mm each -> ms, positive where the prediction is late; NaN when a series is constant or the clip too short.
    """
    reach = min(round(MAX_LAG_MS * FPS / 1000), len(pred) // 4)
    if reach < 1 or len(pred) - 2 * reach < _MIN_FRAMES:
        return float("nan")
    core = target[reach:-reach].astype(np.float64)
    fits = _pearson(sliding_window_view(pred.astype(np.float64), len(core)), core)  # (2 reach + 1,)
    if np.isnan(fits).all():
        return float("nan")
    best = int(np.nanargmax(fits))
    peak = fits[max(best - 1, 0) : best + 2]
    refinement = 0.0
    if len(peak) == 3 and 2 * peak[1] > peak[0] + peak[2]:
        refinement = 0.5 * (peak[0] - peak[2]) / (peak[0] - 2 * peak[1] + peak[2])
    return 1000 * (best - reach + float(refinement)) / FPS


class Vertices:
    """N vertices of a linear face, laid out for measuring many clips."""

    def __init__(self, basis: np.ndarray, rows: np.ndarray) -> None:
        """Those of a basis (K, V, 3), in mm per unit of weight, with the int indices `rows`."""
        selected = basis[:, rows]
        self.curves = np.abs(selected).max(axis=(1, 2)) > 0  # (K,) which move any of them
        self.fields = np.ascontiguousarray(np.moveaxis(selected[self.curves], 2, 0), np.float64)  # (3, M, N) axis by axis

    def distances(self, weights: np.ndarray, some: slice = slice(None)) -> np.ndarray:
        """How far `some` of them are from neutral: (T, K) weights -> (T, N) float64 mm."""
        weights = weights.astype(np.float64)[:, self.curves]
        return np.sqrt(sum(np.square(weights @ field[:, some]) for field in self.fields))


def upper_face_dynamics(weights: np.ndarray, upper_face: Vertices) -> float:
    """How lively the upper face is: mean over its vertices of the deviation over time of their distance from neutral.

    (T, K) weights -> mm, NaN for no frames. The face dynamics deviation (FDD, CodeTalker) of a clip is this of the target minus
    this of the prediction, signed.
    """
    if not len(weights):
        return float("nan")
    n_vertices, step = upper_face.fields.shape[2], max(1, _CHUNK_VALUES // (3 * len(weights)))
    parts = [slice(first, first + step) for first in range(0, n_vertices, step)]
    return sum(float(upper_face.distances(weights, part).std(axis=0).sum()) for part in parts) / n_vertices


def jerks(curves: np.ndarray) -> np.ndarray:
    """Mean over curves of |third difference| * fps^3: (T - 3,) float64 per s^3 of frames t to t + 3; jitter is its mean."""
    third = np.diff(np.asarray(curves, np.float64), n=_JERK_ORDER, axis=0)
    return np.abs(third).mean(axis=1) * FPS**_JERK_ORDER


def silent_jerks(curves: np.ndarray, silent: np.ndarray) -> np.ndarray:
    """Those of `jerks` whose four frames all lie in silence, `silent` (T,) bool: there a face should be still."""
    if len(silent) <= _JERK_ORDER:
        return np.empty(0)
    return jerks(curves)[sliding_window_view(silent, _JERK_ORDER + 1).all(axis=1)]


def _pearson(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Correlation along the last axis, (..., T) with (T,) -> (...); NaN where one is constant."""
    x, y = x - x.mean(-1, keepdims=True), y - y.mean(-1, keepdims=True)
    std_x, std_y = np.sqrt((x**2).mean(-1)), np.sqrt((y**2).mean(-1))
    varies = (std_x > _MIN_STD) & (std_y > _MIN_STD)
    return np.where(varies, (x * y).mean(-1) / np.where(varies, std_x * std_y, 1), np.nan)
