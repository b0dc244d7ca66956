"""Small files that would take all memory, or minutes: each ends in one line that names it, within a small memory."""

import base64
import io
import json
import re
import struct
import subprocess
import sys
import tracemalloc
import zipfile
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from facedistill.core.errors import InputError
from facedistill.core.paths import LIGHT_HEAD
from facedistill.formats import curve_files, gltf_face, registry
from facedistill.formats import glb as glb_module
from facedistill.formats.animation import MAX_FRAMES, TAKE_NUMBERS, Animation, most_grown, regular
from facedistill.formats.gltf_face import read_face
from facedistill.formats.json_csv import reading
from facedistill.rig.arkit import CURVES, N_CURVES

MEMORY_BYTES = 2_000_000_000  # of address space
# Runs commands one after the other in one process, and says how each ended.
DRIVER = """
import contextlib, io, json, resource, sys
resource.setrlimit(resource.RLIMIT_AS, (int(sys.argv[1]),) * 2)
from facedistill import cli
for command in json.loads(sys.stdin.read()):
    sys.argv[1:], said = command, io.StringIO()
    with contextlib.redirect_stderr(said), contextlib.redirect_stdout(said):
        try:
            code = cli.main()
        except SystemExit as ended:
            code = ended.code
        except BaseException as error:
            code = repr(error)[:300]
    print(json.dumps([code, said.getvalue()]))
"""
TRIANGLE = np.array([[0, 0, 0], [1, 0, 0], [0, 1, 0]], "<f4").tobytes()
MOVED = np.array([[0, 0, 1]] * 3, "<f4").tobytes()
VIEWS = [{"buffer": 0, "byteLength": 36}, {"buffer": 0, "byteOffset": 36, "byteLength": 36}]
PRIMITIVE = {"attributes": {"POSITION": 0}, "targets": [{"POSITION": 1}]}


# Files ----------------------------------------------------------------------------------------------------------------


def glb(content: dict, binary: bytes = b"") -> bytes:
    content = {"asset": {"version": "2.0"}, "buffers": [{"byteLength": len(binary)}]} | content
    text = json.dumps(content, separators=(",", ":")).encode()
    chunks = [(b"JSON", text + b" " * (-len(text) % 4)), (b"BIN\0", binary + bytes(-len(binary) % 4))]
    body = b"".join(struct.pack("<I4s", len(data), kind) + data for kind, data in chunks)
    return struct.pack("<4sII", b"glTF", 2, 12 + len(body)) + body


def accessor(count: int, kind: str = "VEC3", component: int = 5126, **more: object) -> dict:
    return {"componentType": component, "count": count, "type": kind} | more


STORED = [accessor(3, bufferView=0), accessor(3, bufferView=1)]


def face(
    accessors: list, primitives: list, *, nodes: int = 1, names: Sequence[str] = ("jawOpen",), binary: bytes = b"", **more: object
) -> bytes:
    """A head of one mesh under many nodes, whose bytes begin with a triangle and how it moves."""
    content = {
        "nodes": [{"mesh": 0}] * nodes, "scenes": [{"nodes": list(range(nodes))}], "accessors": accessors, "bufferViews": VIEWS,
        "meshes": [{"primitives": primitives, "extras": {"targetNames": names}}],
    }  # fmt: skip
    return glb(content | more, TRIANGLE + MOVED + binary)


def moving(accessors: list, *, targets: int = 1, channels: int = 1, binary: bytes = b"") -> bytes:
    """A mesh under many nodes, all with the same keys."""
    names = [f"{number:x}" for number in range(targets)]
    target = [{"sampler": 0, "target": {"node": node, "path": "weights"}} for node in range(channels)]
    content = {
        "nodes": [{"mesh": 0}] * channels, "accessors": accessors, "bufferViews": [{"buffer": 0, "byteLength": len(binary)}],
        "meshes": [{"primitives": [{"targets": [{}] * targets}], "extras": {"targetNames": names}}],
        "animations": [{"channels": target, "samplers": [{"input": 0, "output": 1}]}],
    }  # fmt: skip
    return glb(content, binary)


def textured(n_images: int, size: tuple[int, int], primitives: int = 1) -> bytes:
    """A head with so many materials, each with a picture of its own that has the bytes of all others."""
    file = io.BytesIO()
    Image.new("1", size).save(file, "PNG")
    picture, places = file.getvalue(), np.zeros((3, 2), "<f4").tobytes()
    views = [{"buffer": 0, "byteOffset": 72, "byteLength": 24}, {"buffer": 0, "byteOffset": 96, "byteLength": len(picture)}]
    part = PRIMITIVE | {"attributes": {"POSITION": 0, "TEXCOORD_0": 2}}
    return face(
        [*STORED, accessor(3, "VEC2", bufferView=2)],
        [part | {"material": number} for number in range(n_images)] * primitives,
        binary=places + picture, bufferViews=[*VIEWS, *views], images=[{"bufferView": 3}] * n_images,
        textures=[{"source": number} for number in range(n_images)],
        materials=[{"pbrMetallicRoughness": {"baseColorTexture": {"index": number}}} for number in range(n_images)],
    )  # fmt: skip


def packed(path: Path, packing: int = zipfile.ZIP_DEFLATED, **arrays: np.ndarray) -> Path:
    given = {"names": np.array(["jawOpen"]), "weights": np.zeros((1, 1)), "times_s": np.zeros(1), "fps": np.array(30.0)} | arrays
    with zipfile.ZipFile(path, "w", packing) as archive:
        for name, array in given.items():
            with archive.open(f"{name}.npy", "w") as member:
                np.lib.format.write_array(member, array)
    return path


def table(times_s: list[float], n_curves: int) -> str:
    names = ["jawOpen", *(f"c{number}" for number in range(1, n_curves))]
    rows = "".join(f"{time_s},{','.join('0' * n_curves)}\n" for time_s in times_s)
    return f"time_s,{','.join(names)}\n{rows}"


def beat(weight: str, time: str = "0") -> str:
    return f'{{"names": ["jawOpen"], "frames": [{{"weights": [{weight}], "time": {time}}}]}}'


def ended(commands: list[list[str]]) -> list[tuple[object, str]]:
    """How the command line ended for each, and what it said."""
    done = subprocess.run(
        [sys.executable, "-c", DRIVER, str(MEMORY_BYTES)], input=json.dumps(commands), capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stderr
    return [tuple(json.loads(line)) for line in done.stdout.splitlines()]


def check_refused(path: Path, code: object, said: str, message: str) -> None:
    lines = [line for line in said.splitlines() if not line.startswith("note: ")]
    assert code == 2 and len(lines) == 1 and len(lines[0]) < 1000, said[-1000:]
    assert lines[0].startswith(f"error: {path}: ") and re.search(message, lines[0]), lines[0]


def peak_bytes(call: Callable[[], object]) -> int:
    tracemalloc.start()
    try:
        call()
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


# Curves ---------------------------------------------------------------------------------------------------------------

KEYS = [accessor(20_000_000, "SCALAR")] * 2
TIMES = np.arange(2, dtype="<f4").tobytes()
CURVE_FILES = {
    "keys.glb": (moving(KEYS), r"accessors\[0\] holds keys without bytes; expected"),
    "nodes.glb": (
        moving([accessor(2, "SCALAR", bufferView=0), accessor(20_000, "SCALAR")], targets=10_000, channels=100, binary=TIMES),
        "more than 20000 morph targets together; expected",
    ),
    "weights.glb": (
        moving([accessor(2, "SCALAR", bufferView=0), accessor(10**9, "SCALAR")], binary=TIMES),
        r"holds 1e\+09 numbers; expected up to 67108864 of",
    ),
    "count.glb": (moving([accessor(10**300, "SCALAR")] * 2), "expected"),
    "wide.csv": (table([0, 1, 60_000], 14_000), "14000 curves; expected up to 10000"),
    "deep.json": ('{"names":' + "[" * 100_000, "recursion"),
    "digits.json": (beat("9" * 5000), "digits"),
    "hundreds.json": (beat("9" * 400), "too large"),
    "exponent.json": (beat("1e400"), "beyond 1.8e"),
    "when.json": (beat("0", "1e400"), "'time' is beyond 1.8e.*; expected"),
    "rate.json": ('{"facsNames": ["a"], "weightMat": [[0]], "exportFps": 1e400}', "'exportFps' is beyond"),
    "exponent.csv": ("time_s,jawOpen\n0,1e400\n", "row 1, column 'jawOpen': '1e400'; expected a number"),
    "digits.csv": ("time_s,jawOpen\n0," + "9" * 5000 + "\n", "row 1, column 'jawOpen'"),
}
ARCHIVES = {
    "curves.npz": ({"names": np.zeros(2**25, "S1")}, "no array"),
    "names.npz": ({"names": np.full(2**25, "a")}, r"unpacks to 33554435 numbers .*; expected up to 33554432"),
    "integers.npz": (
        {"weights": np.zeros((20, 2**21), "i1"), "times_s": np.arange(20)}, r"unpacks to 41943\d+ numbers of 20 frames; expected"
    ),
    "times.npz": (
        {"weights": np.zeros((2_100_000, 1), "i1"), "times_s": np.zeros(2_100_000, "i1")}, "of 2100000 frames; .* 2000000 from"
    ),
}  # fmt: skip
LONG = table([0, 0.1, 66_000], 1)
SLOW = {"long.csv": (LONG, "1.98e.06 frames at 30 fps, from 3; expected up to 645277"), "wide.csv": CURVE_FILES["wide.csv"]}


def test_files_of_curves_end_in_one_line(tmp_path):
    for name, (content, _) in (CURVE_FILES | SLOW).items():
        (tmp_path / name).write_bytes(content if isinstance(content, bytes) else content.encode())
    for name, (arrays, _) in ARCHIVES.items():
        packed(tmp_path / name, **arrays)
    packed(tmp_path / "bzip2.npz", zipfile.ZIP_BZIP2)
    jobs = [(name, [], message) for name, (_, message) in (CURVE_FILES | ARCHIVES).items()]
    jobs += [(name, ["--fps", "30"], message) for name, (_, message) in SLOW.items()]
    jobs.append(("bzip2.npz", [], "'names' is packed by method 12; expected it stored or deflated"))
    found = ended([["convert", str(tmp_path / name), str(tmp_path / "out.json"), *more] for name, more, _ in jobs])
    for (name, _, message), (code, said) in zip(jobs, found, strict=True):
        check_refused(tmp_path / name, code, said, message)
    assert len(found) == len(jobs) and not (tmp_path / "out.json").exists()


def test_an_archive_that_lies_is_not_unpacked_beyond_what_it_says(tmp_path):
    path, stored, n_more = packed(tmp_path / "a.npz", times_s=np.arange(1000)), io.BytesIO(), 2**25
    np.lib.format.write_array(stored, np.zeros((1000, 1)))
    with zipfile.ZipFile(path) as archive:
        kept = {name: archive.read(name) for name in archive.namelist() if name != "weights.npy"}
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in (kept | {"weights.npy": stored.getvalue() + bytes(n_more)}).items():
            archive.writestr(name, data)
    n_bytes = len(stored.getvalue())
    path.write_bytes(path.read_bytes().replace(struct.pack("<I", n_bytes + n_more), struct.pack("<I", n_bytes)))

    def read() -> None:
        with pytest.raises(InputError, match="a.npz: not an NPZ.*Bad CRC"):
            registry.read(path)

    assert peak_bytes(read) < 2**22


def test_a_header_of_gigabytes_is_not_unpacked(tmp_path):
    with zipfile.ZipFile(tmp_path / "a.npz", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("names.npy", b"\x93NUMPY\2\0" + struct.pack("<I", 2**24) + bytes(2**24))

    def read() -> None:
        with pytest.raises(InputError, match="'names' is no array; expected numbers or texts"):
            registry.read(tmp_path / "a.npz")

    assert peak_bytes(read) < 2**20


@pytest.mark.parametrize("key", ["weights", "times_s"])
def test_frames_that_have_no_bytes_are_bounded_whatever_the_rate(key, tmp_path):
    packed(tmp_path / "a.npz", **{key: np.zeros((2_100_000, 1), "i1")})
    with pytest.raises(InputError, match="of 2100000 frames; expected up to 33554432 and 2000000 from so few bytes"):
        registry.read(tmp_path / "a.npz", fps=30)


@pytest.mark.parametrize(("packing", "is_read"), [(zipfile.ZIP_STORED, True), (zipfile.ZIP_DEFLATED, False)])
def test_what_has_its_bytes_may_be_of_any_size(packing, is_read, tmp_path, monkeypatch):
    monkeypatch.setattr(curve_files, "TAKE_NUMBERS", 100)
    path = packed(tmp_path / "a.npz", packing, weights=np.zeros((20_000, 1)), times_s=np.zeros(20_000))
    if is_read:
        assert registry.read(path, fps=30).weights.shape == (20_000, 1)
        return
    with pytest.raises(InputError, match=r"unpacks to 40004 numbers of 20000 frames; expected up to \d+ and 2000000 from"):
        registry.read(path, fps=30)


def test_what_is_resampled_may_grow_by_a_factor():
    hours_s, frames = 3 * 3600, 3 * 3600 * 120
    assert most_grown(frames, 200) >= frames * 200 and frames <= MAX_FRAMES and 200 * frames * 60 // 120 > TAKE_NUMBERS
    slow = Animation(("jawOpen",), np.zeros((hours_s // 4, 1)), np.arange(hours_s // 4) * 4.0, 0.25)
    assert len(slow.at(30).times_s) > 300_000
    with pytest.raises(ValueError, match="1.296e.06 frames at 120 fps, from 2700; expected up to 645277"):
        slow.at(120)
    assert len(Animation(("jawOpen",), np.zeros((30_000, 1)), np.arange(30_000) / 2.0, 2.0).at(60).times_s) > 645_277


@pytest.mark.parametrize("kind", ["csv", "a2f-csv", "livelink"])
def test_tables_are_read_and_written_row_by_row(kind, tmp_path):
    frames, path = 1000, tmp_path / "a.csv"
    weights = np.random.default_rng(0).random((frames, N_CURVES))
    animation = regular(CURVES, weights, 60)
    registry.write(path, animation, kind=kind)
    assert peak_bytes(lambda: registry.write(path, animation, kind=kind)) < 3 * weights.nbytes
    assert peak_bytes(lambda: registry.read(path)) < 6 * weights.nbytes
    np.testing.assert_array_equal(registry.read(path).select(CURVES), weights)


@pytest.mark.parametrize("name", ["=1+1", "+a", "-a", "@SUM(A1)", "blendShapes.=1", "a;=1", "a; -1", "jaw;+1", "＝1"])
def test_a_name_that_is_a_formula_is_refused(name, tmp_path):
    registry.write(tmp_path / "a.json", regular((name, "jawOpen"), [[-0.5, 1]], 30))
    with pytest.raises(
        InputError, match=r"b\.csv: spreadsheets would take the name '.*' for a formula; expected names that"
    ) as error:
        registry.convert(tmp_path / "a.json", tmp_path / "b.csv")
    assert repr(name.removeprefix("blendShapes.")) in str(error.value) and not (tmp_path / "b.csv").exists()


def test_no_cell_of_a_table_is_a_formula(tmp_path):
    @settings(max_examples=200, deadline=None, derandomize=True)
    @given(
        st.text(st.sampled_from("=+-@;, a.\"'"), min_size=1, max_size=6).filter(str.strip), st.sampled_from(["csv", "a2f-csv"])
    )
    def check(name, kind):
        try:
            registry.write(tmp_path / "a.csv", regular((name, "jawOpen"), [[-0.5, -1]], 30), kind=kind)
        except InputError:
            return
        header = (tmp_path / "a.csv").read_text().splitlines()[0]
        assert not any(cell.strip().startswith(tuple("=+-@")) for cell in header.replace('"', "").split(";"))
        assert registry.read(tmp_path / "a.csv").names[0] == regular((name,), [[0]], 30).names[0]

    check()


# Heads ----------------------------------------------------------------------------------------------------------------

ZEROS = {"attributes": {"POSITION": 0}, "targets": [{"POSITION": 0}]}
MANY = [*STORED, accessor(19_999_998, "SCALAR", 5125)]
SKINNED = {"attributes": {"POSITION": 0} | {f"{name}_{n}": 1 for name in ("JOINTS", "WEIGHTS") for n in range(8)}}
HEADS = {
    "vertices.glb": (face([accessor(20_000_000)], [ZEROS]), "more than 1000000 vertices; expected one face"),
    "places.glb": (face([accessor(20_000_000)], [ZEROS], nodes=10), "more than 1000000 vertices; expected"),
    "corners.glb": (face(MANY, [PRIMITIVE | {"indices": 2}]), "more than 3000000 triangles; expected"),
    "strip.glb": (face(MANY, [PRIMITIVE | {"indices": 2, "mode": 5}]), "more than 3000000 triangles; expected"),
    "shared.glb": (face([accessor(900_000)], [ZEROS | {"targets": 30 * ZEROS["targets"]}], names=CURVES[:30]), "numbers; exp"),
    "weights.glb": (
        glb({
            "nodes": [{"mesh": 0, "skin": 0}], "scenes": [{"nodes": [0]}], "skins": [{"joints": [0]}],
            "accessors": [accessor(900_000), accessor(900_000, "VEC4", 5121)], "meshes": [{"primitives": [SKINNED]}],
        }),
        "more than 16777216 joint weights; expected",
    ),
    "primitives.glb": (face(STORED, [PRIMITIVE] * 700, nodes=900), "more than 4000 primitives; expected"),
    "targets.glb": (
        face(STORED, [{**PRIMITIVE, "targets": [{}] * 5000}] * 3, nodes=900, names=["jawOpen"] * 5000),
        "more than 65536 morph targets; expected",
    ),
    "chain.glb": (
        glb({"nodes": [{"children": [number + 1]} for number in range(30_000)] + [{}], "scenes": [{"nodes": [0]}]}),
        "more than 20000 nodes in its scene; expected",
    ),
    "picture.glb": (textured(1, (9000, 8000)), "of 9000 x 8000, .*; expected up to 64000000"),
    "exponent.glb": (
        face(STORED, [PRIMITIVE | {"material": 0}], materials=[{"pbrMetallicRoughness": {"roughnessFactor": 12345}}])
        .replace(b"12345", b"1e999"),
        "'roughnessFactor' is beyond",
    ),
}  # fmt: skip


def crowd(n_vertices: int) -> bytes:
    """The built-in head many times in one place."""
    gltf = glb_module.load(LIGHT_HEAD)
    n_own = sum(
        gltf.content["accessors"][part["attributes"]["POSITION"]]["count"] for part in gltf.content["meshes"][0]["primitives"]
    )
    gltf.content["nodes"] = [{"mesh": 0}] * -(-n_vertices // n_own)
    gltf.content["scenes"] = [{"nodes": list(range(len(gltf.content["nodes"])))}]
    return gltf.to_bytes()


def test_heads_end_in_one_line_and_a_large_one_is_drawn(tmp_path):
    (tmp_path / "a.csv").write_text(table([0], 1))
    (tmp_path / "long.csv").write_text(LONG)
    (tmp_path / "large.glb").write_bytes(crowd(200_000))
    for name, (content, _) in HEADS.items():
        (tmp_path / name).write_bytes(content)
    drawn = ["render", str(tmp_path / "a.csv"), "-o", str(tmp_path / "out.png"), "--size", "64", "--workers", "1", "--face"]
    long = ["render", str(tmp_path / "long.csv"), *drawn[2:-1]]
    *found, (code, said), ends = ended([*([*drawn, str(tmp_path / name)] for name in (*HEADS, "large.glb")), long])
    for (name, (_, message)), how in zip(HEADS.items(), found, strict=True):
        check_refused(tmp_path / name, *how, message)
    check_refused(tmp_path / "long.csv", *ends, "expected up to 645277")
    assert code in (0, None) and "error" not in said


def test_a_face_of_too_many_targets_is_not_animated(tmp_path):
    names = ["jawOpen", *(f"{number:x}" for number in range(9_999))]
    mesh = {"primitives": [{"targets": [{}] * 10_000}], "extras": {"targetNames": names}}
    path, animation = tmp_path / "face.glb", regular(("jawOpen",), np.zeros((3600, 1)), 60)
    for n_nodes, message in (
        (3, "more than 20000 morph targets together"),
        (2, "would hold 72000000 weights .*; expected up to"),
    ):
        path.write_bytes(glb({"nodes": [{"mesh": 0}] * n_nodes, "meshes": [mesh]}))
        with pytest.raises(InputError, match=rf"face\.glb: .*{message}"):
            registry.write(tmp_path / "out.glb", animation, face=path)


def test_the_bytes_of_a_head_may_be_of_any_size(tmp_path, monkeypatch):
    monkeypatch.setattr(glb_module, "HEAD_NUMBERS", 10)
    (tmp_path / "a.glb").write_bytes(face(STORED, [PRIMITIVE]))
    assert read_face(tmp_path / "a.glb").vertices.shape == (3, 3)
    (tmp_path / "b.glb").write_bytes(face(STORED, [PRIMITIVE], nodes=5))
    with pytest.raises(InputError, match=r"with accessors\[0\] it holds 81 numbers; expected up to 72 of so few bytes"):
        read_face(tmp_path / "b.glb")


def test_all_pictures_together_are_bounded(tmp_path, monkeypatch):
    monkeypatch.setattr(gltf_face, "MAX_ALL_PIXELS", 40)
    (tmp_path / "a.glb").write_bytes(textured(2, (4, 4), primitives=2))
    assert len(read_face(tmp_path / "a.glb").triangles) == 4
    (tmp_path / "b.glb").write_bytes(textured(3, (4, 4)))
    with pytest.raises(InputError, match="4 x 4, 48 pixels with those before; expected up to 64000000, and 40 in all"):
        read_face(tmp_path / "b.glb")


def test_a_picture_is_decoded_once(tmp_path, monkeypatch):
    opened, real = [], Image.open
    monkeypatch.setattr(gltf_face.Image, "open", lambda *given, **named: opened.append(1) or real(*given, **named))
    (tmp_path / "a.glb").write_bytes(textured(2, (4, 4), primitives=5))
    read_face(tmp_path / "a.glb")
    assert len(opened) == 2


def test_buffers_are_read_and_decoded_once(tmp_path, monkeypatch):
    decoded, real = [], base64.b64decode
    monkeypatch.setattr(glb_module.base64, "b64decode", lambda *given, **named: decoded.append(1) or real(*given, **named))
    uri = "data:;base64," + base64.b64encode(TRIANGLE + MOVED).decode()
    gltf = glb_module.Gltf({"accessors": STORED, "bufferViews": VIEWS, "buffers": [{"uri": uri}]})
    for index in (0, 1, 0):
        assert gltf.accessor(index).shape == (3, 3)
    assert len(decoded) == 1
    (tmp_path / "a.bin").write_bytes(TRIANGLE + MOVED)
    views = [VIEWS[0], VIEWS[1] | {"buffer": 1}]
    buffers = [{"uri": "a.bin"}, {"uri": "%61.bin"}]
    beside = glb_module.Gltf({"accessors": STORED, "bufferViews": views, "buffers": buffers}, path=tmp_path / "a.gltf")
    np.testing.assert_array_equal(beside.accessor(1), gltf.accessor(1))
    np.testing.assert_array_equal(beside.accessor(0), gltf.accessor(0))
    assert list(beside.resources) == ["a.bin"]


def test_extensions_are_listed_once():
    gltf = glb_module.Gltf({"extensionsUsed": ["a", 3], "extensionsRequired": ["b"]})
    assert gltf.extensions == {"a", "b"} and gltf.extensions is gltf.extensions


# Memory ---------------------------------------------------------------------------------------------------------------


def fails(*_: object, **__: object) -> None:
    raise MemoryError("Unable to allocate 9. GiB")


def test_want_of_memory_is_told_in_one_line(tmp_path, monkeypatch):
    registry.write(tmp_path / "a.csv", regular(("jawOpen",), [[0], [1]], 30))
    with (
        pytest.raises(InputError, match=r"a\.csv: holds more than there is memory for; expected"),
        reading(tmp_path / "a.csv", "a CSV"),
    ):
        fails()
    with monkeypatch.context() as patch:
        patch.setattr(Animation, "at", fails)
        with pytest.raises(InputError, match=r"a\.csv: cannot be resampled \(Unable to allocate"):
            registry.convert(tmp_path / "a.csv", tmp_path / "b.json", at_fps=30)
    monkeypatch.setitem(registry.KINDS, "json", replace(registry.KINDS["json"], write=fails))
    with pytest.raises(InputError, match=r"b\.json: there is not enough memory to write it; expected"):
        registry.convert(tmp_path / "a.csv", tmp_path / "b.json")


def test_what_a_glb_cannot_say_is_told(tmp_path, monkeypatch):
    head = glb_module.load(LIGHT_HEAD)
    monkeypatch.setattr("facedistill.formats.gltf.load", lambda path: head)
    monkeypatch.setattr(glb_module, "HEADER", struct.Struct("<4sHH"))
    with pytest.raises(InputError, match=r"a\.glb: would have more bytes than a GLB can count; expected up to 4 GiB"):
        registry.write(tmp_path / "a.glb", regular(("jawOpen",), [[0.0]], 30))


def test_a_face_with_a_number_beyond_json_is_not_written_on(tmp_path):
    mesh = {"primitives": [{"targets": [{}]}], "extras": {"targetNames": ["jawOpen"]}}
    (tmp_path / "face.glb").write_bytes(
        glb({"nodes": [{"mesh": 0}], "meshes": [mesh], "extras": 12345}).replace(b"12345", b"1e999")
    )
    with pytest.raises(InputError, match=r"face\.glb: .*not JSON compliant"):
        registry.write(tmp_path / "a.glb", regular(("jawOpen",), [[0.0]], 30), face=tmp_path / "face.glb")
