"""Curves in and out of every file format: what is written comes back, by name, and real files' quirks are read."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from facedistill.core.errors import InputError
from facedistill.formats import animation as module
from facedistill.formats.animation import Animation, canonical, regular
from facedistill.formats.live_link import ORDER, ROTATIONS
from facedistill.formats.registry import KINDS, convert, read, sniff, write
from facedistill.formats.times import Recorded, timeline
from facedistill.rig.arkit import CURVES

SRC = Path(module.__file__).parents[2]
RATES = (24, 25, 29.97, 30, 48, 50, 60, 120)
OTHERS = ("TongueTipUp", "Angry", "_neutral", "browInnerUp_L", "blink, both", 'the "wink"', "微笑")
NAMED_KINDS = [kind for kind in KINDS if kind not in {"livelink", "glb"}]  # hold curves of any name
EXACT = settings(max_examples=25, deadline=None, derandomize=True)


@st.composite
def animations(draw, names=CURVES + OTHERS, any_times=False) -> Animation:
    """Any of the names in any order; weights that recordings have and that floats can be; regular, or at any times."""
    selected = draw(st.lists(st.sampled_from(names), min_size=1, max_size=7, unique=True))
    n_frames = draw(st.integers(1, 9))
    weight = st.floats(-0.5, 1.5) | st.floats(-1e300, 1e300)
    rows = draw(st.lists(st.lists(weight, min_size=len(selected), max_size=len(selected)), min_size=n_frames, max_size=n_frames))
    moving = regular(selected, rows, draw(st.sampled_from(RATES)))
    if not (any_times and draw(st.booleans())):
        return moving
    steps_s = draw(st.lists(st.floats(0.001, 3), min_size=n_frames, max_size=n_frames))
    return Animation(moving.names, moving.weights, np.cumsum(steps_s) - 1, moving.fps)


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    return tmp_path_factory.mktemp("formats")


def assert_same(found: Animation, expected: Animation) -> None:
    assert sorted(found.names) == sorted(expected.names)
    np.testing.assert_array_equal(found.select(expected.names), expected.weights)
    np.testing.assert_array_equal(found.times_s, expected.times_s)


def take(names=("jawOpen", "mouthSmileLeft"), n_frames=5, fps=60.0) -> Animation:
    return regular(names, np.random.default_rng(0).uniform(-0.2, 1.1, (n_frames, len(names))), fps)


@pytest.mark.parametrize("kind", NAMED_KINDS)
def test_what_is_written_is_read(kind, folder):
    @EXACT
    @given(animations(any_times=kind != "a2f"))
    def check(expected):
        path = folder / f"any{KINDS[kind].suffix}"
        write(path, expected, kind=kind)
        found = read(path)
        assert sniff(path) == kind
        assert_same(found, expected)
        if kind != "beat":
            assert found.names == expected.names
        if expected.is_regular() and len(expected.times_s) > 2 or kind in {"a2f", "beat", "json", "npz"}:
            assert found.fps == pytest.approx(expected.fps, rel=1e-9)

    check()


@EXACT
@given(animations(names=CURVES + ROTATIONS))
def test_live_link_is_lossless_for_its_own_columns(folder, expected):
    write(folder / "take.csv", expected, kind="livelink")
    found = read(folder / "take.csv")
    assert found.names == (*ORDER, *ROTATIONS)
    np.testing.assert_array_equal(found.select(expected.names), expected.weights)
    absent = [name for name in found.names if name not in expected.names]
    assert not found.select(absent).any()
    if expected.fps in {24, 25, 30, 48, 50, 60, 120}:
        np.testing.assert_array_equal(found.times_s, expected.times_s)
    np.testing.assert_allclose(found.times_s, expected.times_s, rtol=0, atol=1 / 60_000)


@EXACT
@given(animations(names=CURVES, any_times=True))
def test_live_link_brings_irregular_times_back_or_refuses_them(folder, expected):
    path = folder / "irregular.csv"
    try:
        write(path, expected, kind="livelink")
    except InputError:
        return
    np.testing.assert_allclose(read(path).times_s, expected.times_s, rtol=0, atol=1 / 60_000)


@pytest.mark.parametrize("first", KINDS)
@pytest.mark.parametrize("second", KINDS)
def test_there_and_back_again(first, second, tmp_path):
    """A -> B -> A: the curves of A, whatever B adds at 0."""
    names = tuple(reversed(ORDER))
    expected = regular(names, np.float32(np.random.default_rng(1).uniform(-0.1, 1.1, (40, len(names)))), 30)
    path, other, back = (
        tmp_path / f"{stem}{KINDS[kind].suffix}" for stem, kind in zip("abc", (first, second, first), strict=True)
    )
    write(path, expected, kind=first)
    convert(path, other, kind=second)
    convert(other, back, source_kind=second, kind=first)
    found = read(back)
    assert set(found.names) - set(names) <= set(ROTATIONS)
    np.testing.assert_array_equal(found.select(names), expected.weights)
    np.testing.assert_array_equal(found.times_s, expected.times_s)
    assert found.fps == 30


@pytest.mark.parametrize("kind", KINDS)
def test_the_same_curves_are_the_same_bytes(kind, tmp_path):
    suffix = KINDS[kind].suffix
    for stem in "ab":
        write(tmp_path / f"{stem}{suffix}", take(), kind=kind)
    assert (tmp_path / f"a{suffix}").read_bytes() == (tmp_path / f"b{suffix}").read_bytes()
    assert len(list(tmp_path.iterdir())) == 2  # and nothing half-written


@pytest.mark.parametrize(
    ("spelling", "name"),
    [
        ("jawOpen", "jawOpen"), ("JawOpen", "jawOpen"), ("JAWOPEN", "jawOpen"), ("jaw_open", "jawOpen"), (" JawOpen ", "jawOpen"),
        ("eyeBlink_L", "eyeBlinkLeft"), ("eyeBlink_R", "eyeBlinkRight"), ("jaw_L", "jawLeft"), ("MouthLeft", "mouthLeft"),
        ("blendShapes.EyeBlinkLeft", "eyeBlinkLeft"), ("blendShape1.browInnerUp", "browInnerUp"),
        ("blendShapes.TongueTipUp", "TongueTipUp"), ("browInnerUp_L", "browInnerUp_L"), ("_neutral", "_neutral"), ("x.y", "x.y"),
    ],
)  # fmt: skip
def test_names_have_many_spellings_and_one_meaning(spelling, name):
    assert canonical(spelling) == name == canonical(name)


@EXACT
@given(st.text(max_size=30) | st.sampled_from(["blendShapes. blendShapes.JawOpen", "blendShapes.", "x.blendShapes.jaw_l"]))
def test_a_canonical_name_stays(name):
    assert canonical(canonical(name)) == canonical(name)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"names": ("jawOpen", "JawOpen")}, "two curves are called 'jawOpen'"),
        ({"names": ("jawOpen", "")}, "printable"),
        ({"names": ("jawOpen", "a\nb")}, "printable"),
        ({"names": ("jawOpen", "\ud800")}, "printable"),
        ({"names": ("jawOpen", 3)}, "printable"),
        ({"names": ("jawOpen",)}, "shape"),
        ({"names": (), "weights": np.zeros((2, 0))}, "one or more"),
        ({"times_s": [], "weights": np.zeros((0, 2))}, "one or more"),
        ({"weights": [[0, np.nan], [0, 0]]}, "finite"),
        ({"times_s": [0, np.inf]}, "finite"),
        ({"times_s": [0, 0]}, "frame 1 is not after"),
        ({"fps": 0}, "frames per second"),
        ({"fps": np.nan}, "frames per second"),
    ],
)
def test_what_is_no_animation(change, message):
    with pytest.raises(ValueError, match=message):
        Animation(**{"names": ("jawOpen", "tongueOut"), "weights": np.zeros((2, 2)), "times_s": [0, 1], "fps": 30} | change)


def test_curves_are_picked_by_name():
    moving = take(("mouthLeft", "jawOpen"))
    np.testing.assert_array_equal(moving.select(["JawOpen", "tongueOut", "mouthLeft"])[:, [0, 2]], moving.weights[:, ::-1])
    assert not moving.select(["tongueOut"]).any()
    with pytest.raises(ValueError, match="read-only"):
        moving.weights[0] = 1


@EXACT
@given(animations(), st.sampled_from(RATES))
def test_resampling_interpolates_and_keeps_what_it_can(moving, fps):
    np.testing.assert_array_equal(moving.at(moving.fps).weights, moving.weights)
    found = moving.at(fps)
    assert found.is_regular() and found.fps == fps
    assert 0 <= moving.times_s[-1] - found.times_s[-1] + 1e-6 < 1 / fps + 1e-5
    for column in range(len(moving.names)):
        expected = np.interp(found.times_s, moving.times_s, moving.weights[:, column])
        np.testing.assert_array_equal(found.weights[:, column], expected)


def test_resampling_stays_in_step_with_the_audio():
    late = Animation(("jawOpen",), [[0.5], [1.0]], [0.1, 0.2], 10)
    np.testing.assert_allclose(late.at(20).weights[:, 0], [0.5, 0.5, 0.5, 0.75, 1.0])
    with pytest.raises(ValueError, match="expected up to"):
        Animation(("jawOpen",), [[0], [1]], [0, 1e12], 60).at(60)


@pytest.mark.parametrize(
    ("times_s", "fps"),
    [
        (np.arange(9) / 29.97, 29.97),
        (np.arange(3000) * 1001 / 30_000, 30_000 / 1001),
        (np.round(np.arange(300) / 30, 4), 30),
        (np.round(np.arange(300) / 60, 4), 60),
        (np.arange(300) * 0.016693, 60),
        (np.delete(np.arange(300) / 60, [7, 8, 90]), 60),
        (np.arange(9) / 15, 15),
        (np.array([2.0]), 99),
    ],
)
def test_the_frame_rate_that_times_mean(times_s, fps):
    found = timeline(Recorded(times_s, 99), np.zeros(len(times_s), bool))
    assert found.fps == pytest.approx(fps, rel=1e-9)


def test_a_format_without_times_takes_regular_ones_only(tmp_path):
    dropped = Animation(("jawOpen",), [[0], [1], [0]], [0, 1 / 30, 3 / 30], 30)
    write(tmp_path / "a.csv", dropped)
    with pytest.raises(InputError, match="explicit frame rate"):
        convert(tmp_path / "a.csv", tmp_path / "b.json", kind="a2f")
    assert not (tmp_path / "b.json").exists()
    convert(tmp_path / "a.csv", tmp_path / "b.json", kind="a2f", at_fps=30)
    np.testing.assert_allclose(read(tmp_path / "b.json").weights[:, 0], [0, 1, 0.5, 0])


def test_a_curve_without_a_column_is_named(tmp_path):
    with pytest.raises(InputError, match="no column for 'TongueTipUp'"):
        write(tmp_path / "a.csv", take(("jawOpen", "TongueTipUp")), kind="livelink")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("kind", KINDS)
def test_the_frame_rate_of_a_file_can_be_overruled(kind, tmp_path):
    path = tmp_path / f"a{KINDS[kind].suffix}"
    write(path, take(), kind=kind)
    found = read(path, fps=25)
    np.testing.assert_array_equal(found.times_s, np.arange(5) / 25)
    assert found.fps == 25


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda path: write(path / "a.txt", take()), "'.txt' is not one to write curves to; expected .csv, .glb, .json, .npz"),
        (lambda path: write(path / "a.gltf", take(), kind="glb"), "expected .glb"),
        (lambda path: write(path / "a.json", take(), kind="npz"), "expected .npz"),
        (lambda path: write(path / "a.csv", take(), kind="fbx"), "'fbx' is no file format; expected livelink, a2f"),
        (lambda path: write(path / "a.csv", take(), face=path / "b.glb"), "a face cannot go into csv"),
        (lambda path: write(path / "file" / "a.csv", take()), "cannot be written"),
        (lambda path: read(path / "a.csv"), "no such file"),
        (lambda path: read(path), "no file of curves ends in ''"),
        (lambda path: read(path / "a.fbx"), "no file of curves ends in '.fbx'; expected .csv"),
        (lambda path: read(path / "a.csv", fps=0), "0 frames per second"),
        (lambda path: read(path / "file", kind="csv", fps=float("nan")), "nan frames per second"),
        (lambda path: convert(path / "ok.csv", path / "b.csv", at_fps=-1), "-1 frames per second"),
        (lambda path: convert(path / "long.csv", path / "b.csv", at_fps=60), "cannot be resampled .*expected up to"),
    ],
)
def test_what_is_asked_wrongly_is_told_in_one_line(call, message, tmp_path):
    (tmp_path / "file").write_text("mine")
    write(tmp_path / "ok.csv", take())
    (tmp_path / "long.csv").write_text("time_s,jawOpen\n0,0\n1,1\n2,1\n1e9,0\n")
    with pytest.raises(InputError, match=message) as caught:
        call(tmp_path)
    assert "\n" not in str(caught.value)


def test_formats_are_light():
    code = "import sys, facedistill.formats.registry as r; print({'torch', 'pandas', 'matplotlib', 'scipy'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], env={"PYTHONPATH": str(SRC)}, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"


# Real files' quirks, each as a file of its own.

HEAD = "Timecode,BlendShapeCount,"


def live_link(tmp_path: Path, timecodes: list[str], header: str = HEAD + "JawOpen") -> Path:
    path = tmp_path / "take.csv"
    path.write_text("\n".join([header, *(f"{code},61,0.{row}" for row, code in enumerate(timecodes))]) + "\n")
    return path


@pytest.mark.parametrize("count", ["BlendShapeCount", "BlendshapeCount"])
def test_live_link_goes_by_its_header(count, tmp_path):
    path = tmp_path / "take.csv"
    path.write_text(f"Timecode,{count},JawRight,JawLeft,MouthLeft,HeadYaw,Angry\n13:13:04:31.652,61,0.1,0.2,1.053,-0.5,0.3\n")
    found = read(path)
    assert found.names == ("jawRight", "jawLeft", "mouthLeft", "HeadYaw", "Angry")  # no tongueOut, NeuroSync's emotions
    np.testing.assert_array_equal(found.weights, [[0.1, 0.2, 1.053, -0.5, 0.3]])
    assert (found.times_s, found.fps) == ([0.0], 60)


def test_live_link_is_written_as_the_app_does(tmp_path):
    write(tmp_path / "a.csv", regular(("jawLeft", "HeadYaw"), [[0.25, 1e-12], [0.1, 0]], 30), kind="livelink")
    header, first, second, end = (tmp_path / "a.csv").read_bytes().decode().split("\n")
    columns = header.split(",")
    assert (len(columns), end) == (63, "")
    assert columns[:2] == ["Timecode", "BlendshapeCount"] and columns[-9:] == list(ROTATIONS)
    assert columns[16:20] == ["JawForward", "JawRight", "JawLeft", "JawOpen"]
    assert columns[22:26] == ["MouthPucker", "MouthRight", "MouthLeft", "MouthSmileLeft"]
    assert first.startswith("00:00:00:00.000,61,0.0000000000,") and second.startswith("00:00:00:02.000,61,0.0000000000,")
    cells = dict(zip(columns, first.split(","), strict=True))
    assert (cells["JawLeft"], cells["JawRight"], cells["HeadYaw"]) == ("0.2500000000", "0.0000000000", "0.000000000001")


@pytest.mark.parametrize("base_hz", [60, 30, 25, 24])
def test_live_link_tells_the_base_of_its_timecode(base_hz, tmp_path):
    frames = np.delete(np.arange(100, 400), [50, 51, 90])  # three dropped
    codes = [f"01:02:{frame // base_hz:02d}:{frame % base_hz:02d}.000" for frame in frames]
    found = read(live_link(tmp_path, codes))
    np.testing.assert_allclose(found.times_s, (frames - 100) / base_hz, atol=1e-9)
    assert found.fps == base_hz


def test_live_link_at_half_the_rate_of_its_timecode(tmp_path):
    found = read(live_link(tmp_path, [f"01:02:{frame // 30:02d}:{frame % 30 * 2:02d}.652" for frame in range(90)]))
    np.testing.assert_array_equal(found.times_s, np.arange(90) / 30)
    assert found.fps == 30


def test_live_link_keeps_the_jitter_of_a_recording(tmp_path):
    frames = np.cumsum(np.random.default_rng(0).choice([1.0, 1.001, 1.002, 1.003], 500))
    codes = [f"13:13:{int(frame // 60) % 60:02d}:{frame % 60:06.3f}" for frame in frames]
    found = read(live_link(tmp_path, codes))
    np.testing.assert_allclose(found.times_s, (frames - frames[0]) / 60, atol=1.1 / 60_000)
    assert found.fps == 60


def test_live_link_over_midnight(tmp_path):
    found = read(live_link(tmp_path, ["23:59:59:56.000", "23:59:59:58.000", "00:00:00:00.000", "00:00:00:02.000"]))
    np.testing.assert_array_equal(found.times_s, np.arange(4) / 30)


def test_live_link_of_neurosync_has_milliseconds(tmp_path):
    codes = [f"00:00:{frame // 60:02d}:{frame % 60:02d}.{round(frame % 60 * 1000 / 60):03d}" for frame in range(150)]
    found = read(live_link(tmp_path, codes))
    np.testing.assert_array_equal(found.times_s, np.arange(150) / 60)


def test_live_link_without_a_timecode_needs_a_rate(tmp_path):
    path = live_link(tmp_path, ["now", "then"])
    with pytest.raises(InputError, match="'now'; expected HH:MM:SS:FF.fff, or the rate given"):
        read(path)
    assert read(path, fps=24).fps == 24


@pytest.mark.parametrize(
    "text", [HEAD + "JawOpen\n", HEAD + "JawOpen\n00:00:00:00.000,61\n", HEAD + "JawOpen,jawOpen\n0:0:0:0,1,0,0\n"]
)
def test_live_link_without_frames_or_cells_or_with_a_curve_twice(text, tmp_path):
    (tmp_path / "a.csv").write_text(text)
    with pytest.raises(InputError, match="a.csv: not a Live Link Face CSV"):
        read(tmp_path / "a.csv")


def test_animate_csv_of_this_project(tmp_path):
    (tmp_path / "a.csv").write_text("time_s,jawOpen\n0.0000,0.1\n0.0333,0.2\n0.0667,0.3\n0.1000,0.1\n")
    found = read(tmp_path / "a.csv")
    assert found.fps == 30 and found.is_regular()
    write(tmp_path / "a.json", found, kind="a2f")


def test_a_csv_may_have_an_index_as_pandas_writes_it(tmp_path):
    (tmp_path / "a.csv").write_text(",time_s,jawOpen,jawLeft\n0,0.0,0.1,0\n1,0.04,0.2,1\n")
    found = read(tmp_path / "a.csv")
    assert (found.names, found.fps) == (("jawOpen", "jawLeft"), 25)
    np.testing.assert_array_equal(found.weights, [[0.1, 0], [0.2, 1]])


def test_nim_client_csv(tmp_path):
    path = tmp_path / "animation_frames.csv"
    path.write_text(
        ",timeCode,blendShapes.EyeBlinkLeft,blendShapes.JawOpen,blendShapes.TongueTipUp\n"
        "0,0.0,0.0,0.5,1.0\n1,0.03333333333333333,0.1,0.6,0.0\n2,0.06666666666666667,0.2,0.7,0.0\n"
    )
    found = read(path)
    assert found.names == ("eyeBlinkLeft", "jawOpen", "TongueTipUp") and found.fps == 30
    np.testing.assert_array_equal(found.weights[:, 1], [0.5, 0.6, 0.7])
    write(tmp_path / "again.csv", found, kind="a2f-csv")
    assert (tmp_path / "again.csv").read_text() == path.read_text()


@pytest.mark.parametrize(
    ("content", "kind", "fps"),
    [
        ({"facsNames": ["jawOpen", "jawLeft"], "weightMat": [[0.5, 0], [1.2, 0]]}, "a2f", 30),
        ({"exportFps": 60, "trackPath": "a.wav", "numPoses": 2, "numFrames": 2,
          "facsNames": ["jawOpen", "jawLeft"], "weightMat": [[0.5, 0], [1.2, 0]]}, "a2f", 60),
        ({"fps": 25, "frame_count": 2, "blendshape_names": ["JawOpen", "JawLeft"],
          "frames": [{"time_code": 0, "weights": [0.5, 0]}, {"time_code": 0.04, "weights": [1.2, 0]}]}, "a2f", 25),
        ({"names": ["jawLeft", "jawOpen"],
          "frames": [{"weights": [0, 0.5], "time": 0.0, "rotation": []}, {"weights": [0, 1.2], "time": 0.0166666}]}, "beat", 60),
        ({"names": ["jawLeft", "jawOpen"], "metadata": {"fps": 30, "frame_count": 1},
          "frames": [{"weights": [0, 0.5], "time": 0.0}, {"weights": [0, 1.2], "time": 0.033}]}, "beat", 30),
    ],
)  # fmt: skip
def test_json_of_others(content, kind, fps, tmp_path):
    path = tmp_path / "a.json"
    path.write_text(json.dumps(content))
    assert sniff(path) == kind
    found = read(path)
    np.testing.assert_array_equal(found.select(["jawOpen", "jawLeft"]), [[0.5, 0], [1.2, 0]])
    np.testing.assert_allclose(found.times_s, [0, 1 / fps], atol=4e-4)
    assert found.fps == fps


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('{"facsNames": ["jawOpen"], "weightMat": [[0]], "numFrames": 2}', "'numFrames' is 2, and there are 1"),
        ('{"facsNames": ["jawOpen"], "weightMat": [[0]], "numPoses": 3}', "'numPoses' is 3"),
        ('{"facsNames": ["jawOpen"], "weightMat": [[0, 1]]}', "frame 0 is not a list of 1 numbers"),
        ('{"facsNames": ["jawOpen"], "weightMat": [[true]]}', "frame 0 is not a list of 1 numbers"),
        ('{"facsNames": ["jawOpen"], "weightMat": [[NaN]]}', "NaN is not a number"),
        ('{"facsNames": ["jawOpen"], "weightMat": [[1e999]]}', "beyond"),
        ('{"facsNames": ["jawOpen"], "weightMat": [[1' + "0" * 400 + "]]}", "too large"),
        ('{"facsNames": ["jawOpen"], "weightMat": []}', "0 frames"),
        ('{"facsNames": ["jawOpen"], "weightMat": [[0]], "exportFps": true}', "'exportFps' is a truth value"),
        ('{"facsNames": ["jawOpen"], "weightMat": [[0]], "exportFps": 0}', "0 frames per second"),
        ('{"facsNames": ["\\ud800"], "weightMat": [[0]]}', "printable"),
        ('{"names": ["jawOpen"], "frames": [{"weights": [0], "time": 1}, {"weights": [0]}]}', "'time' is missing"),
        ('{"names": ["jawOpen"], "frames": [3]}', "a whole number stands where an object"),
        ('{"format": "facedistill-curves", "version": 2}', "version 2"),
        ("[" * 100_000, "recursion"),
        ("[1, 2]", "a list, not an object"),
        ("{}", "its keys are"),
    ],
)
def test_broken_json(text, message, tmp_path):
    (tmp_path / "a.json").write_text(text)
    with pytest.raises(InputError, match=message) as caught:
        read(tmp_path / "a.json")
    assert str(caught.value).startswith(f"{tmp_path / 'a.json'}: not ") and "\n" not in str(caught.value)
