"""Pictures of a head: posed by its curves, turned, lit and drawn."""

from functools import cache
from pathlib import Path

import matplotlib.axes
import numpy as np
from matplotlib import colormaps

from facedistill.render.heads import RenderableHead, load_head
from facedistill.render.scene import Canvas
from facedistill.render.shading import shade
from facedistill.rig.arkit import N_CURVES
from facedistill.rig.head import vertex_normals

ASPECT = 194 / 250  # width of a picture over its height
CAMERA_MM, EYE_LEVEL_MM = 1000.0, 21.0  # distance of the camera from the middle of the head, and its height
TALL_MM = 290.0  # what a picture's height shows, in the plane of the middle of the head
NEAR_MM, FAR_MM = 800.0, 1200.0  # all of the head lies between
HEAT, HEAT_SHADE = "YlOrRd", 0.55  # colours of a distance, and how much of them stays where the head turns away
PIVOT = np.array([0.0, 0.0, 18.0], np.float32)  # the head turns about the vertical through here


def draw_picture(
    weights: np.ndarray | None = None,
    *,
    face: Path | None = None,
    turn_deg: float = 0.0,
    pixels: int,
    aspect: float = ASPECT,
) -> np.ndarray:
    """Draws the head.

    Args:
        weights: (K,) rig weights; None: the neutral face.
        face: a glTF head with ARKit's shapes; None: the built-in head.
        turn_deg: the head's turn about the vertical; positive shows more of its left side.
        pixels: picture height.
        aspect: width over height.

    Returns:
        (pixels, width, 4) uint8 RGBA, transparent around the head.

    Raises:
        InputError: see `load_head`.
    """
    drawn = load_head(face)
    weights = np.zeros(N_CURVES, np.float32) if weights is None else np.asarray(weights, np.float32)
    turned, normals = _turned(drawn.posed(weights), drawn, turn_deg)
    return _canvas(face, pixels, round(pixels * aspect)).draw(_clip(turned, aspect), shade(drawn.finish, normals))


def draw_difference(weights: np.ndarray, reference: np.ndarray, *, limit_mm: float, pixels: int) -> np.ndarray:
    """Draws the built-in head with the distance of every point to where other weights would put it, as heat.

    Args:
        weights: (K,) of the pose that is drawn.
        reference: (K,) of the other.
        limit_mm: what the last colour of `HEAT` stands for.
        pixels: picture height.

    Returns:
        (pixels, width, 4) uint8 RGBA, transparent around the head.
    """
    drawn = load_head(None)
    posed = drawn.posed(np.asarray(weights, np.float32))
    away_mm = np.linalg.norm(posed - drawn.posed(np.asarray(reference, np.float32)), axis=1)[drawn.points]
    turned, normals = _turned(posed, drawn, 0.0)
    colours = colormaps[HEAT](away_mm / limit_mm)[:, :3] * (HEAT_SHADE + (1 - HEAT_SHADE) * np.clip(normals[:, 2:], 0, 1))
    return _canvas(None, pixels, round(pixels * ASPECT)).draw(_clip(turned, ASPECT), np.round(255 * colours).astype(np.uint8))


def show_image(ax: matplotlib.axes.Axes, picture: np.ndarray) -> None:
    """Shows a (height, width, 4) picture in matplotlib axes, without frame."""
    ax.imshow(picture, interpolation="antialiased")
    ax.set_axis_off()


@cache
def _canvas(face: Path | None, height: int, width: int) -> Canvas:
    drawn = load_head(face)
    return Canvas(width, height, drawn.corners, len(drawn.points))


def _turned(posed: np.ndarray, drawn: RenderableHead, turn_deg: float) -> tuple[np.ndarray, np.ndarray]:
    """(V, 3) vertices of posed points, turned about the vertical, and their unit normals."""
    turned = (posed - PIVOT) @ _turn(turn_deg).T + PIVOT
    return turned[drawn.points], vertex_normals(turned, drawn.faces).astype(np.float32)[drawn.points]


def _turn(turn_deg: float) -> np.ndarray:
    turn = np.deg2rad(-turn_deg)
    return np.array([[np.cos(turn), 0, np.sin(turn)], [0, 1, 0], [-np.sin(turn), 0, np.cos(turn)]], np.float32)


def _clip(points: np.ndarray, aspect: float) -> np.ndarray:
    """(P, 3) mm -> (P, 3) in -1..1: right, up, and away from the camera."""
    away = CAMERA_MM - points[:, 2]
    scale = 2 * CAMERA_MM / (TALL_MM * away)
    depth = (away - NEAR_MM) / (FAR_MM - NEAR_MM) * 2 - 1
    return np.stack([points[:, 0] * scale / aspect, (points[:, 1] - EYE_LEVEL_MM) * scale, depth], 1).astype(np.float32)
