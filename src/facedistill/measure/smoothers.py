"""Ways to smooth curves as they come: what the paper's ensemble of three frames is compared with."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import numpy as np
from scipy.signal import savgol_filter

from facedistill.face.curves import FPS

POLYNOMIAL_ORDER = 2
DERIVATIVE_CUTOFF_HZ = 1.0
DELAYS_FRAMES = (1, 2, 3)
# (cutoff of curves at rest in Hz, what a unit a second adds to it in Hz): from hardly smoothed to much
ONE_EURO = ((8.0, 4.0), (4.0, 2.0), (2.0, 1.0))


@dataclass(frozen=True)
class Smoother:
    """One way to smooth (T, K) curves at 60 fps, and how many frames it must wait for.

    Attributes:
        kind: what ways with several strengths have in common.
    """

    name: str
    kind: str
    delay_frames: int
    smooth: Callable[[np.ndarray], np.ndarray]


def smoothers() -> list[Smoother]:
    """No smoothing, averages and Savitzky-Golay filters of 3, 5 and 7 frames, and One-Euro filters."""
    found = [Smoother("none", "none", 0, lambda curves: curves)]
    for delay in DELAYS_FRAMES:
        width = 2 * delay + 1
        found.append(Smoother(f"average-{width}", "average", delay, partial(average, width=width)))
    for delay in DELAYS_FRAMES[1:]:  # a parabola through three points is the points
        width = 2 * delay + 1
        found.append(Smoother(f"savitzky-golay-{width}", "Savitzky-Golay", delay, partial(savitzky_golay, width=width)))
    for cutoff_hz, beta in ONE_EURO:
        smooth = partial(one_euro, cutoff_hz=cutoff_hz, beta=beta)
        found.append(Smoother(f"one-euro-{cutoff_hz:.0f}hz", "One-Euro", 0, smooth))
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


def _share(cutoff_hz: float | np.ndarray, fps: float) -> float | np.ndarray:
    """The share of the newest value in a low-pass of this cutoff."""
    return 1 / (1 + fps / (2 * math.pi * cutoff_hz))
