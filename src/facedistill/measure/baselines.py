"""The baseline that needs no learning: a mouth that opens with loudness."""

import numpy as np
from scipy.ndimage import uniform_filter1d

from facedistill.core.sound import SAMPLE_RATE_HZ
from facedistill.face.arkit import INDEX, N_CURVES
from facedistill.face.curves import FPS, n_frames

WINDOW_S = 0.03
RANGE_DB = 35.0  # the loudest moment opens the jaw fully, this much below it closes it
WIDEST_JAW = 0.5
FLOOR_RMS = 1e-4


def amplitude_envelope(audio: np.ndarray, fps: float = FPS) -> np.ndarray:
    """jawOpen follows the log-RMS level of the utterance; every other curve rests.

    Args:
        audio: (S,) at 16 kHz.

    Returns:
        (T, K) float32 in 0..1.
    """
    power = uniform_filter1d(np.square(audio, dtype=np.float64), int(WINDOW_S * SAMPLE_RATE_HZ))
    frames = np.minimum(np.arange(n_frames(len(audio), fps)) * SAMPLE_RATE_HZ / fps, len(audio) - 1).astype(int)
    level_db = 10 * np.log10(np.maximum(power[frames], FLOOR_RMS**2))
    curves = np.zeros((len(frames), N_CURVES), np.float32)
    loudest_db = max(level_db.max(), 20 * np.log10(FLOOR_RMS) + RANGE_DB)
    curves[:, INDEX["jawOpen"]] = WIDEST_JAW * np.clip((level_db - loudest_db) / RANGE_DB + 1, 0, 1)
    return curves
