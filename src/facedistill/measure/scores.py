"""The raw statistics of one utterance, from which `bootstrap` makes tables."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Protocol, Self

import numpy as np

from facedistill.measure import closures, metrics
from facedistill.measure.metrics import Vertices
from facedistill.speech.phones import SILENCE, Phone

_NAN = float("nan")


class Head(Protocol):
    """What a face is made of: see `head.Head`."""

    basis: np.ndarray  # (K, V, 3) mm per unit of weight
    regions: dict[str, np.ndarray]  # "lips" and "upper_face" are used

    def lip_gap_mm(self, weights: np.ndarray) -> np.ndarray: ...
    def mouth_width_mm(self, weights: np.ndarray) -> np.ndarray: ...


@dataclass(frozen=True)
class Face:
    """What curves are measured on: (T, K) weights to (T,) lip gap and mouth width in mm; the vertices of lips and upper face."""

    lip_gap_mm: Callable[[np.ndarray], np.ndarray]
    mouth_width_mm: Callable[[np.ndarray], np.ndarray]
    lips: Vertices
    upper_face: Vertices

    @classmethod
    def of(cls, head: Head) -> Self:
        """That of a head, for as many utterances as there are."""
        regions = (Vertices.of(head.basis, head.regions[name]) for name in ("lips", "upper_face"))
        return cls(head.lip_gap_mm, head.mouth_width_mm, *regions)


@dataclass(frozen=True)
class Truth:
    """The true curves of an utterance, and what every prediction of them is compared with.

    Attributes:
        curves: (T, K) weights.
        gap_mm, width_mm: (T,) their lip gap and mouth width.
        upper_face_mm: see `metrics.upper_face_dynamics`.
    """

    curves: np.ndarray
    gap_mm: np.ndarray
    width_mm: np.ndarray
    upper_face_mm: float

    @classmethod
    def of(cls, curves: np.ndarray, face: Face) -> Self:
        """That of (T, K) curves on a face, for as many predictions as there are."""
        upper_face_mm = metrics.upper_face_dynamics(curves, face.upper_face)
        return cls(curves, face.lip_gap_mm(curves), face.mouth_width_mm(curves), upper_face_mm)


@dataclass(frozen=True, eq=False)
class MeasuredLips:
    """Lips that a camera measured, in frames of speech.

    Attributes:
        times_s: (N,) of the sound.
        gap, width: (N,) of the inner lips and of the mouth, in units of the distance between the outer corners of the eyes.
    """

    times_s: np.ndarray
    gap: np.ndarray
    width: np.ndarray


@dataclass(frozen=True)
class UtteranceScores:
    """One utterance's raw statistics; a float is NaN where it could not be measured (no true curves, no such phones).

    Attributes:
        n_frames: frames scored.
        n_jerks: third differences, of which n_silent_jerks lie in silence.
        bilabial_minima_mm, vowel_minima_mm: see `closures.closure_minima`.
        bilabial_frames_mm, vowel_frames_mm: see `closures.closure_frames`.
        closure_lags_ms: see `closures.closure_lags_ms`.
        opening_r: see `closures.opening_correlation`.
        jitter, jitter_silence: weight units per s^3.
        n_silent, rest_error_mm: frames of silence, and how far the lip gap is from that at rest in them, in the mean.
        measured: (N, 4) where a camera measured the lips: their gap and width, and the gap and width in mm of the curves.
        mse, mse_mouth: squared weights.
        lip_gap_r, width_r, lag_ms, mod_mm: of the lip gap and the mouth's width, against the true curves.
        lve_mm, lve_mm2: lip vertex error, rooted and squared.
        fdd_mm: signed, true minus predicted dynamics; abs_fdd_mm: without the sign.
    """

    n_frames: int
    n_jerks: int
    n_silent_jerks: int
    bilabial_minima_mm: np.ndarray
    vowel_minima_mm: np.ndarray
    bilabial_frames_mm: np.ndarray
    vowel_frames_mm: np.ndarray
    closure_lags_ms: np.ndarray
    opening_r: float
    jitter: float
    jitter_silence: float
    n_silent: int = 0
    rest_error_mm: float = _NAN
    measured: np.ndarray = field(default_factory=lambda: np.empty((0, 4)))
    mse: float = _NAN
    mse_mouth: float = _NAN
    lip_gap_r: float = _NAN
    width_r: float = _NAN
    lag_ms: float = _NAN
    mod_mm: float = _NAN
    lve_mm: float = _NAN
    lve_mm2: float = _NAN
    fdd_mm: float = _NAN
    abs_fdd_mm: float = _NAN


def score_utterance(
    pred: np.ndarray,
    phones: Sequence[Phone],
    *,
    fps: float,
    face: Face,
    truth: Truth | None = None,
    lips: MeasuredLips | None = None,
    lag_s: float = 0.0,
) -> UtteranceScores:
    """Measures one utterance.

    Args:
        pred: (T, K) predicted weights at `fps`.
        phones: its timed phones (IPA); may be empty.
        fps: frames per second.
        face: what the curves are measured on.
        truth: the true curves at `fps`, where known.
        lips: as a camera measured them, where it did.
        lag_s: lateness of the prediction that the closure scores compensate.

    Raises:
        ValueError: `pred` and the true curves differ in shape.
    """
    gap_mm, timing = face.lip_gap_mm(pred), {"fps": fps, "lag_s": lag_s}
    silent = closures.frame_classes(phones, len(pred), fps=fps) == SILENCE
    jerks, silent_jerks = metrics.jerks(pred, fps=fps), metrics.silent_jerks(pred, silent, fps=fps)
    rest_mm = face.lip_gap_mm(np.zeros((1, pred.shape[1])))
    return UtteranceScores(
        len(pred),
        len(jerks),
        len(silent_jerks),
        *closures.closure_minima(gap_mm, phones, **timing),
        *closures.closure_frames(gap_mm, phones, **timing),
        closures.closure_lags_ms(gap_mm, phones, fps=fps),
        opening_r=closures.opening_correlation(gap_mm, phones, **timing),
        jitter=_mean(jerks),
        jitter_silence=_mean(silent_jerks),
        n_silent=int(silent.sum()),
        rest_error_mm=_mean(np.abs(gap_mm[silent] - rest_mm)),
        **({} if lips is None else {"measured": _beside(lips, gap_mm, face.mouth_width_mm(pred), fps=fps)}),
        **({} if truth is None else _against_truth(pred, truth, fps=fps, face=face)),
    )


def _beside(lips: MeasuredLips, gap_mm: np.ndarray, width_mm: np.ndarray, *, fps: float) -> np.ndarray:
    frames_s = np.arange(len(gap_mm)) / fps
    ours = [np.interp(lips.times_s, frames_s, series) for series in (gap_mm, width_mm)]
    return np.stack([lips.gap, lips.width, *ours], axis=1)


def _against_truth(pred: np.ndarray, truth: Truth, *, fps: float, face: Face) -> dict[str, float]:
    """The scores that need true curves, by field of `UtteranceScores`."""
    target, gaps_mm = truth.curves, {"pred": face.lip_gap_mm(pred), "target": truth.gap_mm}
    distances_mm = metrics.lip_vertex_distances(pred=pred, target=target, lips=face.lips)
    fdd_mm = truth.upper_face_mm - metrics.upper_face_dynamics(pred, face.upper_face)
    mouth = metrics.MOUTH_COLUMNS
    return {
        "mse": metrics.mse(pred=pred, target=target),
        "mse_mouth": metrics.mse(pred=pred[:, mouth], target=target[:, mouth]),
        "lip_gap_r": metrics.correlation(**gaps_mm),
        "width_r": metrics.correlation(pred=face.mouth_width_mm(pred), target=truth.width_mm),
        "lag_ms": metrics.lag_ms(**gaps_mm, fps=fps),
        "mod_mm": metrics.mod_mm(**gaps_mm),
        "lve_mm": _mean(distances_mm),
        "lve_mm2": _mean(distances_mm**2),
        "fdd_mm": fdd_mm,
        "abs_fdd_mm": abs(fdd_mm),
    }


def _mean(values: np.ndarray) -> float:
    return float(values.mean()) if values.size else _NAN
