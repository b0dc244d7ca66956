"""Light on a face, vertex by vertex: a key light from the upper left, a fill, a rim and the sky. Arrays are float32 (V, ...)."""

from dataclasses import dataclass

import numpy as np

from facedistill.rig import head_parts
from facedistill.rig.head_fine import FineHead
from facedistill.rig.head_paint import EYE, triple

KEY, FILL, RIM = (
    triple(*light) / np.float32(np.linalg.norm(light)) for light in ((-0.5, 0.62, 0.8), (0.8, 0.1, 0.5), (0.75, 0.45, -0.5))
)
KEY_COLOUR, FILL_COLOUR, RIM_COLOUR = triple(1.0, 0.95, 0.88), triple(0.22, 0.26, 0.34), triple(0.35, 0.33, 0.36)
SKY, GROUND = triple(0.40, 0.41, 0.44), triple(0.24, 0.19, 0.17)
HALF = (KEY + triple(0, 0, 1)) / np.linalg.norm(KEY + triple(0, 0, 1))
SKIN_WRAP, PLAIN_WRAP = triple(0.30, 0.16, 0.10), triple(0.1, 0.1, 0.1)  # light bleeds through skin, red the most
SKIN_SHADE, PLAIN_SHADE = triple(0.6, 0.85, 0.95), triple(1, 1, 1)  # and folds of it glow red
GLOSS = {  # strength and sharpness of highlights
    "skin": (0.06, 16), "lips": (0.16, 34), "mouth": (0.05, 20), "teeth": (0.30, 50), "tongue": (0.16, 30), "eye": (0.75, 420),
    "lash": (0.0, 1), "brow": (0.0, 1), "body": (0.05, 16),
}  # fmt: skip
LIVING = ("skin", "lips", "body")
INNER = ("mouth", "teeth", "tongue")
LIP_FRONT_MM = 72.0  # where the inside of the mouth ends
OPEN_MM = 5.0  # a lip gap that lights the teeth fully


@dataclass(frozen=True, eq=False)
class Finish:
    """How vertices take light: (V, 3) colours, wrap and shade, (V, 1) strength and sharpness of highlights, all float32."""

    colours: np.ndarray
    wrap: np.ndarray
    shade: np.ndarray
    gloss: np.ndarray
    sharp: np.ndarray


def finish_of_head(face: FineHead) -> Finish:
    """That of the built-in head."""
    living = np.isin(face.materials, [head_parts.MATERIALS.index(name) for name in LIVING])[:, None]
    gloss, sharp = np.array([GLOSS[name] for name in head_parts.MATERIALS], np.float32).T
    return Finish(
        face.colours, np.where(living, SKIN_WRAP, PLAIN_WRAP), np.where(living, SKIN_SHADE, PLAIN_SHADE),
        gloss[face.materials][:, None], sharp[face.materials][:, None],
    )  # fmt: skip


def finish_of_surface(colours: np.ndarray, roughness: np.ndarray) -> Finish:
    """That of any (V, 3) linear colours and (V,) roughness from 0 to 1."""
    smooth = np.square(1 - roughness)[:, None]
    living = np.broadcast_to(SKIN_WRAP, colours.shape), np.broadcast_to(PLAIN_SHADE, colours.shape)
    return Finish(colours, *living, 0.05 + 0.6 * smooth, 12 + 400 * smooth)


def shade(finish: Finish, normals: np.ndarray, ambient: np.ndarray) -> np.ndarray:
    """sRGB (V, 3) uint8 of vertices with unit normals (V, 3) in view space and (V,) ambient light from 0 to 1."""
    key = np.clip(((normals @ KEY)[:, None] + finish.wrap) / (1 + finish.wrap), 0, None)
    fill, rim = np.clip(normals @ FILL, 0, None)[:, None], np.clip(normals @ RIM, 0, None)[:, None] ** 1.5
    sky = GROUND + (SKY - GROUND) * (0.5 + 0.5 * normals[:, 1])[:, None]
    shade = ambient[:, None] ** finish.shade
    light = 0.95 * KEY_COLOUR * key * np.sqrt(shade) + (FILL_COLOUR * fill + sky) * shade + RIM_COLOUR * rim
    highlight = finish.gloss * np.clip(normals @ HALF, 0, 1)[:, None] ** finish.sharp * ambient[:, None]
    colour = finish.colours * light + highlight
    colour = colour * (1 + 0.12 * colour) / (1 + 0.42 * colour)  # soft highlights
    return np.round(255 * np.clip(colour, 0, 1) ** np.float32(1 / 2.2)).astype(np.uint8)


def ambient_of_head(face: FineHead, posed: np.ndarray, opened_mm: float) -> np.ndarray:
    """Ambient light (V,) of the built-in head: the dark of the mouth, less dark the wider it is open; shadows of the upper lids.

    Args:
        posed: (V, 3) vertices, the head not turned.
        opened_mm: how much wider than at rest the lips are apart.
    """
    opening = np.clip(opened_mm / OPEN_MM, 0, 1)
    depth = np.clip((posed[:, 2] - 20) / 58, 0, 1) ** 2 * 0.95 + 0.05
    depth = np.where(face.materials == head_parts.MATERIALS.index("teeth"), np.maximum(depth, 0.7), depth) * (
        0.08 + 0.92 * opening
    )
    depth = np.maximum(depth, np.clip((posed[:, 2] - LIP_FRONT_MM) / 4, 0, 1))  # a tongue that is out
    across, height = np.abs(np.abs(posed[:, 0]) - EYE[0]), posed[:, 1] - EYE[1]
    lid = 1 - 0.5 * np.clip((height - 1) / 7, 0, 1) - 0.25 * np.clip(across / 15, 0, 1) ** 2
    inside = np.isin(face.materials, [head_parts.MATERIALS.index(name) for name in INNER])
    return np.where(inside, depth, np.where(face.materials == head_parts.MATERIALS.index("eye"), lid, face.light)).astype(
        np.float32
    )
