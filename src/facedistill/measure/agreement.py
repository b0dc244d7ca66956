"""How well a student does what its teacher does, whatever moves the face: on any controls, without a head."""

from collections.abc import Sequence

import numpy as np

from facedistill.measure.bootstrap import resamples, summary
from facedistill.rig.curves import FPS

BLOCK_S = 10.0  # what is resampled: takes may be few and long
MOVING_RATIO = 0.02  # of the spread of the control that moves most; what moves less is still
ROUNDING = 1e-9  # of a variance: less is none


def agreement(
    pairs: Sequence[tuple[np.ndarray, np.ndarray]], scale: np.ndarray, *, rng: np.random.Generator, n_boot: int = 500
) -> dict[str, dict[str, float]]:
    """The mean correlation of the controls that move, and the share of all their variance that the student explains (R^2).

    Args:
        pairs: student and teacher, (T, K) each, of every take.
        scale: (K,) what a unit of each control is worth: 1 for curves, the length of its component for a mesh.
        rng: draws the resamples.
        n_boot: resamples of blocks of `BLOCK_S`.

    Returns:
        {measure: {"value", "low", "high", "n"}}: 95 % intervals, n blocks.
    """
    step = round(BLOCK_S * FPS)
    blocks = [[part[first : first + step] for part in pair] for pair in pairs for first in range(0, len(pair[1]), step)]
    moments = np.stack([_moments(pred * scale, target * scale) for pred, target in blocks])  # (N, 6, K)
    counts = resamples(len(moments), rng=rng, n_boot=n_boot)
    found = dict(zip(("correlation", "explained"), _measured(np.einsum("rn,nmk->rmk", counts, moments)), strict=True))
    return {name: summary(values) | {"n": len(moments)} for name, values in found.items()}


def _moments(pred: np.ndarray, target: np.ndarray) -> np.ndarray:
    """(6, K) sums over frames: of ones, both, their squares and their product."""
    pred, target = pred.astype(np.float64), target.astype(np.float64)
    parts = (np.ones_like(pred), pred, target, pred**2, target**2, pred * target)
    return np.stack([part.sum(axis=0) for part in parts])


def _measured(sums: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(R, 6, K) sums -> (R,) mean correlation and (R,) variance explained."""
    count, pred, target, pred2, target2, product = np.moveaxis(sums, 1, 0)
    variance_p, variance_t = pred2 - pred**2 / count, target2 - target**2 / count
    covariance = product - pred * target / count
    moves = variance_t > MOVING_RATIO**2 * variance_t.max(axis=1, keepdims=True)
    with np.errstate(invalid="ignore", divide="ignore"):
        # What a student never moves does not follow: its correlation is 0.
        r = np.where(variance_p > ROUNDING * variance_t, covariance / np.sqrt(variance_p * variance_t), 0.0)
        correlation = np.where(moves, r, 0.0).sum(axis=1) / moves.sum(axis=1)
        explained = 1 - (pred2 - 2 * product + target2).sum(axis=1) / variance_t.sum(axis=1)
    return correlation, explained
