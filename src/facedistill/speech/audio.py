"""Audio in and out: any recording becomes one channel of float32, at its own rate or at 16 kHz."""

import logging
from collections.abc import Callable
from pathlib import Path

import numpy as np
import scipy  # its parts load when used: scipy.signal takes a second, and audio at 16 kHz does not need it

from facedistill.core.errors import InputError
from facedistill.core.files import atomic_path
from facedistill.core.sound import EXPECTED_SAMPLES, MAX_RATE_HZ, MAX_SAMPLE, MIN_RATE_HZ, SAMPLE_RATE_HZ
from facedistill.speech.decode import AUDIO_SUFFIXES, Report, decode

MIN_DURATION_S = 0.02
MAX_DURATION_S = 3 * 3600.0
CANCELLED = 0.25  # of the power that the loudest channel alone leaves in the mean of all
SHORTER_RATIO, SHORTER_S = 0.95, 0.1  # than its header announces: a file that was cut

log = logging.getLogger(__name__)


def resample(mono: np.ndarray, rate_hz: int, to_hz: int = SAMPLE_RATE_HZ) -> np.ndarray:
    """Resamples with a polyphase low-pass filter.

    Args:
        mono: (S,) full scale +-1.
        rate_hz, to_hz: sample rates of `mono` and of what is returned.

    Returns:
        (S',) float32, S' = ceil(S * to_hz / rate_hz).
    """
    if rate_hz != to_hz:
        divisor = np.gcd(rate_hz, to_hz)
        mono = scipy.signal.resample_poly(mono, to_hz // divisor, rate_hz // divisor)
    return mono.astype(np.float32)


def read_audio(path: Path) -> np.ndarray:
    """Reads a recording of any rate and channel count.

    Returns:
        (S,) float32 at 16 kHz mono.

    Raises:
        InputError: see `read_mono`.
    """
    return resample(*read_mono(path))


def read_mono(path: Path) -> tuple[np.ndarray, int]:
    """Reads a recording to its end at its own rate, its channels averaged.

    What its header says of its length is not believed. Where the average would cancel the sound, as that of channels in opposite
    phase does, the loudest channel is taken. Whatever had to be decided so is logged.

    Returns:
        (S,) float32, and the sample rate in Hz. Silence is allowed: a silent recording animates a resting face.

    Raises:
        InputError: missing, not audio, shorter than 20 ms, longer than 3 h, or samples that are not finite or far beyond +-1.
    """
    if not path.is_file():
        raise InputError(f"{path}: {'a link to nothing' if path.is_symlink() else 'no such recording'}")
    report = Report()
    mono, rate_hz, power = _mixed(path, report, lambda channels: channels.mean(axis=0))
    _tell(path, report)
    n_channels, loudest = len(power), int(power.argmax())
    if n_channels > 1 and np.dot(mono, mono) < CANCELLED / n_channels**2 * power[loudest]:
        log.warning("%s: its %d channels cancel each other; channel %d, the loudest, is used", path, n_channels, loudest + 1)
        mono, _, _ = _mixed(path, Report(), lambda channels: channels[min(loudest, len(channels) - 1)])
    largest = float(np.abs(mono).max())
    if not np.isfinite(largest):
        raise InputError(f"{path}: contains NaN or infinite samples; expected finite samples")
    if largest > MAX_SAMPLE:
        raise InputError(f"{path}: samples of up to {largest:.4g}; {EXPECTED_SAMPLES}")
    return mono, rate_hz


def list_recordings(folder: Path) -> list[Path]:
    """The recordings below a folder, told by their suffix, in path order.

    Links to nothing are among them: whoever reads one is told.
    """
    return sorted(path for path in folder.rglob("*") if path.suffix.lower() in AUDIO_SUFFIXES and not path.is_dir())


def _mixed(path: Path, report: Report, mix: Callable[[np.ndarray], np.ndarray]) -> tuple[np.ndarray, int, np.ndarray]:
    """(S,) samples, the rate in Hz of the first of them, at which all are, and (C,) sums of squares of the channels.

    Args:
        mix: (C, S) -> (S,).
    """
    segments: list[tuple[int, list[np.ndarray]]] = []  # a new one where the rate changes
    power = np.zeros(1)
    for channels, rate_hz in decode(path, report, max_s=MAX_DURATION_S):
        if not MIN_RATE_HZ <= rate_hz <= MAX_RATE_HZ:
            raise InputError(f"{path}: sample rate {rate_hz} Hz; expected {MIN_RATE_HZ} to {MAX_RATE_HZ} Hz")
        if not segments or segments[-1][0] != rate_hz:
            segments.append((rate_hz, []))
        segments[-1][1].append(mix(channels))
        squares = np.einsum("cs,cs->c", channels, channels, dtype=np.float64)
        power = np.pad(power, (0, max(0, len(squares) - len(power)))) + np.pad(squares, (0, max(0, len(power) - len(squares))))
    if report.duration_s < MIN_DURATION_S:
        raise InputError(f"{path}: empty or too short ({report.duration_s:.3f} s); expected at least {MIN_DURATION_S} s")
    rate_hz = segments[0][0]
    mono = np.concatenate([resample(np.concatenate(blocks), own_hz, rate_hz) for own_hz, blocks in segments])
    return mono, rate_hz, power


def _tell(path: Path, report: Report) -> None:
    if report.n_tracks > 1:
        log.warning("%s: has %d sound tracks; the one that players choose is used", path, report.n_tracks)
    if report.n_damaged:
        log.warning("%s: packets that cannot be decoded are left out: %d", path, report.n_damaged)
    if report.silence_s:
        log.warning("%s: its time stamps leave gaps: %.2f s of silence fill them", path, report.silence_s)
    announced_s = report.announced_s - report.silence_s
    if report.is_cut or report.duration_s < min(SHORTER_RATIO * announced_s, announced_s - SHORTER_S):
        log.warning("%s: ends after %.2f s, before the end that its header announces", path, report.duration_s)


def write_flac(path: Path, samples: np.ndarray) -> None:
    """Writes (S,) samples at 16 kHz as 16-bit FLAC, atomically; samples outside +-1 are clipped."""
    import soundfile  # of those who make corpora; animating does not need it

    with atomic_path(path) as temporary:
        soundfile.write(temporary, np.clip(samples, -1, 1), SAMPLE_RATE_HZ, format="FLAC", subtype="PCM_16")
