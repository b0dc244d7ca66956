"""How good the curves of one utterance are: errors against the truth, lag, jitter; pure numpy.

The paper names PBM accuracy, MSE and jitter without formulas. Except where a source is named, every definition here is ours.
Wherever only the opening of the lips matters a function takes the gap series in mm, (T,), frame t shown at t / fps seconds.
What cannot be measured (a constant series, a clip too short) is NaN or an empty array, never an error.
"""

from dataclasses import dataclass
from typing import Self

import numpy as np

from facedistill.rig.arkit import INDEX, MOUTH_CURVES

MOUTH_COLUMNS = np.array([INDEX[name] for name in MOUTH_CURVES])
MAX_LAG_MS = 200  # shifts considered, both ways

_MIN_STD = 1e-6  # a series that varies less is constant: rounding noise has no correlation
_MIN_FRAMES = 6  # shorter series correlate by chance
_JERK_ORDER = 3
_CHUNK_VALUES = 4_000_000  # vertex coordinates held at once, 32 MB of float64


def mse(*, pred: np.ndarray, target: np.ndarray) -> float:
    """Mean squared error over frames and curves; pass `[:, MOUTH_COLUMNS]` of both for the mouth alone.

    Args:
        pred: (T, K) weights.
        target: (T, K) weights.

    Returns:
        The error in squared weights; NaN for no frames.

    Raises:
        ValueError: shapes differ (so do all functions that compare a prediction with a target).
    """
    difference = _difference(pred, target)
    return float(np.mean(difference**2)) if difference.size else float("nan")


def correlation(*, pred: np.ndarray, target: np.ndarray) -> float:
    """Pearson correlation of two series (T,) of one utterance.

    What stands still where the target moves does not follow it: 0. NaN where the target stands still, or under 6 frames.
    """
    pred, target = np.asarray(pred, np.float64), np.asarray(target, np.float64)
    _require_same_shape(pred, target)
    if len(pred) < _MIN_FRAMES or target.std() <= _MIN_STD:
        return float("nan")
    return float(np.nan_to_num(_pearson(pred, target)))


def lag_ms(*, pred: np.ndarray, target: np.ndarray, fps: float, max_lag_ms: float = MAX_LAG_MS) -> float:
    """The shift at which a predicted gap series correlates best with the true one, refined between frames by a parabola.

    Every shift is compared on equally many frames: the target without `max_lag_ms` at both ends (at most a quarter of the clip).

    Args:
        pred: (T,) mm at `fps`.
        target: (T,) mm at `fps`.
        fps: frames per second.
        max_lag_ms: shifts considered, both ways.

    Returns:
        ms, positive where the prediction is late; NaN when a series is constant or the clip too short.
    """
    pred, target = np.asarray(pred, np.float64), np.asarray(target, np.float64)
    _require_same_shape(pred, target)
    reach = min(round(max_lag_ms * fps / 1000), len(pred) // 4)
    if reach < 1 or len(pred) - 2 * reach < _MIN_FRAMES:
        return float("nan")
    core = target[reach:-reach]
    fits = _pearson(np.lib.stride_tricks.sliding_window_view(pred, len(core)), core)  # (2 reach + 1,)
    if np.isnan(fits).all():
        return float("nan")
    best = int(np.nanargmax(fits))
    peak = fits[max(best - 1, 0) : best + 2]
    refinement = 0.0
    if len(peak) == 3 and 2 * peak[1] > peak[0] + peak[2]:
        refinement = 0.5 * (peak[0] - peak[2]) / (peak[0] - 2 * peak[1] + peak[2])
    return 1000 * (best - reach + float(refinement)) / fps


def mod_mm(*, pred: np.ndarray, target: np.ndarray) -> float:
    """Mouth opening difference: mean absolute difference in mm of two gap series (T,); NaN for no frames."""
    difference = _difference(pred, target)
    return float(np.abs(difference).mean()) if difference.size else float("nan")


@dataclass(frozen=True)
class Vertices:
    """Some vertices of a linear face, laid out for measuring many clips.

    Attributes:
        curves: (K,) bool, which curves move any of them.
        fields: (3, M, N) float64, mm per unit of these M curves, for N vertices, axis by axis.
    """

    curves: np.ndarray
    fields: np.ndarray

    @classmethod
    def of(cls, basis: np.ndarray, rows: np.ndarray) -> Self:
        """Those of a basis (K, V, 3), in mm per unit of weight, with the int indices `rows`."""
        selected = basis[:, rows]
        curves = np.abs(selected).max(axis=(1, 2)) > 0
        return cls(curves, np.ascontiguousarray(np.moveaxis(selected[curves], 2, 0), np.float64))

    def distances(self, weights: np.ndarray) -> np.ndarray:
        """How far they are from neutral: (T, K) weights -> (T, N) float64 mm."""
        weights = np.asarray(weights, np.float64)[:, self.curves]
        return np.sqrt(sum(np.square(weights @ field) for field in self.fields))


def lip_vertex_distances(*, pred: np.ndarray, target: np.ndarray, lips: Vertices) -> np.ndarray:
    """The largest distance over the lip vertices, frame by frame, between two linear faces.

    LVE, the lip vertex error, is its mean over the frames of all clips (rooted, mm); the mean of its square is the variant of
    CodeTalker's `main/cal_metric.py` (mm squared).

    Args:
        pred: (T, K) weights.
        target: (T, K) weights.
        lips: the lip vertices.

    Returns:
        (T,) float64 mm.
    """
    difference = _difference(pred, target)
    distances = np.empty(len(difference))
    step = max(1, _CHUNK_VALUES // (3 * lips.fields.shape[2]))
    for first in range(0, len(difference), step):
        distances[first : first + step] = lips.distances(difference[first : first + step]).max(axis=1)
    return distances


def upper_face_dynamics(weights: np.ndarray, upper_face: Vertices) -> float:
    """How lively the upper face is: mean over its vertices of the deviation over time of their distance from neutral.

    The face dynamics deviation (FDD, CodeTalker) of a clip is this of the target minus this of the prediction, signed.

    Args:
        weights: (T, K).
        upper_face: its vertices.

    Returns:
        mm; NaN for no frames.
    """
    if not len(weights):
        return float("nan")
    n_vertices = upper_face.fields.shape[2]
    step = max(1, _CHUNK_VALUES // (3 * len(weights)))
    total = 0.0
    for first in range(0, n_vertices, step):
        some = Vertices(upper_face.curves, upper_face.fields[:, :, first : first + step])
        total += float(some.distances(weights).std(axis=0).sum())
    return total / n_vertices


def jerks(curves: np.ndarray, *, fps: float) -> np.ndarray:
    """Mean over curves of |third difference| * fps^3: (T - 3,) float64 per s^3, item t from frames t to t + 3.

    Jitter is its mean over time. It grows with the frame rate for the same noise: compare only at equal `fps`.
    """
    third = np.diff(np.asarray(curves, np.float64), n=_JERK_ORDER, axis=0)
    return np.abs(third).mean(axis=1) * fps**_JERK_ORDER


def jitter(curves: np.ndarray, *, fps: float) -> float:
    """Mean |third difference| * fps^3 over curves and time, in weight units per s^3; NaN under 4 frames."""
    values = jerks(curves, fps=fps)
    return float(values.mean()) if values.size else float("nan")


def silent_jerks(curves: np.ndarray, silent: np.ndarray, *, fps: float) -> np.ndarray:
    """Those of `jerks` whose four frames all lie in silence, `silent` (T,) bool: there a face should be still."""
    if len(silent) <= _JERK_ORDER:
        return np.empty(0)
    return jerks(curves, fps=fps)[np.lib.stride_tricks.sliding_window_view(silent, _JERK_ORDER + 1).all(axis=1)]


def _require_same_shape(pred: np.ndarray, target: np.ndarray) -> None:
    if pred.shape != target.shape:
        raise ValueError(f"prediction {pred.shape} and target {target.shape} differ in shape")


def _difference(pred: np.ndarray, target: np.ndarray) -> np.ndarray:
    _require_same_shape(np.asarray(pred), np.asarray(target))
    return np.asarray(pred, np.float64) - np.asarray(target, np.float64)


def _pearson(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Correlation along the last axis, (..., T) with (T,) -> (...); NaN where one is constant."""
    x, y = x - x.mean(-1, keepdims=True), y - y.mean(-1, keepdims=True)
    std_x, std_y = np.sqrt((x**2).mean(-1)), np.sqrt((y**2).mean(-1))
    varies = (std_x > _MIN_STD) & (std_y > _MIN_STD)
    return np.where(varies, (x * y).mean(-1) / np.where(varies, std_x * std_y, 1), np.nan)
