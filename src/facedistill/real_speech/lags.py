"""How late a tool is: the shift of its curves that fits the phones of training recordings best."""

from collections.abc import Sequence

import numpy as np

from facedistill.formats.animation import Animation
from facedistill.real_speech.gaps import frames_of, lip_gap, opening_r
from facedistill.real_speech.pooled import pooled_auc
from facedistill.real_speech.recordings import Recording
from facedistill.real_speech.settings import LagSettings


def lag_grid_ms(settings: LagSettings) -> np.ndarray:
    """(G,) int ms, the lags that are tried, 0 among them, the smallest first."""
    steps = settings.reach_ms // settings.step_ms
    grid = settings.step_ms * np.arange(-steps, steps + 1)
    return grid[np.argsort(np.abs(grid), kind="stable")]


def fit_lag_ms(recordings: Sequence[Recording], animations: Sequence[Animation], settings: LagSettings) -> int | None:
    """The lag with the best fit, of equal ones the smallest.

    Args:
        recordings: (N,) labelled recordings, never those that are tested on.
        animations: (N,) their curves.
        settings: the lags that are tried, and what fits: "auc", the mean over sources of their AUC, or "r", likewise.

    Returns:
        ms, positive where the curves are late; None where nothing could be measured.
    """
    gaps = [lip_gap(animation.names, animation.weights) for animation in animations]
    fits = []
    for lag_ms in lag_grid_ms(settings):
        by_source: dict[str, list] = {}
        for recording, animation, gap in zip(recordings, animations, gaps, strict=True):
            measure = frames_of if settings.fit == "auc" else opening_r
            by_source.setdefault(recording.row.source, []).append(
                measure(gap, animation.times_s, recording, lag_s=float(lag_ms) / 1000)
            )
        fits.append(_mean([_fit(parts, settings.fit) for parts in by_source.values()]))
    if np.isnan(fits).all():
        return None
    return int(lag_grid_ms(settings)[int(np.nanargmax(fits))])


def _fit(parts: list, kind: str) -> float:
    if kind == "r":
        return _mean(parts)
    return pooled_auc(*(np.concatenate(frames) for frames in zip(*parts, strict=True)))


def _mean(values: Sequence[float]) -> float:
    known = [value for value in values if not np.isnan(value)]
    return float(np.mean(known)) if known else float("nan")
