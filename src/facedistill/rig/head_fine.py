"""The head as it is drawn: the mesh of `head`, subdivided for round outlines from few vertices."""

from dataclasses import dataclass
from functools import cache

import numpy as np
from scipy.sparse import coo_array, csr_array, eye_array, vstack

from facedistill.rig import head_paint, head_surface
from facedistill.rig.head import head

OCCLUSION = ((5.0, 0.5), (12.0, 0.29), (26.0, 0.16))  # distance from the skin in mm, light that is lost if skin is there too
LEAST_LIGHT = 0.35


@dataclass(frozen=True, eq=False)
class Form:
    """The shape of a head to draw; units mm. Where materials meet, a point carries a vertex for each.

    Attributes:
        neutral: (P, 3) float32 points.
        basis: (K, P, 3) float32, displacement at weight 1, in arkit.CURVES order.
        faces: (F, 3) int32 points.
        points: (V,) int32, the point of each vertex.
        corners: (F, 3) int32 vertices.
    """

    neutral: np.ndarray
    basis: np.ndarray
    faces: np.ndarray
    points: np.ndarray
    corners: np.ndarray

    def posed(self, weights: np.ndarray) -> np.ndarray:
        """(P, 3) points under (K,) weights."""
        return self.neutral + (weights @ self.basis.reshape(len(self.basis), -1)).reshape(self.neutral.shape)


@dataclass(frozen=True, eq=False)
class FineHead:
    """What is drawn of the built-in head.

    Attributes:
        form: its shape.
        materials: (V,) int32 into head_parts.MATERIALS.
        colours: (V, 3) float32, linear.
        light: (V,) float32, how much of the ambient light gets there.
    """

    form: Form
    materials: np.ndarray
    colours: np.ndarray
    light: np.ndarray


def fine_head(subdivisions: int = 1) -> FineHead:
    """Builds it, in about a second, once per process and fineness.

    Args:
        subdivisions: how often every triangle is divided into four, up to three times: indices of a GLB have 16 bits.
    """
    return _subdivided(subdivisions)


@cache
def _subdivided(subdivisions: int) -> FineHead:
    face = head()
    matrix, faces = eye_array(len(face.neutral), format="csr"), face.faces.astype(int)
    for _ in range(subdivisions):
        finer, faces = subdivision(faces, matrix.shape[0])
        matrix = finer @ matrix
    neutral = matrix @ face.neutral.astype(float)
    basis = (
        (matrix @ face.basis.transpose(1, 0, 2).reshape(len(face.neutral), -1)).reshape(len(neutral), -1, 3).transpose(1, 0, 2)
    )
    pairs = np.stack([np.repeat(face.materials, 4**subdivisions * 3), faces.ravel()])
    (materials, points), corners = np.unique(pairs, axis=1, return_inverse=True)
    light = _ambient(neutral, vertex_normals(neutral, faces))
    form = Form(
        neutral.astype(np.float32), np.ascontiguousarray(basis, np.float32), faces.astype(np.int32), points.astype(np.int32),
        corners.reshape(-1, 3).astype(np.int32),
    )  # fmt: skip
    colours = head_paint.albedo(materials, form.neutral[points])
    return FineHead(form, materials.astype(np.int32), colours, light[points].astype(np.float32))


def vertex_normals(vertices: np.ndarray, faces: np.ndarray) -> np.ndarray:
    """Normals of vertices, weighted by the area of the faces around them.

    Args:
        vertices: (V, 3).
        faces: (F, 3) int, counter-clockwise from outside.

    Returns:
        (V, 3) unit vectors; zeros where a vertex has no face.
    """
    corners = vertices[faces]
    flat = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    normals = np.stack([np.bincount(faces.ravel(), np.repeat(flat[:, axis], 3), len(vertices)) for axis in range(3)], 1)
    return normals / np.maximum(np.linalg.norm(normals, axis=1, keepdims=True), 1e-9)


def _ambient(points: np.ndarray, normals: np.ndarray) -> np.ndarray:
    """(V,) ambient light: less where skin is close in front of a point."""
    hidden = sum(share * np.clip(1 - head_surface.distance(points + step * normals) / step, 0, 1) for step, share in OCCLUSION)
    return np.clip(1 - hidden, LEAST_LIGHT, 1)


def subdivision(faces: np.ndarray, n_vertices: int) -> tuple[csr_array, np.ndarray]:
    """Loop's subdivision (1987, with Warren's weights) of a mesh.

    Args:
        faces: (F, 3) int.
        n_vertices: V, how many vertices there are.

    Returns:
        A matrix (V', V) that takes the old vertices to the new ones, and the new faces (4F, 3), those of each old face together.
    """
    pairs = np.sort(faces[:, [[1, 2], [2, 0], [0, 1]]].reshape(-1, 2), axis=1)  # the edge opposite each corner
    edges, edge_of, uses = np.unique(pairs, axis=0, return_inverse=True, return_counts=True)
    inner = uses == 2
    opposite = inner[edge_of]
    middles = coo_array(
        (
            np.concatenate([np.repeat(np.where(inner, 3 / 8, 1 / 2), 2), np.full(opposite.sum(), 1 / 8)]),
            (
                np.concatenate([np.repeat(np.arange(len(edges)), 2), edge_of[opposite]]),
                np.concatenate([edges.ravel(), faces.ravel()[opposite]]),
            ),
        ),
        (len(edges), n_vertices),
    )
    border = np.zeros(n_vertices, bool)
    border[edges[~inner]] = True
    links = np.concatenate([edges, edges[:, ::-1]])
    links = links[~border[links[:, 0]] | np.tile(~inner, 2)]  # a border is smoothed along itself only
    valence = np.bincount(links[:, 0], minlength=n_vertices)
    share = np.where(border, 1 / 8, np.where(valence == 3, 3 / 16, 3 / (8 * np.maximum(valence, 3))))
    moved = coo_array((share[links[:, 0]], tuple(links.T)), (n_vertices, n_vertices))
    stayed = coo_array((1 - share * valence, (np.arange(n_vertices),) * 2), moved.shape)
    first, second, third = (n_vertices + edge_of.reshape(-1, 3)).T
    a, b, c = faces.T
    split = [(a, third, second), (third, b, first), (second, first, c), (first, second, third)]
    matrix = csr_array(vstack([moved + stayed, middles]))
    return matrix, np.stack([np.stack(corner, 1) for corner in split], 1).reshape(-1, 3)
