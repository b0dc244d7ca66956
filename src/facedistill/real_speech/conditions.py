"""What recordings are put through, and sound in which nobody speaks."""

import zlib
from collections.abc import Callable

import numpy as np

from facedistill.core.sound import SAMPLE_RATE_HZ
from facedistill.real_speech.settings import Settings
from facedistill.speech.augment import add_noise, coloured_noise, telephone, with_gain

TILT = 1.0  # of all noise here: power falls with frequency, as in rooms
SILENCE = "silence"
Condition = Callable[[np.ndarray, np.random.Generator], np.ndarray]


def conditions_of(settings: Settings) -> dict[str, Condition]:
    """{name: (S,) float32 -> (S,) float32 within +-1}, in the order of the settings."""

    def level(gain_db: float) -> Condition:
        return lambda audio, rng: with_gain(audio, gain_db)

    def noise(snr_db: float) -> Condition:
        return lambda audio, rng: add_noise(audio, snr_db=snr_db, tilt=TILT, rng=rng)

    found = {f"level{level_db:+g}db": level(level_db) for level_db in settings.conditions.levels_db}
    found |= {f"noise-snr{snr_db:g}db": noise(snr_db) for snr_db in settings.conditions.snr_db}
    if settings.conditions.telephone:
        found["telephone"] = lambda audio, rng: telephone(audio)
    return found


def degraded(audio: np.ndarray, condition: Condition, *, name: str, seed: int) -> np.ndarray:
    """A recording in a condition; what is random depends on the seed and on the recording's name alone.

    Args:
        audio: (S,) float32 at 16 kHz.

    Returns:
        (S,) float32 within +-1: what is too loud is clipped, as a recorder does.
    """
    rng = np.random.default_rng([seed, zlib.crc32(name.encode())])
    return np.clip(condition(audio, rng), -1, 1).astype(np.float32)


def quiet_sounds(settings: Settings) -> dict[str, np.ndarray]:
    """{name: (S,) float32 at 16 kHz}: digital silence, then noise at each level in dB full scale."""
    n_samples = round(settings.quiet.duration_s * SAMPLE_RATE_HZ)
    found = {SILENCE: np.zeros(n_samples, np.float32)}
    for level_db in settings.quiet.levels_db:
        noise = coloured_noise(n_samples, tilt=TILT, rng=np.random.default_rng(settings.seed))
        found[f"room{level_db:+g}dbfs"] = with_gain(noise, level_db)
    return found
