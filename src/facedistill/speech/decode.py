"""Recordings of any kind, decoded by FFmpeg to their real end, whatever their headers say of it."""

import mmap
import os
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import groupby, islice, pairwise
from pathlib import Path

import av
import numpy as np

from facedistill.core.errors import InputError

AUDIO_SUFFIXES = (".wav", ".flac", ".ogg", ".oga", ".opus", ".mp3", ".m4a", ".aac", ".webm", ".aif", ".aiff")
# Containers of sound, with pictures or without. Playlists are not among them: they would have other files and addresses opened.
CONTAINERS = "wav,w64,aiff,au,caf,flac,ogg,mp3,aac,amr,mov,mp4,m4a,matroska,webm,asf,avi,mpegts"
OPTIONS = {"format_whitelist": CONTAINERS, "protocol_whitelist": "file,subfile"}
ANNOUNCING = {"aiff", "flac", "matroska", "mov", "w64", "wav"}  # containers whose headers hold a length, and not an estimate
TIMED = {"matroska", "mov"}  # containers that say when each packet is heard: after a pause, later than the one before ends
MIN_GAP_S = 0.1  # what is shorter is rounding
BLOCK_FRAMES = 256  # of the codec, given at once
WAV_FORM = struct.Struct("<HHIIHH")  # coding, channels, samples and bytes a second, bytes of a block, bits of a sample
UNCOMPRESSED = {1, 3}  # codings of a WAV: whole numbers and floats
STREAMED_BYTES = 2**31 - 2**16  # sizes of a WAV from here on mean "unknown"; so does 0


@dataclass
class Report:
    """What was found while a file was decoded.

    Attributes:
        duration_s: of the sound.
        announced_s: what headers say of that, where they say it; 0 where not.
        silence_s: put where the time stamps leave gaps.
        n_damaged: packets that could not be decoded.
        n_tracks: of sound in the file, of which one is decoded.
        is_cut: the file ends before its header says.
    """

    duration_s: float = 0.0
    announced_s: float = 0.0
    silence_s: float = 0.0
    n_damaged: int = 0
    n_tracks: int = 0
    is_cut: bool = False


def decode(path: Path, report: Report, *, max_s: float) -> Iterator[tuple[np.ndarray, int]]:
    """Decodes the sound of a file, block by block.

    Args:
        report: is filled.
        max_s: that there may be.

    Yields:
        (C, S) float32, full scale +-1, and the sample rate in Hz; both C and the rate may change where files were joined.

    Raises:
        InputError: not a file that can be decoded, without sound, or with more of it than `max_s`.
    """
    try:
        for part in _parts(path, report):
            with av.open(part, options=OPTIONS, metadata_errors="ignore") as container:
                for block, rate_hz in _blocks(_chunks(path, container, report, max_s)):
                    report.duration_s += block.shape[1] / rate_hz
                    _check_length(path, report.duration_s, max_s)
                    yield block, rate_hz
    except (av.FFmpegError, OSError) as error:
        raise InputError(f"{path}: not readable as audio ({error.strerror}); expected {' '.join(AUDIO_SUFFIXES)}") from None


def _check_length(path: Path, duration_s: float, max_s: float) -> None:
    if duration_s > max_s:
        raise InputError(f"{path}: more than {max_s / 3600:g} h of sound; expected at most that")


def _parts(path: Path, report: Report) -> list[str]:
    """What FFmpeg opens: the file; or each of those that were joined end to end to it, where it would give the first alone."""
    place = os.path.abspath(path)  # never taken for an address
    with path.open("rb") as file:
        if file.read(4) not in (b"OggS", b"RIFF"):
            return [f"file:{place}"]
        with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
            starts = _ogg_starts(data) if data[:4] == b"OggS" else _wav_starts(path, data, report)
            return [f"subfile,,start,{start},end,{end},,:{place}" for start, end in pairwise([*starts, len(data)])]


def _ogg_starts(data: mmap.mmap) -> list[int]:
    """Where the links of a chained Ogg begin: with a page that begins a stream, after pages that do not (RFC 3533)."""
    starts, at, has_begun = [0], 0, False
    while (at := data.find(b"OggS", at)) >= 0 and at + 27 <= len(data):
        begins = bool(data[at + 5] & 2)
        if begins and has_begun:
            starts.append(at)
        has_begun = not begins
        n_segments = data[at + 26]
        at += 27 + n_segments + sum(data[at + 27 : at + 27 + n_segments])
    return starts


def _wav_starts(path: Path, data: mmap.mmap, report: Report) -> list[int]:
    starts, at = [], 0
    while data[at : at + 4] == b"RIFF" and data[at + 8 : at + 12] == b"WAVE":
        starts.append(at)
        _check_form(path, data, data.find(b"fmt ", at) + 8)
        n_bytes = int.from_bytes(data[at + 4 : at + 8], "little")
        at += 8 + n_bytes + n_bytes % 2
        report.is_cut = len(data) < at - n_bytes % 2 and n_bytes < STREAMED_BYTES
    return starts or [0]


def _check_form(path: Path, data: mmap.mmap, at: int) -> None:
    """Samples that are not as wide as the header says are noise to FFmpeg."""
    if at + WAV_FORM.size <= len(data):
        coding, n_channels, _, _, block, bits = WAV_FORM.unpack_from(data, at)
        if coding in UNCOMPRESSED and block != n_channels * -(-bits // 8):
            told = f"{n_channels} samples of {bits} bits in blocks of {block} bytes"
            raise InputError(f"{path}: its header contradicts itself: {told}; expected {n_channels * -(-bits // 8)}")


def _chunks(path: Path, container: av.container.InputContainer, report: Report, max_s: float) -> Iterator[tuple[np.ndarray, int]]:
    """(C, S) float32 and the sample rate in Hz of each frame of the codec, and of the silence of gaps between them."""
    stream = container.streams.best("audio")
    if stream is None:
        raise InputError(f"{path}: holds no sound; expected a recording")
    kind = container.format.name.split(",")[0]
    report.n_tracks = max(report.n_tracks, len(container.streams.audio))
    report.announced_s += (container.duration or 0) / av.time_base if kind in ANNOUNCING else 0.0
    end_s = None
    for frame in _frames(container, stream, report):
        samples, rate_hz = _samples(frame), frame.sample_rate
        if kind in TIMED and frame.time is not None:
            gap_s = frame.time - end_s if end_s is not None else 0.0
            if gap_s > MIN_GAP_S:
                report.silence_s += gap_s
                _check_length(path, report.silence_s, max_s)
                yield np.zeros((len(samples), round(gap_s * rate_hz)), np.float32), rate_hz
            end_s = frame.time + frame.samples / rate_hz
        yield samples, rate_hz


def _frames(container: av.container.InputContainer, stream: av.AudioStream, report: Report) -> Iterator[av.AudioFrame]:
    """All frames of a stream that can be decoded."""
    packets = container.demux(stream)
    while True:
        try:
            packet = next(packets, None)
        except av.FFmpegError:  # the container is broken from here on
            packet, report.n_damaged = None, report.n_damaged + 1
        if packet is None:
            return
        try:
            yield from packet.decode()
        except av.FFmpegError:
            report.n_damaged += 1


def _blocks(chunks: Iterator[tuple[np.ndarray, int]]) -> Iterator[tuple[np.ndarray, int]]:
    """The same, many of one form at once."""
    for (_, rate_hz), alike in groupby(chunks, lambda chunk: (len(chunk[0]), chunk[1])):
        while some := [samples for samples, _ in islice(alike, BLOCK_FRAMES)]:
            yield np.concatenate(some, axis=1), rate_hz


def _samples(frame: av.AudioFrame) -> np.ndarray:
    """(C, S) float32 in +-1."""
    values = frame.to_ndarray()
    if not frame.format.is_planar:
        values = values.reshape(-1, frame.layout.nb_channels).T
    if values.dtype == np.uint8:
        return (values.astype(np.float32) - 2**7) / 2**7
    with np.errstate(over="ignore"):  # of 64-bit floats; who reads them looks at what is finite
        return (values if values.dtype.kind == "f" else values / 2.0 ** (8 * values.itemsize - 1)).astype(np.float32)
