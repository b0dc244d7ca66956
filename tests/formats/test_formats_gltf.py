"""glTF against a decoder of its own that knows nothing of the package: what a viewer would see is what was written."""

import base64
import json
import struct
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from facedistill.core.errors import InputError
from facedistill.formats import gltf, registry
from facedistill.formats.animation import Animation, regular
from facedistill.formats.glb import Gltf
from facedistill.rig.arkit import CURVES

ICT_FACE = Path(__file__).parents[2] / "../shared/faces/ict_facekit_arkit51.glb"
FACE_NAMES, TEETH_NAMES = ["JawOpen", "mouthSmile_L", "blendShapes.JawLeft", "custom"], ["jawLeft", "jawOpen"]
SIZES = {"SCALAR": 1, "VEC3": 3}
DTYPES = {5121: np.uint8, 5123: np.uint16, 5125: np.uint32, 5126: np.float32}


def make_glb(content: dict, binary: bytes = b"", further: bytes = b"") -> bytes:
    text = json.dumps(content).encode()
    text += b" " * (-len(text) % 4)
    body = struct.pack("<I4s", len(text), b"JSON") + text
    if binary:
        body += struct.pack("<I4s", len(binary), b"BIN\0") + binary
    return struct.pack("<4sII", b"glTF", 2, 12 + len(body) + len(further)) + body + further


def two_mesh_face() -> tuple[dict, bytes]:
    """A triangle for a face with four targets, another for the teeth with two; a node between, and an idle animation."""
    binary = np.arange(9, dtype="<f4").tobytes() + np.array([0, 1], "<f4").tobytes() + np.array([0, 1] * 4, "<f4").tobytes()
    triangle = {"attributes": {"POSITION": 0}, "targets": [{"POSITION": 0}] * 4}
    content = {
        "asset": {"version": "2.0", "extras": {"ours": [1, 2.5, "\u00e9"]}},
        "extensionsUsed": ["VENDOR_thing"],
        "extensions": {"VENDOR_thing": {"keep": "this"}},
        "scene": 0,
        "scenes": [{"nodes": [0, 1, 2]}],
        "nodes": [{"mesh": 1, "name": "teeth"}, {"name": "empty"}, {"mesh": 0, "name": "face", "translation": [0, 1, 0]}],
        "meshes": [
            {"primitives": [triangle], "extras": {"targetNames": FACE_NAMES, "more": 1}, "weights": [0, 0.25, 0, 0.5]},
            {"primitives": [triangle | {"targets": triangle["targets"][:2]}], "extras": {"targetNames": TEETH_NAMES}},
        ],
        "accessors": [
            {"bufferView": 0, "componentType": 5126, "count": 3, "type": "VEC3", "min": [0, 1, 2], "max": [6, 7, 8]},
            {"bufferView": 1, "componentType": 5126, "count": 2, "type": "SCALAR", "min": [0], "max": [1]},
            {"bufferView": 2, "componentType": 5126, "count": 8, "type": "SCALAR"},
        ],
        "bufferViews": [
            {"buffer": 0, "byteLength": 36},
            {"buffer": 0, "byteOffset": 36, "byteLength": 8},
            {"buffer": 0, "byteOffset": 44, "byteLength": 32},
        ],
        "buffers": [{"byteLength": len(binary)}],
        "animations": [
            {
                "name": "idle",
                "channels": [{"sampler": 0, "target": {"node": 2, "path": "weights"}}],
                "samplers": [{"input": 1, "output": 2}],
            }
        ],
    }
    return content, binary


@pytest.fixture(scope="module")
def face(tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("face") / "face.glb"
    path.write_bytes(make_glb(*two_mesh_face(), further=struct.pack("<I4s", 4, b"MINE") + b"keep"))
    return path


def decode(path: Path) -> tuple[dict, bytes, bytes]:
    """JSON, BIN and whatever follows."""
    data = path.read_bytes()
    assert struct.unpack_from("<4sII", data) == (b"glTF", 2, len(data))
    n_text, kind = struct.unpack_from("<I4s", data, 12)
    n_binary, binary_kind = struct.unpack_from("<I4s", data, 20 + n_text)
    assert (kind, binary_kind) == (b"JSON", b"BIN\0") and n_text % 4 == n_binary % 4 == 0
    start = 28 + n_text
    return json.loads(data[20 : 20 + n_text]), data[start : start + n_binary], data[start + n_binary :]


def values(content: dict, binary: bytes, index: int) -> np.ndarray:
    accessor = content["accessors"][index]
    shape = (accessor["count"], SIZES[accessor["type"]])

    def raw(view: int, offset: int, component: int, count: int) -> np.ndarray:
        start = content["bufferViews"][view].get("byteOffset", 0) + offset
        assert start % np.dtype(DTYPES[component]).itemsize == 0
        return np.frombuffer(binary, DTYPES[component], count, start)

    if "bufferView" in accessor:
        found = raw(accessor["bufferView"], 0, accessor["componentType"], shape[0] * shape[1]).reshape(shape)
    else:
        found, sparse = np.zeros(shape, np.float32), accessor["sparse"]
        where, what = sparse["indices"], sparse["values"]
        rows = raw(where["bufferView"], where["byteOffset"], where["componentType"], sparse["count"])
        found[rows] = raw(what["bufferView"], what["byteOffset"], 5126, sparse["count"] * shape[1]).reshape(-1, shape[1])
        assert (np.diff(rows.astype(int)) > 0).all()
    if "min" in accessor:
        np.testing.assert_array_equal(found.min(0), np.float32(accessor["min"]))
        np.testing.assert_array_equal(found.max(0), np.float32(accessor["max"]))
    return found


def seen(path: Path, time_s: float) -> dict[str, dict[str, float]]:
    """{node name: {target name as the file has it: weight}} at a time, as a viewer plays the first animation."""
    content, binary, _ = decode(path)
    animation, shown = content["animations"][0], {}
    for channel in animation["channels"]:
        sampler, node = animation["samplers"][channel["sampler"]], content["nodes"][channel["target"]["node"]]
        times_s = values(content, binary, sampler["input"])[:, 0]
        names = content["meshes"][node["mesh"]]["extras"]["targetNames"]
        keys = values(content, binary, sampler["output"]).reshape(len(times_s), len(names))
        shown[node["name"]] = {name: np.interp(time_s, times_s, keys[:, column]) for column, name in enumerate(names)}
    return shown


@st.composite
def animations(draw, names=CURVES) -> Animation:
    """Regular ones of float32 weights; one of the curves is jawOpen, which all faces here show."""
    selected = draw(
        st.permutations(draw(st.lists(st.sampled_from(names), max_size=6, unique=True).map({"jawOpen"}.union).map(list)))
    )
    n_frames = draw(st.integers(1, 6))
    rows = draw(st.lists(st.lists(st.floats(-1, 2, width=32), min_size=len(selected), max_size=len(selected)),
                         min_size=n_frames, max_size=n_frames))  # fmt: skip
    return regular(selected, rows, draw(st.sampled_from([24, 29.97, 30, 60, 120])))


@pytest.mark.parametrize("own_face", [True, False])
def test_what_is_written_is_read_also_what_nothing_shows(own_face, face, tmp_path):
    @settings(max_examples=20 if own_face else 5, deadline=None, derandomize=True)
    @given(animations(names=(*CURVES, "TongueTipUp", "HeadYaw", "微笑")))
    def check(expected):
        gltf.write(tmp_path / "a.glb", expected, face if own_face else None)
        found = registry.read(tmp_path / "a.glb")
        assert found.names == expected.names and found.fps == expected.fps
        np.testing.assert_array_equal(found.weights, expected.weights)
        np.testing.assert_array_equal(found.times_s, expected.times_s)

    check()


def test_a_viewer_sees_each_mesh_move_in_its_own_order(face, tmp_path):
    moving = regular(("jawLeft", "tongueOut", "jawOpen"), [[0.1, 1, 0.5], [0.2, 1, 1.25], [0.3, 1, 0.75]], 30)
    gltf.write(tmp_path / "a.glb", moving, face)
    shown = seen(tmp_path / "a.glb", 1 / 30)
    assert list(shown) == ["teeth", "face"]
    assert shown["teeth"] == pytest.approx({"jawLeft": 0.2, "jawOpen": 1.25})
    assert shown["face"] == pytest.approx({"JawOpen": 1.25, "mouthSmile_L": 0.25, "blendShapes.JawLeft": 0.2, "custom": 0.5})
    assert seen(tmp_path / "a.glb", 1.5 / 30)["teeth"] == pytest.approx({"jawLeft": 0.25, "jawOpen": 1.0})


def test_a_face_stays_as_it_is(face, tmp_path):
    gltf.write(tmp_path / "a.glb", regular(("jawOpen",), [[0.5], [1]], 30), face)
    before, old_bytes, old_further = decode(face)
    after, new_bytes, further = decode(tmp_path / "a.glb")
    assert new_bytes.startswith(old_bytes) and further == old_further
    ours, *others = after.pop("animations")
    assert ours["name"] == "facedistill" and others == before.pop("animations")
    for key, grown in (("accessors", 3), ("bufferViews", 3)):
        kept = before.pop(key)
        assert after[key][: len(kept)] == kept and len(after.pop(key)) == len(kept) + grown
    assert after.pop("buffers")[0]["byteLength"] == len(new_bytes) and before.pop("buffers")
    assert after == before


def test_an_animated_face_can_be_animated_again(face, tmp_path):
    first, second = (regular(("jawOpen",), [[weight], [0]], 30) for weight in (0.25, 0.75))
    gltf.write(tmp_path / "a.glb", first, face)
    gltf.write(tmp_path / "a.glb", second, tmp_path / "a.glb")
    np.testing.assert_array_equal(registry.read(tmp_path / "a.glb").weights, second.weights)


def test_the_built_in_head_has_the_shapes_of_the_head(tmp_path):
    path = tmp_path / "a.glb"
    gltf.write(path, regular(CURVES, np.eye(52), 60))
    assert path.stat().st_size < 2_100_000
    content, binary, _ = decode(path)
    (mesh,), (node,) = content["meshes"], content["nodes"]
    assert node == {"name": "head", "mesh": 0} and mesh["extras"]["targetNames"] == list(CURVES)
    for row, name in enumerate(CURVES):
        shown = seen(path, row / 60)["head"]
        assert [key for key, weight in shown.items() if weight > 1e-4] == [name]
    for primitive in mesh["primitives"]:
        normals = values(content, binary, primitive["attributes"]["NORMAL"])
        np.testing.assert_allclose(np.linalg.norm(normals, axis=1), 1, atol=1e-5)
    assert content["asset"]["copyright"].startswith("ICT-FaceKit, (c) 2020 USC Institute for Creative Technologies, MIT License")


def test_what_is_appended_is_aligned():
    document = Gltf({})
    for dtype, count in ((np.uint16, 3), (np.float32, 2), (np.uint8, 5), (np.float32, 3)):
        document.append(np.zeros(count, dtype))
    assert [view["byteOffset"] for view in document.content["bufferViews"]] == [0, 8, 16, 24]


def animated(interpolation="LINEAR", output=None, component=5126, change=None, uri=None) -> dict:
    """A .gltf of one mesh with jawOpen and jawLeft, and two keys."""
    keys = np.array([0, 0.5], "<f4").tobytes()
    data = keys + np.asarray([0, 1, 0.5, 0.25] if output is None else output, "<f4" if component == 5126 else "u1").tobytes()
    content = {
        "asset": {"version": "2.0"},
        "nodes": [{"mesh": 0}],
        "meshes": [{"primitives": [{"targets": [{}, {}]}], "extras": {"targetNames": ["jawOpen", "jawLeft"]}}],
        "buffers": [{"byteLength": len(data), "uri": uri or "data:;base64," + base64.b64encode(data).decode()}],
        "bufferViews": [{"buffer": 0, "byteLength": 8}, {"buffer": 0, "byteOffset": 8, "byteLength": len(data) - 8}],
        "accessors": [
            {"bufferView": 0, "componentType": 5126, "count": 2, "type": "SCALAR"},
            {"bufferView": 1, "componentType": component, "count": 4, "type": "SCALAR"},
        ],
        "animations": [
            {
                "channels": [{"sampler": 0, "target": {"node": 0, "path": "weights"}}],
                "samplers": [{"input": 0, "output": 1, "interpolation": interpolation}],
            }
        ],
    }
    if output is not None:
        content["accessors"][1]["count"] = len(output)
    for where, value in (change or {}).items():
        *steps, last = [int(step) if step.isdigit() else step for step in where.split("/")]
        item = content
        for step in steps:
            item = item[step]
        item[last] = value
    return content


@pytest.mark.parametrize(
    ("settings", "weights"),
    [
        ({}, [[0, 1], [0.5, 0.25]]),
        ({"interpolation": "STEP"}, [[0, 1], [0.5, 0.25]]),
        ({"interpolation": "CUBICSPLINE", "output": [9, 9, 0, 1, 9, 9, 9, 9, 0.5, 0.25, 9, 9]}, [[0, 1], [0.5, 0.25]]),
        ({"component": 5121, "output": [0, 255, 51, 102], "change": {"accessors/1/normalized": True}}, [[0, 1], [0.2, 0.4]]),
    ],
)
def test_animations_of_others(settings, weights, tmp_path):
    (tmp_path / "a.gltf").write_text(json.dumps(animated(**settings)))
    found = registry.read(tmp_path / "a.gltf")
    assert found.names == ("jawOpen", "jawLeft") and found.fps == 2
    np.testing.assert_allclose(found.weights, weights, atol=1e-7)
    np.testing.assert_array_equal(found.times_s, [0, 0.5])


def test_a_buffer_beside_the_file(tmp_path):
    (tmp_path / "b c.bin").write_bytes(base64.b64decode(animated()["buffers"][0]["uri"].partition(",")[2]))
    (tmp_path / "a.gltf").write_text(json.dumps(animated(uri="b%20c.bin")))
    np.testing.assert_array_equal(registry.read(tmp_path / "a.gltf").weights, [[0, 1], [0.5, 0.25]])


@pytest.mark.parametrize(
    "uri", ["../b.bin", "%2e%2e/b.bin", "/etc/passwd", "https://x.org/b.bin", "..", "sub/b.bin", "c:b", "none"]
)
def test_a_buffer_elsewhere_is_refused(uri, tmp_path):
    (tmp_path / "sub").mkdir()
    for folder in (tmp_path, tmp_path / "sub"):
        (folder / "b.bin").write_bytes(bytes(100))
    (tmp_path / "sub" / "a.gltf").write_text(json.dumps(animated(uri=uri)))
    with pytest.raises(InputError, match="expected the name of a file in the same folder"):
        registry.read(tmp_path / "sub" / "a.gltf")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"accessors/1/count": 10**15}, "does not fit into its bufferView"),
        ({"accessors/1/count": -1}, "holds -1 elements; expected 1 or more"),
        ({"accessors/1/count": 3}, "3 values for 2 keys of 2 targets"),
        ({"accessors/1/count": True}, "truth value"),
        ({"accessors/1/byteOffset": 4}, "does not fit"),
        ({"accessors/1/sparse": {}}, "'indices' is missing"),
        ({"accessors/1/componentType": 5125}, "`normalized`"),
        ({"bufferViews/1/byteLength": 10**15}, "does not fit"),
        ({"bufferViews/1/byteOffset": -4}, "does not fit"),
        ({"bufferViews/1/buffer": 7}, r"buffers\[7\] is not there"),
        ({"bufferViews/1/extensions": {"EXT_meshopt_compression": {}}}, "compressed"),
        ({"buffers/0/uri": "data:;base64,@"}, "base64|character|padding"),
        ({"meshes/0/extras": {}}, "no extras.targetNames"),
        ({"meshes/0/extras/targetNames": ["jawOpen"]}, "1 targetNames for 2 targets"),
        ({"animations/0/channels": []}, "no animation of morph targets"),
        ({"animations/0/channels/0/sampler": -1}, "is not there"),
        ({"animations/0/samplers/0/interpolation": "BEZIER"}, "LINEAR, STEP, CUBICSPLINE"),
        ({"animations/0/extras": {"facedistill": {"fps": 30, "names": ["tongueOut"]}}}, "nothing moves"),
        (
            {"animations/0/extras": {"facedistill": {"fps": 30, "names": ["a"], "otherNames": ["a"], "otherWeights": [[0]]}}},
            "2 keys",
        ),
    ],
)
def test_broken_animations(change, message, tmp_path):
    (tmp_path / "a.gltf").write_text(json.dumps(animated(change=change)))
    with pytest.raises(InputError, match=message) as caught:
        registry.read(tmp_path / "a.gltf")
    assert "\n" not in str(caught.value)


def test_meshes_that_contradict_each_other_are_refused(face, tmp_path):
    path = tmp_path / "a.glb"
    gltf.write(path, regular(("jawOpen",), [[0.5], [1]], 30), face)
    content, binary, _ = decode(path)
    for key, at, message in (("output", 0.75, "move 'jawOpen' differently"), ("input", 0.25, "different times")):
        changed = json.loads(json.dumps(content))
        sampler = changed["animations"][0]["samplers"][1]
        accessor = dict(changed["accessors"][sampler[key]])
        values_there = values(content, binary, sampler[key]).copy()
        values_there[0] = at
        changed["bufferViews"].append({"buffer": 0, "byteOffset": len(binary), "byteLength": values_there.nbytes})
        changed["accessors"].append(accessor | {"bufferView": len(changed["bufferViews"]) - 1})
        sampler[key] = len(changed["accessors"]) - 1
        path.write_bytes(make_glb(changed, binary + values_there.tobytes()))
        with pytest.raises(InputError, match=message):
            registry.read(path)


def change_face(**changes) -> bytes:
    content, binary = two_mesh_face()
    return make_glb(content | changes, binary)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (change_face(nodes=[]), "its morph targets are none; expected mesh.extras.targetNames with 'jawOpen'"),
        (change_face(images=[{"uri": "skin.png"}]), "refers to 'skin.png'"),
        (change_face(buffers=[{"byteLength": 4, "uri": "b.bin"}]), "first buffer is not its BIN"),
        (change_face(buffers=[{"byteLength": 10**9}]), "first buffer is not its BIN"),
        (change_face(accessors=3), "'accessors' is a whole number"),
        (change_face(animations={}), "'animations' is an object"),
        (change_face(nodes=[{"mesh": 0, "weights": [1]}]), "default weights"),
        (b"solid face", "a self-contained .glb"),
        (None, "no such file"),
    ],
)
def test_what_is_no_face(data, message, tmp_path):
    face = tmp_path / "face.glb"
    if data is not None:
        face.write_bytes(data)
    with pytest.raises(InputError, match=message) as caught:
        gltf.write(tmp_path / "a.glb", regular(("jawOpen",), [[0.5]], 30), face)
    assert str(face) in str(caught.value) and "\n" not in str(caught.value)
    assert not (tmp_path / "a.glb").exists()


def test_a_face_of_other_names_is_told_which(tmp_path):
    content, binary = two_mesh_face()
    content["meshes"][0]["extras"]["targetNames"] = ["Fcl_MTH_A", "Fcl_MTH_I", "Fcl_MTH_U", "x"]
    content["nodes"] = [{"mesh": 0}]
    (tmp_path / "face.glb").write_bytes(make_glb(content, binary))
    with pytest.raises(
        InputError, match="its morph targets are 'Fcl_MTH_A', 'Fcl_MTH_I', 'Fcl_MTH_U', 'x'; expected .*'jawOpen'"
    ):
        gltf.write(tmp_path / "a.glb", regular(("jawOpen",), [[0.5]], 30), tmp_path / "face.glb")


@pytest.mark.parametrize(
    ("moving", "message"),
    [
        (Animation(("jawOpen",), [[0.0]], [-1.0], 30), "from 0 s on"),
        (Animation(("jawOpen",), [[0.0], [1.0]], [1e6, 1e6 + 1e-3], 30), "as float32"),
        (Animation(("jawOpen",), [[1e39]], [0.0], 30), "too great"),
        (Animation(("HeadYaw",), [[1.0]], [0.0], 30), "expected mesh.extras.targetNames with 'HeadYaw'"),
    ],
)
def test_what_gltf_cannot_hold(moving, message, tmp_path):
    with pytest.raises(InputError, match=message):
        gltf.write(tmp_path / "a.glb", moving)
    assert not list(tmp_path.iterdir())


def test_a_real_face(tmp_path):
    if not ICT_FACE.is_file():
        pytest.skip(f"no {ICT_FACE.name} in ../shared/faces")
    expected = regular(CURVES, np.float32(np.random.default_rng(0).uniform(0, 1, (8, 52))), 60)
    gltf.write(tmp_path / "a.glb", expected, ICT_FACE)
    np.testing.assert_array_equal(registry.read(tmp_path / "a.glb").weights, expected.weights)
    shown = seen(tmp_path / "a.glb", 3 / 60)["face"]
    assert len(shown) == 51 and shown["jawOpen"] == pytest.approx(expected.weights[3, CURVES.index("jawOpen")], abs=1e-5)
