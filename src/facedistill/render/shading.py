"""Light on a face, vertex by vertex: a key light from the upper left, a fill, a rim and the sky. Arrays are float32 (V, ...)."""

from dataclasses import dataclass

import numpy as np


def _triple(*values: float) -> np.ndarray:
    return np.array(values, np.float32)  # single precision throughout: twice as fast, and enough for a picture


def _direction(*values: float) -> np.ndarray:
    return _triple(*values) / np.float32(np.linalg.norm(values))


KEY, FILL, RIM = _direction(-0.5, 0.62, 0.8), _direction(0.8, 0.1, 0.5), _direction(0.75, 0.45, -0.5)
HALF = _direction(*(KEY + _triple(0, 0, 1)))
KEY_COLOUR, FILL_COLOUR, RIM_COLOUR = _triple(1.0, 0.95, 0.88), _triple(0.22, 0.26, 0.34), _triple(0.35, 0.33, 0.36)
SKY, GROUND = _triple(0.40, 0.41, 0.44), _triple(0.24, 0.19, 0.17)
WRAP = _triple(0.30, 0.16, 0.10)  # light bleeds through skin, red the most


@dataclass(frozen=True, eq=False)
class Finish:
    """How vertices take light: (V, 3) linear colours, (V, 1) strength and sharpness of highlights, all float32."""

    colours: np.ndarray
    gloss: np.ndarray
    sharp: np.ndarray


def finish_of(colours: np.ndarray, roughness: np.ndarray) -> Finish:
    """That of (V, 3) linear colours and (V,) roughness from 0 to 1."""
    smooth = np.square(1 - roughness)[:, None]
    return Finish(colours, 0.03 + 0.6 * smooth, 12 + 400 * smooth)


def shade(finish: Finish, normals: np.ndarray) -> np.ndarray:
    """sRGB (V, 3) uint8 of vertices with unit normals (V, 3) in view space."""
    key = np.clip(((normals @ KEY)[:, None] + WRAP) / (1 + WRAP), 0, None)
    fill, rim = np.clip(normals @ FILL, 0, None)[:, None], np.clip(normals @ RIM, 0, None)[:, None] ** 1.5
    sky = GROUND + (SKY - GROUND) * (0.5 + 0.5 * normals[:, 1])[:, None]
    light = 0.95 * KEY_COLOUR * key + FILL_COLOUR * fill + sky + RIM_COLOUR * rim
    colour = finish.colours * light + finish.gloss * np.clip(normals @ HALF, 0, 1)[:, None] ** finish.sharp
    colour = colour * (1 + 0.12 * colour) / (1 + 0.42 * colour)  # soft highlights
    return np.round(255 * np.clip(colour, 0, 1) ** np.float32(1 / 2.2)).astype(np.uint8)
