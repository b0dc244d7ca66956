"""The built-in head as glTF: metres, one mesh, one primitive a material, the 52 shapes as sparse morph targets."""

import numpy as np

from facedistill.face.arkit import CURVES
from facedistill.formats.glb import Gltf, describe, limits

MIN_MOVE_MM = 1e-3  # vertices that a shape moves less than a micron are left out of it
ARRAY_BUFFER, ELEMENT_ARRAY_BUFFER = 34962, 34963
COLOURS = {  # linear RGB
    "skin": (0.72, 0.45, 0.34), "lips": (0.55, 0.18, 0.16), "mouth": (0.16, 0.03, 0.03), "teeth": (0.86, 0.82, 0.72),
    "tongue": (0.58, 0.17, 0.17), "eye": (0.88, 0.88, 0.86), "lash": (0.05, 0.03, 0.02), "brow": (0.11, 0.06, 0.03),
    "body": (0.68, 0.42, 0.32),
}  # fmt: skip


def build() -> Gltf:
    """The head at rest, a node called "head" whose mesh has the 52 ARKit shapes; some 200 kB."""
    from facedistill.face.head import head
    from facedistill.face.head_parts import MATERIALS

    mesh = head()
    positions = (mesh.neutral * 1e-3).astype(np.float32)
    asset = {"version": "2.0", "generator": "facedistill"}
    gltf = Gltf({"asset": asset, "buffers": [{}], "scene": 0, "scenes": [{"nodes": [0]}]})
    attributes = {
        "POSITION": gltf.append(positions, bounds=True, target=ARRAY_BUFFER),
        "NORMAL": gltf.append(_normals(mesh.neutral, mesh.faces), target=ARRAY_BUFFER),
    }
    targets = [{"POSITION": index} for index in _targets(gltf, mesh.basis)]
    primitives = []
    for number, name in enumerate(MATERIALS):
        corners = mesh.faces[mesh.materials == number].astype(np.uint16).ravel()
        indices = gltf.append(corners, target=ELEMENT_ARRAY_BUFFER)
        primitives.append({"attributes": attributes, "indices": indices, "material": number, "targets": targets})
        surface = {"baseColorFactor": [*COLOURS[name], 1.0], "metallicFactor": 0.0, "roughnessFactor": 0.7}
        gltf.append_item("materials", {"name": name, "pbrMetallicRoughness": surface, "doubleSided": True})
    gltf.append_item("meshes", {"name": "head", "primitives": primitives, "extras": {"targetNames": list(CURVES)}})
    gltf.append_item("nodes", {"name": "head", "mesh": 0})
    return gltf


def _targets(gltf: Gltf, basis: np.ndarray) -> list[int]:
    """Accessors of (K, V, 3) mm displacements: zeros, but for the vertices that a shape moves."""
    moved = [np.flatnonzero(np.abs(shape).max(-1) > MIN_MOVE_MM) for shape in basis]
    values = [(shape[rows] * 1e-3).astype(np.float32) for shape, rows in zip(basis, moved, strict=True)]
    index_view = gltf.append_view(np.concatenate(moved).astype(np.uint16))
    value_view = gltf.append_view(np.concatenate(values))
    accessors, start = [], 0
    for displacements in values:
        sparse = {
            "count": len(displacements),
            "indices": {"bufferView": index_view, "byteOffset": 2 * start, "componentType": 5123},
            "values": {"bufferView": value_view, "byteOffset": 12 * start},
        }
        whole = np.zeros((basis.shape[1], 3), np.float32)
        whole[: len(displacements)] = displacements  # in any place: for its limits alone
        accessors.append(gltf.append_item("accessors", {**describe(whole), **limits(whole), "sparse": sparse}))
        start += len(displacements)
    return accessors


def _normals(vertices: np.ndarray, faces: np.ndarray) -> np.ndarray:
    """(V, 3) float32 unit vectors, the mean over the triangles around a vertex, weighted by their areas."""
    corners = vertices[faces].astype(np.float64)
    across = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    summed = np.zeros(vertices.shape)
    np.add.at(summed, faces, across[:, None])
    lengths = np.linalg.norm(summed, axis=1, keepdims=True)
    return np.where(lengths > 0, summed / np.maximum(lengths, 1e-30), (0.0, 0.0, 1.0)).astype(np.float32)
