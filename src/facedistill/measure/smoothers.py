"""Ways to smooth curves as they come: what the paper's ensemble of three frames is compared with, at equal delay."""

import math
from bisect import bisect_left
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
from scipy.signal import savgol_filter

from facedistill.measure.metrics import lag_ms
from facedistill.rig.controls import arkit
from facedistill.rig.curves import FPS

POLYNOMIAL_ORDER = 2
DERIVATIVE_CUTOFF_HZ = 1.0
DELAYS_FRAMES = (1, 2, 3)
BETA_RATIO = 0.5  # a One-Euro filter's beta, of its cutoff at rest
CUTOFFS_HZ = np.geomspace(0.1, 100, 400)  # that are tried: from what hardly moves to what hardly smooths


@dataclass(frozen=True)
class Smoother:
    """One way to smooth (T, K) curves at 60 fps, and how many frames it must wait for.

    Attributes:
        kind: what ways with several strengths have in common.
        strength: what sets it, in words.
    """

    name: str
    kind: str
    strength: str
    delay_frames: int
    smooth: Callable[[np.ndarray], np.ndarray]


def smoothers(curves: Sequence[np.ndarray]) -> list[Smoother]:
    """No smoothing, and averages, Savitzky-Golay and One-Euro filters whose delay is one, two or three frames.

    Args:
        curves: (T, K) each, on which One-Euro filters are tuned to lag by their delay.
    """
    found = [Smoother("none", "none", "none", 0, lambda frames: frames)]
    for delay in DELAYS_FRAMES:
        width = 2 * delay + 1
        frames, cutoff_hz = f"{width} frames", one_euro_cutoff_hz(curves, delay)
        found.append(Smoother(f"average-{width}", "average", frames, delay, partial(average, width=width)))
        if width > POLYNOMIAL_ORDER + 1:  # a parabola through three points is the points
            smooth = partial(savitzky_golay, width=width)
            found.append(Smoother(f"savitzky-golay-{width}", "Savitzky-Golay", frames, delay, smooth))
        smooth = partial(aligned_one_euro, cutoff_hz=cutoff_hz, delay_frames=delay)
        found.append(Smoother(f"one-euro-{1000 * delay / FPS:.0f}ms", "One-Euro", f"{cutoff_hz:.1f} Hz", delay, smooth))
    return found


def average(curves: np.ndarray, *, width: int) -> np.ndarray:
    """(T, K) -> (T, K): the mean of `width` frames around each; the ends are held. Three are the paper's ensemble."""
    return savgol_filter(curves, width, polyorder=0, axis=0, mode="nearest").astype(curves.dtype)


def savitzky_golay(curves: np.ndarray, *, width: int) -> np.ndarray:
    """(T, K) -> (T, K): each frame on the parabola that fits `width` frames around it (Savitzky and Golay 1964)."""
    return savgol_filter(curves, width, polyorder=POLYNOMIAL_ORDER, axis=0, mode="nearest").astype(curves.dtype)


def one_euro(curves: np.ndarray, *, cutoff_hz: float, beta: float, fps: float = FPS) -> np.ndarray:
    """(T, K) -> (T, K): a first-order low-pass of each curve whose cutoff rises with its speed (Casiez et al., CHI 2012)."""
    smoothed = curves.astype(np.float64)
    speed = np.zeros(curves.shape[1])
    share = _share(DERIVATIVE_CUTOFF_HZ, fps)
    for frame in range(1, len(curves)):
        speed += share * ((curves[frame] - curves[frame - 1]) * fps - speed)
        shares = _share(cutoff_hz + beta * np.abs(speed), fps)
        smoothed[frame] = smoothed[frame - 1] + shares * (curves[frame] - smoothed[frame - 1])
    return smoothed.astype(curves.dtype)


def aligned_one_euro(curves: np.ndarray, *, cutoff_hz: float, delay_frames: int) -> np.ndarray:
    """(T, K) -> (T, K): a One-Euro filter whose lag is waited for: a frame is what comes out `delay_frames` later."""
    held = np.concatenate([curves, np.repeat(curves[-1:], delay_frames, axis=0)])
    return one_euro(held, cutoff_hz=cutoff_hz, beta=BETA_RATIO * cutoff_hz)[delay_frames:]


def one_euro_cutoff_hz(curves: Sequence[np.ndarray], lag_frames: int) -> float:
    """The one of `CUTOFFS_HZ` that makes the lip gaps of (T, K) curves lag by so many frames, in the median."""
    gap_mm = arkit().lips.gap_mm

    def lead_ms(cutoff_hz: float) -> float:
        smoothed = [one_euro(frames, cutoff_hz=cutoff_hz, beta=BETA_RATIO * cutoff_hz) for frames in curves]
        lags = [lag_ms(pred=a @ gap_mm, target=b @ gap_mm, fps=FPS) for a, b in zip(smoothed, curves, strict=True)]
        return -float(np.median([lag for lag in lags if not math.isnan(lag)] or [math.nan]))

    found = bisect_left(CUTOFFS_HZ, -1000 * lag_frames / FPS, key=lead_ms)
    return float(CUTOFFS_HZ[min(found, len(CUTOFFS_HZ) - 1)])


def _share(cutoff_hz: float | np.ndarray, fps: float) -> float | np.ndarray:
    """The share of the newest value in a low-pass of this cutoff."""
    return 1 / (1 + fps / (2 * math.pi * cutoff_hz))
