"""The built-in head: ICT-FaceKit's, simplified and coloured by `repro.head`, with the 52 ARKit shapes."""

from dataclasses import dataclass
from functools import cache

import numpy as np

from facedistill.core.paths import HEAD
from facedistill.rig.arkit import N_CURVES

MM_PER_UNIT = 1000.0  # glTF is in metres


@dataclass(frozen=True, eq=False)
class Head:
    """A mesh whose vertices are linear in the 52 weights. Units mm; +x the subject's left, +y up, +z forwards."""

    neutral: np.ndarray  # (V, 3) float32
    faces: np.ndarray  # (F, 3) int32, counter-clockwise from outside
    basis: np.ndarray  # (K, V, 3) float32, displacement at weight 1, in arkit.CURVES order
    regions: dict[str, np.ndarray]  # (M,) int32 vertices of the lips, upper_face, and subset: the face with fewer vertices
    landmarks: dict[str, int]  # vertices: upper_lip and lower_lip, where they meet at the midline; left_corner, right_corner

    def vertices(self, weights: np.ndarray) -> np.ndarray:
        """Poses the mesh: (..., K) weights -> (..., V, 3) float32 mm."""
        weights = np.asarray(weights, np.float32)
        moved = weights.reshape(-1, N_CURVES) @ self.basis.reshape(N_CURVES, -1)
        return self.neutral + moved.reshape(*weights.shape[:-1], *self.neutral.shape)

    @property
    def gap_neutral_mm(self) -> float:
        """The lip gap at rest."""
        return self._distance("upper_lip", "lower_lip", axis=1)[0]

    @property
    def gap_mm(self) -> np.ndarray:
        """(K,) float32, change of the lip gap per unit of each weight."""
        return self._distance("upper_lip", "lower_lip", axis=1)[1]

    def lip_gap_mm(self, weights: np.ndarray) -> np.ndarray:
        """Height of the mouth opening at mid-lip: (..., K) weights -> (...) float32 mm; negative where the lips press."""
        return self.gap_neutral_mm + np.asarray(weights, np.float32) @ self.gap_mm

    def mouth_width_mm(self, weights: np.ndarray) -> np.ndarray:
        """Distance of the mouth's corners: (..., K) weights -> (...) float32 mm."""
        rest_mm, moved_mm = self._distance("left_corner", "right_corner", axis=0)
        return rest_mm + np.asarray(weights, np.float32) @ moved_mm

    def _distance(self, *landmarks: str, axis: int) -> tuple[float, np.ndarray]:
        """Between two landmarks at rest, and its change per unit of each weight (K,)."""
        first, second = (self.landmarks[name] for name in landmarks)
        rest_mm = float(self.neutral[first, axis] - self.neutral[second, axis])
        return rest_mm, self.basis[:, first, axis] - self.basis[:, second, axis]


@cache
def mesh() -> Head:
    """The vertices that teachers answer with: the face and its lips alone, and not all of these; without faces."""
    whole = head()
    kept = whole.regions["subset"]
    landmarks = {name: int(np.flatnonzero(kept == vertex)[0]) for name, vertex in whole.landmarks.items()}
    lips = np.flatnonzero(np.isin(kept, whole.regions["lips"])).astype(np.int32)
    return Head(whole.neutral[kept], np.zeros((0, 3), np.int32), whole.basis[:, kept], {"lips": lips}, landmarks)


@cache
def head() -> Head:
    """Reads the head, once per process."""
    from facedistill.formats.glb import load
    from facedistill.formats.gltf_face import read_face  # which needs Pillow, as nothing else of the rig does

    surface, extras = read_face(HEAD), load(HEAD).content["meshes"][0]["extras"]
    regions = {name: np.array(vertices, np.int32) for name, vertices in extras["regions"].items()}
    neutral, basis = np.float32(MM_PER_UNIT) * surface.vertices, np.float32(MM_PER_UNIT) * surface.shapes
    for array in (neutral, basis, surface.triangles, *regions.values()):
        array.flags.writeable = False  # shared by the whole process
    return Head(neutral, surface.triangles, basis, regions, extras["landmarks"])


def vertex_normals(vertices: np.ndarray, faces: np.ndarray) -> np.ndarray:
    """(V, 3) unit normals, weighted by the area of the (F, 3) faces around a vertex; zeros where it has none."""
    corners = vertices[faces]
    flat = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    normals = np.stack([np.bincount(faces.ravel(), np.repeat(flat[:, axis], 3), len(vertices)) for axis in range(3)], 1)
    return normals / np.maximum(np.linalg.norm(normals, axis=1, keepdims=True), 1e-9)
