"""Clips: faces side by side, below them the sound and its phones, as a film, an animated picture or a row of pictures."""

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
from dataclasses import dataclass
from functools import cache, cached_property, partial
from pathlib import Path
from typing import BinaryIO

import imageio_ffmpeg
import numpy as np
from matplotlib import font_manager
from PIL import Image, ImageDraw, ImageFont
from tqdm import tqdm

from facedistill.core.errors import InputError
from facedistill.core.files import atomic_path
from facedistill.core.processes import mapped
from facedistill.render.portrait import draw_picture, load_head
from facedistill.speech.phones import Phone

BACKGROUND, INK, FAINT, CURSOR = (38, 42, 48), (236, 238, 241), (120, 128, 138), (230, 159, 0)
WAVE_RATIO, LABEL_RATIO = 0.22, 0.07  # heights of the strip of sound and of the names, in heights of a face
SPAN_S = 2.0  # of sound that the strip shows
MIN_PX, MAX_PX = 64, 2048
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


@dataclass(frozen=True)
class Look:
    """How a clip looks; `InputError` for a size that is not allowed."""

    fps: float = 30.0
    size_px: int = 512  # height and width of a face; even
    turn_deg: float = 0.0  # the head's turn about the vertical; positive shows more of its left side
    face: Path | None = None  # a glTF head with ARKit's shapes; None: the built-in head

    def __post_init__(self) -> None:
        if not MIN_PX <= self.size_px <= MAX_PX or self.size_px % 2:
            raise InputError(f"a size of {self.size_px} pixels; expected even numbers from {MIN_PX} to {MAX_PX}")


@dataclass(frozen=True, eq=False)
class Panel:
    """One face of a clip: its name and (T, K) weights in arkit.CURVES order, a row for each frame, at least one."""

    name: str
    weights: np.ndarray


@dataclass(frozen=True, eq=False)
class Strip:
    """The sound below the faces: (S,) mono samples at a rate, and its phones, if they are known."""

    samples: np.ndarray
    rate_hz: int
    phones: Sequence[Phone] = ()

    @cached_property
    def loudest(self) -> float:
        """The largest magnitude of a sample; above 0."""
        return max(float(np.abs(self.samples).max(initial=0)), 1e-6)


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
        out: .mp4 (H.264, and AAC where there is sound), .gif, or .png, a row of `ROW_PICTURES` pictures.
        sound: of the take; frame t stands at t / fps of it, and what lies beyond the last frame is not heard.
        strip: show the sound, and its phones, below the faces.
        workers: processes that draw; pictures do not depend on their number.

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
    panels: Sequence[Panel], out: Path, look: Look, *, sound: Strip | None, strip: bool, workers: int = 2, quiet: bool
) -> Iterator[BinaryIO]:
    """A clip, see `render`, as an open file without a name, of which nothing stays however this process ends.

    It is on the disk of the folder of `out`, whose suffix says what is made; `OSError` where nothing can be written.
    """
    suffix = out.suffix.lower()
    if suffix not in SUFFIXES:
        raise InputError(f"{out}: cannot be rendered to; expected {', '.join(SUFFIXES)}")
    load_head(look.face)
    if not (n_frames := max((len(panel.weights) for panel in panels), default=0)):
        raise InputError(f"{out}: nothing to render")
    if strip and sound is None:
        raise InputError(f"{out}: a strip of sound without sound; expected with a recording")
    gif_step = math.ceil(look.fps / MAX_GIF_FPS)
    numbers = range(0, n_frames, gif_step if suffix == GIF else 1)
    if suffix == PICTURES:
        numbers = np.linspace(0, n_frames - 1, min(ROW_PICTURES, n_frames)).round().astype(int).tolist()
    out.parent.mkdir(parents=True, exist_ok=True)
    with (
        tempfile.TemporaryFile(dir=out.parent) as clip,
        _drawn(panels, numbers, look, sound if strip else None, workers) as frames,
        tqdm(frames, total=len(numbers), desc="render", unit="frame", delay=1, disable=quiet) as shown,
    ):
        if suffix == FILM:
            _write_film(shown, clip, look.fps, sound, n_frames / look.fps, named=out)
        elif suffix == GIF:
            _write_gif(shown, clip, look.fps / gif_step)
        else:
            Image.fromarray(np.hstack(list(shown))).save(clip, "PNG")
        clip.seek(0)
        yield clip


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


def _write_film(
    frames: Iterable[np.ndarray], film: BinaryIO, fps: float, sound: Strip | None, duration_s: float, *, named: Path
) -> None:
    first = next(frames := iter(frames))
    height, width = first.shape[:2]
    pictures = f"-f rawvideo -pix_fmt rgb24 -s {width}x{height} -r {fps} -i -".split()
    with _poured(np.zeros(0) if sound is None else sound.samples[: math.ceil(duration_s * sound.rate_hz)]) as samples:
        source, out = (f"/dev/fd/{file.fileno()}" for file in (samples, film))  # which the encoder inherits
        audio = [] if sound is None else [*f"-f f32le -ar {sound.rate_hz} -ac 1 -i".split(), source, "-c:a", "aac"]
        command = [imageio_ffmpeg.get_ffmpeg_exe(), "-v", "error", "-y", *pictures, *audio, *ENCODING, out]
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


def _write_gif(frames: Iterable[np.ndarray], clip: BinaryIO, fps: float) -> None:
    first, *others = [Image.fromarray(frame).quantize(COLOURS) for frame in frames]
    ends_ms = 10 * np.round(100 / fps * np.arange(len(others) + 2)).astype(int)  # the format counts in hundredths of a second
    durations = np.diff(ends_ms).tolist()
    first.save(clip, "GIF", save_all=True, append_images=others, duration=durations, loop=0)


def draw_frame(panels: Sequence[Panel], number: int, look: Look, strip: Strip | None = None) -> np.ndarray:
    """(height, width, 3) uint8, both even as H.264 needs them, at number / look.fps seconds; ended panels keep their pose."""
    size, width = look.size_px, len(panels) * look.size_px
    top = round(LABEL_RATIO * size) if len(panels) > 1 else 0
    below = round(WAVE_RATIO * size) if strip is not None else 0
    picture = Image.new("RGB", (width, top + size + below + (top + below) % 2), BACKGROUND)
    pen = ImageDraw.Draw(picture)
    for column, panel in enumerate(panels):
        row = panel.weights[min(number, len(panel.weights) - 1)]
        face = Image.fromarray(draw_picture(row, face=look.face, turn_deg=look.turn_deg, pixels=size, aspect=1.0), "RGBA")
        picture.paste(face, (column * size, top), face)
        if top:
            font = _font(round(0.6 * top))
            pen.text((column * size + size / 2, top / 2), _shortened(panel.name, font, size), INK, font, anchor="mm")
    if strip is not None:
        _draw_strip(picture, strip, number / look.fps, top=top + size, height=below)
    return np.asarray(picture)


def _draw_strip(picture: Image.Image, strip: Strip, now_s: float, *, top: int, height: int) -> None:
    """The sound around `now_s`, which is in the middle."""
    pen, width = ImageDraw.Draw(picture), picture.width
    from_middle = np.abs(np.arange(height) - round(0.62 * height))
    wave = from_middle[:, None] <= np.round(0.34 * height * _peaks(strip, now_s, width))
    picture.paste(FAINT, (0, top), Image.fromarray(wave))
    for phone in strip.phones:
        x = ((phone.start_s + phone.end_s) / 2 - now_s) / SPAN_S * width + width / 2
        if 0 <= x < width:
            pen.text((x, top + 0.13 * height), phone.label, INK, _font(round(0.17 * height)), anchor="mm")
    pen.line([(width / 2, top), (width / 2, top + height)], CURSOR, 2)


def _peaks(strip: Strip, now_s: float, width: int) -> np.ndarray:
    """(width,) the largest magnitude in each of so many stretches of `SPAN_S` around `now_s`, of the loudest; 0 outside."""
    starts = np.round((now_s + (np.arange(width) / width - 0.5) * SPAN_S) * strip.rate_hz).astype(int)
    audio = starts[:, None] + np.arange(math.ceil(SPAN_S / width * strip.rate_hz))
    inside = (audio >= 0) & (audio < len(strip.samples))
    return np.abs(np.where(inside, strip.samples[audio * inside], 0)).max(axis=1) / strip.loudest


def _shortened(name: str, font: ImageFont.FreeTypeFont, width: int) -> str:
    """As much of a name as there is room for."""
    shown = name
    while len(name) > 1 and font.getlength(shown) > width:
        name = name[:-1]
        shown = f"{name}…"
    return shown


@cache
def _font(pixels: int) -> ImageFont.FreeTypeFont:
    return ImageFont.truetype(font_manager.findfont("DejaVu Sans"), pixels)  # comes with matplotlib, and has all of IPA
