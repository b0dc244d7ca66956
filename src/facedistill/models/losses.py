"""Losses of teacher and students: of curves in units of their own spread, so that small ones count; of the lips in cm."""

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

from facedistill.models.dataset import UNKNOWN
from facedistill.models.filterbank import full_precision
from facedistill.rig.controls import Controls

MM_PER_UNIT = 10.0  # the lip gap counts in centimetres, about its spread in speech
HALF_CLOSED_MM, SOFTNESS_MM = 1.5, 0.7  # neutral lips, 0.8 mm apart, count as closed; the closest vowels, 3 mm, do not


def reconstruction(*, pred: Tensor, target: Tensor, scale: Tensor) -> Tensor:
    """Mean squared error of (B, T, K) curves in units of `scale` (K,)."""
    return ((pred - target) / scale).square().mean()


def closed_reconstruction(*, pred: Tensor, target: Tensor, scale: Tensor, controls: Controls, weight: float) -> Tensor:
    """`reconstruction` in which frames of closed lips count `weight` times."""
    weights = 1 + (weight - 1) * _closed(target, controls)
    return (((pred - target) / scale).square() * weights[..., None]).mean() / weights.mean()


def velocity(*, pred: Tensor, target: Tensor, scale: Tensor) -> Tensor:
    """The same for first differences over time."""
    return reconstruction(pred=pred.diff(dim=1), target=target.diff(dim=1), scale=scale)


def consistency(*, pred: Tensor, scale: Tensor) -> Tensor:
    """Mean squared error between the (2 B, T, K) curves of two degradations of the same crops, the second behind the first."""
    return reconstruction(pred=pred[: len(pred) // 2], target=pred[len(pred) // 2 :], scale=scale)


def lip_gap(*, pred: Tensor, target: Tensor, controls: Controls) -> Tensor:
    """Mean squared error of the lip gap (cm^2), a dot product with the curves; ours: the gap is what lip-sync is seen by."""
    return ((_gap_mm(pred, controls) - _gap_mm(target, controls)) / MM_PER_UNIT).square().mean()


@full_precision  # at a closure large moves of the jaw cancel, which 8 bits of a product would hide
def lip_vertex_loss(*, pred: Tensor, target: Tensor, controls: Controls) -> Tensor:
    """Mean squared distance of the lips' vertices from where `target` has them (cm^2): a quadratic form of the errors; ours."""
    errors = (pred.float() - target.float()) / MM_PER_UNIT
    return ((errors @ torch.tensor(controls.lips.products_mm2).to(errors)) * errors).sum(dim=2).mean()


def closure(*, pred: Tensor, target: Tensor, controls: Controls) -> Tensor:
    """Mean squared error of a soft closedness; ours: in errors of the gap a closure missed by 2 mm costs next to nothing."""
    return (_closed(pred, controls) - _closed(target, controls)).square().mean()


@full_precision
def _gap_mm(curves: Tensor, controls: Controls) -> Tensor:
    """(B, T, K) curves -> (B, T) lip gap."""
    curves = curves.float()
    return controls.lips.gap_neutral_mm + curves @ torch.tensor(controls.lips.gap_mm).to(curves)


def _closed(curves: Tensor, controls: Controls) -> Tensor:
    return torch.sigmoid((HALF_CLOSED_MM - _gap_mm(curves, controls)) / SOFTNESS_MM)


def phones(*, scores: Tensor, classes: Tensor) -> Tensor:
    """Cross-entropy of (B, T, classes) scores over known (B, T) classes, 0 where none is; ours: it speeds learning."""
    known = classes != UNKNOWN
    return cross_entropy(scores[known], classes[known], reduction="sum") / known.sum().clamp(min=1)


def feature(*, pred: Sequence[Tensor], target: Sequence[Tensor]) -> Tensor:
    """Mean squared error of (B, C, L) activations, each layer in units of the teacher's own spread (paper, stage 2)."""
    terms = [(p - t).square().mean() / t.var().clamp(min=1e-6) for p, t in zip(pred, target, strict=True)]
    return torch.stack(terms).mean()
