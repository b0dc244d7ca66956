"""The baseline that needs no learning: a mouth that opens with the amplitude envelope of the sound."""

import numpy as np
from scipy.ndimage import uniform_filter1d
from scipy.signal import butter, sosfiltfilt

from facedistill.core import SAMPLE_RATE_HZ
from facedistill.rig.arkit import INDEX, N_CURVES
from facedistill.rig.curves import FPS, n_frames

BAND_HZ = (1000.0, 6000.0)  # where vowels are louder than closed lips, whose hum lies below
WINDOW_S = 0.03
RANGE_DB = 35.0  # the loudest moment opens the jaw fully, this much below it closes it
WIDEST_JAW = 0.5
FLOOR_RMS = 1e-4


def band_envelope(audio: np.ndarray) -> np.ndarray:
    """`amplitude_envelope` of the band of `BAND_HZ` alone: (S,) at 16 kHz -> (T, K) float32 in 0..1 at 60 fps."""
    filters = butter(4, BAND_HZ, btype="bandpass", fs=SAMPLE_RATE_HZ, output="sos")
    reach = min(3 * (2 * len(filters) + 1), len(audio) - 1)  # SciPy's own, as far as there is sound
    return amplitude_envelope(sosfiltfilt(filters, audio.astype(np.float64), padlen=reach))


def amplitude_envelope(audio: np.ndarray) -> np.ndarray:
    """jawOpen follows the log-RMS level of the utterance; every other curve rests.

    Args:
        audio: (S,) at 16 kHz.

    Returns:
        (T, K) float32 in 0..1 at 60 fps.
    """
    power = uniform_filter1d(np.square(audio, dtype=np.float64), int(WINDOW_S * SAMPLE_RATE_HZ))
    frames = np.minimum(np.arange(n_frames(len(audio))) * SAMPLE_RATE_HZ / FPS, len(audio) - 1).astype(int)
    level_db = 10 * np.log10(np.maximum(power[frames], FLOOR_RMS**2))
    curves = np.zeros((len(frames), N_CURVES), np.float32)
    loudest_db = max(level_db.max(), 20 * np.log10(FLOOR_RMS) + RANGE_DB)
    curves[:, INDEX["jawOpen"]] = WIDEST_JAW * np.clip((level_db - loudest_db) / RANGE_DB + 1, 0, 1)
    return curves
