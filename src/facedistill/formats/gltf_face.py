"""Any glTF head as arrays: its triangles where its nodes and joints put them, how they look, and how ARKit's shapes move them."""

import io
import logging
import warnings
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache, lru_cache, partial
from pathlib import Path

import numpy as np
from PIL import Image
from scipy.sparse import coo_array
from scipy.spatial.transform import Rotation

from facedistill.core.errors import InputError
from facedistill.formats.glb import FLOAT, QUANTISED, Gltf, load
from facedistill.formats.gltf import count_targets, default_weights, target_names
from facedistill.formats.json_csv import field, matrix, reading
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
JOINTS_PER_SET, MAX_SETS = 4, 8  # of JOINTS_n and WEIGHTS_n; more than any exporter writes
MAX_SCENE_NODES = 20_000  # bodies with all their joints have about a thousand
ROUNDING, UNIT_ROUNDING = 1e-3, 1e-2  # of a matrix's last row; of the length of a rotation
PLACING = ("EXT_mesh_gpu_instancing", "KHR_node_visibility")  # of a node; what else is in its extensions moves no vertex
COMPRESSED, OTHER_COLOURS = "KHR_draco_mesh_compression", "KHR_materials_pbrSpecularGlossiness"
TEXTURE_MOVED = "KHR_texture_transform"
MAX_PIXELS, MAX_ALL_PIXELS = 64_000_000, 2**28  # of a texture; of all: 16 of 4096 x 4096
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
    """Triangles of a head, in the units of its file."""

    vertices: np.ndarray  # (V, 3) float32, at rest
    shapes: np.ndarray  # (K, V, 3) float32, displacement at weight 1, in arkit.CURVES order; 0 where there is no such shape
    triangles: np.ndarray  # (F, 3) int32, counter-clockwise as seen from outside
    colours: np.ndarray  # (V, 3) float32, linear
    roughness: np.ndarray  # (V,) float32, from 0, a mirror, to 1


@dataclass(frozen=True, eq=False)
class _Part:
    """A primitive where a node puts it."""

    node: dict
    matrices: np.ndarray  # (J, 3, 4) from the mesh to the scene: of each joint of its skin, or the one of a node without a skin
    primitive: dict
    material: dict
    targets: list[tuple[str, float]]  # names and default weights
    joint_sets: list[str]  # the n of JOINTS_n and WEIGHTS_n that move it; none without a skin
    n_vertices: int
    own: slice  # of the vertices of the head


def read_face(path: Path) -> Surface:
    """Reads every mesh of the scene at rest: placed by its nodes or bent by its joints, with nothing seen through.

    Only ARKit's shapes lose their default weights, which is told. InputError if broken, compressed, too large, not UNDERSTOOD.
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
    if resting := {name for part in parts for name, weight in part.targets if name in INDEX and weight}:
        message = "%s: the default weights of %s are left out: a face at rest has 0"
        log.warning(message, path, ", ".join(sorted(resting, key=INDEX.get)))
    return surface


def _parts(gltf: Gltf) -> Iterator[_Part]:
    """What is seen of the scene, counted before any of it is read: a small file can place the same bytes many times."""
    found = Counter()
    for node, matrices in _placed_meshes(gltf):
        mesh_index, mesh = node["mesh"], gltf.item("meshes", node["mesh"])
        primitives, n_targets = field(mesh, "primitives", list), count_targets(mesh)
        _add(found, {"nodes with meshes": 1, "primitives": len(primitives), "morph targets": n_targets * len(primitives)})
        names = target_names(gltf, mesh_index) or [""] * n_targets
        targets = list(zip(names, default_weights(gltf, node, n_targets), strict=True))
        for primitive in primitives:
            material = gltf.item("materials", primitive["material"]) if "material" in primitive else {}
            mode = field(primitive, "mode", int, TRIANGLES)
            if mode in UNSEEN or field(material, "alphaMode", str, "") == "BLEND":
                continue  # it covers the eyes, say, and nothing here is drawn half
            if COMPRESSED in field(primitive, "extensions", dict, {}):
                raise ValueError(f"meshes[{mesh_index}] is compressed by {COMPRESSED}; expected plain data")
            n_moving = len(field(primitive, "targets", list, []))
            if n_moving != n_targets:
                raise ValueError(f"meshes[{mesh_index}] has primitives of {n_targets} and {n_moving} targets; expected as many")
            attributes = field(primitive, "attributes", dict)
            n_vertices = gltf.count(field(attributes, "POSITION", int))
            n_corners = gltf.count(primitive["indices"]) if "indices" in primitive else n_vertices
            sets = _joint_sets(node, attributes)
            n_triangles = n_corners // 3 if mode == TRIANGLES else n_corners
            n_weights = n_vertices * JOINTS_PER_SET * len(sets)
            _add(found, {"vertices": n_vertices, "triangles": n_triangles, "joint weights": n_weights})
            own = slice(found["vertices"] - n_vertices, found["vertices"])
            yield _Part(node, matrices, primitive, material, targets, sets, n_vertices, own)


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
        own, (places, n_more) = part.own, _vertex_matrices(gltf, part)
        n_wrong += n_more
        rest[own] = _turned(places, _shaped(gltf, part, places, shapes[:, own])) + places[..., 3]
        if not (np.isfinite(rest[own]).all() and np.isfinite(shapes[:, own]).all()):
            raise ValueError(f"meshes[{part.node['mesh']}] reaches beyond the numbers of float32")
        corners = _corners(gltf, part.primitive, part.n_vertices)
        handedness = np.broadcast_to(np.sign(np.linalg.det(places[..., :3])), part.n_vertices)
        is_mirrored = handedness[corners].sum(axis=1, keepdims=True) < 0  # as second eyes are: the outside would be the inside
        triangles.append((np.where(is_mirrored, corners[:, ::-1], corners) + own.start).astype(np.int32))
    if n_wrong:
        what = "do not sum to 1: they are scaled, and those of 0 go with their first joint"
        log.warning("%s: the joint weights of %d vertices %s", gltf.path, n_wrong, what)
    colours, roughness = np.empty((n_vertices, 3), np.float32), np.empty(n_vertices, np.float32)
    pictures = lru_cache(1)(partial(_picture, gltf))  # one is in memory at a time: parts with the same follow each other
    for part in sorted(parts, key=lambda part: _picture_of(gltf, part.material)):
        colours[part.own], roughness[part.own] = _looks(gltf, pictures, part)
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


def _vertex_matrices(gltf: Gltf, part: _Part) -> tuple[np.ndarray, int]:
    """From the mesh to the scene for each vertex of a part, (V, 3, 4), or (1, 3, 4) without a skin; how many weights were off."""
    if not part.joint_sets:
        return part.matrices, 0
    attributes, count, n_joints = part.primitive["attributes"], part.n_vertices, len(part.matrices)
    joints = np.hstack([gltf.vectors(attributes, f"JOINTS_{n}", count, JOINTS_PER_SET, whole=True) for n in part.joint_sets])
    weights = np.hstack([gltf.vectors(attributes, f"WEIGHTS_{n}", count, JOINTS_PER_SET) for n in part.joint_sets])
    if weights.min() < 0:
        raise ValueError("WEIGHTS_n hold a number below 0; expected 0 to 1")
    sums = weights.sum(axis=1, keepdims=True)
    n_wrong = int((np.abs(sums - 1) > 0.05).sum())  # each weight may be rounded to 1 / 255
    # Divided by their sum, which should be 1; where all are 0, the first joint has all, as in three.js.
    weights = np.where(sums > 0, weights / np.where(sums > 0, sums, 1), np.eye(1, weights.shape[1]))
    joints = np.where(weights > 0, joints, 0)  # those without weight may be anything
    if joints.min() < 0 or joints.max() >= n_joints:
        raise ValueError(f"JOINTS_n refer to a joint beyond the {n_joints} of skins[{part.node['skin']}]")
    rows = np.repeat(np.arange(count), joints.shape[1])
    blend = coo_array((weights.ravel(), (rows, joints.ravel())), (count, n_joints)).tocsr()
    return (blend @ part.matrices.reshape(n_joints, 12)).reshape(count, 3, 4), n_wrong


def _joint_sets(node: dict, attributes: dict) -> list[str]:
    if field(node, "skin", int, None) is None:
        return []
    sets = sorted({name.partition("_")[2] for name in attributes if name.startswith(("JOINTS_", "WEIGHTS_"))} or {"0"})
    if len(sets) > MAX_SETS:
        raise ValueError(f"{len(sets)} sets of joints; expected up to {MAX_SETS}")
    return sets


def _placed_meshes(gltf: Gltf) -> Iterator[tuple[dict, np.ndarray]]:
    """The nodes of the scene with a mesh, and matrices as of a `_Part`; a node with a skin is placed by its joints alone."""
    places = _places(gltf)
    of_skin = cache(lambda skin: _joint_matrices(gltf, skin, places))
    for index, place in places.items():
        node = gltf.item("nodes", index)
        if "mesh" in node:
            skin = field(node, "skin", int, None)
            yield node, place[None, :3] if skin is None else of_skin(skin)


def _places(gltf: Gltf) -> dict[int, np.ndarray]:
    """{index: (4, 4) to the scene} of all its nodes, parents before children."""
    scene = gltf.item("scenes", field(gltf.content, "scene", int, 0))
    todo, places = [(index, np.eye(4)) for index in reversed(field(scene, "nodes", list, []))], {}
    while todo:
        index, above = todo.pop()
        node = gltf.item("nodes", index)
        if len(places) == MAX_SCENE_NODES:
            raise ValueError(f"more than {MAX_SCENE_NODES} nodes in its scene; expected one face")
        if index in places:
            raise ValueError(f"nodes[{index}] is in two places; expected one")
        for name in field(node, "extensions", dict, {}):
            if name in PLACING:
                raise ValueError(f"nodes[{index}] has {name}, which is not understood; expected a head exported without it")
        places[index] = above @ _transform(node)
        todo += [(child, places[index]) for child in reversed(field(node, "children", list, []))]
    return places


def _joint_matrices(gltf: Gltf, index: int, places: dict[int, np.ndarray]) -> np.ndarray:
    """(J, 3, 4) of a skin's joints: from the mesh to the joint, and from there to the scene."""
    skin = gltf.item("skins", index)
    joints = field(skin, "joints", list)
    if not joints:
        raise ValueError(f"skins[{index}] has no joints")
    for joint in joints:
        if type(joint) is not int or joint not in places:
            raise ValueError(f"skins[{index}] has the joint nodes[{str(joint)[:20]}]; expected nodes of the scene")
    global_places = np.stack([places[joint] for joint in joints])
    if "inverseBindMatrices" not in skin:
        return global_places[:, :3]
    inverse = gltf.accessor(skin["inverseBindMatrices"])
    if inverse.ndim != 2 or inverse.shape[1] != 16 or len(inverse) < len(joints):
        raise ValueError(f"inverseBindMatrices of shape {inverse.shape}; expected a MAT4 for each of {len(joints)} joints")
    return global_places[:, :3] @ _affine(inverse[: len(joints)], f"skins[{index}]")


def _transform(node: dict) -> np.ndarray:
    """(4, 4) of a node, which has a matrix or translation, rotation (x, y, z, w) and scale."""
    if "matrix" in node:
        return _affine(matrix([node["matrix"]], 16, "matrix"), "a node")[0]
    move, turn, size = (
        matrix([field(node, key, list, default)], len(default), key)[0]
        for key, default in (("translation", [0, 0, 0]), ("rotation", [0, 0, 0, 1]), ("scale", [1, 1, 1]))
    )
    if abs(np.linalg.norm(turn) - 1) > UNIT_ROUNDING:
        raise ValueError(f"a rotation of length {np.linalg.norm(turn):.3g}; expected a unit quaternion")
    placed = np.eye(4)
    placed[:3, :3] = Rotation.from_quat(turn).as_matrix() * size
    placed[:3, 3] = move
    return placed


def _affine(columns: np.ndarray, of: str) -> np.ndarray:
    """(n, 4, 4) of (n, 16) matrices, which glTF stores column by column."""
    matrices = columns.reshape(-1, 4, 4).transpose(0, 2, 1).copy()
    last = np.array([0.0, 0.0, 0.0, 1.0])
    if np.abs(matrices[:, 3] - last).max() > ROUNDING:
        raise ValueError(f"{of} has a matrix whose last row is not 0 0 0 1")
    matrices[:, 3] = last
    return matrices


def _picture(gltf: Gltf, index: int) -> np.ndarray:
    """(height, width, 3) uint8 of a PNG or JPEG file, the two that glTF knows."""
    try:
        with (
            warnings.catch_warnings(action="error", category=Image.DecompressionBombWarning),
            Image.open(io.BytesIO(gltf.image(index)), formats=("PNG", "JPEG")) as opened,
        ):
            gltf.n_pixels += opened.width * opened.height
            if opened.width * opened.height > MAX_PIXELS or gltf.n_pixels > MAX_ALL_PIXELS:
                found = f"{opened.width} x {opened.height}, {gltf.n_pixels} pixels with those before"
                raise ValueError(f"images of {found}; expected up to {MAX_PIXELS}, and {MAX_ALL_PIXELS} in all")
            return np.asarray(opened.convert("RGB"))
    except (Image.DecompressionBombError, Image.DecompressionBombWarning, SyntaxError, EOFError) as error:
        raise ValueError(f"a texture cannot be read: {error}") from None


def _picture_of(gltf: Gltf, material: dict) -> int:
    """The index of the picture that a material has its colours from; -1 without one."""
    shown = field(field(material, "pbrMetallicRoughness", dict, {}), "baseColorTexture", dict, None)
    if shown is None:
        return -1
    index = field(shown, "index", int)
    texture = gltf.item("textures", index)
    if "source" not in texture:
        names = ", ".join(field(texture, "extensions", dict, {}))[:80] or "nothing"
        raise ValueError(f"textures[{index}] has its picture by {names}; expected PNG or JPEG: export it so")
    return field(texture, "source", int)


def _looks(gltf: Gltf, pictures: Callable[[int], np.ndarray], part: _Part) -> tuple[np.ndarray, float]:
    """Linear colours (V, 3) of a part by its material, its texture and its vertices' own; and its roughness."""
    surface, attributes = field(part.material, "pbrMetallicRoughness", dict, {}), part.primitive["attributes"]
    factor = matrix([field(surface, "baseColorFactor", list, [1, 1, 1, 1])], 4, "baseColorFactor")[0, :3]
    colours = np.tile(factor, (part.n_vertices, 1))
    if "COLOR_0" in attributes:
        colours = colours * gltf.vectors(attributes, "COLOR_0", part.n_vertices, 3, 4)[:, :3]
    texture = field(surface, "baseColorTexture", dict, None)
    if texture is not None:
        places, pixels = _on_texture(gltf, texture, attributes, part.n_vertices), pictures(_picture_of(gltf, part.material))
        size = np.array([pixels.shape[1], pixels.shape[0]])
        column, row = ((places % 1) * size).astype(int).clip(0, size - 1).T  # repeated beyond its edges
        colours = colours * (pixels[row, column] / 255) ** 2.2  # sRGB, about
    return np.clip(colours, 0, 1), float(np.clip(field(surface, "roughnessFactor", float, 1.0), 0, 1))


def _on_texture(gltf: Gltf, texture: dict, attributes: dict, count: int) -> np.ndarray:
    """(count, 2) places of vertices on a texture, from its upper left corner."""
    moved = field(field(texture, "extensions", dict, {}), TEXTURE_MOVED, dict, {})
    number = field(moved, "texCoord", int, field(texture, "texCoord", int, 0))
    places = gltf.vectors(attributes, f"TEXCOORD_{number}", count, 2, quantised=QUANTISED in gltf.extensions)
    scale = matrix([field(moved, "scale", list, [1.0, 1.0])], 2, "scale")[0]
    offset = matrix([field(moved, "offset", list, [0.0, 0.0])], 2, "offset")[0]
    angle = field(moved, "rotation", float, 0.0)
    turn = np.array([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]])  # counter-clockwise, since v points down
    return (scale * places) @ turn.T + offset
