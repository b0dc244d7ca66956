"""Clips as files: faces that speak, as a film with its sound, an animated picture or a row of pictures."""

import itertools
import math
import os
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import imageio_ffmpeg
import numpy as np
from PIL import Image
from tqdm import tqdm

from facedistill.core.errors import InputError
from facedistill.core.files import atomic_path
from facedistill.core.processes import mapped
from facedistill.drawing.clip import Look, Panel, Strip, draw_frame
from facedistill.drawing.sitters import sitter

FILM, GIF, PICTURES = ".mp4", ".gif", ".png"
SUFFIXES = (FILM, GIF, PICTURES)
ROW_PICTURES = 8  # of a row of pictures, evenly over the take
MAX_GIF_FPS = 25.0
COLOURS = 128  # of an animated picture
CHUNK_FRAMES = 15  # drawn by one process at once
# The same bytes every time need one thread, and nothing that names the encoder or the day.
ENCODING = (
    *("-c:v", "libx264", "-pix_fmt", "yuv420p", "-crf", "20", "-threads", "1"),
    *("-movflags", "+faststart", "-map_metadata", "-1", "-fflags", "+bitexact", "-f", "mp4"),
)

_clip: tuple[Sequence[Panel], Look, Strip | None]  # of a process that draws; see `_begin`


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
    """Draws a clip, as long as the longest of its panels.

    Args:
        panels: faces, side by side.
        out: .mp4 (H.264, and AAC where there is sound), .gif, or .png, a row of `ROW_PICTURES` pictures.
        look: frame rate, size, turn and head.
        sound: of the take; frame t stands at t / fps of it, and what lies beyond the last frame is not heard.
        strip: show the sound, and its phones, below the faces.
        workers: processes that draw; pictures do not depend on their number.
        quiet: without a progress bar.

    Raises:
        InputError: a suffix that is not allowed, no frames, a process that was killed, a film that cannot be encoded, or see
            `sitter`.
    """
    suffix = out.suffix.lower()
    if suffix not in SUFFIXES:
        raise InputError(f"{out}: cannot be rendered to; allowed: {', '.join(SUFFIXES)}")
    sitter(look.face)
    n_frames = max((len(panel.weights) for panel in panels), default=0)
    if n_frames == 0:
        raise InputError(f"{out}: nothing to render")
    if strip and sound is None:
        raise InputError(f"{out}: a strip of sound without sound; allowed: with a recording")
    numbers = _numbers(n_frames, suffix, look.fps)
    with (
        atomic_path(out) as temporary,
        _drawn(panels, numbers, look, sound if strip else None, workers) as frames,
        tqdm(frames, total=len(numbers), desc="render", unit="frame", delay=1, disable=quiet) as shown,
    ):
        if suffix == FILM:
            _write_film(shown, temporary, look.fps, None if sound is None else _cut(sound, n_frames / look.fps), named=out)
        elif suffix == GIF:
            _write_gif(shown, temporary, look.fps / _gif_step(look.fps))
        else:
            Image.fromarray(np.hstack(list(shown))).save(temporary, "PNG")


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


def _write_film(frames: Iterator[np.ndarray], path: Path, fps: float, sound: Strip | None, *, named: Path) -> None:
    first = next(frames := iter(frames))
    height, width = first.shape[:2]
    pictures = f"-f rawvideo -pix_fmt rgb24 -s {width}x{height} -r {fps} -i -".split()
    with tempfile.TemporaryDirectory() as folder:
        heard = [] if sound is None else _heard(sound, Path(folder) / "sound.f32")
        command = [imageio_ffmpeg.get_ffmpeg_exe(), "-v", "error", "-y", *pictures, *heard, *ENCODING, os.fspath(path)]
        with (
            tempfile.TemporaryFile(dir=folder) as said,
            subprocess.Popen(command, stdin=subprocess.PIPE, stdout=said, stderr=said) as encoder,
        ):
            try:
                for frame in itertools.chain([first], frames):
                    encoder.stdin.write(frame.tobytes())
                encoder.stdin.close()
            except BrokenPipeError:  # it has ended early, and said why
                pass
            if encoder.wait():
                said.seek(0)
                raise InputError(f"{named}: ffmpeg cannot encode it ({' '.join(said.read().decode(errors='replace').split())})")


def _heard(sound: Strip, path: Path) -> list[str]:
    """Arguments of ffmpeg for the sound, whose samples go to a file."""
    sound.samples.astype("<f4").tofile(path)
    return [*f"-f f32le -ar {sound.rate_hz} -ac 1 -i".split(), os.fspath(path), "-c:a", "aac"]


def _write_gif(frames: Iterator[np.ndarray], path: Path, fps: float) -> None:
    first, *others = [Image.fromarray(frame).quantize(COLOURS) for frame in frames]
    ends_ms = 10 * np.round(100 / fps * np.arange(len(others) + 2)).astype(int)  # the format counts in hundredths of a second
    durations = np.diff(ends_ms).tolist()
    first.save(path, "GIF", save_all=True, append_images=others, duration=durations, loop=0)
