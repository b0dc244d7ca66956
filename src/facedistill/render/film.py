"""Clips as files: faces that speak, as a film with its sound, an animated picture or a row of pictures."""

import itertools
import math
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import BinaryIO

import imageio_ffmpeg
import numpy as np
from PIL import Image
from tqdm import tqdm

from facedistill.core.errors import InputError
from facedistill.core.files import atomic_path
from facedistill.core.processes import mapped
from facedistill.render.clip import Look, Panel, Strip, draw_frame
from facedistill.render.heads import load_head

FILM, GIF, PICTURES = ".mp4", ".gif", ".png"
SUFFIXES = (FILM, GIF, PICTURES)
ROW_PICTURES = 8  # of a row of pictures, evenly over the take
MAX_GIF_FPS = 25.0
COLOURS = 128  # of an animated picture
CHUNK_FRAMES = 15  # drawn by one process at once
MAX_TOLD = 500  # letters of what ffmpeg says
# For the index in front, ffmpeg opens the film once more to read it: only on Linux is that not the same place in the file.
INDEX_FIRST = ("-movflags", "+faststart") if sys.platform == "linux" else ()
# The same bytes every time need one thread, and nothing that names the encoder or the day.
ENCODING = (
    *("-c:v", "libx264", "-pix_fmt", "yuv420p", "-crf", "20", "-threads", "1", *INDEX_FIRST),
    *("-map_metadata", "-1", "-fflags", "+bitexact", "-f", "mp4"),
)


def render(
    panels: Sequence[Panel],
    out: Path,
    look: Look,
    *,
    sound: Strip | None = None,
    strip: bool = False,
    workers: int = 2,
    quiet: bool = False,
) -> None:
    """Draws a clip, as long as the longest of its panels, into a file.

    Args:
        panels: faces, side by side.
        out: .mp4 (H.264, and AAC where there is sound), .gif, or .png, a row of `ROW_PICTURES` pictures.
        look: frame rate, size, turn and head.
        sound: of the take; frame t stands at t / fps of it, and what lies beyond the last frame is not heard.
        strip: show the sound, and its phones, below the faces.
        workers: processes that draw; pictures do not depend on their number.
        quiet: without a progress bar.

    Raises:
        InputError: a suffix that is not allowed, no frames, a process that was killed, a film that cannot be encoded, a disk
            that is full, or see `load_head`.
    """
    try:
        with (
            rendered(panels, out, look, sound=sound, strip=strip, workers=workers, quiet=quiet) as clip,
            atomic_path(out) as temporary,
            temporary.open("wb") as file,
        ):
            shutil.copyfileobj(clip, file)
    except OSError as error:
        raise InputError(f"{out}: cannot be rendered ({error}); expected a folder to write to, and room in it") from None


@contextmanager
def rendered(
    panels: Sequence[Panel],
    out: Path,
    look: Look,
    *,
    sound: Strip | None,
    strip: bool,
    workers: int = 2,
    quiet: bool,
) -> Iterator[BinaryIO]:
    """A clip as an open file without a name, of which nothing stays however this process ends.

    Args:
        panels, look, sound, strip, workers, quiet: see `render`.
        out: its suffix says what is made; the file is on the disk of its folder.

    Raises:
        InputError: see `render`.
        OSError: nothing can be written there.
    """
    suffix = out.suffix.lower()
    if suffix not in SUFFIXES:
        raise InputError(f"{out}: cannot be rendered to; expected {', '.join(SUFFIXES)}")
    load_head(look.face)
    n_frames = max((len(panel.weights) for panel in panels), default=0)
    if n_frames == 0:
        raise InputError(f"{out}: nothing to render")
    if strip and sound is None:
        raise InputError(f"{out}: a strip of sound without sound; expected with a recording")
    numbers = _numbers(n_frames, suffix, look.fps)
    out.parent.mkdir(parents=True, exist_ok=True)
    with (
        tempfile.TemporaryFile(dir=out.parent) as clip,
        _drawn(panels, numbers, look, sound if strip else None, workers) as frames,
        tqdm(frames, total=len(numbers), desc="render", unit="frame", delay=1, disable=quiet) as shown,
    ):
        if suffix == FILM:
            _write_film(shown, clip, look.fps, None if sound is None else _cut(sound, n_frames / look.fps), named=out)
        elif suffix == GIF:
            _write_gif(shown, clip, look.fps / _gif_step(look.fps))
        else:
            Image.fromarray(np.hstack(list(shown))).save(clip, "PNG")
        clip.seek(0)
        yield clip


def _numbers(n_frames: int, suffix: str, fps: float) -> Sequence[int]:
    """Which frames are drawn."""
    if suffix == PICTURES:
        return np.linspace(0, n_frames - 1, min(ROW_PICTURES, n_frames)).round().astype(int).tolist()
    return range(0, n_frames, _gif_step(fps) if suffix == GIF else 1)


def _gif_step(fps: float) -> int:
    return math.ceil(fps / MAX_GIF_FPS)


def _cut(sound: Strip, duration_s: float) -> Strip:
    return Strip(sound.samples[: math.ceil(duration_s * sound.rate_hz)], sound.rate_hz)


@contextmanager
def _drawn(
    panels: Sequence[Panel], numbers: Sequence[int], look: Look, strip: Strip | None, workers: int
) -> Iterator[Iterator[np.ndarray]]:
    """The frames in their order, drawn by several processes where there are many."""
    if workers < 2 or len(numbers) <= CHUNK_FRAMES:
        yield (draw_frame(panels, number, look, strip) for number in numbers)
        return
    chunks = [numbers[first : first + CHUNK_FRAMES] for first in range(0, len(numbers), CHUNK_FRAMES)]
    draw = partial(_draw, panels, look, strip)
    with mapped(draw, chunks, min(workers, len(chunks)), asked_by=f"--workers {workers}") as drawn:
        yield itertools.chain.from_iterable(drawn)


def _draw(panels: Sequence[Panel], look: Look, strip: Strip | None, numbers: Sequence[int]) -> list[np.ndarray]:
    return [draw_frame(panels, number, look, strip) for number in numbers]


def _write_film(frames: Iterable[np.ndarray], film: BinaryIO, fps: float, sound: Strip | None, *, named: Path) -> None:
    first = next(frames := iter(frames))
    height, width = first.shape[:2]
    pictures = f"-f rawvideo -pix_fmt rgb24 -s {width}x{height} -r {fps} -i -".split()
    with _poured(np.zeros(0) if sound is None else sound.samples) as samples:
        audio = [] if sound is None else [*f"-f f32le -ar {sound.rate_hz} -ac 1 -i".split(), _place(samples), "-c:a", "aac"]
        command = [imageio_ffmpeg.get_ffmpeg_exe(), "-v", "error", "-y", *pictures, *audio, *ENCODING, _place(film)]
        message = _encode(command, itertools.chain([first], frames), files=(film, samples))
    if message:
        raise InputError(f"{named}: ffmpeg cannot encode it ({message})")


def _encode(command: Sequence[str], frames: Iterable[np.ndarray], *, files: Sequence[BinaryIO]) -> str:
    """Hands frames to an encoder, which does not outlive this; what it says where it fails, else nothing."""
    read_end, write_end = os.pipe()
    os.set_blocking(write_end, False)  # what does not fit in is lost: nobody reads before the end
    with (
        open(read_end, encoding="utf-8", errors="replace") as said,
        open(write_end, "wb") as says,
        subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=says, stderr=says, pass_fds=[file.fileno() for file in files],
            restore_signals=False,  # a file that is too large is an error to it then, that it tells, and not its death
        ) as encoder,
    ):  # fmt: skip
        says.close()
        try:
            is_whole = _feed(encoder.stdin, frames)
            code = encoder.wait()
        except BaseException:
            encoder.kill()  # before its input ends, of which it would make a film that looks whole
            encoder.wait()
            _close(encoder.stdin)
            raise
        if is_whole and code == 0:
            return ""
        ended = f"exit code {code}" if code >= 0 else signal.strsignal(-code)
        return " ".join(said.read().split())[:MAX_TOLD] or ended


def _feed(pipe: BinaryIO, frames: Iterable[np.ndarray]) -> bool:
    """Writes frames to a pipe and closes it; whether its reader has taken them all."""
    for frame in frames:
        try:
            pipe.write(frame.tobytes())
        except BrokenPipeError:
            _close(pipe)
            return False
    _close(pipe)
    return True


def _close(pipe: BinaryIO) -> None:
    with suppress(BrokenPipeError):
        pipe.close()


@contextmanager
def _poured(samples: np.ndarray) -> Iterator[BinaryIO]:
    """A pipe out of which samples come as float32; where this process is killed they end, and so the encoder does."""
    read_end, write_end = os.pipe()
    pouring = threading.Thread(target=_pour, args=(write_end, samples))
    with open(read_end, "rb") as pipe:
        pouring.start()
        yield pipe
    pouring.join()


def _pour(write_end: int, samples: np.ndarray) -> None:
    with suppress(BrokenPipeError), open(write_end, "wb") as pipe:
        pipe.write(samples.astype("<f4").data)


def _place(file: BinaryIO) -> str:
    """An open file's path in a process that inherits it."""
    return f"/dev/fd/{file.fileno()}"


def _write_gif(frames: Iterable[np.ndarray], clip: BinaryIO, fps: float) -> None:
    first, *others = [Image.fromarray(frame).quantize(COLOURS) for frame in frames]
    ends_ms = 10 * np.round(100 / fps * np.arange(len(others) + 2)).astype(int)  # the format counts in hundredths of a second
    durations = np.diff(ends_ms).tolist()
    first.save(clip, "GIF", save_all=True, append_images=others, duration=durations, loop=0)
