"""Losses of teacher and students. All compare curves in units of their own spread, so that small but vital ones count."""

from collections.abc import Sequence

import torch
from torch import Tensor

from facedistill.face.head import head

MM_PER_UNIT = 10.0  # the lip gap counts in centimetres, about its spread in speech


def reconstruction(*, pred: Tensor, target: Tensor, scale: Tensor) -> Tensor:
    """Mean squared error of (B, T, K) curves in units of `scale` (K,)."""
    return ((pred - target) / scale).square().mean()


def velocity(*, pred: Tensor, target: Tensor, scale: Tensor) -> Tensor:
    """The same for first differences over time."""
    return ((pred.diff(dim=1) - target.diff(dim=1)) / scale).square().mean()


def lip_gap(*, pred: Tensor, target: Tensor) -> Tensor:
    """Mean squared error of the lip gap (cm^2), a dot product with the curves; ours: closures decide lip-sync."""
    functional = torch.from_numpy(head().gap_mm).to(pred) / MM_PER_UNIT
    return ((pred - target) @ functional).square().mean()


def feature(*, pred: Sequence[Tensor], target: Sequence[Tensor]) -> Tensor:
    """Mean squared error of (B, C, L) activations, each layer in units of the guide's own spread (paper, stage 2)."""
    terms = [(p - t).square().mean() / t.var().clamp(min=1e-6) for p, t in zip(pred, target, strict=True)]
    return torch.stack(terms).mean()
