"""Recordings of any kind, decoded by FFmpeg to their real end, whatever their headers say of it."""

import os
import re
import struct
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import chain, groupby, pairwise
from pathlib import Path
from typing import BinaryIO

import av
import numpy as np

from facedistill.core.errors import InputError

AUDIO_SUFFIXES = (".wav", ".flac", ".ogg", ".oga", ".opus", ".mp3", ".m4a", ".aac", ".webm", ".aif", ".aiff")
# Containers of sound, with pictures or without. Playlists are not among them: they would have other files and addresses opened.
CONTAINERS = "wav,w64,aiff,au,caf,flac,ogg,mp3,aac,ac3,eac3,amr,wv,tta,mov,mp4,m4a,matroska,webm,asf,avi,flv,mpeg,mpegts"
OPTIONS = {"format_whitelist": CONTAINERS, "protocol_whitelist": "file,subfile"}
ANNOUNCING = {"aiff", "flac", "matroska", "mov", "w64", "wav"}  # containers whose headers hold a length, and not an estimate
TIMED = {"matroska", "mov"}  # containers that say when each packet is heard: after a pause, later than the one before ends
PADDED = "mov"  # the container whose last frame is longer than what is heard of it, which FFmpeg's library leaves to its user
BLOCK_FRAMES = 32  # of the codec, given at once: a second or two
MAX_BLOCK = 2**22  # numbers of a block from which it is not made longer: bounds memory
# How files begin of which FFmpeg reads the first alone where several were joined end to end; Ogg's pages are looked at singly.
RIFF = rb"R(?:IFF|F64)....WAVE|BW64....WAVE"
BEGINNINGS = [
    re.compile(pattern, re.DOTALL)
    for pattern in (
        RIFF, rb"OggS\0\x02", rb"\0\0\0.ftyp", rb"\x1aE\xdf\xa3.{1,8}?B[\x82\x86\xf7]", rb"FORM....AIF[FC]",
        rb"caff\0\x01\0\0desc", rb"riff\x2e\x91\xcf\x11.{16}wave\xf3\xac\xd3\x11",
        rb"\x30\x26\xb2\x75\x8e\x66\xcf\x11\xa6\xd9\0\xaa\0\x62\xce\x6c",
    )
]  # fmt: skip
MAX_BEGINNING = 64  # bytes that tell one of them
SCANNED_BYTES = (2**10, 2**20)  # of a file that are searched at once, at first and at most
OGG_PAGE, OGG_HEADER, MAX_OGG_HEADER = re.compile(b"OggS"), 27, 27 + 255  # bytes of a page before its content
WAV_FORM = struct.Struct("<HHIIHH")  # coding, channels, samples and bytes a second, bytes of a block, bits of a sample
FFMPEG_CHANNELS, MAX_CHANNELS = 64, 1024  # that FFmpeg's resampler takes, and that uncompressed WAVs may have
EXTENSIBLE, UNCOMPRESSED = 0xFFFE, {1, 3}  # codings of a WAV: one that stands further on; whole numbers and floats
RAW = {(1, 8): "u8", (1, 16): "s16le", (1, 24): "s24le", (1, 32): "s32le", (3, 32): "f32le", (3, 64): "f64le"}  # FFmpeg's names
MIN_REST_BYTES = 2048  # behind the sound that a WAV announces; less is some program's mark
STREAMED_BYTES = 2**31 - 2**16  # sizes of a WAV from here on mean "unknown"
UNKNOWN_SIZE = 2**32 - 1  # stands in place of a size of 64 bits


@dataclass(frozen=True)
class Part:
    """What FFmpeg opens."""

    url: str  # of the file, or of a part of it
    options: dict[str, str] = field(default_factory=dict)
    raw: str | None = None  # the format of samples without a header; None where FFmpeg finds out
    n_interleaved: int = 1  # channels that are read as one channel of as many times the rate, since FFmpeg takes fewer


@dataclass
class Report:
    """What was found while a file was decoded."""

    duration_s: float = 0.0  # of the sound
    announced_s: float = 0.0  # what headers say of that, where they say it
    silence_s: float = 0.0  # put where the time stamps leave gaps
    n_damaged: int = 0  # packets, and parts of joined files, that could not be decoded
    n_tracks: int = 0  # of sound in the file, of which one is decoded
    is_cut: bool = False  # there is less than the header says
    is_longer: bool = False  # there is more


def decode(path: Path, report: Report, *, max_s: float) -> Iterator[tuple[np.ndarray, int]]:
    """(C, S) float32 in +-1 and the sample rate in Hz, block by block, while `report` is filled.

    Both C and the rate may change where files were joined. InputError where it is not a file that can be decoded, without sound,
    or with more of it than `max_s`; MemoryError where there is not enough, for FFmpeg either.
    """
    try:
        for part in _parts(path, report):
            try:
                container = av.open(part.url, format=part.raw, options=OPTIONS | part.options, metadata_errors="ignore")
            except av.FFmpegError as error:
                if not report.duration_s or isinstance(error, MemoryError):
                    raise
                report.n_damaged += 1  # what was joined to a good file
                continue
            with container:
                blocks = _blocks(_chunks(path, container, report))
                for block, rate_hz in blocks if part.n_interleaved == 1 else _separated(blocks, part.n_interleaved):
                    report.duration_s += block.shape[1] / rate_hz
                    if report.duration_s > max_s + 1e-3:  # more than a sum of many is off
                        raise InputError(f"{path}: more than {max_s / 3600:g} h of sound; expected at most that")
                    yield block, rate_hz
    except MemoryError:  # FFmpeg's own is an FFmpegError too
        raise
    except (av.FFmpegError, OSError) as error:
        raise InputError(f"{path}: not readable as audio ({error.strerror}); expected {' '.join(AUDIO_SUFFIXES)}") from None


def _check_channels(path: Path, n_channels: int, most: int) -> None:
    if n_channels > most:
        raise InputError(f"{path}: {n_channels} channels; expected at most {most}")


def _parts(path: Path, report: Report) -> Iterator[Part]:
    """The file; or each of those that were joined end to end to it."""
    with path.open("rb") as file:
        beginning = file.read(MAX_BEGINNING)
        pattern = next((pattern for pattern in BEGINNINGS if pattern.match(beginning)), None)
        if pattern is None:
            yield Part(f"file:{os.path.abspath(path)}")  # never taken for an address
            return
        starts = _ogg_starts(file) if beginning.startswith(b"OggS") else _places(file, pattern)
        for start, end in pairwise(chain(starts, [os.fstat(file.fileno()).st_size])):
            yield _wav_part(path, file, start, end, report) if pattern.pattern == RIFF else Part(_url(path, start, end))


def _url(path: Path, start: int, end: int) -> str:
    return f"subfile,,start,{start},end,{end},,:{os.path.abspath(path)}"


def _read(file: BinaryIO, at: int, n_bytes: int) -> bytes:
    file.seek(at)
    return file.read(n_bytes)


def _places(file: BinaryIO, pattern: re.Pattern[bytes], at: int = 0) -> Iterator[int]:
    """Where a file, read in parts, matches a pattern of at most MAX_BEGINNING bytes; a mapped one would count as used memory."""
    n_bytes, most = SCANNED_BYTES
    while data := _read(file, at, n_bytes):
        end = max(len(data) - MAX_BEGINNING, 0) if len(data) == n_bytes else len(data)  # what begins later may end later
        for found in pattern.finditer(data):
            if found.start() >= end:
                break
            yield at + found.start()
            end = max(end, found.end())
        at, n_bytes = at + end, min(2 * n_bytes, most)


def _ogg_starts(file: BinaryIO) -> Iterator[int]:
    """Where the links of a chained Ogg begin: with a page that begins a stream, after pages that do not (RFC 3533)."""
    yield 0
    at, has_begun = 0, False
    while at is not None and len(page := _read(file, at, MAX_OGG_HEADER)) >= OGG_HEADER:
        if not OGG_PAGE.match(page):
            at = next(_places(file, OGG_PAGE, at), None)
            continue
        begins, n_segments = bool(page[5] & 2), page[26]
        if begins and has_begun:
            yield at
        has_begun = not begins
        at += OGG_HEADER + n_segments + sum(page[OGG_HEADER : OGG_HEADER + n_segments])


def _wav_part(path: Path, file: BinaryIO, start: int, end: int, report: Report) -> Part:
    """A WAV, which is read to its end where more sound follows than its header announces."""
    sound_at, n_sound, n_sound_64, n_channels, rate_hz, raw = end, 0, 0, 0, 0, None
    for name, at, size in _riff_chunks(file, start + 12, end):
        if name == b"fmt " and at + WAV_FORM.size <= end:
            n_channels, rate_hz, raw = _wav_form(path, _read(file, at, WAV_FORM.size + 10))
        elif name == b"ds64":  # of RF64 and BW64
            n_sound_64 = int.from_bytes(_read(file, at + 8, 8), "little")
        elif name == b"data":
            sound_at, n_sound = at, n_sound_64 if size == UNKNOWN_SIZE and n_sound_64 else size
    n_bytes = int.from_bytes(_read(file, start + 4, 4), "little")
    report.is_cut |= end - start < 8 + n_bytes < STREAMED_BYTES
    # Some writers leave the pad byte out.
    rest = min(_behind_chunks(file, sound_at + n_sound + pad, end) for pad in {0, n_sound % 2})
    is_unknown = n_sound == 0  # of a recorder that died, unless all that follows are other chunks
    if is_unknown and sound_at < end and rest == 0:
        raise InputError(f"{path}: holds no sound; expected a recording")
    is_longer = not is_unknown and rest >= MIN_REST_BYTES
    report.is_longer |= is_longer
    if n_channels > FFMPEG_CHANNELS:
        sound_end = end if is_longer or is_unknown else min(end, sound_at + n_sound)
        if sound_end <= sound_at or not rate_hz:
            raise InputError(f"{path}: holds no sound; expected a recording")
        options = {"sample_rate": str(rate_hz * n_channels), "ch_layout": "mono", "format_whitelist": raw}
        return Part(_url(path, sound_at, sound_end), options, raw, n_channels)
    return Part(_url(path, start, end), {"ignore_length": "1"} if is_longer else {})


def _behind_chunks(file: BinaryIO, at: int, end: int) -> int:
    """How many bytes are left at the end behind whole chunks with printable names."""
    for name, start, size in _riff_chunks(file, at, end):
        if not (name.isascii() and name.decode().isprintable() and start + size <= end):
            break
        at = start + size + size % 2
    return max(0, end - at)


def _riff_chunks(file: BinaryIO, at: int, end: int) -> Iterator[tuple[bytes, int, int]]:
    """(name, where its content begins, its size) of the chunks of a RIFF file, up to the end of its sound."""
    name = b""
    while at + 8 <= end and name != b"data":
        head = _read(file, at, 8)
        name, size = head[:4], int.from_bytes(head[4:], "little")
        yield name, at + 8, size
        at += 8 + size + size % 2


def _wav_form(path: Path, content: bytes) -> tuple[int, int, str | None]:
    """Channels, sample rate in Hz and FFmpeg's name of the samples (None: compressed) that a format chunk says."""
    coding, n_channels, rate_hz, _, block, bits = WAV_FORM.unpack_from(content)
    if coding == EXTENSIBLE:
        coding = int.from_bytes(content[24:26], "little")
    raw = RAW.get((coding, 8 * -(-bits // 8)))
    _check_channels(path, n_channels, MAX_CHANNELS if raw else FFMPEG_CHANNELS)
    expected = n_channels * -(-bits // 8)
    if coding in UNCOMPRESSED and block and expected and block != expected:  # it would be read as noise
        found = f"{n_channels} samples of {bits} bits in blocks of {block} bytes"
        raise InputError(f"{path}: its header contradicts itself: {found}; expected {expected}")
    return n_channels, rate_hz, raw


def _separated(blocks: Iterable[tuple[np.ndarray, int]], n_channels: int) -> Iterator[tuple[np.ndarray, int]]:
    """(C, S) of channels that were read as one, (1, C x S), at C times their rate."""
    held = np.zeros(0, np.float32)
    for block, rate_hz in blocks:
        held = np.concatenate([held, block[0]])
        n_whole = len(held) // n_channels * n_channels
        yield held[:n_whole].reshape(-1, n_channels).T, rate_hz // n_channels
        held = held[n_whole:]


def _chunks(path: Path, container: av.container.InputContainer, report: Report) -> Iterator[tuple[np.ndarray, int]]:
    """(C, S) float32 and the sample rate in Hz of each frame of the codec, and of the silence of gaps between them."""
    stream = container.streams.best("audio")
    if stream is None:
        raise InputError(f"{path}: holds no sound; expected a recording")
    kind = container.format.name.split(",")[0]
    report.n_tracks = max(report.n_tracks, len(container.streams.audio))
    if kind in ANNOUNCING and stream.duration:
        report.announced_s += float(stream.duration * stream.time_base)
    elif kind in ANNOUNCING and len(container.streams) == 1:  # else it may be the pictures'
        report.announced_s += (container.duration or 0) / av.time_base
    end_s = (container.start_time or 0) / av.time_base  # sound may begin later than pictures
    for frame, samples in _unpacked(path, _frames(container, stream, report)):
        rate_hz = frame.sample_rate
        if kind in TIMED and frame.time is not None:
            gap_s = frame.time - end_s
            if gap_s > 0.1:  # what is shorter is rounding
                report.silence_s += gap_s
                n_samples, most = round(gap_s * rate_hz), min(rate_hz, MAX_BLOCK // len(samples))
                for first in range(0, n_samples, most):
                    yield np.zeros((len(samples), min(most, n_samples - first)), np.float32), rate_hz
            end_s = frame.time + frame.samples / rate_hz
        if kind == PADDED and frame.time_base * rate_hz == 1 and frame.duration:
            samples = samples[:, : round(frame.duration * frame.time_base * rate_hz)]
        yield samples, rate_hz


def _frames(container: av.container.InputContainer, stream: av.AudioStream, report: Report) -> Iterator[av.AudioFrame]:
    """All frames of a stream that can be decoded."""
    with _damage_counted(report):
        for packet in container.demux(stream):  # the last one is empty: it has the decoder give the rest
            with _damage_counted(report):
                yield from packet.decode()
        return
    rest = av.Packet()  # the container is broken from here on
    rest.stream = stream
    with _damage_counted(report):
        yield from rest.decode()


@contextmanager
def _damage_counted(report: Report) -> Iterator[None]:
    try:
        yield
    except MemoryError:  # is an FFmpegError too, and not the file's fault
        raise
    except av.FFmpegError:
        report.n_damaged += 1


def _unpacked(path: Path, frames: Iterable[av.AudioFrame]) -> Iterator[tuple[av.AudioFrame, np.ndarray]]:
    """Frames of any form and (C, S) float32 in +-1 of each, by one plane of floats: PyAV reads on behind eight or more planes."""
    for _, alike in groupby(frames, lambda frame: (frame.format.name, frame.sample_rate, frame.layout.name)):
        resampler = None
        for frame in alike:
            n_channels = frame.layout.nb_channels
            _check_channels(path, n_channels, FFMPEG_CHANNELS)
            resampler = resampler or av.AudioResampler("flt", frame.layout, frame.sample_rate)
            packed = (part.to_ndarray().reshape(-1, n_channels).T for part in resampler.resample(frame))
            yield frame, np.concatenate([np.zeros((n_channels, 0), np.float32), *packed], axis=1)


def _blocks(chunks: Iterable[tuple[np.ndarray, int]]) -> Iterator[tuple[np.ndarray, int]]:
    """The same, many of one form at once."""
    for (_, rate_hz), alike in groupby(chunks, lambda chunk: (len(chunk[0]), chunk[1])):
        some: list[np.ndarray] = []
        for samples, _ in alike:
            some.append(samples)
            if len(some) == BLOCK_FRAMES or sum(part.size for part in some) >= MAX_BLOCK:
                yield np.concatenate(some, axis=1), rate_hz
                some = []
        if some:
            yield np.concatenate(some, axis=1), rate_hz
