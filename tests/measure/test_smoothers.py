"""Smoothing against naive reference implementations."""

import numpy as np
import pytest

from facedistill.measure.baselines import aligned_one_euro, one_euro, one_euro_cutoff_hz, savitzky_golay, smoothers
from facedistill.measure.metrics import lag_ms
from facedistill.models.student import smooth
from facedistill.rig.controls import arkit

CURVES = np.random.default_rng(0).random((40, 3)).astype(np.float32)


def held(curves: np.ndarray, reach: int) -> np.ndarray:
    return np.concatenate([curves[:1]] * reach + [curves] + [curves[-1:]] * reach)


@pytest.mark.parametrize("width", [3, 5, 7])
def test_an_average_is_the_mean_of_its_frames(width):
    padded = held(CURVES, width // 2)
    naive = np.stack([padded[frame : frame + width].mean(axis=0) for frame in range(len(CURVES))])
    np.testing.assert_allclose(savitzky_golay(CURVES, width=width, order=0), naive, atol=1e-6)


def test_three_frames_are_the_papers_ensemble():
    np.testing.assert_allclose(savitzky_golay(CURVES, width=3, order=0), smooth(CURVES), atol=1e-6)


@pytest.mark.parametrize("width", [5, 7])
def test_savitzky_golay_is_a_fitted_parabola(width):
    padded, times = held(CURVES, width // 2), np.arange(width) - width // 2
    naive = np.stack([np.polyfit(times, padded[frame : frame + width], 2)[2] for frame in range(len(CURVES))])
    np.testing.assert_allclose(savitzky_golay(CURVES, width=width, order=2), naive, atol=1e-5)


def test_one_euro_is_the_published_filter():
    def reference(values, rate, mincutoff, beta):
        """Casiez et al., curve by curve, with a derivative cutoff of 1 Hz."""
        alpha = lambda cutoff: 1 / (1 + 1 / (2 * np.pi * cutoff) * rate)  # noqa: E731
        out, slope = [values[0]], 0.0
        for before, now in zip(values, values[1:], strict=False):
            slope = alpha(1.0) * (now - before) * rate + (1 - alpha(1.0)) * slope
            share = alpha(mincutoff + beta * abs(slope))
            out.append(share * now + (1 - share) * out[-1])
        return out

    naive = np.stack([reference(list(map(float, curve)), 60, 2.0, 1.0) for curve in CURVES.T], axis=1)
    np.testing.assert_allclose(one_euro(CURVES, 2.0), naive, atol=1e-6)


@pytest.fixture(scope="module")
def speech() -> list[np.ndarray]:
    """Mouths that open and close some times a second, unevenly."""
    times_s = np.arange(240) / 60
    rng = np.random.default_rng(1)
    paces = [np.cumsum(rng.uniform(2, 5, 4)).repeat(60)[:240] for _ in range(4)]
    opened = [0.5 - 0.5 * np.cos(2 * np.pi * (times_s * pace.mean() / 2 + 0.3 * np.sin(times_s))) for pace in paces]
    curves = np.zeros((4, 240, 52), np.float32)
    curves[:, :, arkit().names.index("jawOpen")] = opened
    return list(curves)


@pytest.mark.parametrize("frames", [1, 2, 3])
def test_one_euro_is_tuned_to_lag_by_its_delay_which_is_then_waited_for(speech, frames):
    cutoff_hz, gap_mm = one_euro_cutoff_hz(speech, frames), arkit().lips.gap_mm

    def lag_frames(smooth):
        return np.median([60 / 1000 * lag_ms(pred=smooth(curves) @ gap_mm, target=curves @ gap_mm) for curves in speech])

    late = lag_frames(lambda curves: one_euro(curves, cutoff_hz))
    assert late == pytest.approx(frames, abs=0.1)
    assert lag_frames(lambda curves: aligned_one_euro(curves, cutoff_hz=cutoff_hz, delay_frames=frames)) == pytest.approx(
        0, abs=0.1
    )


def test_a_frame_waits_for_its_delay_and_no_longer(speech):
    for smoother in smoothers(speech):
        changed = speech[0].copy()
        changed[100:] += 0.1
        first = np.flatnonzero((smoother.smooth(changed) != smoother.smooth(speech[0])).any(axis=1))[0]
        assert first == 100 - smoother.delay_frames, smoother.name


def test_a_face_that_never_moves_tunes_something():
    assert one_euro_cutoff_hz([np.zeros((60, 52), np.float32)], 1) > 0


def test_all_leave_a_still_face_alone_and_keep_the_shape(speech):
    still = np.full((9, 4), 0.3, np.float32)
    for smoother in smoothers(speech):
        np.testing.assert_allclose(smoother.smooth(still), still, atol=1e-6)
        assert smoother.smooth(CURVES).shape == CURVES.shape and smoother.smooth(CURVES).dtype == np.float32
        assert smoother.smooth(CURVES[:1]).shape == (1, 3)
