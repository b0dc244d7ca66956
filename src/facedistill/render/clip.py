"""The frames of a clip: faces side by side under their names, and below them the sound and its phones."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache, cached_property
from pathlib import Path

import numpy as np
from matplotlib import font_manager
from PIL import Image, ImageDraw, ImageFont

from facedistill.core.errors import InputError
from facedistill.render.portrait import draw_picture
from facedistill.speech.phones import Phone

BACKGROUND, INK, FAINT, CURSOR = (38, 42, 48), (236, 238, 241), (120, 128, 138), (230, 159, 0)
WAVE_RATIO, LABEL_RATIO = 0.22, 0.07  # heights of the strip of sound and of the names, in heights of a face
SPAN_S = 2.0  # of sound that the strip shows
MIN_PX, MAX_PX = 64, 2048


@dataclass(frozen=True)
class Look:
    """How a clip looks.

    Attributes:
        fps: frames a second.
        size_px: height and width of a face; even.
        turn_deg: the head's turn about the vertical; positive shows more of its left side.
        face: a glTF head with ARKit's shapes; None: the built-in head.

    Raises:
        InputError: a size that is not allowed.
    """

    fps: float = 30.0
    size_px: int = 512
    turn_deg: float = 0.0
    face: Path | None = None

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


def draw_frame(panels: Sequence[Panel], number: int, look: Look, strip: Strip | None = None) -> np.ndarray:
    """Draws one frame of a clip.

    Args:
        panels: at least one; those that have ended keep their last pose.
        number: of the frame; it stands at number / look.fps seconds of the sound.
        strip: what is shown below the faces.

    Returns:
        (height, width, 3) uint8, both even, as H.264 needs them.
    """
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
