"""Pictures of heads, the built-in one or any with ARKit's shapes: brought to its size and place, posed, turned, lit and drawn."""

from dataclasses import dataclass
from functools import cache
from pathlib import Path

import matplotlib.axes
import numpy as np
from matplotlib import colormaps

from facedistill.core.errors import InputError
from facedistill.core.paths import HEAD
from facedistill.formats.gltf_face import Surface, read_face
from facedistill.render.scene import Canvas
from facedistill.rig.arkit import N_CURVES
from facedistill.rig.head import MM_PER_UNIT, head, vertex_normals

ASPECT = 194 / 250  # width of a picture over its height
CAMERA_MM, EYE_LEVEL_MM = 1000.0, 21.0  # distance of the camera from the middle of the head, and its height
TALL_MM = 290.0  # what a picture's height shows, in the plane of the middle of the head
NEAR_MM, FAR_MM = 800.0, 1200.0  # all of the head lies between
HEAT, HEAT_SHADE = "YlOrRd", 0.55  # colours of a distance, and how much of them stays where the head turns away
TURNED = 0.1  # of what agrees: how far the places of shapes may disagree along an axis
PIVOT = np.array([0.0, 0.0, 18.0], np.float32)  # the head turns about the vertical through here


def _triple(*values: float) -> np.ndarray:
    return np.array(values, np.float32)  # single precision throughout: twice as fast, and enough for a picture


def _direction(*values: float) -> np.ndarray:
    return _triple(*values) / np.float32(np.linalg.norm(values))


# Light: a key light from the upper left, a fill, a rim and the sky.
KEY, FILL, RIM = _direction(-0.5, 0.62, 0.8), _direction(0.8, 0.1, 0.5), _direction(0.75, 0.45, -0.5)
HALF = _direction(*(KEY + _triple(0, 0, 1)))
KEY_COLOUR, FILL_COLOUR, RIM_COLOUR = _triple(1.0, 0.95, 0.88), _triple(0.22, 0.26, 0.34), _triple(0.35, 0.33, 0.36)
SKY, GROUND = _triple(0.40, 0.41, 0.44), _triple(0.24, 0.19, 0.17)
WRAP = _triple(0.30, 0.16, 0.10)  # light bleeds through skin, red the most


@dataclass(frozen=True, eq=False)
class RenderableHead:
    """A head to draw; units mm. Vertices at the same place that move alike, as where materials meet, are one point."""

    neutral: np.ndarray  # (P, 3) float32 points
    basis: np.ndarray  # (K, P, 3) float32, displacement at weight 1, in arkit.CURVES order
    faces: np.ndarray  # (F, 3) int32 points
    points: np.ndarray  # (V,) int32, the point of each vertex
    corners: np.ndarray  # (F, 3) int32 vertices
    colours: np.ndarray  # (V, 3) float32, linear
    smooth: np.ndarray  # (V, 1) float32, from 0 to 1, a mirror: how strong and sharp highlights are

    def posed(self, weights: np.ndarray) -> np.ndarray:
        """(P, 3) points under (K,) weights."""
        return self.neutral + (weights @ self.basis.reshape(len(self.basis), -1)).reshape(self.neutral.shape)


@cache
def load_head(face: Path | None) -> RenderableHead:
    """The head of a file, or the built-in one; read once per process. `InputError` if its shapes do not move what ARKit's do."""
    surface = read_face(face or HEAD)
    scale, offset = (MM_PER_UNIT, np.zeros(3)) if face is None else _placed(surface, face)
    moved = np.tensordot(np.sqrt(np.arange(2, 2 + N_CURVES)), surface.shapes, 1)  # other shapes, other sums
    _, first, points = np.unique(np.hstack([surface.vertices, moved]), axis=0, return_index=True, return_inverse=True)
    neutral, basis = scale * surface.vertices[first] + offset, np.float32(scale) * surface.shapes[:, first]
    points, smooth = points.astype(np.int32), np.square(1 - surface.roughness)[:, None]
    faces, corners = points[surface.triangles], surface.triangles
    return RenderableHead(neutral.astype(np.float32), basis, faces, points, corners, surface.colours, smooth)


def _placed(surface: Surface, path: Path) -> tuple[float, np.ndarray]:
    """The scale of a head, and how far it is then moved, so that its shapes act where those of the built-in one do."""
    shown = np.flatnonzero(surface.shapes.any((1, 2)))
    ours, theirs = _middles(head().neutral, head().basis[shown]), _middles(surface.vertices, surface.shapes[shown])
    apart = theirs - theirs.mean(axis=0)
    along = (apart * (ours - ours.mean(axis=0))).sum(axis=0)
    scale = along.sum() / np.square(apart).sum() if len(shown) > 1 else MM_PER_UNIT
    if not 0 < scale < np.inf or along.min() < -TURNED * along.sum():
        raise InputError(f"{path}: its shapes do not move what ARKit's do; expected a head that looks along +z, with y up")
    return float(scale), ours.mean(axis=0) - scale * theirs.mean(axis=0)


def _middles(neutral: np.ndarray, shapes: np.ndarray) -> np.ndarray:
    """(K, 3) middles of what each shape moves, weighted by how far it goes."""
    way = np.linalg.norm(shapes, axis=2)
    return way @ neutral / way.sum(axis=1, keepdims=True)


def draw_picture(
    weights: np.ndarray | None = None, *, face: Path | None = None, turn_deg: float = 0.0, pixels: int, aspect: float = ASPECT
) -> np.ndarray:
    """Draws a head under (K,) weights, or at rest, so many pixels high; `aspect` is width over height.

    `face` and `turn_deg` as of `clip.Look`. Returns (pixels, width, 4) uint8 RGBA, transparent around the head.
    """
    drawn = load_head(face)
    weights = np.zeros(N_CURVES, np.float32) if weights is None else np.asarray(weights, np.float32)
    turned, normals = _turned(drawn.posed(weights), drawn, turn_deg)
    return _canvas(face, pixels, round(pixels * aspect)).draw(_clip(turned, aspect), _shade(drawn, normals))


def draw_difference(weights: np.ndarray, reference: np.ndarray, *, limit_mm: float, pixels: int) -> np.ndarray:
    """Draws the built-in head under (K,) weights, and as heat how far every point is from where (K,) others would put it.

    The last colour of `HEAT` stands for `limit_mm`. Returns (pixels, width, 4) uint8 RGBA, transparent around the head.
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
    turn = np.deg2rad(-turn_deg)
    turning = np.array([[np.cos(turn), 0, np.sin(turn)], [0, 1, 0], [-np.sin(turn), 0, np.cos(turn)]], np.float32)
    turned = (posed - PIVOT) @ turning.T + PIVOT
    return turned[drawn.points], vertex_normals(turned, drawn.faces).astype(np.float32)[drawn.points]


def _shade(drawn: RenderableHead, normals: np.ndarray) -> np.ndarray:
    """(V, 3) uint8 sRGB of vertices with (V, 3) unit normals in view space."""
    key = np.clip(((normals @ KEY)[:, None] + WRAP) / (1 + WRAP), 0, None)
    fill, rim = np.clip(normals @ FILL, 0, None)[:, None], np.clip(normals @ RIM, 0, None)[:, None] ** 1.5
    sky = GROUND + (SKY - GROUND) * (0.5 + 0.5 * normals[:, 1])[:, None]
    light = 0.95 * KEY_COLOUR * key + FILL_COLOUR * fill + sky + RIM_COLOUR * rim
    gloss, sharp = 0.03 + 0.6 * drawn.smooth, 12 + 400 * drawn.smooth
    colour = drawn.colours * light + gloss * np.clip(normals @ HALF, 0, 1)[:, None] ** sharp
    colour = colour * (1 + 0.12 * colour) / (1 + 0.42 * colour)  # soft highlights
    return np.round(255 * np.clip(colour, 0, 1) ** np.float32(1 / 2.2)).astype(np.uint8)


def _clip(points: np.ndarray, aspect: float) -> np.ndarray:
    """(P, 3) mm -> (P, 3) in -1..1: right, up, and away from the camera."""
    away = CAMERA_MM - points[:, 2]
    scale = 2 * CAMERA_MM / (TALL_MM * away)
    depth = (away - NEAR_MM) / (FAR_MM - NEAR_MM) * 2 - 1
    return np.stack([points[:, 0] * scale / aspect, (points[:, 1] - EYE_LEVEL_MM) * scale, depth], 1).astype(np.float32)
