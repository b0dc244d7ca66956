import numpy as np
import pytest

from facedistill.measure.bootstrap import agreement

RNG = np.random.default_rng(0)


def take(seconds: float = 33, n: int = 4) -> np.ndarray:
    return np.cumsum(RNG.standard_normal((round(60 * seconds), n)), axis=0)


def measured(pairs, scale=None, n_boot: int = 50):
    scale = np.ones(pairs[0][0].shape[1]) if scale is None else scale
    return agreement(pairs, scale, rng=np.random.default_rng(1), n_boot=n_boot)


def test_it_is_the_naive_formula_over_all_frames():
    pairs = [(one + 0.5 * take(seconds), one) for seconds in (33, 12) for one in (take(seconds),)]
    pred, target = (np.concatenate(parts) for parts in zip(*pairs, strict=True))
    found = measured(pairs)
    r = np.mean([np.corrcoef(pred[:, k], target[:, k])[0, 1] for k in range(4)])
    explained = 1 - np.square(pred - target).sum() / np.square(target - target.mean(axis=0)).sum()
    assert found["correlation"]["value"] == pytest.approx(r, rel=1e-9)
    assert found["explained"]["value"] == pytest.approx(explained, rel=1e-9)
    assert found["explained"]["low"] <= found["explained"]["value"] <= found["explained"]["high"]
    assert found["correlation"]["n"] == 6


def test_a_perfect_student_and_one_that_never_moves():
    target = take()
    perfect, still = measured([(target, target)]), measured([(np.broadcast_to(target.mean(axis=0), target.shape), target)])
    assert perfect["correlation"]["value"] == pytest.approx(1) and perfect["explained"]["value"] == pytest.approx(1)
    assert still["correlation"]["value"] == pytest.approx(0) and still["explained"]["value"] == pytest.approx(0)


def test_controls_that_are_still_do_not_count_for_the_correlation():
    target = take()
    target[:, 3] *= 1e-6
    pred = target.copy()
    pred[:, 3] = RNG.standard_normal(len(pred)) * 1e-6
    assert measured([(pred, target)])["correlation"]["value"] == pytest.approx(1)


def test_scale_weighs_controls():
    target = take(n=2)
    pred = target.copy()
    pred[:, 1] = 0
    light, heavy = (measured([(pred, target)], np.array([1.0, weight]))["explained"]["value"] for weight in (0.1, 10.0))
    assert light > 0.8 > heavy
