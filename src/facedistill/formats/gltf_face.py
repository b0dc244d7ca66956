"""Any glTF head as arrays: its triangles where its nodes put them, their colours, and how ARKit's shapes move them."""

import logging
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from facedistill.core.errors import InputError
from facedistill.face.arkit import CURVES, INDEX, N_CURVES
from facedistill.formats.glb import FLOAT, QUANTISED, Gltf, load
from facedistill.formats.gltf import count_targets, default_weights, target_names
from facedistill.formats.gltf_looks import TEXTURE_MOVED, looks
from facedistill.formats.gltf_scene import PlacedMesh, placed_meshes, vertex_matrices
from facedistill.formats.parsing import field, reading

FACE = "a face to draw: a .glb or .gltf with mesh.extras.targetNames"
UNSEEN, TRIANGLES, STRIP, FAN = range(4), 4, 5, 6  # modes of a primitive; points and lines are not seen
MAX_MESHES, MAX_VERTICES = 1_000, 1_000_000
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


def read_face(path: Path) -> Surface:
    """Reads every mesh of the scene at rest: placed by its nodes or bent by its joints, with nothing seen through.

    ARKit's shapes are as if their default weights were 0, which is told where they are not; others rest at their default weights.

    Raises:
        InputError: not such a file, compressed, too large, without any of ARKit's shapes, or in need of an extension that is not
            among UNDERSTOOD.
    """
    with reading(path, FACE), np.errstate(over="ignore", invalid="ignore"):
        gltf = load(path)
        _check_extensions(gltf)
        parts, n_vertices, resting = [], 0, set()
        for number, placed in enumerate(placed_meshes(gltf), 1):
            if number > MAX_MESHES:
                raise ValueError(f"more than {MAX_MESHES} nodes have meshes; expected one face")
            targets = _targets(gltf, placed.node)
            resting |= {name for name, weight in targets if name in INDEX and weight}
            for part in _parts(gltf, placed, targets):
                parts.append(part)
                n_vertices += len(part.vertices)
                _check_size(n_vertices)
        if not parts:
            raise ValueError("its scene has no triangles that can be seen")
        moved = any(np.abs(part.shapes).max(initial=0) > 0 for part in parts)
    if not moved:
        raise InputError(f"{path}: no morph target has a name of ARKit's; allowed: mesh.extras.targetNames with {CURVES[0]}, ...")
    if resting:
        told = "%s: the default weights of %s are left out: a face at rest has 0"
        logging.getLogger(__name__).warning(told, path, ", ".join(sorted(resting, key=INDEX.get)))
    starts = np.cumsum([0, *(len(part.vertices) for part in parts)])
    return Surface(
        np.concatenate([part.vertices for part in parts]),
        np.concatenate([part.shapes for part in parts], axis=1),
        np.concatenate([part.triangles + start for part, start in zip(parts, starts, strict=False)]).astype(np.int32),
        np.concatenate([part.colours for part in parts]),
        np.concatenate([part.roughness for part in parts]),
    )


def _check_extensions(gltf: Gltf) -> None:
    for name in gltf.required():
        if name not in UNDERSTOOD:
            raise ValueError(f"it requires {name[:80]}, which is not understood; expected a head exported without it")
    if OTHER_COLOURS in gltf.extensions():
        logging.getLogger(__name__).warning("%s: colours by %s are left out", gltf.path, OTHER_COLOURS)


def _targets(gltf: Gltf, node: dict) -> list[tuple[str, float]]:
    """The name of each morph target of a node's mesh, "" where it has none, and its default weight."""
    n_targets = count_targets(gltf.item("meshes", node["mesh"]))
    names = target_names(gltf, node["mesh"]) or [""] * n_targets
    return list(zip(names, default_weights(gltf, node, n_targets), strict=True))


def _parts(gltf: Gltf, placed: PlacedMesh, targets: list[tuple[str, float]]) -> Iterator[Surface]:
    """The primitives of a mesh, each as a surface of its own: moved by their targets first, then put into the scene."""
    mesh_index = placed.node["mesh"]
    for primitive in field(gltf.item("meshes", mesh_index), "primitives", list):
        material = gltf.item("materials", primitive["material"]) if "material" in primitive else {}
        if field(primitive, "mode", int, TRIANGLES) in UNSEEN or field(material, "alphaMode", str, "") == SEEN_THROUGH:
            continue
        if COMPRESSED in field(primitive, "extensions", dict, {}):
            raise ValueError(f"meshes[{mesh_index}] is compressed by {COMPRESSED}; allowed: plain data")
        attributes, moving = field(primitive, "attributes", dict), field(primitive, "targets", list, [])
        if len(moving) != len(targets):
            raise ValueError(f"meshes[{mesh_index}] has primitives of {len(targets)} and {len(moving)} targets; expected as many")
        _check_size(field(gltf.item("accessors", field(attributes, "POSITION", int)), "count", int))
        vertices = _positions(gltf, attributes)
        places = vertex_matrices(gltf, placed, attributes, len(vertices))
        shapes = np.zeros((N_CURVES, len(vertices), 3), np.float32)
        for (name, weight), target in zip(targets, moving, strict=True):
            if field(target, "POSITION", int, None) is None or not (name in INDEX or weight):
                continue
            displacements = _positions(gltf, target, len(vertices))
            if name in INDEX:
                shapes[INDEX[name]] += _turned(places, displacements)  # two targets of a name move together
            else:
                vertices = vertices + weight * displacements
        colours, roughness = looks(gltf, material, attributes, len(vertices))
        rest = (_turned(places, vertices) + places[..., 3]).astype(np.float32)
        if not (np.isfinite(rest).all() and np.isfinite(shapes).all()):
            raise ValueError(f"meshes[{mesh_index}] reaches beyond the numbers of float32")
        yield Surface(
            rest,
            shapes,
            _outside_out(_corners(gltf, primitive, len(vertices)), places, len(vertices)).astype(np.int32),
            colours.astype(np.float32),
            np.full(len(vertices), roughness, np.float32),
        )


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


def _outside_out(corners: np.ndarray, places: np.ndarray, n_vertices: int) -> np.ndarray:
    """(F, 3) corners, turned round where their places mirror them, as second eyes are: the outside would be the inside."""
    handedness = np.broadcast_to(np.sign(np.linalg.det(places[..., :3])), n_vertices)
    mirrored = handedness[corners].sum(axis=1, keepdims=True) < 0
    return np.where(mirrored, corners[:, ::-1], corners)


def _check_size(n_vertices: int) -> None:
    if n_vertices > MAX_VERTICES:
        raise ValueError(f"more than {MAX_VERTICES} vertices")


def _positions(gltf: Gltf, attributes: dict, count: int | None = None) -> np.ndarray:
    kind = field(gltf.item("accessors", field(attributes, "POSITION", int)), "componentType", int)
    if kind != FLOAT and QUANTISED not in gltf.extensions():
        raise ValueError(f"POSITION of componentType {kind}; expected floats, or {QUANTISED} in extensionsUsed")
    return gltf.vectors(attributes, "POSITION", sizes=(3,), count=count, quantised=True)
