"""The ground truth of an utterance: all 52 curves, from its timed phones (mouth) and its sound (upper face).

Brows rise on accents of pitch and loudness (Cavé et al., 1996, "About the relationship between eyebrow movements and F0
variations"; Flecha-García, 2010: about 60 ms ahead). Blinks gather in pauses (Nakano & Kitazawa, 2010).
"""

import numpy as np
import scipy
from scipy.ndimage import gaussian_filter1d, percentile_filter

from facedistill.core import SAMPLE_RATE_HZ
from facedistill.corpora.coarticulation import mouth_curves
from facedistill.rig import eyes
from facedistill.rig.arkit import weights_of
from facedistill.rig.curves import FPS, n_frames
from facedistill.speech.phones import Phone, sounds

PITCH_RATE_HZ = 4_000  # the audio's rate in the pitch tracker: above twice the highest harmonic it needs
PITCH_HOP_SAMPLES = 80  # 20 ms
PITCH_WINDOW_SAMPLES = 200  # 50 ms: three periods of the lowest voice
BLOCK_FRAMES = 4096  # pitch frames at a time, so that hours of audio fit into memory
N_FFT = 512  # at least two windows: no circular wrap-around
ACCENT_RISE_S, ACCENT_FALL_S = 0.18, 0.35
PAUSE_S, PAUSE_PULL_S = 0.15, 0.8  # a blink moves to a pause of this length if one starts this near


def truth_curves(audio: np.ndarray, phones: list[Phone], *, seed: int, strength: float = 1.0) -> np.ndarray:
    """(S,) float32 at 16 kHz and its phones -> (n_frames(S), K) float32 in [0, 1]; the seed is the upper face's alone."""
    mouth = mouth_curves(phones, n_frames(len(audio)), strength=strength)
    return mouth + upper_face_curves(audio, phones, np.random.default_rng(seed))


def upper_face_curves(audio: np.ndarray, phones: list[Phone], rng: np.random.Generator) -> np.ndarray:
    """The brow and eye curves of (S,) audio at 16 kHz and of the silences of its phones: (T, K) float32, the others 0."""
    time_s = np.arange(n_frames(len(audio))) / FPS
    accent_rng, blink_rng, gaze_rng, squint_rng = rng.spawn(4)
    brows, lids = _brows(audio, time_s, accent_rng), _blinks(phones, time_s, blink_rng)
    knots = squint_rng.uniform(0.0, 0.2, 3 + int(len(time_s) / FPS))  # one a second: a slow random motion
    squint = gaussian_filter1d(np.interp(time_s, np.arange(len(knots)), knots), 0.3 * FPS)
    curves = eyes.eye_curves(lids, *_gaze(time_s, gaze_rng)) | {
        "browInnerUp": 0.9 * brows,
        "browOuterUp": 0.6 * brows,
        "browDown": 0.3 * np.clip(squint - 0.05, 0, None) * (1 - brows),
        "eyeWide": 0.25 * brows * (1 - lids),
        "eyeSquint": 0.5 * squint + 0.2 * lids,
    }
    return weights_of(curves)


def pitch_track(audio: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(S,) at 16 kHz -> (M,) s, (M,) Hz of its fundamental, 0 where unvoiced, and (M,) RMS, float64, every 20 ms."""
    slow = scipy.signal.resample_poly(audio, PITCH_RATE_HZ, SAMPLE_RATE_HZ)
    slow = np.pad(slow, PITCH_WINDOW_SAMPLES // 2)
    windows = np.lib.stride_tricks.sliding_window_view(slow, PITCH_WINDOW_SAMPLES)[::PITCH_HOP_SAMPLES]
    blocks = [_pitch_block(windows[start : start + BLOCK_FRAMES]) for start in range(0, len(windows), BLOCK_FRAMES)]
    f0_hz, rms = (np.concatenate(parts) for parts in zip(*blocks, strict=True))
    return np.arange(len(f0_hz)) * PITCH_HOP_SAMPLES / PITCH_RATE_HZ, f0_hz, rms


def _pitch_block(windows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """By windowed autocorrelation (Boersma, 1993, without its path search)."""
    taper = np.hanning(PITCH_WINDOW_SAMPLES)
    taper_correlation, correlation = (
        np.fft.irfft(np.abs(np.fft.rfft(signal, N_FFT)) ** 2) for signal in (taper, windows * taper)
    )
    rms = np.sqrt(np.mean(windows.astype(np.float64) ** 2, axis=1))
    low, high = PITCH_RATE_HZ // 400, PITCH_RATE_HZ // 60  # periods of the highest and the lowest pitch
    candidates = correlation[:, low : high + 1] / taper_correlation[low : high + 1] * taper_correlation[0]
    best = candidates.argmax(axis=1)
    strength = candidates[np.arange(len(best)), best] / np.maximum(correlation[:, 0], 1e-12)
    return np.where(strength > 0.5, PITCH_RATE_HZ / (best + low), 0.0), rms


def prominence(audio: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(S,) at 16 kHz -> (M,) s and (M,) >= 0, by how much speech is louder and higher there: about 1 on a clear accent."""
    time_s, f0_hz, rms = pitch_track(audio)
    if rms.max() < 1e-4:
        return time_s, np.zeros(len(time_s))
    voiced = (f0_hz > 0) & (rms > 0.1 * rms.max())
    median_hz = np.median(f0_hz[voiced]) if voiced.any() else 1.0
    semitones = np.where(voiced, 12 * np.log2(np.maximum(f0_hz, 1.0) / median_hz), 0.0)
    level = gaussian_filter1d(rms, 3.0)
    loudness = level / np.maximum(percentile_filter(level, 80, 101), 0.1 * level.max())  # against two seconds around
    return time_s, gaussian_filter1d(np.clip(semitones, 0, 8) / 8 + np.clip(loudness - 0.5, 0, 1), 3.0)


def _brows(audio: np.ndarray, time_s: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """(T,) in [0, 1]: raised-cosine bumps on some of the accents, the stronger the likelier, over a faint prosodic motion."""
    if not len(time_s):
        return np.zeros(0)
    grid_s, strength = prominence(audio)
    peaks, _ = scipy.signal.find_peaks(strength, height=0.3, prominence=0.15, distance=25)  # 0.5 s apart
    raised = rng.random(len(peaks)) < np.clip(strength[peaks], 0.15, 0.85)
    heights = np.clip(strength[peaks], 0, 1.2) * rng.uniform(0.25, 0.5, len(peaks))
    brows = 0.06 * np.interp(time_s, grid_s, gaussian_filter1d(strength, 12.0))
    for peak_s, height in zip(grid_s[peaks[raised]] - 0.06, heights[raised], strict=True):
        window = slice(*np.searchsorted(time_s, [peak_s - ACCENT_RISE_S, peak_s + ACCENT_FALL_S]))
        brows[window] += height * eyes.raised_cosine(time_s[window] - peak_s, ACCENT_RISE_S, ACCENT_FALL_S)
    return np.clip(brows, 0, 1)


def _blinks(phones: list[Phone], time_s: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """(T,) lid closure in [0, 1]."""
    lids = np.zeros(len(time_s))
    end_s = time_s[-1] if len(time_s) else 0.0
    pauses_s = np.array([phone.start_s for phone in phones if not sounds(phone.label) and phone.end_s - phone.start_s >= PAUSE_S])
    clock_s = -rng.uniform(0, eyes.BLINK_MEAN_S)  # so that the first blink is as likely at the start as anywhere
    while True:
        clock_s += eyes.blink_interval_s(rng)
        scale, depth = rng.uniform(0.85, 1.15), rng.uniform(0.9, 1.0)
        if clock_s > end_s:
            return lids
        near = pauses_s[np.abs(pauses_s - clock_s) < PAUSE_PULL_S]
        peak_s = near[np.abs(near - clock_s).argmin()] + eyes.BLINK_CLOSE_S if len(near) else clock_s
        window = slice(*np.searchsorted(time_s, [peak_s - scale * eyes.BLINK_CLOSE_S, peak_s + scale * eyes.BLINK_OPEN_S]))
        lids[window] = np.maximum(lids[window], depth * eyes.raised_cosine((time_s[window] - peak_s) / scale))


def _gaze(time_s: np.ndarray, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """(T,) gaze to the head's right and (T,) up: dwells around the listener, joined by saccades."""
    n_dwells = 4 + int(2 * (time_s[-1] if len(time_s) else 0.0) / eyes.DWELL_MEAN_S)
    starts_s = np.cumsum(eyes.dwell_s(rng, n_dwells)) - eyes.DWELL_MEAN_S
    aims = eyes.aims(rng, n_dwells)
    knots_s = np.stack([starts_s - eyes.SACCADE_S / 2, starts_s + eyes.SACCADE_S / 2], axis=1).ravel()
    positions = np.repeat(np.concatenate([np.zeros((1, 2)), aims]), 2, axis=0)[1:-1]
    return np.interp(time_s, knots_s, positions[:, 0]), np.interp(time_s, knots_s, positions[:, 1])
