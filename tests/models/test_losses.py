import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from facedistill.models.dataset import UNKNOWN
from facedistill.models.losses import (
    HALF_CLOSED_MM,
    SOFTNESS_MM,
    closed_reconstruction,
    closure,
    consistency,
    feature,
    lip_gap,
    lip_vertex_loss,
    phones,
    reconstruction,
    velocity,
)
from facedistill.rig.arkit import INDEX
from facedistill.rig.controls import Controls, Lips, arkit
from facedistill.rig.head import head

B, T, K = 2, 5, 52


def curves(seed: int) -> torch.Tensor:
    return torch.from_numpy(np.random.default_rng(seed).random((B, T, K), dtype=np.float32))


def test_reconstruction_is_the_naive_loop():
    pred, target, scale = curves(0), curves(1), curves(2)[0, 0] + 0.05
    errors = [((pred[b, t, k] - target[b, t, k]) / scale[k]).item() ** 2 for b in range(B) for t in range(T) for k in range(K)]
    assert reconstruction(pred=pred, target=target, scale=scale).item() == pytest.approx(np.mean(errors), rel=1e-5)


def test_closed_frames_count_more_often():
    """Lips of one control: closed in the first frame, far apart in the second."""
    lips = Lips(np.array([100.0], np.float32), 0.0, np.zeros((1, 1), np.float32))
    controls = Controls(("gap",), np.zeros(1, np.float32), lips)
    target, pred = torch.tensor([[[0.0], [1.0]]]), torch.tensor([[[0.2], [1.1]]])
    closed = 1 / (1 + np.exp((0 - HALF_CLOSED_MM) / SOFTNESS_MM))
    expected = ((1 + 3 * closed) * 0.04 + 0.01) / (2 + 3 * closed)
    given = {"pred": pred, "target": target, "scale": torch.ones(1)}
    assert closed_reconstruction(**given, controls=controls, weight=4.0).item() == pytest.approx(expected, rel=1e-4)
    even = closed_reconstruction(**given, controls=controls, weight=1.0)
    assert even.item() == pytest.approx(reconstruction(**given).item(), rel=1e-6)


def test_consistency_compares_the_halves():
    pred, scale = curves(0), curves(2)[0, 0] + 0.05
    expected = ((pred[0] - pred[1]) / scale).square().mean()
    assert consistency(pred=pred, scale=scale).item() == pytest.approx(expected.item(), rel=1e-6)


def test_velocity_is_the_naive_loop():
    pred, target, scale = curves(0), curves(1), curves(2)[0, 0] + 0.05
    errors = []
    for b in range(B):
        for t in range(1, T):
            step = (pred[b, t] - pred[b, t - 1]) - (target[b, t] - target[b, t - 1])
            errors += [(step[k] / scale[k]).item() ** 2 for k in range(K)]
    assert velocity(pred=pred, target=target, scale=scale).item() == pytest.approx(np.mean(errors), rel=1e-5)


def test_velocity_does_not_see_an_offset():
    target, scale = curves(1), torch.ones(K)
    assert velocity(pred=target + 0.25, target=target, scale=scale).item() == pytest.approx(0, abs=1e-9)


def test_lip_gap_is_measured_on_the_head():
    pred, target = curves(0), curves(1)
    errors_cm = [
        (head().lip_gap_mm(pred[b, t].numpy()) - head().lip_gap_mm(target[b, t].numpy())) / 10 for b in range(B) for t in range(T)
    ]
    assert lip_gap(pred=pred, target=target, controls=arkit()).item() == pytest.approx(np.mean(np.square(errors_cm)), rel=1e-4)


def test_lips_is_the_naive_distance_of_the_heads_points():
    pred, target = curves(0), curves(1)
    points = head().regions["lips"]
    away_cm = (head().vertices(pred.numpy()) - head().vertices(target.numpy()))[:, :, points] / 10
    expected = np.mean([np.dot(away, away) for away in away_cm.reshape(-1, 3)])
    assert lip_vertex_loss(pred=pred, target=target, controls=arkit()).item() == pytest.approx(expected, rel=1e-4)


@pytest.mark.parametrize("loss", [lip_gap, lip_vertex_loss, closure])
def test_lips_that_an_open_jaw_keeps_together_are_seen_at_full_precision(loss):
    target, pred = torch.zeros(B, T, K), torch.zeros(B, T, K)
    target[..., INDEX["jawOpen"]], target[..., INDEX["mouthClose"]] = 0.4, 0.365
    pred[..., INDEX["jawOpen"]], pred[..., INDEX["mouthClose"]] = 0.43, 0.393
    expected = loss(pred=pred, target=target, controls=arkit()).item()
    with torch.autocast("cpu", torch.bfloat16):
        assert loss(pred=pred, target=target, controls=arkit()).item() == pytest.approx(expected, rel=1e-6)


def test_closure_is_the_naive_loop():
    pred, target = curves(0) / 8, curves(1) / 8

    def closed(frame: torch.Tensor) -> float:
        return 1 / (1 + np.exp((head().lip_gap_mm(frame.numpy()) - HALF_CLOSED_MM) / SOFTNESS_MM))

    errors = [closed(pred[b, t]) - closed(target[b, t]) for b in range(B) for t in range(T)]
    assert np.abs(errors).max() > 0.01
    assert closure(pred=pred, target=target, controls=arkit()).item() == pytest.approx(np.mean(np.square(errors)), rel=1e-3)


@pytest.mark.parametrize("loss", [lip_gap, lip_vertex_loss, closure])
def test_lip_losses_do_not_see_the_brows(loss):
    target = curves(1)
    pred = target.clone()
    pred[..., INDEX["browDownLeft"] : INDEX["browOuterUpRight"] + 1] += 0.5
    assert loss(pred=pred, target=target, controls=arkit()).item() == pytest.approx(0, abs=1e-6)


def test_phones_is_the_naive_loop_over_known_frames():
    scores = torch.from_numpy(np.random.default_rng(0).standard_normal((B, T, 3)))
    classes = torch.tensor([[0, 2, UNKNOWN, 1, UNKNOWN], [1, UNKNOWN, 0, 2, 2]])
    terms = []
    for b in range(B):
        for t in range(T):
            if classes[b, t] != UNKNOWN:
                odds = np.exp(scores[b, t].numpy())
                terms.append(-np.log(odds[classes[b, t]] / odds.sum()))
    assert len(terms) == 7
    assert phones(scores=scores, classes=classes).item() == pytest.approx(np.mean(terms), rel=1e-9)


def test_phones_of_unlabelled_speech_cost_and_teach_nothing():
    scores = torch.ones(B, T, 3, requires_grad=True)
    loss = phones(scores=scores, classes=torch.full((B, T), UNKNOWN))
    loss.backward()
    assert loss.item() == 0 and not scores.grad.any()


def test_feature_is_the_naive_loop_and_layers_count_alike():
    rng = np.random.default_rng(0)
    target = [torch.from_numpy(rng.standard_normal(shape) * size) for shape, size in (((2, 3, 4), 1.0), ((2, 5, 4), 100.0))]
    pred = [layer + torch.from_numpy(rng.standard_normal(layer.shape)) for layer in target]
    layers = []
    for p, t in zip(pred, target, strict=True):
        squares = [(x - y) ** 2 for x, y in zip(p.flatten().tolist(), t.flatten().tolist(), strict=True)]
        layers.append(np.mean(squares) / np.var(t.numpy(), ddof=1))
    assert feature(pred=pred, target=target).item() == pytest.approx(np.mean(layers), rel=1e-9)


@given(scale=st.floats(0.01, 100))
def test_feature_has_no_unit(scale):
    target, pred = [curves(0), curves(1)], [curves(2), curves(3)]
    scaled = feature(pred=[scale * p for p in pred], target=[scale * t for t in target])
    assert scaled.item() == pytest.approx(feature(pred=pred, target=target).item(), rel=1e-3)


def test_a_dead_guide_layer_divides_by_no_zero():
    assert feature(pred=[torch.ones(1, 2, 3)], target=[torch.zeros(1, 2, 3)]).isfinite()
