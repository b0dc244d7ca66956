import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from facedistill.face.curves import n_frames
from facedistill.measure.metrics import jerks
from facedistill.models.ensemble import ensemble, smooth


def noise(n: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).random((n, 52), dtype=np.float32)


@given(st.lists(st.floats(0, 1), min_size=52, max_size=52), st.integers(1, 20))
def test_what_does_not_move_stays(frame, n):
    curves = np.repeat(np.array(frame, np.float32)[None], n, axis=0)
    np.testing.assert_allclose(smooth(curves), curves, atol=1e-6)


@pytest.mark.parametrize("weights", [(1 / 3, 1 / 3, 1 / 3), (0.2, 0.5, 0.3)])
def test_each_frame_is_the_weighted_sum_of_three(weights):
    curves = noise(9)
    smoothed = smooth(curves, weights)
    assert smoothed.shape == curves.shape and smoothed.dtype == np.float32
    for t in range(9):
        neighbours = [curves[max(t - 1, 0)], curves[t], curves[min(t + 1, 8)]]
        expected = sum(weight * frame for weight, frame in zip(weights, neighbours, strict=True))
        np.testing.assert_allclose(smoothed[t], expected, atol=1e-6)


def test_30_fps_is_every_second_frame_from_the_first():
    curves = noise(9)
    np.testing.assert_array_equal(ensemble(curves), smooth(curves)[[0, 2, 4, 6, 8]])


@given(st.integers(1, 10**7))
def test_30_fps_has_the_frames_of_the_audio(n_samples):
    assert len(np.empty(n_frames(n_samples))[::2]) == n_frames(n_samples, 30)
    assert len(ensemble(np.zeros((n_frames(n_samples % 5000 + 1), 52)))) == n_frames(n_samples % 5000 + 1, 30)


def test_a_symmetric_kernel_delays_nothing():
    time_s = np.arange(240) / 60
    curves = np.repeat((0.5 + 0.5 * np.sin(2 * np.pi * 3 * time_s))[:, None], 52, axis=1).astype(np.float32)
    smoothed = smooth(curves)[1:-1, 0] - 0.5
    lags = [np.dot(smoothed[10:-10], np.roll(curves[1:-1, 0] - 0.5, lag)[10:-10]) for lag in range(-5, 6)]
    assert np.argmax(lags) == 5  # lag 0
    late = smooth(curves, (0.8, 0.2, 0.0))[1:-1, 0] - 0.5
    lags = [np.dot(late[10:-10], np.roll(curves[1:-1, 0] - 0.5, lag)[10:-10]) for lag in range(-5, 6)]
    assert np.argmax(lags) == 6  # this one does


def test_jitter_falls_on_noise():
    curves = noise(600)
    assert jerks(smooth(curves), fps=60).mean() < 0.5 * jerks(curves, fps=60).mean()
