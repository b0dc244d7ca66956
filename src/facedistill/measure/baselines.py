"""What needs no learning: a mouth that opens with the amplitude envelope of the sound; ways to smooth curves as they come."""

import math
from bisect import bisect_left
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
from scipy.ndimage import uniform_filter1d
from scipy.signal import butter, savgol_filter, sosfiltfilt

from facedistill.core import SAMPLE_RATE_HZ
from facedistill.measure.metrics import lag_ms
from facedistill.rig.arkit import INDEX, N_CURVES
from facedistill.rig.controls import arkit
from facedistill.rig.curves import FPS, n_frames

BAND_HZ = (1000.0, 6000.0)  # where vowels are louder than closed lips, whose hum lies below
RANGE_DB = 35.0  # the loudest moment opens the jaw fully, this much below it closes it
WIDEST_JAW = 0.5
FLOOR_RMS = 1e-4

DERIVATIVE_CUTOFF_HZ = 1.0
BETA_RATIO = 0.5  # a One-Euro filter's beta, of its cutoff at rest
CUTOFFS_HZ = np.geomspace(0.1, 100, 400)  # that are tried: from what hardly moves to what hardly smooths


def band_envelope(audio: np.ndarray) -> np.ndarray:
    """`amplitude_envelope` of the band of `BAND_HZ` alone: (S,) at 16 kHz -> (T, K) float32 in 0..1 at 60 fps."""
    filters = butter(4, BAND_HZ, btype="bandpass", fs=SAMPLE_RATE_HZ, output="sos")
    reach = min(3 * (2 * len(filters) + 1), len(audio) - 1)  # SciPy's own, as far as there is sound
    return amplitude_envelope(sosfiltfilt(filters, audio.astype(np.float64), padlen=reach))


def amplitude_envelope(audio: np.ndarray) -> np.ndarray:
    """jawOpen follows the log-RMS level of the utterance; all else rests: (S,) at 16 kHz -> (T, K) float32 in 0..1 at 60 fps."""
    power = uniform_filter1d(np.square(audio, dtype=np.float64), int(0.03 * SAMPLE_RATE_HZ))
    frames = np.minimum(np.arange(n_frames(len(audio))) * SAMPLE_RATE_HZ / FPS, len(audio) - 1).astype(int)
    level_db = 10 * np.log10(np.maximum(power[frames], FLOOR_RMS**2))
    curves = np.zeros((len(frames), N_CURVES), np.float32)
    loudest_db = max(level_db.max(), 20 * np.log10(FLOOR_RMS) + RANGE_DB)
    curves[:, INDEX["jawOpen"]] = WIDEST_JAW * np.clip((level_db - loudest_db) / RANGE_DB + 1, 0, 1)
    return curves


@dataclass(frozen=True)
class Smoother:
    """One way to smooth (T, K) curves at 60 fps, and how many frames it must wait for."""

    name: str
    kind: str  # what ways with several strengths have in common
    strength: str  # what sets it, in words
    delay_frames: int
    smooth: Callable[[np.ndarray], np.ndarray]


def smoothers(curves: Sequence[np.ndarray]) -> list[Smoother]:
    """No smoothing, and filters that wait one to three frames; One-Euro filters are tuned on (T, K) `curves` to lag by them."""
    found = [Smoother("none", "none", "none", 0, lambda frames: frames)]
    for delay in (1, 2, 3):
        width, cutoff_hz = 2 * delay + 1, one_euro_cutoff_hz(curves, delay)
        for name, kind, order in (("average", "average", 0), ("savitzky-golay", "Savitzky-Golay", 2)):
            if width > order + 1:  # a parabola through three points is the points
                smooth = partial(savitzky_golay, width=width, order=order)
                found.append(Smoother(f"{name}-{width}", kind, f"{width} frames", delay, smooth))
        smooth = partial(aligned_one_euro, cutoff_hz=cutoff_hz, delay_frames=delay)
        found.append(Smoother(f"one-euro-{1000 * delay / FPS:.0f}ms", "One-Euro", f"{cutoff_hz:.1f} Hz", delay, smooth))
    return found


def savitzky_golay(curves: np.ndarray, *, width: int, order: int) -> np.ndarray:
    """(T, K) -> (T, K): each frame on the polynomial that fits `width` frames around it (order 0: their average), ends held."""
    return savgol_filter(curves, width, polyorder=order, axis=0, mode="nearest").astype(curves.dtype)


def one_euro(curves: np.ndarray, cutoff_hz: float) -> np.ndarray:
    """(T, K) -> (T, K): a first-order low-pass of each curve whose cutoff rises with its speed (Casiez et al., CHI 2012)."""
    smoothed, speed, beta = curves.astype(np.float64), np.zeros(curves.shape[1]), BETA_RATIO * cutoff_hz
    for frame in range(1, len(curves)):
        speed += _share(DERIVATIVE_CUTOFF_HZ) * ((curves[frame] - curves[frame - 1]) * FPS - speed)
        shares = _share(cutoff_hz + beta * np.abs(speed))
        smoothed[frame] = smoothed[frame - 1] + shares * (curves[frame] - smoothed[frame - 1])
    return smoothed.astype(curves.dtype)


def aligned_one_euro(curves: np.ndarray, *, cutoff_hz: float, delay_frames: int) -> np.ndarray:
    """(T, K) -> (T, K): a One-Euro filter whose lag is waited for: a frame is what comes out `delay_frames` later."""
    return one_euro(np.pad(curves, ((0, delay_frames), (0, 0)), mode="edge"), cutoff_hz)[delay_frames:]


def one_euro_cutoff_hz(curves: Sequence[np.ndarray], lag_frames: int) -> float:
    """The one of `CUTOFFS_HZ` that makes the lip gaps of (T, K) curves lag by so many frames, in the median."""
    gap_mm = arkit().lips.gap_mm

    def lead_ms(cutoff_hz: float) -> float:
        lags = [lag_ms(pred=one_euro(frames, cutoff_hz) @ gap_mm, target=frames @ gap_mm) for frames in curves]
        return -float(np.median([lag for lag in lags if not math.isnan(lag)] or [math.nan]))

    found = bisect_left(CUTOFFS_HZ, -1000 * lag_frames / FPS, key=lead_ms)
    return float(CUTOFFS_HZ[min(found, len(CUTOFFS_HZ) - 1)])


def _share(cutoff_hz: float | np.ndarray) -> float | np.ndarray:
    """The share of the newest value in a low-pass of this cutoff."""
    return 1 / (1 + FPS / (2 * math.pi * cutoff_hz))
