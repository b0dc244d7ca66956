"""Heads as they are drawn: the built-in one, or any glTF head with ARKit's shapes, brought to the same size and place."""

from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np

from facedistill.core.errors import InputError
from facedistill.core.paths import HEAD
from facedistill.formats.gltf_face import Surface, read_face
from facedistill.render.shading import Finish, finish_of
from facedistill.rig.head import MM_PER_UNIT, head

TURNED = 0.1  # of what agrees: how far the places of shapes may disagree along an axis


@dataclass(frozen=True, eq=False)
class RenderableHead:
    """A head to draw; units mm. Vertices at the same place that move alike, as where materials meet, are one point.

    Attributes:
        neutral: (P, 3) float32 points.
        basis: (K, P, 3) float32, displacement at weight 1, in arkit.CURVES order.
        faces: (F, 3) int32 points.
        points: (V,) int32, the point of each vertex.
        corners: (F, 3) int32 vertices.
        finish: how its vertices take light.
    """

    neutral: np.ndarray
    basis: np.ndarray
    faces: np.ndarray
    points: np.ndarray
    corners: np.ndarray
    finish: Finish

    def posed(self, weights: np.ndarray) -> np.ndarray:
        """(P, 3) points under (K,) weights."""
        return self.neutral + (weights @ self.basis.reshape(len(self.basis), -1)).reshape(self.neutral.shape)


@cache
def load_head(face: Path | None) -> RenderableHead:
    """The head of a file, or the built-in one; read once per process.

    Raises:
        InputError: see `read_face`; or its shapes do not move what ARKit's do.
    """
    surface = read_face(face or HEAD)
    scale, offset = (MM_PER_UNIT, np.zeros(3)) if face is None else _placed(surface, face)
    moved = surface.shapes.sum(axis=0)
    _, first, points = np.unique(np.hstack([surface.vertices, moved]), axis=0, return_index=True, return_inverse=True)
    neutral, basis = scale * surface.vertices[first] + offset, np.float32(scale) * surface.shapes[:, first]
    finish = finish_of(surface.colours, surface.roughness)
    points = points.astype(np.int32)
    return RenderableHead(neutral.astype(np.float32), basis, points[surface.triangles], points, surface.triangles, finish)


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
