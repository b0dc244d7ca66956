"""What the head is made of: linear colours by rest position. Arrays are float32 (V, ...)."""

import numpy as np

from facedistill.rig import head_parts
from facedistill.rig.head_mesh import hair_mm


def triple(*values: float) -> np.ndarray:
    """A colour or a point, (3,)."""
    return np.array(values, np.float32)  # single precision throughout: twice as fast, and enough for a picture


# Linear colours.
SKIN, BLUSH, HAIR = triple(0.76, 0.47, 0.34), triple(0.72, 0.28, 0.22), triple(0.060, 0.036, 0.026)
PLAIN = {
    "lips": (0.52, 0.155, 0.14),
    "mouth": (0.12, 0.020, 0.022),
    "teeth": (0.84, 0.80, 0.70),
    "tongue": (0.56, 0.16, 0.16),
    "eye": (0.82, 0.81, 0.79),
    "lash": (0.055, 0.030, 0.025),
    "brow": (0.075, 0.045, 0.030),
    "body": (0.72, 0.43, 0.31),
}
GUM, LID_RIM = triple(0.50, 0.17, 0.17), triple(0.55, 0.27, 0.22)
NOSTRIL = triple(0.10, 0.025, 0.018)
IRIS_RIM, IRIS, PUPIL = triple(0.03, 0.05, 0.05), triple(0.10, 0.24, 0.26), triple(0.006, 0.006, 0.008)
EYE = head_parts.EYE.astype(np.float32)
IRIS_MM, PUPIL_MM = 7.0, 3.0
UPPER_TEETH_X, LOWER_TEETH_X = (0.0, 8.4, 14.8, 19.8, 22.6), (0.0, 5.2, 10.4, 15.6, 19.6)  # gaps between teeth, mm


def _soft(value: np.ndarray, start: float, end: float) -> np.ndarray:
    """Smooth step (M, 1) from 0 at `start` to 1 at `end`."""
    ratio = np.clip((value - start) / (end - start), 0, 1)
    return (ratio * ratio * (3 - 2 * ratio))[:, None]


def _mix(first: np.ndarray, second: np.ndarray, ratio: np.ndarray) -> np.ndarray:
    return first + (second - first) * ratio


def _skin_colour(rest: np.ndarray) -> np.ndarray:
    """Colour (M, 3) of skin and hair at rest positions (M, 3)."""
    x, y, z = np.abs(rest[:, 0]), rest[:, 1], rest[:, 2]
    cheeks = 0.32 * np.exp(-(((x - 38) / 17) ** 2) - ((y - 8) / 14) ** 2) + 0.30 * np.exp(-((x / 15) ** 2) - ((y - 4) / 9) ** 2)
    colour = _mix(SKIN, BLUSH, (cheeks * (z > 20))[:, None])
    nostril = np.exp(-(((x - 6.8) / 3.4) ** 2) - ((y + 4.8) / 1.9) ** 2 - ((z - 82) / 8) ** 2)
    colour = _mix(colour, NOSTRIL, np.clip(1.6 * nostril, 0, 0.9)[:, None])
    return _mix(colour, HAIR, _soft(hair_mm(rest), -3.0, 4.0) * (y > 8)[:, None])


def _eye_colour(rest: np.ndarray) -> np.ndarray:
    local = rest - EYE * np.stack([np.sign(rest[:, 0]), *np.ones((2, len(rest)), np.float32)], 1)
    radius = np.where(local[:, 2] > 0, np.hypot(local[:, 0], local[:, 1]), 99.0)
    spokes = 0.85 + 0.15 * np.cos(np.arctan2(local[:, 1], local[:, 0]) * 23)
    bright = spokes * (1.25 - 0.4 * local[:, 1] / IRIS_MM)
    iris = _mix(IRIS_RIM, IRIS * bright[:, None], _soft(-radius, -IRIS_MM, -IRIS_MM + 2.2))
    colour = _mix(iris, triple(*PLAIN["eye"]), _soft(radius, IRIS_MM - 0.5, IRIS_MM + 0.4))
    return _mix(PUPIL, colour, _soft(radius, PUPIL_MM - 0.4, PUPIL_MM + 0.4))


def _lash_colour(rest: np.ndarray) -> np.ndarray:
    """Dark lashes above, a moist pink rim below and in the inner corner."""
    local = np.abs(rest) - EYE
    above = local[:, 1] - 0.07 * local[:, 0]
    return _mix(LID_RIM, triple(*PLAIN["lash"]), _soft(above, 0.0, 1.8) * _soft(local[:, 0], -13.5, -9.0))


def _teeth_colour(rest: np.ndarray) -> np.ndarray:
    x, y = np.abs(rest[:, 0]), rest[:, 1] - head_parts.MOUTH_Y
    is_upper = rest[:, 1] > head_parts.MOUTH_Y - 2.4
    gaps = np.where(is_upper, *(np.abs(x[:, None] - np.array(row)).min(1) for row in (UPPER_TEETH_X, LOWER_TEETH_X)))
    colour = triple(*PLAIN["teeth"]) * (0.62 + 0.38 * _soft(gaps, 0.0, 0.9))
    height = np.where(is_upper, y - 8.0, -11.5 - y) + 1.2 - 0.8 * np.minimum(gaps, 2.5)
    return _mix(colour, GUM, _soft(height, -0.5, 0.8))


def albedo(material: np.ndarray, rest: np.ndarray) -> np.ndarray:
    """Linear colour (M, 3) of samples by material (M,) and rest position (M, 3)."""
    table = np.array([PLAIN.get(name, (0, 0, 0)) for name in head_parts.MATERIALS], np.float32)
    colour = table[material]
    for name, paint in (("skin", _skin_colour), ("eye", _eye_colour), ("lash", _lash_colour), ("teeth", _teeth_colour)):
        selected = material == head_parts.MATERIALS.index(name)
        colour[selected] = paint(rest[selected])
    return colour
