"""How the drawn head looks: colours painted by rest position, and light. Arrays are float32 picture samples (M, ...)."""

import numpy as np

from facedistill.face import head_parts
from facedistill.face.head_mesh import hair_mm


def _row(*values: float) -> np.ndarray:
    return np.array(values, np.float32)  # single precision throughout: twice as fast, and enough for a picture


KEY, FILL, RIM = (
    _row(*light) / np.float32(np.linalg.norm(light)) for light in ((-0.5, 0.62, 0.8), (0.8, 0.1, 0.5), (0.75, 0.45, -0.5))
)
KEY_COLOUR, FILL_COLOUR, RIM_COLOUR = _row(1.0, 0.95, 0.88), _row(0.22, 0.26, 0.34), _row(0.35, 0.33, 0.36)
SKY, GROUND = _row(0.40, 0.41, 0.44), _row(0.24, 0.19, 0.17)
# Linear colours.
SKIN, BLUSH, HAIR = _row(0.76, 0.47, 0.34), _row(0.72, 0.28, 0.22), _row(0.060, 0.036, 0.026)
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
GLOSS = {  # strength and sharpness of highlights
    "skin": (0.06, 16),
    "lips": (0.16, 34),
    "mouth": (0.05, 20),
    "teeth": (0.30, 50),
    "tongue": (0.16, 30),
    "eye": (0.75, 420),
    "lash": (0.0, 1),
    "brow": (0.0, 1),
    "body": (0.05, 16),
}
GUM, LID_RIM = _row(0.50, 0.17, 0.17), _row(0.55, 0.27, 0.22)
NOSTRIL = _row(0.10, 0.025, 0.018)
IRIS_RIM, IRIS, PUPIL = _row(0.03, 0.05, 0.05), _row(0.10, 0.24, 0.26), _row(0.006, 0.006, 0.008)
EYE = head_parts.EYE.astype(np.float32)
IRIS_MM, PUPIL_MM = 7.0, 3.0
OPEN_MM = 5.0  # a lip gap that lights the teeth fully
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
    return _mix(colour, HAIR, _soft(hair_mm(rest), -1.2, 2.2) * (y > 8)[:, None])


def _eye_colour(rest: np.ndarray) -> np.ndarray:
    local = rest - EYE * np.stack([np.sign(rest[:, 0]), *np.ones((2, len(rest)), np.float32)], 1)
    radius = np.where(local[:, 2] > 0, np.hypot(local[:, 0], local[:, 1]), 99.0)
    spokes = 0.85 + 0.15 * np.cos(np.arctan2(local[:, 1], local[:, 0]) * 23)
    bright = spokes * (1.25 - 0.4 * local[:, 1] / IRIS_MM)
    iris = _mix(IRIS_RIM, IRIS * bright[:, None], _soft(-radius, -IRIS_MM, -IRIS_MM + 2.2))
    colour = _mix(iris, _row(*PLAIN["eye"]), _soft(radius, IRIS_MM - 0.5, IRIS_MM + 0.4))
    return _mix(PUPIL, colour, _soft(radius, PUPIL_MM - 0.4, PUPIL_MM + 0.4))


def _lash_colour(rest: np.ndarray) -> np.ndarray:
    """Dark lashes above, a moist pink rim below and in the inner corner."""
    local = np.abs(rest) - EYE
    above = local[:, 1] - 0.07 * local[:, 0]
    return _mix(LID_RIM, _row(*PLAIN["lash"]), _soft(above, 0.0, 1.8) * _soft(local[:, 0], -13.5, -9.0))


def _teeth_colour(rest: np.ndarray) -> np.ndarray:
    x, y = np.abs(rest[:, 0]), rest[:, 1] - head_parts.MOUTH_Y
    is_upper = rest[:, 1] > head_parts.MOUTH_Y - 2.4
    gaps = np.where(is_upper, *(np.abs(x[:, None] - np.array(row)).min(1) for row in (UPPER_TEETH_X, LOWER_TEETH_X)))
    colour = _row(*PLAIN["teeth"]) * (0.62 + 0.38 * _soft(gaps, 0.0, 0.9))
    height = np.where(is_upper, y - 8.0, -11.5 - y) + 1.2 - 0.8 * np.minimum(gaps, 2.5)
    return _mix(colour, GUM, _soft(height, -0.5, 0.8))


def albedo(material: np.ndarray, rest: np.ndarray) -> np.ndarray:
    """Linear colour (M, 3) of samples by material (M,) and rest position (M, 3)."""
    table = np.array([PLAIN.get(name, (0, 0, 0)) for name in head_parts.MATERIALS], np.float32)
    colour = table[material]
    for name, paint in (("skin", _skin_colour), ("eye", _eye_colour), ("lash", _lash_colour), ("teeth", _teeth_colour)):
        chosen = material == head_parts.MATERIALS.index(name)
        colour[chosen] = paint(rest[chosen])
    return colour


def light(material: np.ndarray, normal: np.ndarray, open_sky: np.ndarray, colour: np.ndarray) -> np.ndarray:
    """Linear light (M, 3) that reaches the eye from samples with unit normals (M, 3) in view space."""
    is_skin = np.isin(material, [head_parts.MATERIALS.index(name) for name in ("skin", "lips", "body")])[:, None]
    wrap = np.where(is_skin, _row(0.30, 0.16, 0.10), np.float32(0.1))  # light bleeds through skin, red the most
    key = np.clip(((normal @ KEY)[:, None] + wrap) / (1 + wrap), 0, None)
    fill, rim = np.clip(normal @ FILL, 0, None)[:, None], np.clip(normal @ RIM, 0, None)[:, None] ** 1.5
    sky = _mix(GROUND, SKY, (0.5 + 0.5 * normal[:, 1])[:, None])
    shade = open_sky[:, None] ** np.where(is_skin, _row(0.6, 0.85, 0.95), np.float32(1.0))  # folds of skin glow red
    lit = (
        0.95 * KEY_COLOUR * key * np.where(is_skin, np.sqrt(shade), shade)
        + FILL_COLOUR * fill * shade
        + RIM_COLOUR * rim
        + sky * shade
    )
    half = KEY + _row(0, 0, 1.0)
    facing = np.clip(normal @ (half / np.linalg.norm(half)), 0, 1)[:, None]
    gloss, sharp = (_row(*row)[material][:, None] for row in zip(*(GLOSS[name] for name in head_parts.MATERIALS), strict=True))
    return colour * lit + gloss * facing**sharp * open_sky[:, None]


def inner_shade(material: np.ndarray, posed: np.ndarray, shade: np.ndarray, opened_mm: float) -> np.ndarray:
    """Ambient light (M,) with the dark of the mouth, less dark the wider it is open, and the shadow of the upper lid."""
    opening = float(np.clip(opened_mm / OPEN_MM, 0, 1))
    inside = np.isin(material, [head_parts.MATERIALS.index(name) for name in ("mouth", "teeth", "tongue")])
    depth = np.clip((posed[:, 2] - 20) / 58, 0.0, 1.0) ** 2 * 0.95 + 0.05
    depth = np.where(material == head_parts.MATERIALS.index("teeth"), np.maximum(depth, 0.7), depth) * (0.08 + 0.92 * opening)
    eye = material == head_parts.MATERIALS.index("eye")
    away = np.abs(posed - EYE * np.stack([np.sign(posed[:, 0]), *np.ones((2, len(posed)), np.float32)], 1))
    height = posed[:, 1] - EYE[1]
    lid = 1 - 0.5 * np.clip((height - 1.0) / 7.0, 0, 1) - 0.25 * np.clip(away[:, 0] / 15, 0, 1) ** 2
    return np.where(inside, depth, np.where(eye, lid, shade))
