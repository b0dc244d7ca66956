"""Any glTF head as arrays: its triangles where its nodes put them, their colours, and how ARKit's shapes move them."""

import logging
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache, partial
from pathlib import Path

import numpy as np

from facedistill.core.errors import InputError
from facedistill.formats.glb import FLOAT, QUANTISED, Gltf, load
from facedistill.formats.gltf import count_targets, default_weights, target_names
from facedistill.formats.gltf_looks import TEXTURE_MOVED, looks, picture, picture_of
from facedistill.formats.gltf_scene import JOINTS_PER_SET, PlacedMesh, joint_sets, placed_meshes, vertex_matrices
from facedistill.formats.parsing import field, reading
from facedistill.rig.arkit import CURVES, INDEX, N_CURVES

FACE = "a face to draw: a .glb or .gltf with mesh.extras.targetNames"
UNSEEN, TRIANGLES, STRIP, FAN = range(4), 4, 5, 6  # modes of a primitive; points and lines are not seen
MOST = {  # of what is drawn
    "nodes with meshes": 1_000,
    "primitives": 4_000,
    "morph targets": 2**16,  # of all primitives: 1,260 of 52
    "vertices": 1_000_000,
    "triangles": 3_000_000,  # closed surfaces have two a vertex
    "joint weights": 2**24,  # 1,000,000 vertices with 16 each
}
SEEN_THROUGH = "BLEND"  # the alphaMode of what covers the eyes, say: left out, since nothing here is drawn half
COMPRESSED = "KHR_draco_mesh_compression"
OTHER_COLOURS = "KHR_materials_pbrSpecularGlossiness"
# What a file may require and is read right: those that are followed here, and those that change neither where a vertex is nor its
# base colour and roughness. Not OTHER_COLOURS, and not KHR_materials_transmission: what it covers must be seen.
UNDERSTOOD = frozenset({
    QUANTISED, TEXTURE_MOVED, "KHR_animation_pointer", "KHR_lights_punctual", "KHR_xmp_json_ld",
    *(f"KHR_materials_{look}" for look in (
        "anisotropy", "clearcoat", "diffuse_transmission", "dispersion", "emissive_strength", "ior", "iridescence", "sheen",
        "specular", "unlit", "variants", "volume",
    )),
})  # fmt: skip

log = logging.getLogger(__name__)


@dataclass(frozen=True, eq=False)
class Surface:
    """Triangles of a head, in the units of its file.

    Attributes:
        vertices: (V, 3) float32, at rest.
        shapes: (K, V, 3) float32, displacement at weight 1, in arkit.CURVES order; 0 where the file has no such shape.
        triangles: (F, 3) int32.
        colours: (V, 3) float32, linear.
        roughness: (V,) float32, from 0, a mirror, to 1.
    """

    vertices: np.ndarray
    shapes: np.ndarray
    triangles: np.ndarray
    colours: np.ndarray
    roughness: np.ndarray


@dataclass(frozen=True, eq=False)
class _Part:
    """A primitive where a node puts it: its material, the name and default weight of each of its targets, and its vertices."""

    placed: PlacedMesh
    primitive: dict
    material: dict
    targets: list[tuple[str, float]]
    n_vertices: int
    own: slice


def read_face(path: Path) -> Surface:
    """Reads every mesh of the scene at rest: placed by its nodes or bent by its joints, with nothing seen through.

    ARKit's shapes are as if their default weights were 0, which is told where they are not; others rest at their default weights.

    Raises:
        InputError: not such a file, compressed, too large, without any of ARKit's shapes, or in need of an extension that is not
            among UNDERSTOOD.
    """
    with reading(path, FACE), np.errstate(over="ignore", invalid="ignore"):
        gltf = load(path)
        for name in gltf.required():
            if name not in UNDERSTOOD:
                raise ValueError(f"it requires {name[:80]}, which is not understood; expected a head exported without it")
        if OTHER_COLOURS in gltf.extensions:
            log.warning("%s: colours by %s are left out", path, OTHER_COLOURS)
        parts = list(_parts(gltf))
        if not parts:
            raise ValueError("its scene has no triangles that can be seen")
        surface = _surface(gltf, parts)
    if not surface.shapes.any():
        raise InputError(f"{path}: no morph target has a name of ARKit's; expected mesh.extras.targetNames with {CURVES[0]}, ...")
    resting = {name for part in parts for name, weight in part.targets if name in INDEX and weight}
    if resting:
        message = "%s: the default weights of %s are left out: a face at rest has 0"
        log.warning(message, path, ", ".join(sorted(resting, key=INDEX.get)))
    return surface


def _parts(gltf: Gltf) -> Iterator[_Part]:
    """What is seen of the scene, counted before any of it is read: a small file can place the same bytes many times."""
    found = Counter()
    for placed in placed_meshes(gltf):
        mesh_index = placed.node["mesh"]
        mesh = gltf.item("meshes", mesh_index)
        primitives = field(mesh, "primitives", list)
        n_targets = count_targets(mesh)
        _add(found, {"nodes with meshes": 1, "primitives": len(primitives), "morph targets": n_targets * len(primitives)})
        names = target_names(gltf, mesh_index) or [""] * n_targets
        targets = list(zip(names, default_weights(gltf, placed.node, n_targets), strict=True))
        for primitive in primitives:
            material = gltf.item("materials", primitive["material"]) if "material" in primitive else {}
            mode = field(primitive, "mode", int, TRIANGLES)
            if mode in UNSEEN or field(material, "alphaMode", str, "") == SEEN_THROUGH:
                continue
            if COMPRESSED in field(primitive, "extensions", dict, {}):
                raise ValueError(f"meshes[{mesh_index}] is compressed by {COMPRESSED}; expected plain data")
            n_moving = len(field(primitive, "targets", list, []))
            if n_moving != n_targets:
                raise ValueError(f"meshes[{mesh_index}] has primitives of {n_targets} and {n_moving} targets; expected as many")
            attributes = field(primitive, "attributes", dict)
            n_vertices = gltf.count(field(attributes, "POSITION", int))
            n_corners = gltf.count(primitive["indices"]) if "indices" in primitive else n_vertices
            n_weights = n_vertices * JOINTS_PER_SET * len(joint_sets(placed, attributes))
            n_triangles = n_corners // 3 if mode == TRIANGLES else n_corners
            _add(found, {"vertices": n_vertices, "triangles": n_triangles, "joint weights": n_weights})
            own = slice(found["vertices"] - n_vertices, found["vertices"])
            yield _Part(placed, primitive, material, targets, n_vertices, own)


def _add(found: Counter, more: dict[str, int]) -> None:
    found.update(more)
    for what in more:
        if found[what] > MOST[what]:
            raise ValueError(f"more than {MOST[what]} {what}; expected one face")


def _surface(gltf: Gltf, parts: list[_Part]) -> Surface:
    """All parts, moved by their targets first, then put into the scene."""
    n_vertices, n_wrong, triangles = parts[-1].own.stop, 0, []
    rest, shapes = np.empty((n_vertices, 3), np.float32), np.zeros((N_CURVES, n_vertices, 3), np.float32)
    for part in parts:
        own = part.own
        places, n_more = vertex_matrices(gltf, part.placed, part.primitive["attributes"], part.n_vertices)
        n_wrong += n_more
        rest[own] = _turned(places, _shaped(gltf, part, places, shapes[:, own])) + places[..., 3]
        if not (np.isfinite(rest[own]).all() and np.isfinite(shapes[:, own]).all()):
            raise ValueError(f"meshes[{part.placed.node['mesh']}] reaches beyond the numbers of float32")
        corners = _corners(gltf, part.primitive, part.n_vertices)
        handedness = np.broadcast_to(np.sign(np.linalg.det(places[..., :3])), part.n_vertices)
        is_mirrored = handedness[corners].sum(axis=1, keepdims=True) < 0  # as second eyes are: the outside would be the inside
        triangles.append((np.where(is_mirrored, corners[:, ::-1], corners) + own.start).astype(np.int32))
    if n_wrong:
        message = (
            "%s: the joint weights of %d vertices do not sum to 1: they are scaled, and those of 0 go with their first joint"
        )
        log.warning(message, gltf.path, n_wrong)
    colours, roughness = np.empty((n_vertices, 3), np.float32), np.empty(n_vertices, np.float32)
    pictures = lru_cache(1)(partial(picture, gltf))  # one is in memory at a time: parts with the same follow each other
    for part in sorted(parts, key=lambda part: picture_of(gltf, part.material)):
        attributes = part.primitive["attributes"]
        colours[part.own], roughness[part.own] = looks(gltf, pictures, part.material, attributes, part.n_vertices)
    return Surface(rest, shapes, np.concatenate(triangles), colours, roughness)


def _shaped(gltf: Gltf, part: _Part, places: np.ndarray, shapes: np.ndarray) -> np.ndarray:
    """(V, 3) vertices of a part at rest, not placed yet; adds how ARKit's shapes move them, placed, to `shapes` (K, V, 3)."""
    vertices = _positions(gltf, part.primitive["attributes"])
    for (name, weight), target in zip(part.targets, field(part.primitive, "targets", list, []), strict=True):
        if field(target, "POSITION", int, None) is None or not (name in INDEX or weight):
            continue
        displacements = _positions(gltf, target, part.n_vertices)
        if name in INDEX:
            shapes[INDEX[name]] += _turned(places, displacements)  # two targets of a name move together
        else:
            vertices = vertices + weight * displacements
    return vertices


def _turned(places: np.ndarray, vectors: np.ndarray) -> np.ndarray:
    """(V, 3) vectors by the linear part of (V, 3, 4) or (1, 3, 4) places."""
    return np.einsum("vij,vj->vi", places[..., :3], vectors)


def _corners(gltf: Gltf, primitive: dict, n_vertices: int) -> np.ndarray:
    """(F, 3) vertices of a primitive's triangles, counter-clockwise as seen from outside."""
    listed = np.arange(n_vertices) if "indices" not in primitive else gltf.accessor(primitive["indices"], whole=True)
    if listed.ndim > 1 or listed.min() < 0 or listed.max() >= n_vertices:
        raise ValueError(f"triangles with corners beyond their {n_vertices} vertices")
    mode = field(primitive, "mode", int, TRIANGLES)
    if mode == TRIANGLES and len(listed) % 3 == 0:
        return listed.reshape(-1, 3)
    if mode == STRIP:
        corners = np.stack([listed[:-2], listed[1:-1], listed[2:]], axis=1)
        corners[1::2] = corners[1::2, [0, 2, 1]]
        return corners
    if mode == FAN:
        return np.stack([listed[1:-1], listed[2:], np.full_like(listed[2:], listed[0])], axis=1)
    raise ValueError(f"a primitive of mode {mode} with {len(listed)} corners; expected triangles")


def _positions(gltf: Gltf, attributes: dict, count: int | None = None) -> np.ndarray:
    kind = field(gltf.item("accessors", field(attributes, "POSITION", int)), "componentType", int)
    if kind != FLOAT and QUANTISED not in gltf.extensions:
        raise ValueError(f"POSITION of componentType {kind}; expected floats, or {QUANTISED} in extensionsUsed")
    return gltf.vectors(attributes, "POSITION", count, 3, quantised=True)
