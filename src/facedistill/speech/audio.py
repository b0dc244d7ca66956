"""Audio in and out: any recording that soundfile reads becomes 16 kHz mono float32."""

import re
from pathlib import Path

import numpy as np
import scipy  # its parts load when used: scipy.signal takes a second, and audio at 16 kHz does not need it
import soundfile as sf

from facedistill.core.errors import InputError
from facedistill.core.files import atomic_path

SAMPLE_RATE_HZ = 16_000
MIN_RATE_HZ, MAX_RATE_HZ = 4_000, 384_000
MIN_DURATION_S = 0.02
MAX_DURATION_S = 3 * 3600.0
BLOCK_FRAMES = 2**20  # read at once, so that channels are averaged before there are hours of them
STREAMED_BYTES = 2**31 - 2**16  # WAV sizes from here on mean "unknown"
AUDIO_SUFFIXES = (".wav", ".flac", ".ogg", ".mp3")


def to_16k(mono: np.ndarray, rate_hz: int) -> np.ndarray:
    """Resamples with a polyphase low-pass filter.

    Args:
        mono: (S,) full scale +-1.
        rate_hz: sample rate of `mono`.

    Returns:
        (S',) float32 at 16 kHz, S' = ceil(S * 16000 / rate_hz).
    """
    if rate_hz != SAMPLE_RATE_HZ:
        divisor = np.gcd(rate_hz, SAMPLE_RATE_HZ)
        mono = scipy.signal.resample_poly(mono, SAMPLE_RATE_HZ // divisor, rate_hz // divisor)
    return mono.astype(np.float32)


def read_audio(path: Path) -> np.ndarray:
    """Reads a recording of any rate and channel count.

    Returns:
        (S,) float32 at 16 kHz mono.

    Raises:
        InputError: see `read_mono`.
    """
    return to_16k(*read_mono(path))


def read_mono(path: Path) -> tuple[np.ndarray, int]:
    """Reads a recording at its own rate, its channels averaged.

    Returns:
        (S,) float32, and the sample rate in Hz. Silence is allowed: a silent recording animates a resting face.

    Raises:
        InputError: missing, not audio, empty or truncated, shorter than 20 ms, longer than 3 h, or not finite.
    """
    if not path.is_file():
        raise InputError(f"{path}: no such recording")
    try:
        with sf.SoundFile(path) as file:
            rate_hz, declared = file.samplerate, file.frames
            _check_header(path, rate_hz, declared / rate_hz)
            cut_short = _is_cut_short(file.extra_info)
            blocks = file.blocks(BLOCK_FRAMES, dtype="float32", always_2d=True)
            mono = np.concatenate([np.zeros(0, np.float32), *(block.mean(axis=1) for block in blocks)])
    except (sf.SoundFileError, RuntimeError) as error:
        raise InputError(f"{path}: not readable as audio ({error}); allowed: {' '.join(AUDIO_SUFFIXES)}") from None
    if cut_short or len(mono) < declared:
        raise InputError(f"{path}: truncated: the file ends before the audio that its header announces")
    if not np.isfinite(mono).all():
        raise InputError(f"{path}: contains NaN or infinite samples; allowed: finite samples")
    return mono, rate_hz


def _check_header(path: Path, rate_hz: int, duration_s: float) -> None:
    if not MIN_RATE_HZ <= rate_hz <= MAX_RATE_HZ:
        raise InputError(f"{path}: sample rate {rate_hz} Hz; allowed: {MIN_RATE_HZ} to {MAX_RATE_HZ} Hz")
    if duration_s < MIN_DURATION_S:
        raise InputError(f"{path}: empty or too short ({duration_s:.3f} s); allowed: at least {MIN_DURATION_S} s")
    if duration_s > MAX_DURATION_S:
        raise InputError(f"{path}: {duration_s / 3600:.1f} h long; allowed: at most {MAX_DURATION_S / 3600:.0f} h")


def _is_cut_short(header_log: str) -> bool:
    """Whether a WAV's data chunk announces more bytes than there are; streamed files announce the largest size on purpose."""
    sizes = re.search(r"^data : (\d+) \(should be (\d+)\)", header_log, re.MULTILINE)
    return sizes is not None and int(sizes[2]) < int(sizes[1]) < STREAMED_BYTES


def write_flac(path: Path, samples: np.ndarray) -> None:
    """Writes (S,) samples at 16 kHz as 16-bit FLAC, atomically; samples outside +-1 are clipped."""
    with atomic_path(path) as temporary:
        sf.write(temporary, np.clip(samples, -1, 1), SAMPLE_RATE_HZ, format="FLAC", subtype="PCM_16")
