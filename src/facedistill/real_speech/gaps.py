"""The lip gap of ARKit curves and what one recording's gaps say of its phones; pure numpy.

The definitions are those of `measure.closures`, but in times and not in frames: frame t of a series is shown at times_s[t], a lag
shifts all of them, and nothing is rounded. So they hold for files of any tool, at any frame rate.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from facedistill.face.arkit import N_CURVES
from facedistill.face.phones import Phone
from facedistill.measure.closures import CLOSURE_MARGIN_S, VOWEL_INSET_S, closure_lags_ms
from facedistill.measure.metrics import jerks, lip_gap_correlation, silent_jerks
from facedistill.real_speech.recordings import BILABIAL, CLASSES, OPENING, SILENCE, VOWEL, Recording

# The vertical gap between the inner lips at mid-lip, per unit of an ARKit weight, measured on ICT-FaceKit, whose unit is about a
# centimetre. Its lips at rest are GAP_NEUTRAL apart. Curves that are not named do not part the lips.
GAP = {
    "jawOpen": 3.276, "mouthClose": -3.894, "mouthFunnel": 1.373, "mouthPucker": -0.052, "mouthRollLower": -0.375,
    "mouthRollUpper": 0.182, "mouthShrugLower": -0.687, "mouthShrugUpper": 0.526, "mouthPressLeft": -0.127,
    "mouthPressRight": -0.127, "mouthLowerDownLeft": 0.338, "mouthLowerDownRight": 0.338, "mouthUpperUpLeft": 0.355,
    "mouthUpperUpRight": 0.355, "noseSneerLeft": 0.311, "noseSneerRight": 0.311, "jawForward": 0.129,
}  # fmt: skip
GAP_NEUTRAL = 0.076
MM_PER_UNIT = 10.0


@dataclass(frozen=True, eq=False)
class Scores:
    """One recording's raw statistics; gaps are in units of `GAP`, without `GAP_NEUTRAL`.

    Attributes:
        bilabial, vowel: (N,) gaps of all frames inside /p b m/ and inside vowels.
        closures: (N,) the smallest gap of every /p b m/, 20 ms of grace at both ends.
        interiors: (N,) the smallest gap of every vowel, 30 ms in from both ends.
        r: correlation of the gap with the coarse opening of the phones; NaN where one of them is constant.
        closure_lags_ms: (N,) when the lips are closest, relative to the centre of the label; see `measure.closures`.
        jitter, jitter_silence: sums of |third difference| * fps^3 over time, means over the ARKit 52, in weights per s^3.
        n_jerks, n_silent_jerks: of how many.
    """

    bilabial: np.ndarray
    vowel: np.ndarray
    closures: np.ndarray
    interiors: np.ndarray
    r: float
    closure_lags_ms: np.ndarray
    jitter: float
    jitter_silence: float
    n_jerks: int
    n_silent_jerks: int


def lip_gap(names: Sequence[str], weights: np.ndarray) -> np.ndarray:
    """The gap of curves by their names: (T, K) weights -> (T,) float64 in units of `GAP`, 0 for lips at rest."""
    column = {name: index for index, name in enumerate(names)}
    total = np.zeros(len(weights))
    for name, slope in GAP.items():
        if name in column:
            total = total + slope * np.asarray(weights[:, column[name]], np.float64)
    return total


def classes_at(recording: Recording, times_s: np.ndarray) -> np.ndarray:
    """The class of the phone at every time, an index of `CLASSES`: (T,) int; silence where nothing is labelled."""
    if not len(recording.starts_s):
        return np.full(len(times_s), CLASSES.index(SILENCE))
    phone = np.searchsorted(recording.starts_s, times_s, side="right") - 1
    inside = (phone >= 0) & (times_s < recording.ends_s[phone])
    return np.where(inside, recording.classes[phone], CLASSES.index(SILENCE))


def frames_of(gap: np.ndarray, times_s: np.ndarray, recording: Recording, *, lag_s: float = 0.0) -> tuple[np.ndarray, np.ndarray]:
    """Gaps of all frames inside /p b m/ and of all inside vowels: (T,) gap -> two (N,)."""
    classes = classes_at(recording, times_s - lag_s)
    return gap[classes == CLASSES.index(BILABIAL)], gap[classes == CLASSES.index(VOWEL)]


def minima_of(gap: np.ndarray, times_s: np.ndarray, recording: Recording, *, lag_s: float = 0.0) -> tuple[np.ndarray, np.ndarray]:
    """The smallest gap of every /p b m/ and of every vowel's interior: two (N,); intervals without a frame are left out."""
    shifted = times_s - lag_s
    found: dict[str, list[float]] = {BILABIAL: [], VOWEL: []}
    for start_s, end_s, number in zip(recording.starts_s, recording.ends_s, recording.classes, strict=True):
        kind = CLASSES[number]
        if kind in found:
            margin_s = CLOSURE_MARGIN_S if kind == BILABIAL else -VOWEL_INSET_S
            first = np.searchsorted(shifted, start_s - margin_s, side="left")
            last = np.searchsorted(shifted, end_s + margin_s, side="right")
            if first < last:
                found[kind].append(gap[first:last].min())
    return np.array(found[BILABIAL], np.float64), np.array(found[VOWEL], np.float64)


def opening_r(gap: np.ndarray, times_s: np.ndarray, recording: Recording, *, lag_s: float = 0.0) -> float:
    """Pearson correlation of the gap with `OPENING` of the phones; NaN for under 6 frames, or where one does not vary."""
    return lip_gap_correlation(pred=gap, target=OPENING[classes_at(recording, times_s - lag_s)])


def score(
    names: Sequence[str], weights: np.ndarray, times_s: np.ndarray, recording: Recording, *, fps: float, lag_s: float = 0.0
) -> Scores:
    """Measures one recording.

    Args:
        names: of the K curves; missing ones of the ARKit 52 rest.
        weights: (T, K).
        times_s: (T,) seconds, ascending.
        fps: frames per second.
        lag_s: how late the curves are taken to be; jitter and the lags of closures do not depend on it.
    """
    gap, still = lip_gap(names, weights), classes_at(recording, times_s) == CLASSES.index(SILENCE)
    share = len(names) / N_CURVES
    third, third_silent = jerks(weights, fps=fps) * share, silent_jerks(weights, still, fps=fps) * share
    where = {"lag_s": lag_s}
    closing = [
        Phone(start_s, end_s, "p")
        for start_s, end_s, number in zip(recording.starts_s, recording.ends_s, recording.classes, strict=True)
        if CLASSES[number] == BILABIAL
    ]
    return Scores(
        *frames_of(gap, times_s, recording, **where),
        *minima_of(gap, times_s, recording, **where),
        opening_r(gap, times_s, recording, **where),
        closure_lags_ms(MM_PER_UNIT * gap, closing, fps=fps),
        float(third.sum()),
        float(third_silent.sum()),
        len(third),
        len(third_silent),
    )
