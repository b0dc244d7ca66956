"""The raw statistics of one utterance, from which `bootstrap` makes tables."""

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from facedistill.measure import closures, metrics
from facedistill.measure.metrics import Vertices, mean
from facedistill.rig.arkit import INDEX, MOUTH_CURVES
from facedistill.rig.curves import FPS
from facedistill.rig.head import Head
from facedistill.speech.phones import SILENCE, Phone

MOUTH_COLUMNS = [INDEX[name] for name in MOUTH_CURVES]


class Face:
    """What curves are measured on: (T, K) weights to (T,) lip gap and mouth width in mm; the vertices of lips and upper face."""

    def __init__(self, head: Head) -> None:
        self.lip_gap_mm, self.mouth_width_mm = head.lip_gap_mm, head.mouth_width_mm
        self.lips, self.upper_face = (Vertices(head.basis, head.regions[name]) for name in ("lips", "upper_face"))


class Truth:
    """The true curves (T, K) of an utterance, and what of them every prediction is compared with."""

    def __init__(self, curves: np.ndarray, face: Face) -> None:
        self.curves, self.gap_mm, self.width_mm = curves, face.lip_gap_mm(curves), face.mouth_width_mm(curves)
        self.upper_face_mm = metrics.upper_face_dynamics(curves, face.upper_face)


@dataclass(frozen=True, eq=False)
class MeasuredLips:
    """Lips that a camera measured, in N frames of speech, in units of the distance between the outer corners of the eyes."""

    times_s: np.ndarray  # (N,) of the sound
    gap: np.ndarray  # (N,) of the inner lips
    width: np.ndarray  # (N,) of the mouth


def mean_over(weight: str | None) -> float:
    """A field whose mean over utterances is weighed by another: pooled over all frames where that is a count, None for alike."""
    return field(default=float("nan"), metadata={"weight": weight})


@dataclass(frozen=True)
class UtteranceScores:
    """One utterance's raw statistics, NaN where not measurable; arrays and `opening_r` are what functions of `closures` give."""

    n_frames: int
    n_jerks: int  # third differences
    n_silent_jerks: int  # those that lie in silence
    bilabial_minima_mm: np.ndarray
    vowel_minima_mm: np.ndarray
    bilabial_frames_mm: np.ndarray
    vowel_frames_mm: np.ndarray
    closure_lags_ms: np.ndarray
    n_silent: int = 0  # frames of silence
    # Where a camera measured the lips: (N, 4) their gap and width, and the gap and width in mm of the curves.
    measured: np.ndarray = field(default_factory=lambda: np.empty((0, 4)))
    lag_ms: float = float("nan")  # of the lip gap
    mse: float = mean_over("n_frames")  # squared weights
    mse_mouth: float = mean_over("n_frames")
    lip_gap_r: float = mean_over(None)
    width_r: float = mean_over(None)  # of the mouth
    opening_r: float = mean_over(None)
    mod_mm: float = mean_over("n_frames")  # mouth opening difference: mean absolute difference of the lip gap
    lve_mm: float = mean_over("n_frames")  # lip vertex error: the largest distance over the lip vertices, frame by frame
    lve_mm2: float = mean_over("n_frames")  # its square, the variant of CodeTalker's `main/cal_metric.py`
    fdd_mm: float = mean_over(None)  # signed, true minus predicted dynamics of the upper face
    abs_fdd_mm: float = mean_over(None)
    jitter: float = mean_over("n_jerks")  # weight units per s^3
    jitter_silence: float = mean_over("n_silent_jerks")
    rest_error_mm: float = mean_over("n_silent")  # how far the lip gap is from that at rest in silence


def score_utterance(
    pred: np.ndarray,
    phones: Sequence[Phone],
    face: Face,
    *,
    truth: Truth | None = None,
    lips: MeasuredLips | None = None,
    lag_s: float = 0.0,
) -> UtteranceScores:
    """Measures (T, K) predicted weights at `FPS`, of the shape of true ones; closure scores allow for their lateness `lag_s`."""
    gap_mm, width_mm = face.lip_gap_mm(pred), face.mouth_width_mm(pred)
    silent = closures.frame_classes(phones, len(pred)) == SILENCE
    jerks, silent_jerks = metrics.jerks(pred), metrics.silent_jerks(pred, silent)
    found: dict[str, object] = {}
    if lips is not None:
        ours = [np.interp(lips.times_s, np.arange(len(pred)) / FPS, series) for series in (gap_mm, width_mm)]
        found["measured"] = np.stack([lips.gap, lips.width, *ours], axis=1)
    if truth is not None:
        found |= _against_truth(pred, gap_mm, width_mm, truth, face)
    return UtteranceScores(
        len(pred),
        len(jerks),
        len(silent_jerks),
        *closures.closure_minima(gap_mm, phones, lag_s=lag_s),
        *closures.closure_frames(gap_mm, phones, lag_s=lag_s),
        closures.closure_lags_ms(gap_mm, phones),
        opening_r=closures.opening_correlation(gap_mm, phones, lag_s=lag_s),
        jitter=mean(jerks),
        jitter_silence=mean(silent_jerks),
        n_silent=int(silent.sum()),
        rest_error_mm=mean(np.abs(gap_mm[silent] - face.lip_gap_mm(np.zeros((1, pred.shape[1]))))),
        **found,
    )


def _against_truth(pred: np.ndarray, gap_mm: np.ndarray, width_mm: np.ndarray, truth: Truth, face: Face) -> dict[str, float]:
    error = metrics.difference(pred=pred, target=truth.curves)
    farthest_mm = face.lips.distances(error).max(axis=1)
    fdd_mm = truth.upper_face_mm - metrics.upper_face_dynamics(pred, face.upper_face)
    return {
        "mse": mean(error**2),
        "mse_mouth": mean(error[:, MOUTH_COLUMNS] ** 2),
        "lip_gap_r": metrics.correlation(pred=gap_mm, target=truth.gap_mm),
        "width_r": metrics.correlation(pred=width_mm, target=truth.width_mm),
        "lag_ms": metrics.lag_ms(pred=gap_mm, target=truth.gap_mm),
        "mod_mm": mean(np.abs(metrics.difference(pred=gap_mm, target=truth.gap_mm))),
        "lve_mm": mean(farthest_mm),
        "lve_mm2": mean(farthest_mm**2),
        "fdd_mm": fdd_mm,
        "abs_fdd_mm": abs(fdd_mm),
    }
