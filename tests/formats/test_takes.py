"""What outside teachers leave: every format of labels beside recordings, and what is wrong with a folder of them."""

import json

import numpy as np
import pytest

from facedistill.core import SAMPLE_RATE_HZ
from facedistill.core.errors import InputError
from facedistill.formats.animation import regular
from facedistill.formats.registry import write
from facedistill.formats.takes import MESH, find_takes, median_ends
from facedistill.rig.arkit import CURVES, INDEX
from facedistill.speech.audio import write_flac

SECONDS = 2.0


def record(folder, name: str, seconds: float = SECONDS) -> None:
    write_flac(folder / f"{name}.flac", 0.1 * np.ones(round(seconds * SAMPLE_RATE_HZ), np.float32))


def ramps(fps: float, seconds: float = SECONDS) -> np.ndarray:
    """(T, 52): curve k rises from 0 to k / 100 over the recording."""
    times_s = np.arange(round(seconds * fps) + 1) / fps
    return times_s[:, None] / seconds * np.arange(52) / 100


@pytest.mark.parametrize(
    "kind, suffix, fps",
    [("a2f", "json", 30), ("a2f-csv", "csv", 30), ("beat", "json", 60), ("livelink", "csv", 60), ("csv", "csv", 25)],
)
def test_arkit_curves_of_every_format_are_read_at_60_fps(tmp_path, kind, suffix, fps):
    record(tmp_path, "a")
    write(tmp_path / f"a.{suffix}", regular(CURVES, ramps(fps), fps), kind=kind)
    (take,) = find_takes(tmp_path, tmp_path)
    found = take.read(None)
    assert found.names == CURVES and found.frames.shape == (120, 52)
    assert all(name.endswith(("Yaw", "Pitch", "Roll")) for name in found.left_out), "Live Link has rotations too"
    np.testing.assert_allclose(found.frames, ramps(60)[:120], atol=1e-5)
    assert found.ratio == pytest.approx(1, abs=0.02)


def test_curves_of_another_rig_keep_their_names(tmp_path):
    record(tmp_path / "sound", "b")
    write(tmp_path / "moves" / "b.csv", regular(("mouth_stretch_c", "brow_raise_c"), ramps(30)[:, [50, 20]], 30))
    (take,) = find_takes(tmp_path / "sound", tmp_path / "moves")
    found = take.read(None)
    assert found.names == ("mouth_stretch_c", "brow_raise_c")
    np.testing.assert_allclose(found.frames, ramps(60)[:120, [50, 20]], atol=1e-5)


def test_a_few_arkit_curves_are_a_whole_arkit_face(tmp_path):
    record(tmp_path, "c")
    write(tmp_path / "c.csv", regular(("JawOpen", "mouthClose", "TongueTipUp"), ramps(30)[:, [10, 20, 30]], 30))
    found = find_takes(tmp_path, tmp_path)[0].read(None)
    assert found.names == CURVES and found.left_out == ("TongueTipUp",)
    np.testing.assert_allclose(found.frames[:, INDEX["jawOpen"]], ramps(60)[:120, 10], atol=1e-5)
    assert found.frames[:, INDEX["eyeBlinkLeft"]].max() == 0


@pytest.mark.parametrize("shape", [(-1, 6), (-1, 2, 3)])
def test_vertices_are_flattened_and_resampled(tmp_path, shape):
    record(tmp_path, "d")
    positions = np.linspace(0, 1, 61)[:, None] * np.arange(1, 7)
    np.save(tmp_path / "d.npy", positions.reshape(shape).astype(np.float32))
    found = find_takes(tmp_path, tmp_path)[0].read(30)
    assert found.names == MESH and found.frames.shape == (120, 6)
    np.testing.assert_allclose(found.frames[:, 1], np.linspace(0, 1, 121)[:120] * 2, atol=1e-5)


@pytest.mark.parametrize(
    "array, fps, message",
    [
        (np.zeros((60, 6)), None, "vertices do not tell their frame rate"),
        (np.zeros((60, 7)), 30, r"shape \(60, 7\); expected"),
        (np.zeros((60, 2, 6)), 30, r"shape \(60, 2, 6\); expected"),
        (np.zeros((0, 6)), 30, r"shape \(0, 6\); expected"),
        (np.full((60, 6), np.nan), 30, "a value that is not finite or above 65504"),
        (np.full((60, 6), 1e39), 30, "a value that is not finite or above 65504"),
        (np.full((60, 6), 7e4), 30, "a value that is not finite or above 65504"),
        (np.zeros((60, 6), int), 30, "int64 of shape"),
        (np.zeros((600, 6)), 30, "lasts 20.0 s at 30 frames a second, its recording 2.0 s"),
    ],
)
def test_bad_vertices_are_told_in_one_line(tmp_path, array, fps, message):
    record(tmp_path, "e")
    np.save(tmp_path / "e.npy", array)
    with pytest.raises(InputError, match=message) as error:
        find_takes(tmp_path, tmp_path)[0].read(fps)
    assert "e.npy" in str(error.value) and "\n" not in str(error.value)


def test_pickles_are_not_opened(tmp_path):
    record(tmp_path, "f")
    np.save(tmp_path / "f.npy", np.array([{"a": 1}], object), allow_pickle=True)
    with pytest.raises(InputError, match="not an array"):
        find_takes(tmp_path, tmp_path)[0].read(30)


def test_truncated_labels_are_told(tmp_path):
    record(tmp_path, "g")
    (tmp_path / "g.json").write_text(json.dumps({"names": ["jawOpen"], "frames": []})[:-4])
    with pytest.raises(InputError, match=r"g\.json"):
        find_takes(tmp_path, tmp_path)[0].read(None)


def test_times_that_are_no_times_of_a_recording_are_told(tmp_path):
    record(tmp_path, "h")
    (tmp_path / "h.csv").write_text("time_s,jawOpen\n1700000000.0,0\n1700000000.1,1\n")
    with pytest.raises(InputError, match=r"h\.csv: cannot be resampled"):
        find_takes(tmp_path, tmp_path)[0].read(None)


@pytest.mark.parametrize(
    "content", [b"", b"PK\x03\x04", b"\x93NUMPY\x01\x00v\x00{'descr': '<f4', 'fortran_order': False, 'shape': (9"]
)
def test_what_is_called_npy_and_is_not_is_told(tmp_path, content):
    record(tmp_path, "i")
    (tmp_path / "i.NPY").write_bytes(content)
    with pytest.raises(InputError, match=r"i\.NPY: not an array") as error:
        find_takes(tmp_path, tmp_path)[0].read(30)
    assert "\n" not in str(error.value)


def test_two_recordings_of_one_name_are_told(tmp_path):
    for folder in ("one", "two"):
        record(tmp_path / folder, "a")
    (tmp_path / "a.csv").write_text("")
    with pytest.raises(InputError, match=r"two/a\.flac: .*one/a\.flac is called 'a' too"):
        find_takes(tmp_path, tmp_path)


@pytest.mark.parametrize(
    "files, message",
    [
        ([], "no label files; expected one .csv"),
        (["a.csv", "a.json"], r"a\.json: .*a\.csv is called 'a' too"),
        (["a.csv", "z.csv"], r"z\.csv: no recording of that name"),
    ],
)
def test_folders_that_do_not_match_are_told(tmp_path, files, message):
    record(tmp_path / "sound", "a")
    record(tmp_path / "sound", "unlabelled")
    (tmp_path / "moves").mkdir()
    for name in files:
        (tmp_path / "moves" / name).write_text("")
    with pytest.raises(InputError, match=message):
        find_takes(tmp_path / "sound", tmp_path / "moves")


def test_a_missing_folder_is_told(tmp_path):
    with pytest.raises(InputError, match="nowhere: no such folder"):
        find_takes(tmp_path / "nowhere", tmp_path)


def test_rest_is_where_takes_begin_and_end():
    takes = [np.concatenate([np.full((9, 2), [1, 2]), np.full((50, 2), 7), np.full((9, 2), [1, 2])]) for _ in range(3)]
    np.testing.assert_array_equal(median_ends(takes), [1, 2])
