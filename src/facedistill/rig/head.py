"""A procedural face with the 52 ARKit shapes, original to this package: no scanned or licensed mesh is involved."""

from dataclasses import dataclass
from functools import cache

import numpy as np

from facedistill.rig import head_mesh, head_parts, head_shapes
from facedistill.rig.arkit import INDEX, N_CURVES

UPPER_FACE_Y = 25.0  # mm; what lies above is the upper face: eyes, brows, forehead


@dataclass(frozen=True, eq=False)
class Head:
    """A mesh whose vertices are linear in the 52 weights. Units mm; +x the subject's left, +y up, +z forwards.

    Attributes:
        neutral: (V, 3) float32.
        faces: (F, 3) int32, counter-clockwise from outside.
        materials: (F,) int32 into head_parts.MATERIALS.
        basis: (K, V, 3) float32, displacement at weight 1, in arkit.CURVES order.
        mirror: (V,) int32, the vertex on the other side.
        regions: name -> (M,) int32 vertex indices: lips, upper_lip_inner, lower_lip_inner, eyes, eyelids, brows, jaw, teeth,
            tongue, skin, upper_face.
        gap_neutral_mm: the lip gap at rest.
        gap_mm: (K,) float32, change of the lip gap per unit of each weight.
        width_neutral_mm, width_mm: the same of the mouth's width.
    """

    neutral: np.ndarray
    faces: np.ndarray
    materials: np.ndarray
    basis: np.ndarray
    mirror: np.ndarray
    regions: dict[str, np.ndarray]
    gap_neutral_mm: float
    gap_mm: np.ndarray
    width_neutral_mm: float
    width_mm: np.ndarray

    def vertices(self, weights: np.ndarray) -> np.ndarray:
        """Poses the mesh: (..., K) weights -> (..., V, 3) float32 mm."""
        weights = np.asarray(weights, np.float32)
        moved = weights.reshape(-1, N_CURVES) @ self.basis.reshape(N_CURVES, -1)
        return self.neutral + moved.reshape(*weights.shape[:-1], *self.neutral.shape)

    def lip_gap_mm(self, weights: np.ndarray) -> np.ndarray:
        """Height of the mouth opening at mid-lip: (..., K) weights -> (...) float32 mm; negative where the lips press."""
        return self.gap_neutral_mm + np.asarray(weights, np.float32) @ self.gap_mm

    def mouth_width_mm(self, weights: np.ndarray) -> np.ndarray:
        """Distance of the mouth's corners: (..., K) weights -> (...) float32 mm."""
        return self.width_neutral_mm + np.asarray(weights, np.float32) @ self.width_mm


def _regions(mesh: head_mesh.Mesh, basis: np.ndarray) -> dict[str, np.ndarray]:
    part = {name: mesh.parts == index for index, name in enumerate(head_parts.PARTS)}
    inner = mesh.lip == 0
    # The lip gap is measured between the two midline vertices, which come first in their regions.
    order = np.argsort(np.abs(mesh.vertices[:, 0]), kind="stable")
    masks = {
        "lips": (mesh.lip >= 0) & (mesh.lip < head_parts.N_LIP_RINGS),
        "upper_lip_inner": inner & (mesh.upper == 1),
        "lower_lip_inner": inner & (mesh.upper == 0),
        "eyes": part["eye"],
        "eyelids": (mesh.lid >= 0) & (mesh.lid < 2),
        "brows": part["brow"],
        "jaw": part["skin"] & (np.abs(basis[INDEX["jawOpen"]]).max(-1) > 1.0) | part["lower_teeth"],
        "teeth": part["upper_teeth"] | part["lower_teeth"],
        "tongue": part["tongue"],
        "skin": part["skin"],
        "upper_face": (part["skin"] | part["brow"] | part["eye"]) & (mesh.vertices[:, 1] > UPPER_FACE_Y),
    }
    return {name: order[mask[order]].astype(np.int32) for name, mask in masks.items()}


@cache
def head() -> Head:
    """Builds the head (in under half a second, once per process); the same numbers every time."""
    mesh = head_mesh.build()
    basis = head_shapes.displacement_fields(mesh).astype(np.float32)
    neutral = mesh.vertices.astype(np.float32)
    regions = _regions(mesh, basis)
    upper, lower = regions["upper_lip_inner"][0], regions["lower_lip_inner"][0]
    arrays = (neutral, mesh.faces.astype(np.int32), mesh.materials.astype(np.int32), basis, mesh.mirror.astype(np.int32))
    gap_mm = basis[:, upper, 1] - basis[:, lower, 1]
    lips = regions["lips"]
    left, right = lips[neutral[lips, 0].argmax()], lips[neutral[lips, 0].argmin()]
    width_mm = basis[:, left, 0] - basis[:, right, 0]
    for array in (*arrays, gap_mm, width_mm, *regions.values()):
        array.flags.writeable = False  # shared by the whole process
    rest_mm = float(neutral[upper, 1] - neutral[lower, 1]), float(neutral[left, 0] - neutral[right, 0])
    return Head(*arrays, regions, rest_mm[0], gap_mm, rest_mm[1], width_mm)
