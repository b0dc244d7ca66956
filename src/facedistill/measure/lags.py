"""How late a system is: the shift of its curves that tells closed lips from vowels best on training recordings."""

from collections.abc import Sequence

import numpy as np

from facedistill.measure.closures import closure_auc, closure_frames
from facedistill.rig.curves import FPS
from facedistill.speech.phones import Phone

STEP_MS, REACH_MS = 10, 300
LAGS_MS = np.array(sorted(range(-REACH_MS, REACH_MS + 1, STEP_MS), key=abs))  # that are tried, the smallest first


def fit_lag_ms(gaps_mm: Sequence[np.ndarray], phones: Sequence[list[Phone]], sources: Sequence[str]) -> int | None:
    """The lag with the best AUC of closed lips, in the mean over sources; of equal ones the smallest.

    Args:
        gaps_mm: (T,) lip gap at 60 fps of N labelled recordings, never those that are tested on.
        phones: their timed phones (IPA).
        sources: (N,) where they are from.

    Returns:
        ms, positive where the curves are late; None where nothing could be measured.
    """
    fits = [_mean_auc(gaps_mm, phones, sources, lag_ms / 1000) for lag_ms in LAGS_MS]
    return None if np.isnan(fits).all() else int(LAGS_MS[int(np.nanargmax(fits))])


def _mean_auc(gaps_mm: Sequence[np.ndarray], phones: Sequence[list[Phone]], sources: Sequence[str], lag_s: float) -> float:
    by_source: dict[str, list] = {}
    for gap_mm, labels, source in zip(gaps_mm, phones, sources, strict=True):
        by_source.setdefault(source, []).append(closure_frames(gap_mm, labels, fps=FPS, lag_s=lag_s))
    aucs = [closure_auc(*map(np.concatenate, zip(*frames, strict=True))) for frames in by_source.values()]
    return float(np.nanmean(aucs)) if not np.isnan(aucs).all() else float("nan")
