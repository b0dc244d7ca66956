"""Any glTF head as arrays: its triangles where its nodes put them, their colours, and how ARKit's shapes move them."""

import io
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from facedistill.core.errors import InputError
from facedistill.face.arkit import CURVES, INDEX, N_CURVES
from facedistill.formats.glb import Gltf, load
from facedistill.formats.gltf import target_names
from facedistill.formats.parsing import field, matrix, reading

FACE = "a face to draw: a .glb or .gltf with mesh.extras.targetNames"
TRIANGLES = 4  # the mode of a primitive
MAX_VERTICES = 1_000_000
MAX_PIXELS = 64_000_000  # of a texture
SRGB_GAMMA = 2.2
ROUGH = 1.0
SEEN_THROUGH = "BLEND"  # the alphaMode of what covers the eyes, say: left out, since nothing here is drawn half
COMPRESSED = "KHR_draco_mesh_compression"


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
    """Reads every mesh of the scene as its file has it: skins are not bent by their joints, nothing is seen through.

    Raises:
        InputError: not such a file, compressed, too large, or without any of ARKit's shapes.
    """
    with reading(path, FACE):
        gltf = load(path)
        parts = []
        for node, place in _placed(gltf):
            for part in _parts(gltf, node, place):
                parts.append(part)
                _check_size(sum(len(part.vertices) for part in parts))
        if not parts:
            raise ValueError("its scene has no triangles that can be seen")
        moved = any(np.abs(part.shapes).max(initial=0) > 0 for part in parts)
    if not moved:
        raise InputError(f"{path}: no morph target has a name of ARKit's; allowed: mesh.extras.targetNames with {CURVES[0]}, ...")
    starts = np.cumsum([0, *(len(part.vertices) for part in parts)])
    return Surface(
        np.concatenate([part.vertices for part in parts]),
        np.concatenate([part.shapes for part in parts], axis=1),
        np.concatenate([part.triangles + start for part, start in zip(parts, starts, strict=False)]).astype(np.int32),
        np.concatenate([part.colours for part in parts]),
        np.concatenate([part.roughness for part in parts]),
    )


def _placed(gltf: Gltf) -> Iterator[tuple[dict, np.ndarray]]:
    """The scene's nodes that have meshes, and (4, 4) where they are."""
    scene = gltf.item("scenes", field(gltf.content, "scene", int, 0))
    todo, seen = [(index, np.eye(4)) for index in field(scene, "nodes", list, [])], set()
    while todo:
        index, above = todo.pop()
        node = gltf.item("nodes", index)
        if index in seen:
            raise ValueError(f"nodes[{index}] is in two places; allowed: one")
        seen.add(index)
        place = above @ _transform(node)
        if "mesh" in node:
            yield node, np.eye(4) if "skin" in node else place  # where a skin is, joints alone place it
        todo += [(child, place) for child in field(node, "children", list, [])]


def _transform(node: dict) -> np.ndarray:
    """(4, 4) of a node, which has a matrix or translation, rotation (x, y, z, w) and scale."""
    if "matrix" in node:
        return matrix([node["matrix"]], 16, "matrix")[0].reshape(4, 4).T
    move, turn, size = (
        matrix([field(node, key, list, default)], len(default), key)[0]
        for key, default in (("translation", [0, 0, 0]), ("rotation", [0, 0, 0, 1]), ("scale", [1, 1, 1]))
    )
    x, y, z, w = turn / max(np.linalg.norm(turn), 1e-12)
    placed = np.eye(4)
    placed[:3, :3] = np.array([
        [1 - 2 * (y * y + z * z), 2 * (x * y - z * w), 2 * (x * z + y * w)],
        [2 * (x * y + z * w), 1 - 2 * (x * x + z * z), 2 * (y * z - x * w)],
        [2 * (x * z - y * w), 2 * (y * z + x * w), 1 - 2 * (x * x + y * y)],
    ]) * size  # fmt: skip
    placed[:3, 3] = move
    return placed


def _parts(gltf: Gltf, node: dict, place: np.ndarray) -> Iterator[Surface]:
    """The primitives of a node's mesh, each as a surface of its own."""
    names = target_names(gltf, node["mesh"])
    for primitive in field(gltf.item("meshes", node["mesh"]), "primitives", list):
        if field(primitive, "mode", int, TRIANGLES) != TRIANGLES:
            continue
        material = gltf.item("materials", primitive["material"]) if "material" in primitive else {}
        if field(material, "alphaMode", str, "") == SEEN_THROUGH:
            continue
        if COMPRESSED in field(primitive, "extensions", dict, {}):
            raise ValueError(f"meshes[{node['mesh']}] is compressed by {COMPRESSED}; allowed: plain data")
        attributes = field(primitive, "attributes", dict)
        _check_size(field(gltf.item("accessors", field(attributes, "POSITION", int)), "count", int))
        vertices = _vectors(gltf, attributes, "POSITION")
        corners = np.arange(len(vertices)) if "indices" not in primitive else gltf.accessor(primitive["indices"], whole=True)
        if len(corners) % 3 or corners.min() < 0 or corners.max() >= len(vertices):
            raise ValueError(f"triangles with corners beyond their {len(vertices)} vertices")
        shapes = np.zeros((N_CURVES, len(vertices), 3), np.float32)
        for name, target in zip(names, field(primitive, "targets", list, []), strict=bool(names)):
            if name in INDEX and "POSITION" in target:
                shapes[INDEX[name]] = _vectors(gltf, target, "POSITION", len(vertices)) @ place[:3, :3].T
        colours, roughness = _looks(gltf, material, attributes, len(vertices))
        corners = corners.reshape(-1, 3)
        if np.linalg.det(place[:3, :3]) < 0:  # mirrored, as second eyes are: the outside would be the inside
            corners = corners[:, ::-1]
        yield Surface(
            (vertices @ place[:3, :3].T + place[:3, 3]).astype(np.float32),
            shapes,
            corners.astype(np.int32),
            colours.astype(np.float32),
            np.full(len(vertices), roughness, np.float32),
        )


def _check_size(n_vertices: int) -> None:
    if n_vertices > MAX_VERTICES:
        raise ValueError(f"more than {MAX_VERTICES} vertices")


def _vectors(gltf: Gltf, attributes: dict, name: str, count: int | None = None, sizes: tuple[int, ...] = (3,)) -> np.ndarray:
    found = gltf.accessor(field(attributes, name, int))
    if found.ndim != 2 or found.shape[1] not in sizes or count not in (None, len(found)):
        raise ValueError(f"{name} of shape {found.shape}; allowed: vectors of {sizes}, one for each of {count or 'the'} vertices")
    return found


def _looks(gltf: Gltf, material: dict, attributes: dict, count: int) -> tuple[np.ndarray, float]:
    """Linear colours (count, 3) of vertices by their material, its texture and their own, and the roughness."""
    surface = field(material, "pbrMetallicRoughness", dict, {})
    colours = np.tile(matrix([field(surface, "baseColorFactor", list, [1, 1, 1, 1])], 4, "baseColorFactor")[0, :3], (count, 1))
    if "COLOR_0" in attributes:
        colours = colours * _vectors(gltf, attributes, "COLOR_0", count, (3, 4))[:, :3]
    texture = field(surface, "baseColorTexture", dict, None)
    if texture is not None:
        places = _vectors(gltf, attributes, f"TEXCOORD_{field(texture, 'texCoord', int, 0)}", count, (2,))
        colours = colours * _texels(gltf, field(texture, "index", int), places)
    return np.clip(colours, 0, 1), float(np.clip(field(surface, "roughnessFactor", float, ROUGH), 0, 1))


def _texels(gltf: Gltf, index: int, places: np.ndarray) -> np.ndarray:
    """Linear colours (V, 3) of a picture at places (V, 2), repeated beyond its edges."""
    picture = _picture(gltf.image(field(gltf.item("textures", index), "source", int)))
    size = np.array([picture.shape[1], picture.shape[0]])
    column, row = ((places % 1) * size).astype(int).clip(0, size - 1).T
    return (picture[row, column] / 255) ** SRGB_GAMMA


def _picture(data: bytes | memoryview) -> np.ndarray:
    """(height, width, 3) uint8 of a PNG or JPEG file, the two that glTF knows."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            with Image.open(io.BytesIO(data), formats=("PNG", "JPEG")) as opened:
                if opened.width * opened.height > MAX_PIXELS:
                    raise ValueError(f"images of {opened.width} x {opened.height}; allowed: up to {MAX_PIXELS} pixels")
                return np.asarray(opened.convert("RGB"))
    except (Image.DecompressionBombError, Image.DecompressionBombWarning, SyntaxError, EOFError) as error:
        raise ValueError(f"a texture cannot be read: {error}") from None
