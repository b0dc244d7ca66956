"""The built-in head as glTF: metres, one primitive a material, coloured vertices, the 52 shapes as sparse morph targets.

All its colour is in COLOR_0: where an engine's default material leaves vertex colours out, the head is white.
"""

import numpy as np

from facedistill.formats.glb import Gltf, describe, limits
from facedistill.rig.arkit import CURVES

MIN_MOVE_MM = 1e-3  # vertices that a shape moves less than a micron are left out of it
ARRAY_BUFFER, ELEMENT_ARRAY_BUFFER = 34962, 34963
ROUGHNESS = {"lips": 0.45, "teeth": 0.3, "tongue": 0.5, "eye": 0.08, "mouth": 0.8, "lash": 0.9, "brow": 0.9}
SKIN_ROUGHNESS = 0.6


def build(subdivisions: int = 1) -> Gltf:
    """The head at rest, a node called "head" whose mesh has the 52 ARKit shapes.

    Args:
        subdivisions: see `fine_head`; 1.3 MB with 1, 0.4 with 0.
    """
    from facedistill.rig.head_fine import fine_head, vertex_normals
    from facedistill.rig.head_parts import MATERIALS

    face = fine_head(subdivisions)
    form = face.form
    asset = {"version": "2.0", "generator": "facedistill"}
    gltf = Gltf({"asset": asset, "buffers": [{}], "scene": 0, "scenes": [{"nodes": [0]}]})
    normals = vertex_normals(form.neutral.astype(float), form.faces).astype(np.float32)
    colours = face.colours * face.light[:, None] ** 0.7
    primitives = []
    for number, name in enumerate(MATERIALS):
        selected = np.flatnonzero(face.materials == number)
        points = form.points[selected]
        corners = form.corners[face.materials[form.corners[:, 0]] == number]
        attributes = {
            "POSITION": gltf.append(form.neutral[points] / 1000, bounds=True, target=ARRAY_BUFFER),
            "NORMAL": gltf.append(normals[points], target=ARRAY_BUFFER),
            "COLOR_0": gltf.append(colours[selected].astype(np.float32), target=ARRAY_BUFFER),
        }
        indices = gltf.append(np.searchsorted(selected, corners).astype(np.uint16).ravel(), target=ELEMENT_ARRAY_BUFFER)
        targets = [{"POSITION": index} for index in _targets(gltf, form.basis[:, points])]
        primitives.append({"attributes": attributes, "indices": indices, "material": number, "targets": targets})
        surface = {"metallicFactor": 0.0, "roughnessFactor": ROUGHNESS.get(name, SKIN_ROUGHNESS)}
        gltf.append_item("materials", {"name": name, "pbrMetallicRoughness": surface})
    gltf.append_item("meshes", {"name": "head", "primitives": primitives, "extras": {"targetNames": list(CURVES)}})
    gltf.append_item("nodes", {"name": "head", "mesh": 0})
    return gltf


def _targets(gltf: Gltf, basis: np.ndarray) -> list[int]:
    """Accessors of (K, V, 3) mm displacements: zeros, but for the vertices that a shape moves."""
    moved = [np.flatnonzero(np.abs(shape).max(-1) > MIN_MOVE_MM) for shape in basis]
    moved = [rows if len(rows) else np.zeros(1, int) for rows in moved]  # sparse data must not be empty
    values = [(shape[rows] / 1000).astype(np.float32) for shape, rows in zip(basis, moved, strict=True)]
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
