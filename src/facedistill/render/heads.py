"""Heads as they are drawn: the built-in one, or any glTF head with ARKit's shapes, brought to the same size and place."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np

from facedistill.core.errors import InputError
from facedistill.formats.gltf_face import Surface, read_face
from facedistill.render import shading
from facedistill.rig.head import head
from facedistill.rig.head_fine import Form, fine_head

MM_PER_UNIT = 1000.0  # glTF is in metres
TURNED = 0.1  # of what agrees: how far the places of shapes may disagree along an axis


@dataclass(frozen=True, eq=False)
class RenderableHead:
    """A head to draw.

    Attributes:
        form: its shape.
        finish: how its vertices take light.
        ambient: (V,) float32 light that gets to the vertices, by (P, 3) posed points and (K,) weights.
    """

    form: Form
    finish: shading.Finish
    ambient: Callable[[np.ndarray, np.ndarray], np.ndarray]


@cache
def load_head(face: Path | None) -> RenderableHead:
    """The head of a file, or the built-in one; read once per process.

    Raises:
        InputError: see `read_face`; or its shapes do not move what ARKit's do.
    """
    return _built_in() if face is None else _of_surface(read_face(face), face)


def _built_in() -> RenderableHead:
    fine = fine_head()

    def ambient(posed: np.ndarray, weights: np.ndarray) -> np.ndarray:
        opened_mm = float(head().lip_gap_mm(weights)) - head().gap_neutral_mm
        return shading.ambient_of_head(fine, posed[fine.form.points], opened_mm)

    return RenderableHead(fine.form, shading.finish_of_head(fine), ambient)


def _of_surface(surface: Surface, path: Path) -> RenderableHead:
    """A head, scaled and moved so that its shapes act where those of the built-in one do."""
    shown = np.flatnonzero(surface.shapes.any((1, 2)))
    built_in = fine_head().form
    ours = _middles(built_in.neutral, built_in.basis[shown])
    theirs = _middles(surface.vertices, surface.shapes[shown])
    apart = theirs - theirs.mean(0)
    along = (apart * (ours - ours.mean(0))).sum(0)
    scale = along.sum() / np.square(apart).sum() if len(shown) > 1 else MM_PER_UNIT
    if not 0 < scale < np.inf or along.min() < -TURNED * along.sum():
        raise InputError(f"{path}: its shapes do not move what ARKit's do; expected a head that looks along +z, with y up")
    neutral = scale * (surface.vertices - theirs.mean(0)) + ours.mean(0)
    everywhere, full = np.arange(len(neutral), dtype=np.int32), np.ones(len(neutral), np.float32)
    form = Form(neutral.astype(np.float32), np.float32(scale) * surface.shapes, surface.triangles, everywhere, surface.triangles)
    return RenderableHead(form, shading.finish_of_surface(surface.colours, surface.roughness), lambda posed, weights: full)


def _middles(neutral: np.ndarray, shapes: np.ndarray) -> np.ndarray:
    """(K, 3) middles of what each shape moves, weighted by how far it goes."""
    way = np.linalg.norm(shapes, axis=2)
    return way @ neutral / way.sum(1, keepdims=True)
