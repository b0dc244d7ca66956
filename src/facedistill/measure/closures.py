"""Do the lips close where they should: gaps against timed phones, PBM accuracy, false closures, closure AUC; pure numpy.

The paper reports PBM accuracy (lips close on /p b m/) without a formula: the definitions are ours. PBM never stands alone: a
mouth that never opens has PBM 1 and false closures 1. Gaps are series in mm, (T,), frame t shown at t / fps seconds. What cannot
be measured (no such phone, a clip too short) is NaN or an empty array, never an error.
"""

import numpy as np
import scipy

from facedistill.face.phones import Phone, classify, is_open_vowel
from facedistill.measure.metrics import lip_gap_correlation

CLOSURE_MARGIN_S = 0.020  # a closure may lead or trail its label by this much
VOWEL_INSET_S = 0.030  # a vowel is judged on its interior, this far in from both ends
CLOSURE_SEARCH_S = 0.100  # how far from its label the moment of a closure is looked for
CLOSED_GAP_MM = 1.0  # lips this close look closed; at rest they are 0.8 mm apart
FALSE_CLOSURE_RATE = 0.05  # the share of vowels that may look closed when PBM is reported
PHONE_OPENING = {"silence": 0.05, "bilabial": 0.0, "labiodental": 0.15, "other": 0.3, "vowel": 0.8}  # coarse, 0 closed to 1 open

_LABEL_ROUNDING_S = 1e-6  # phone files hold 6 decimals: a frame this close to a boundary is on it


def frame_classes(phones: list[Phone], n_frames: int, *, fps: float, lag_s: float = 0.0) -> np.ndarray:
    """The phone class at every frame: (T,) str as `phones.classify` names them, "silence" where no phone is labelled.

    `lag_s` compensates curves that are late by so much: frame t is judged by the phone at t / fps - lag_s.
    """
    classes = np.full(n_frames, "silence", dtype="<U11")
    for phone in phones:
        first = _first_frame(phone.start_s + lag_s, fps)
        classes[first : _first_frame(phone.end_s + lag_s, fps)] = classify(phone.label)
    return classes


def opening_correlation(gap_mm: np.ndarray, phones: list[Phone], *, fps: float, lag_s: float = 0.0) -> float:
    """Pearson correlation of a gap series (T,) with the coarse opening `PHONE_OPENING` of its phones: needs no true curves."""
    opening = [PHONE_OPENING[name] for name in frame_classes(phones, len(gap_mm), fps=fps, lag_s=lag_s)]
    return lip_gap_correlation(pred=gap_mm, target=np.array(opening))


def closure_frames(gap_mm: np.ndarray, phones: list[Phone], *, fps: float, lag_s: float = 0.0) -> tuple[np.ndarray, np.ndarray]:
    """Gaps of all frames inside /p b m/ and of all frames inside vowels, for `closure_auc`: two (N,) float64 arrays in mm."""
    gap_mm = np.asarray(gap_mm, np.float64)
    classes = frame_classes(phones, len(gap_mm), fps=fps, lag_s=lag_s)
    return gap_mm[classes == "bilabial"], gap_mm[classes == "vowel"]


def closure_minima(
    gap_mm: np.ndarray,
    phones: list[Phone],
    *,
    fps: float,
    lag_s: float = 0.0,
    short_vowels: bool = False,
    open_vowels_only: bool = False,
) -> tuple[np.ndarray, np.ndarray]:
    """The smallest gap of every bilabial, 20 ms of grace at both ends, and of every vowel's interior, 30 ms in from both ends.

    Args:
        gap_mm: (T,) mm at `fps`.
        phones: timed phones of the utterance.
        fps: frames per second.
        lag_s: lateness of the curves to compensate.
        short_vowels: judge a vowel whose interior holds no frame by the frame nearest its centre instead of leaving it out; in
            fast speech that is up to half of all vowels, which neighbouring consonants half close.
        open_vowels_only: leave out close and mid vowels, in which a small gap may be right.

    Returns:
        ((N,) of the bilabials, (M,) of the vowels) float64 mm; intervals outside the clip are left out.
    """
    gap_mm = np.asarray(gap_mm, np.float64)
    bilabials, vowels = [], []
    for phone in phones:
        start_s, end_s, kind = phone.start_s + lag_s, phone.end_s + lag_s, classify(phone.label)
        if kind == "bilabial":
            bilabials.append((_first_frame(start_s - CLOSURE_MARGIN_S, fps), _last_frame(end_s + CLOSURE_MARGIN_S, fps)))
        elif kind == "vowel" and (not open_vowels_only or is_open_vowel(phone.label)):
            first, last = _first_frame(start_s + VOWEL_INSET_S, fps), _last_frame(end_s - VOWEL_INSET_S, fps)
            if last < first and short_vowels:
                first = last = round((start_s + end_s) / 2 * fps)
            vowels.append((first, last))
    return _minima(gap_mm, bilabials), _minima(gap_mm, vowels)


def closure_lags_ms(gap_mm: np.ndarray, phones: list[Phone], *, fps: float) -> np.ndarray:
    """When the lips are closest for every bilabial, relative to the centre of its label: (N,) ms, positive where late.

    The minimum (of several equal ones the middle) is looked for up to 100 ms outside the label; one at the edge of that window
    belongs to no closure and is left out.
    """
    gap_mm = np.asarray(gap_mm, np.float64)
    lags = []
    for phone in phones:
        first = max(_first_frame(phone.start_s - CLOSURE_SEARCH_S, fps), 0)
        window = gap_mm[first : max(_last_frame(phone.end_s + CLOSURE_SEARCH_S, fps) + 1, 0)]
        if classify(phone.label) != "bilabial" or len(window) < 3:
            continue
        lowest = np.flatnonzero(window == window.min())
        if lowest[0] > 0 and lowest[-1] < len(window) - 1:
            lags.append(1000 * ((first + lowest.mean()) / fps - (phone.start_s + phone.end_s) / 2))
    return np.array(lags, np.float64)


def pbm_at_threshold(
    bilabial_mm: np.ndarray, vowel_mm: np.ndarray, threshold_mm: float | np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """PBM accuracy and false closures, the shares of bilabial and of vowel minima at or under a threshold.

    Args:
        bilabial_mm: (N,) minima from `closure_minima`.
        vowel_mm: (M,) minima from `closure_minima`.
        threshold_mm: a threshold or an array of them, in mm.

    Returns:
        (PBM, false closures), each of the shape of `threshold_mm`, in [0, 1], NaN where there are no intervals.
    """
    return _share_under(bilabial_mm, threshold_mm), _share_under(vowel_mm, threshold_mm)


def pbm_at_false_closures(bilabial_mm: np.ndarray, vowel_mm: np.ndarray, rate: float = FALSE_CLOSURE_RATE) -> tuple[float, float]:
    """PBM accuracy at the threshold that is the `rate` quantile of the vowel minima (linear between order statistics).

    False closures are then at most rate + 1 / M. Where more vowels than that share the quantile exactly, only gaps strictly
    under it count as closed: a mouth that never moves gets 0, not 1.

    Returns:
        (PBM in [0, 1], threshold in mm); (NaN, NaN) without vowels, PBM NaN without bilabials.
    """
    vowel_mm = np.asarray(vowel_mm, np.float64)
    if not vowel_mm.size:
        return float("nan"), float("nan")
    threshold = float(np.quantile(vowel_mm, rate))
    if np.count_nonzero(vowel_mm <= threshold) > int(rate * (len(vowel_mm) - 1)) + 1:
        threshold = float(np.nextafter(threshold, -np.inf))
    return float(_share_under(bilabial_mm, threshold)), threshold


def closure_auc(bilabial_mm: np.ndarray, vowel_mm: np.ndarray) -> float:
    """The chance that a bilabial gap is smaller than a vowel gap, ties counting half (area under the ROC curve, by ranks).

    Ours is over frames, as `closure_frames` gives them; minima work as well. NaN when either is empty.
    """
    n, m = len(bilabial_mm), len(vowel_mm)
    if not n or not m:
        return float("nan")
    ranks = scipy.stats.rankdata(np.concatenate([bilabial_mm, vowel_mm]))
    return 1 - float((ranks[:n].sum() - n * (n + 1) / 2) / (n * m))


def _first_frame(time_s: float, fps: float) -> int:
    """The first frame at or after a time, never under 0."""
    return max(int(np.ceil((time_s - _LABEL_ROUNDING_S) * fps)), 0)


def _last_frame(time_s: float, fps: float) -> int:
    """The last frame at or before a time, -1 when there is none."""
    return max(int(np.floor((time_s + _LABEL_ROUNDING_S) * fps)), -1)


def _minima(gap_mm: np.ndarray, windows: list[tuple[int, int]]) -> np.ndarray:
    """Minimum over each window (first, last frame, both included); windows without a frame of the clip are left out."""
    bounds = np.clip(np.array(windows, int).reshape(-1, 2) + (0, 1), 0, len(gap_mm))
    bounds = bounds[bounds[:, 0] < bounds[:, 1]]
    if not len(bounds):
        return np.empty(0)
    # reduceat takes pairs [start, stop) at even places; the infinite extra frame makes a stop at the end of the clip legal
    return np.minimum.reduceat(np.append(gap_mm, np.inf), bounds.ravel())[::2]


def _share_under(minima_mm: np.ndarray, threshold_mm: float | np.ndarray) -> np.ndarray:
    if not len(minima_mm):
        return np.full(np.shape(threshold_mm), np.nan)
    return np.searchsorted(np.sort(minima_mm), threshold_mm, side="right") / len(minima_mm)
