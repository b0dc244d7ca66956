"""Do the lips close where they should: gaps, (T,) in mm at `FPS`, against timed phones.

The definitions are ours: the paper has PBM (lips close on /p b m/) without one. What cannot be measured is NaN, or empty.
"""

from collections.abc import Sequence

import numpy as np

from facedistill.measure.metrics import correlation
from facedistill.rig.curves import FPS
from facedistill.speech.phones import Phone, classify

CLOSURE_MARGIN_S = 0.020  # a closure may lead or trail its label by this much
VOWEL_INSET_S = 0.030  # a vowel is judged on its interior, this far in from both ends
CLOSURE_SEARCH_S = 0.100  # how far from its label the moment of a closure is looked for
CLOSED_GAP_MM = 1.0  # lips this close look closed; at rest they are 0.8 mm apart
FALSE_CLOSURE_RATE = 0.05  # the share of vowels that may look closed when PBM is told: a mouth that never opens has PBM 1
PHONE_OPENING = {"silence": 0.05, "bilabial": 0.0, "labiodental": 0.15, "other": 0.3, "vowel": 0.8}  # coarse, 0 closed to 1 open
LAGS_MS = np.array(sorted(range(-300, 301, 10), key=abs))  # that are tried, the smallest first
_LABEL_ROUNDING_S = 1e-6  # phone files hold 6 decimals: a frame this close to a boundary is on it


def frame_classes(phones: Sequence[Phone], n_frames: int, *, lag_s: float = 0.0) -> np.ndarray:
    """(T,) str as `phones.classify` names them: the phone class at t / FPS - lag_s of each frame t, "silence" without label."""
    classes = np.full(n_frames, "silence", dtype="<U11")
    for phone in phones:
        classes[_first_frame(phone.start_s + lag_s) : _first_frame(phone.end_s + lag_s)] = classify(phone.label)
    return classes


def opening_correlation(gap_mm: np.ndarray, phones: Sequence[Phone], *, lag_s: float = 0.0) -> float:
    """Pearson correlation of a gap series (T,) with the coarse opening `PHONE_OPENING` of its phones: needs no true curves."""
    opening = [PHONE_OPENING[name] for name in frame_classes(phones, len(gap_mm), lag_s=lag_s)]
    return correlation(pred=gap_mm, target=np.array(opening))


def closure_frames(gap_mm: np.ndarray, phones: Sequence[Phone], *, lag_s: float = 0.0) -> tuple[np.ndarray, np.ndarray]:
    """Gaps of all frames inside /p b m/ and of all frames inside vowels, for `closure_auc`: two (N,) arrays in mm."""
    classes = frame_classes(phones, len(gap_mm), lag_s=lag_s)
    return gap_mm[classes == "bilabial"], gap_mm[classes == "vowel"]


def closure_minima(gap_mm: np.ndarray, phones: Sequence[Phone], *, lag_s: float = 0.0) -> tuple[np.ndarray, np.ndarray]:
    """The smallest gap of every bilabial, 20 ms of grace at both ends, and of every vowel's interior, 30 ms in from both ends.

    (N,) and (M,) float64 mm. Intervals without a frame of the clip are left out, such as vowels of less than 60 ms, which
    neighbouring consonants half close.
    """
    reaches_s, minima = {"bilabial": CLOSURE_MARGIN_S, "vowel": -VOWEL_INSET_S}, {"bilabial": [], "vowel": []}
    for phone in phones:
        kind = classify(phone.label)
        if kind in minima:
            start_s, end_s = phone.start_s + lag_s - reaches_s[kind], phone.end_s + lag_s + reaches_s[kind]
            inside = gap_mm[_first_frame(start_s) : _last_frame(end_s) + 1]
            minima[kind] += [inside.min()] if len(inside) else []
    return np.array(minima["bilabial"], np.float64), np.array(minima["vowel"], np.float64)


def closure_lags_ms(gap_mm: np.ndarray, phones: Sequence[Phone]) -> np.ndarray:
    """When the lips are closest for every bilabial, relative to the centre of its label: (N,) ms, positive where late.

    The minimum (of several equal ones the middle) is looked for up to 100 ms outside the label; one at the edge of that window
    belongs to no closure and is left out.
    """
    lags = []
    for phone in phones:
        first = _first_frame(phone.start_s - CLOSURE_SEARCH_S)
        window = gap_mm[first : _last_frame(phone.end_s + CLOSURE_SEARCH_S) + 1]
        if classify(phone.label) != "bilabial" or not len(window):
            continue
        lowest = np.flatnonzero(window == window.min())
        if lowest[0] > 0 and lowest[-1] < len(window) - 1:
            lags.append(1000 * ((first + lowest.mean()) / FPS - (phone.start_s + phone.end_s) / 2))
    return np.array(lags, np.float64)


def closure_auc(bilabial_mm: np.ndarray, vowel_mm: np.ndarray) -> float:
    """The chance that one of (N,) bilabial gaps is under one of (M,) vowel gaps, ties counting half (area under ROC)."""
    if not len(bilabial_mm) or not len(vowel_mm):
        return float("nan")
    return float(vowels_above(bilabial_mm, vowel_mm).sum() / (len(bilabial_mm) * len(vowel_mm)))


def vowels_above(bilabial_mm: np.ndarray, vowel_mm: np.ndarray) -> np.ndarray:
    """(N,) float64: how many of (M,) vowel gaps lie above each of (N,) bilabial gaps, ties counting half."""
    ascending = np.sort(vowel_mm)
    under, at_most = (np.searchsorted(ascending, bilabial_mm, side=side) for side in ("left", "right"))
    return len(ascending) - (under + at_most) / 2


def fit_lag_ms(gaps_mm: Sequence[np.ndarray], phones: Sequence[list[Phone]], sources: Sequence[str]) -> int | None:
    """How late a system is in ms: the lag with the best AUC of closed lips, in the mean over sources; of equal ones the smallest.

    It is fitted on N labelled recordings, never those that are tested on; None where nothing could be measured.
    """
    fits = []
    for lag_ms in LAGS_MS:
        by_source: dict[str, list] = {}
        for gap_mm, labels, source in zip(gaps_mm, phones, sources, strict=True):
            by_source.setdefault(source, []).append(closure_frames(gap_mm, labels, lag_s=lag_ms / 1000))
        aucs = [closure_auc(*map(np.concatenate, zip(*frames, strict=True))) for frames in by_source.values()]
        fits.append(np.nanmean(aucs) if not np.isnan(aucs).all() else np.nan)
    return None if np.isnan(fits).all() else int(LAGS_MS[int(np.nanargmax(fits))])


def _first_frame(time_s: float) -> int:
    return max(int(np.ceil((time_s - _LABEL_ROUNDING_S) * FPS)), 0)


def _last_frame(time_s: float) -> int:
    return max(int(np.floor((time_s + _LABEL_ROUNDING_S) * FPS)), -1)
