import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from facedistill.measure.metrics import jerks
from facedistill.models.filterbank import GRID_FPS
from facedistill.models.student import ENSEMBLE_DELAY_S, Student, StudentConfig, smooth


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


def test_a_symmetric_kernel_delays_nothing():
    time_s = np.arange(240) / 60
    curves = np.repeat((0.5 + 0.5 * np.sin(2 * np.pi * 3 * time_s))[:, None], 52, axis=1).astype(np.float32)
    smoothed = smooth(curves)[1:-1, 0] - 0.5
    lags = [np.dot(smoothed[10:-10], np.roll(curves[1:-1, 0] - 0.5, lag)[10:-10]) for lag in range(-5, 6)]
    assert np.argmax(lags) == 5  # lag 0
    late = smooth(curves, (0.8, 0.2, 0.0))[1:-1, 0] - 0.5
    lags = [np.dot(late[10:-10], np.roll(curves[1:-1, 0] - 0.5, lag)[10:-10]) for lag in range(-5, 6)]
    assert np.argmax(lags) == 6  # this one does


def first_change(animate, audio: np.ndarray, sample: int) -> int:
    """The first frame that hears what happens from a sample on."""
    other = audio.copy()
    other[sample:] = 0.3 * np.random.default_rng(sample).standard_normal(len(audio) - sample)
    return np.flatnonzero((animate(audio) != animate(other)).any(axis=1))[0]


def test_it_waits_for_one_more_frame_and_no_longer():
    """Look-ahead measured on a student: a change of the sound reaches the ensemble's curves 16.7 ms earlier than its own."""
    torch.manual_seed(0)
    student = Student(StudentConfig(channels=16, past_ms=448, future_ms=64, filters=16)).eval()
    audio = (0.1 * np.random.default_rng(0).standard_normal(16_000)).astype(np.float32)
    ahead_ms = []
    for sample in range(8000, 8600, 37):
        alone = first_change(student.animate, audio, sample)
        assert first_change(lambda sound: smooth(student.animate(sound)), audio, sample) == alone - round(ENSEMBLE_DELAY_S * 60)
        ahead_ms.append(1000 * (sample / 16_000 - alone / 60))
    assert 64 < max(ahead_ms) <= 64 + 1000 / GRID_FPS  # the window's future, and the next window to interpolate with


def test_jitter_falls_on_noise():
    curves = noise(600)
    assert jerks(smooth(curves)).mean() < 0.5 * jerks(curves).mean()
