"""Files made of anything: every one is an animation or one line that names it, never another error."""

import io
import json
import struct
import zipfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from facedistill.core.errors import InputError
from facedistill.formats.animation import Animation, regular
from facedistill.formats.registry import KINDS, read, write

SUFFIXES = (".csv", ".json", ".npz", ".glb", ".gltf")
FUZZ = settings(max_examples=60, deadline=None, derandomize=True)
ODD = [
    None,
    True,
    -1,
    0,
    1,
    2**70,
    10**400,
    1e300,
    float("nan"),
    float("inf"),
    "",
    "\ud800",
    "jawOpen",
    "\0",
    [],
    {},
    [[]],
    [None],
]


def survives(path: Path, kind: str | None = None) -> None:
    try:
        assert isinstance(read(path, kind=kind), Animation)
    except InputError as error:
        assert str(error).startswith(f"{path}: ") and "\n" not in str(error) and len(str(error)) < 1000


@pytest.fixture(scope="module")
def files(tmp_path_factory) -> dict[str, bytes]:
    """{kind: a valid file}; the GLB's mesh is as small as one can be."""
    folder, moving, found = tmp_path_factory.mktemp("valid"), regular(("jawOpen", "jawLeft"), [[0.5, 0], [1.25, 0.125]], 30), {}
    content = {
        "asset": {"version": "2.0"}, "nodes": [{"mesh": 0}],
        "meshes": [{"primitives": [{"targets": [{}, {}]}], "extras": {"targetNames": ["jawOpen", "jawRight"]}}],
    }  # fmt: skip
    text = json.dumps(content).encode()
    text += b" " * (-len(text) % 4)
    (folder / "face.glb").write_bytes(struct.pack("<4sIII4s", b"glTF", 2, 20 + len(text), len(text), b"JSON") + text)
    for kind, settings_ in KINDS.items():
        path = folder / f"a{settings_.suffix}"
        write(path, moving, kind=kind, face=folder / "face.glb" if kind == "glb" else None)
        found[kind] = path.read_bytes()
    return found


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_random_bytes(suffix, tmp_path):
    starts = st.sampled_from(
        [b"", b"glTF\2\0\0\0", b"PK\3\4", b"Timecode,BlendShapeCount,A\n", b"time_s,a\n", b",timeCode,a\n", b"{"]
    )

    @FUZZ
    @given(starts, st.binary(max_size=200))
    def check(start, data):
        path = tmp_path / f"a{suffix}"
        path.write_bytes(start + data)
        survives(path)
        for kind in KINDS:
            survives(path, kind)

    check()


@pytest.mark.parametrize("kind", KINDS)
def test_damaged_files(kind, files, tmp_path):
    valid, path = files[kind], tmp_path / f"a{KINDS[kind].suffix}"
    places = st.integers(0, len(valid) - 1)
    bits = st.binary(max_size=3) | st.sampled_from(
        [b"nan", b"1e999", b"\0", b'"', b",", b"\n", b"\xff\xff\xff\x7f", b"9" * 5000, b"-"]
    )

    @FUZZ
    @given(st.lists(st.tuples(places, st.integers(0, 8), bits), min_size=1, max_size=3), places)
    def check(cuts, end):
        data = valid
        for start, length, replacement in cuts:
            data = data[:start] + replacement + data[start + length :]
        for damaged in (data, data[:end], valid[:end] + valid[end // 2 :]):
            path.write_bytes(damaged)
            survives(path)
            survives(path, kind)

    check()


def swapped(value: object, path: list[int], odd: object) -> object:
    """A JSON value with one of its parts, down `path`, replaced."""
    if not path or not isinstance(value, dict | list) or not value:
        return odd
    keys = list(value) if isinstance(value, dict) else range(len(value))
    key = keys[path[0] % len(keys)]
    copy = value.copy()
    copy[key] = swapped(value[key], path[1:], odd)
    return copy


@pytest.mark.parametrize("kind", ["a2f", "beat", "json", "glb"])
def test_json_of_odd_parts(kind, files, tmp_path):
    valid = files[kind]
    n_text = struct.unpack_from("<I", valid, 12)[0] if kind == "glb" else 0
    content = json.loads(valid[20 : 20 + n_text] if kind == "glb" else valid)
    path = tmp_path / f"a{KINDS[kind].suffix}"

    @settings(FUZZ, max_examples=200)
    @given(st.lists(st.integers(0, 20), min_size=1, max_size=7), st.sampled_from(ODD))
    def check(steps, odd):
        text = json.dumps(swapped(content, steps, odd)).encode()
        if kind == "glb":
            text += b" " * (-len(text) % 4)
            body = struct.pack("<I4s", len(text), b"JSON") + text + valid[20 + n_text :]
            text = struct.pack("<4sII", b"glTF", 2, 12 + len(body)) + body
        path.write_bytes(text)
        survives(path, kind)
        if kind == "glb":  # as a face, too
            try:
                write(tmp_path / "out.glb", regular(("jawOpen",), [[0.5], [1]], 30), face=path)
            except InputError as error:
                assert "\n" not in str(error)
            else:
                read(tmp_path / "out.glb")

    check()


def npz(version: tuple[int, int] | None = None, **arrays: bytes | np.ndarray) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, array in arrays.items():
            member = io.BytesIO()
            if not isinstance(array, bytes):
                np.lib.format.write_array(member, array, version)
            archive.writestr(f"{name}.npy", array if isinstance(array, bytes) else member.getvalue())
    return file.getvalue()


NAMES, WEIGHTS, TIMES = np.array(["jawOpen", "jawLeft"]), np.zeros((2, 2)), np.array([0.0, 0.5])


def lying(shape: str, descr: str = "'<f8'") -> bytes:
    header = f"{{'descr': {descr}, 'fortran_order': False, 'shape': {shape}, }}\n".encode()
    return b"\x93NUMPY\1\0" + struct.pack("<H", len(header)) + header + bytes(32)


@pytest.mark.parametrize(
    "weights",
    [
        lying("(1000000000000, 2)"), lying("(2, 3)"), lying("(-2, 2)"), lying("(2, 2)", "'|O'"), lying("(2, 2)", "'<f3'"),
        lying("((2, 2), 2)"), lying("(99999999999999999999999, 2)"), lying("(0, 99999999999)"), b"", b"\x93NUMPY",
        lying("(-2, -2)"), lying("(2L, 2L)"), lying("(" * 2000), lying("(2, 2)", "()"), lying("(2, 2)", "[('a', '<f8')]"),
        lying("(2, 2)", "'1)'"), lying("(1, 1)"), lying("(2, 2)") + b"1", b"\x93NUMPY\3\0" + lying("(2, 2)")[8:],
        np.array([[None, {}], [1, 2]]), np.full((2, 2), np.nan), np.full((2, 2), "x"), np.zeros(2), np.zeros((2, 2), complex),
    ],
)  # fmt: skip
def test_archives_that_lie(weights, tmp_path, recwarn):
    (tmp_path / "a.npz").write_bytes(npz(names=NAMES, weights=weights, times_s=TIMES, fps=np.array(2.0)))
    with pytest.raises(InputError, match="a.npz: not an NPZ"):
        read(tmp_path / "a.npz")
    assert not recwarn.list


@pytest.mark.parametrize(
    "arrays",
    [
        {"weights": np.asfortranarray([[1.0, 2.0], [3.0, 4.0]])},
        {"weights": np.float32([[1, 2], [3, 4]]), "fps": np.array(2)},
        {"weights": np.array([[1, 2], [3, 4]], np.int64), "times_s": np.float32([0, 0.5])},
        {"names": NAMES.astype(">U9"), "weights": np.array([[1, 2], [3, 4]], ">f8"), "times_s": np.array([0, 0.5], ">f2")},
    ],
)
def test_archives_of_others(arrays, tmp_path):
    given = {"names": NAMES, "times_s": TIMES, "fps": np.array(2.0)} | arrays
    np.savez_compressed(tmp_path / "a.npz", **given)
    found = read(tmp_path / "a.npz")
    assert found.names == ("jawOpen", "jawLeft") and found.fps == 2
    np.testing.assert_array_equal(found.weights, [[1, 2], [3, 4]])


def test_an_archive_of_the_second_version_of_headers(tmp_path):
    given = {"names": NAMES, "weights": np.array([[1.0, 2.0], [3.0, 4.0]]), "times_s": TIMES, "fps": np.array(2.0)}
    (tmp_path / "a.npz").write_bytes(npz((2, 0), **given))
    np.testing.assert_array_equal(read(tmp_path / "a.npz").weights, given["weights"])


@pytest.mark.parametrize(
    "text", ["{" * 99_999, '{"a":' * 99_999, "[" * 99_999, '{"names":' + "[" * 99_999, "1" * 99_999, '"' * 3]
)
@pytest.mark.parametrize("suffix", [".json", ".gltf"])
def test_json_too_deep(text, suffix, tmp_path):
    (tmp_path / f"a{suffix}").write_text(text)
    with pytest.raises(InputError):
        read(tmp_path / f"a{suffix}")
