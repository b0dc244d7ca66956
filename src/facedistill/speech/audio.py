"""Audio in and out: any recording becomes one channel of float32, at its own rate or at 16 kHz."""

import logging
import math
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import chain, groupby
from pathlib import Path

import numpy as np
import scipy  # its parts load when used: scipy.signal takes a second, and audio at 16 kHz does not need it

from facedistill.core import EXPECTED_SAMPLES, MAX_RATE_HZ, MAX_SAMPLE, MIN_RATE_HZ, SAMPLE_RATE_HZ
from facedistill.core.errors import InputError
from facedistill.core.files import atomic_path
from facedistill.speech.decode import AUDIO_SUFFIXES, Report, decode

MIN_DURATION_S = 0.02
MAX_DURATION_S = 3 * 3600.0
CANCELLED = 0.25  # of the power that the loudest channel alone leaves in the mean of all
RESAMPLED = 2**20  # samples, before or after, that are resampled at once: bounds memory
ZERO_CROSSINGS, KAISER = 10, ("kaiser", 5.0)  # of the low-pass filter: those of scipy.signal.resample_poly

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Sound:
    """One channel of sound, which is read as it is used, once; the block that shows what is wrong with it raises that."""

    rate_hz: int
    blocks: Iterable[np.ndarray]  # (S,) float32 each, full scale +-1
    announced_s: float = 0.0  # how long its header says it is; 0 where it does not

    def whole(self) -> tuple[np.ndarray, int]:
        """(S,) float32 of all blocks, and the sample rate in Hz."""
        return np.concatenate(list(self.blocks)), self.rate_hz


def resample(mono: np.ndarray, rate_hz: int, to_hz: int = SAMPLE_RATE_HZ) -> np.ndarray:
    """Resamples (S,) with a polyphase low-pass filter; returns (S',) float32, S' = ceil(S * to_hz / rate_hz)."""
    if rate_hz != to_hz:
        mono = scipy.signal.resample_poly(mono, to_hz, rate_hz)
    return mono.astype(np.float32)


def read_audio(path: Path) -> np.ndarray:
    """Reads a recording whole, see `open_mono`; returns (S,) float32 at 16 kHz mono."""
    return resample(*open_mono(path).whole())


def open_mono(path: Path) -> Sound:
    """Reads a recording to its end, block by block, at its own rate, its channels averaged.

    What its header says of its length is not believed. Where the average would cancel the sound, as that of channels in opposite
    phase does, the loudest channel is taken. Whatever had to be decided so is logged once all is read. InputError, here or while
    blocks are read, where it is missing, not audio, shorter than 20 ms, longer than 3 h, not finite, or far beyond +-1.
    """
    if not path.is_file():
        raise InputError(f"{path}: {'a link to nothing' if path.is_symlink() else 'no such recording'}")
    if path.stat().st_size == 0:
        raise InputError(f"{path}: an empty file; expected a recording")
    report = Report()
    mixed = _mixed(path, report)
    first, rate_hz = next(mixed)
    return Sound(rate_hz, _checked(path, chain([(first, rate_hz)], mixed), rate_hz), report.announced_s)


def _mixed(path: Path, report: Report) -> Iterator[tuple[np.ndarray, int]]:
    """(S,) and the sample rate in Hz by block: the mean of its channels, or the loudest one where the mean lost next to all."""
    loudest, used_s = None, Counter()  # the channel that was used last; {(channels, the one that was used): seconds}
    for channels, rate_hz in decode(path, report, max_s=MAX_DURATION_S):
        if not MIN_RATE_HZ <= rate_hz <= MAX_RATE_HZ:
            raise InputError(f"{path}: sample rate {rate_hz} Hz; expected {MIN_RATE_HZ} to {MAX_RATE_HZ} Hz")
        mono, powers = channels.mean(axis=0), np.einsum("cs,cs->c", channels, channels)
        if len(channels) > 1 and np.dot(mono, mono) < CANCELLED / len(channels) ** 2 * powers.max():
            if loudest is None or loudest >= len(channels) or powers[loudest] < powers.max() / 4:
                loudest = int(powers.argmax())
            used_s[len(channels), loudest] += len(mono) / rate_hz
            mono = channels[loudest].copy()
        yield mono, rate_hz
    if report.duration_s < MIN_DURATION_S:
        raise InputError(f"{path}: empty or too short ({report.duration_s:.3f} s); expected at least {MIN_DURATION_S} s")
    _log_notes(path, report, used_s)


def _log_notes(path: Path, report: Report, used_s: dict[tuple[int, int], float]) -> None:
    cancelled = "its %d channels cancel each other; channel %d, the loudest, is used for %.1f s"
    for holds, text, *values in (
        (report.n_tracks > 1, "has %d sound tracks; the one that players choose is used", report.n_tracks),
        (report.n_damaged, "parts that hold no sound or are damaged were left out: %d", report.n_damaged),
        (report.silence_s, "its time stamps leave gaps: %.2f s of silence fill them", report.silence_s),
        (
            report.is_cut or report.duration_s < report.announced_s - 0.1,
            "ends after %.2f s, before the end that its header announces", report.duration_s,
        ),
        (report.is_longer, "goes on after the end that its header announces; all of it is read"),
        *((True, cancelled, n_channels, channel + 1, seconds) for (n_channels, channel), seconds in used_s.items()),
    ):  # fmt: skip
        if holds:
            log.warning(f"%s: {text}", path, *values)


def _checked(path: Path, mixed: Iterable[tuple[np.ndarray, int]], rate_hz: int) -> Iterator[np.ndarray]:
    """Blocks at one rate, since those of joined files may have another."""
    for own_hz, segment in groupby(mixed, lambda block: block[1]):
        blocks = (mono for mono, _ in segment)
        for mono in blocks if own_hz == rate_hz else resample_blocks(blocks, own_hz, rate_hz):
            largest = float(np.abs(mono).max(initial=0))
            if not np.isfinite(largest):
                raise InputError(f"{path}: contains NaN or infinite samples; expected finite samples")
            if largest > MAX_SAMPLE:
                raise InputError(f"{path}: samples of up to {largest:.4g}; {EXPECTED_SAMPLES}")
            yield mono


def resample_blocks(blocks: Iterable[np.ndarray], rate_hz: int, to_hz: int) -> Iterator[np.ndarray]:
    """The same bits as `resample` of all blocks (S,) float32 in one, block by block."""
    divisor = math.gcd(rate_hz, to_hz)
    up, down = to_hz // divisor, rate_hz // divisor
    widest = max(up, down)
    kernel = scipy.signal.firwin(2 * ZERO_CROSSINGS * widest + 1, 1 / widest, window=KAISER).astype(np.float32)
    # All lengths are multiples of `down`, so that samples before and after stand at the same times.
    n_step = down * -(-RESAMPLED // widest)
    n_reach = down * -(-(ZERO_CROSSINGS * widest // up + 1) // down)
    held, n_before = np.zeros(0, np.float32), 0
    for block in blocks:
        held = np.concatenate([held, block])
        while len(held) >= (n_heard := n_before + n_step + n_reach):
            done = scipy.signal.resample_poly(held[:n_heard], up, down, window=kernel)
            yield done[n_before * up // down : (n_before + n_step) * up // down]
            begin = max(0, n_before + n_step - n_reach)
            held, n_before = held[begin:], n_before + n_step - begin
    yield scipy.signal.resample_poly(held, up, down, window=kernel)[n_before * up // down :]


def list_recordings(folder: Path) -> list[Path]:
    """The recordings below a folder, told by their suffix, in path order; with links to nothing, without macOS's `._name`."""
    found = (path for path in folder.rglob("*") if path.suffix.lower() in AUDIO_SUFFIXES and not path.name.startswith("._"))
    return sorted(path for path in found if not path.is_dir())


def write_flac(path: Path, samples: np.ndarray) -> None:
    """Writes (S,) samples at 16 kHz as 16-bit FLAC, atomically; samples outside +-1 are clipped."""
    import soundfile  # of those who make corpora; animating does not need it

    with atomic_path(path) as temporary:
        soundfile.write(temporary, np.clip(samples, -1, 1), SAMPLE_RATE_HZ, format="FLAC", subtype="PCM_16")
