"""Augmentation of clean speech, (S,) float32 at 16 kHz, which keeps length and timing; the degraded test split is made so too."""

from collections.abc import Callable

import numpy as np
from scipy.fft import irfft, next_fast_len, rfft, rfftfreq

from facedistill.core import SAMPLE_RATE_HZ
from facedistill.core.sections import AugmentParams

MU_LAW = 255


def with_gain(audio: np.ndarray, gain_db: float) -> np.ndarray:
    """Scales by a level in dB."""
    return audio * np.float32(10 ** (gain_db / 20))


def equalise(audio: np.ndarray, *, depth_db: float, rng: np.random.Generator) -> np.ndarray:
    """A smooth random filter: gains within +-depth_db at log-spaced knots."""
    knots_hz, knots_db = np.geomspace(80, SAMPLE_RATE_HZ / 2, 6), rng.uniform(-depth_db, depth_db, 6)
    return _filtered(audio, lambda frequency_hz: 10 ** (np.interp(frequency_hz, knots_hz, knots_db) / 20))


def telephone(audio: np.ndarray) -> np.ndarray:
    """The telephone band, 300-3400 Hz with soft edges, and G.711 companding."""
    return mu_law(_filtered(audio, lambda hz: 1 / (1 + (300.0 / np.maximum(hz, 1)) ** 8) / (1 + (hz / 3400.0) ** 16)))


def _filtered(audio: np.ndarray, response: Callable[[np.ndarray], np.ndarray]) -> np.ndarray:
    """Scales the spectrum by what `response` gives for frequencies in Hz."""
    size = next_fast_len(len(audio), real=True)
    factors = response(rfftfreq(size, 1 / SAMPLE_RATE_HZ)).astype(np.float32)
    return irfft(rfft(audio, size) * factors, size)[: len(audio)]


def mu_law(audio: np.ndarray) -> np.ndarray:
    """Quantises to 8 bits on the mu-law scale (ITU-T G.711), relative to the clip's peak."""
    peak = np.abs(audio).max() + 1e-9
    companded = np.sign(audio) * np.log1p(MU_LAW * np.abs(audio) / peak) / np.log1p(MU_LAW)
    quantised = np.round(companded * 127) / 127
    return (np.sign(quantised) * np.expm1(np.abs(quantised) * np.log1p(MU_LAW)) / MU_LAW * peak).astype(np.float32)


def add_room(audio: np.ndarray, *, rt60_s: float, wet_db: float, rng: np.random.Generator) -> np.ndarray:
    """Convolves with a direct path plus exponentially decaying noise, `wet_db` relative to the direct energy."""
    n_taps = int(rt60_s * SAMPLE_RATE_HZ)
    tail = rng.standard_normal(n_taps).astype(np.float32) * np.exp(-6.9 * np.arange(n_taps, dtype=np.float32) / n_taps)
    tail *= 10 ** (wet_db / 20) / np.sqrt(np.square(tail).sum())
    tail[0] = 1.0
    size = next_fast_len(len(audio) + n_taps - 1, real=True)
    return irfft(rfft(audio, size) * rfft(tail, size), size)[: len(audio)].astype(np.float32)


def coloured_noise(n_samples: int, *, tilt: float, rng: np.random.Generator) -> np.ndarray:
    """(n_samples,) float32 of stationary noise with a 1/f^tilt power spectrum and an RMS of 1."""
    size = next_fast_len(n_samples, real=True)
    spectrum = rng.standard_normal(2 * (size // 2 + 1), dtype=np.float32).view(np.complex64)
    spectrum /= np.maximum(rfftfreq(size, 1 / SAMPLE_RATE_HZ), 50).astype(np.float32) ** (tilt / 2)
    noise = irfft(spectrum, size)[:n_samples]
    return (noise / np.sqrt(np.square(noise).mean())).astype(np.float32)


def add_noise(audio: np.ndarray, *, snr_db: float, tilt: float, rng: np.random.Generator) -> np.ndarray:
    """Adds stationary noise with a 1/f^tilt power spectrum at a signal-to-noise ratio over the whole clip."""
    level = np.sqrt(np.square(audio).mean()) * 10 ** (-snr_db / 20)
    return (audio + np.float32(level) * coloured_noise(len(audio), tilt=tilt, rng=rng)).astype(np.float32)


def non_speech(n_samples: int, level_db: tuple[float, float], rng: np.random.Generator) -> np.ndarray:
    """(n_samples,) float32 of non-speech audio: room noise at a level within `level_db` (dB full scale), or digital silence."""
    if rng.random() < 0.2:
        return np.zeros(n_samples, np.float32)
    return with_gain(coloured_noise(n_samples, tilt=rng.uniform(0, 2), rng=rng), rng.uniform(*level_db))


def augment(audio: np.ndarray, params: AugmentParams, rng: np.random.Generator) -> np.ndarray:
    """Degrades (S,) clean speech, each kind with its own probability; returns (S,) float32 within +-1."""
    if rng.random() < params.equalise:
        audio = equalise(audio, depth_db=params.equaliser_db, rng=rng)
    if rng.random() < params.room:
        audio = add_room(audio, rt60_s=rng.uniform(0.1, params.rt60_s), wet_db=rng.uniform(-15, 0), rng=rng)
    if rng.random() < params.noise:
        audio = add_noise(audio, snr_db=rng.uniform(*params.snr_db), tilt=rng.uniform(0, 2), rng=rng)
    if rng.random() < params.telephone:
        audio = telephone(audio)
    if rng.random() < params.clip:
        limit = np.abs(audio).max() * rng.uniform(0.2, 0.8)
        audio = np.clip(audio, -limit, limit)
    return np.clip(with_gain(audio, rng.uniform(*params.gain_db)), -1, 1).astype(np.float32)
