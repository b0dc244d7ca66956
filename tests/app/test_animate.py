"""Recordings in, files of curves out: what is in them, where they lie, and what a bad recording does to a batch."""

import subprocess
import sys
import tracemalloc
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import onnx
import pytest
import soundfile as sf
from exported import model_path, noise, saved
from onnx import helper, numpy_helper

from facedistill.app.animate import NO_MEMORY, Settings, animate_batch, animate_file, animate_recording
from facedistill.core.errors import InputError
from facedistill.formats import registry
from facedistill.formats.animation import Animation
from facedistill.rig.arkit import CURVES
from facedistill.runtime import Animator, Model
from facedistill.speech.audio import MIN_DURATION_S

SETTINGS = Settings(model_path())
EYES = [name for name in CURVES if name.startswith(("eyeBlink", "eyeLook"))]
OTHERS = [name for name in CURVES if name not in EYES]


def speech(
    path: Path, rate_hz: int = 16_000, channels: int = 1, duration_s: float = 0.7, level: float = 1.0, seed: int = 0
) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    mono = level * noise(duration_s, seed, rate_hz)
    sf.write(path, np.stack([mono * (1 + channel / 8) for channel in range(channels)], axis=1), rate_hz)
    return path


def animated(recording: Path, settings: Settings = SETTINGS, kind: str = "csv") -> Animation:
    path = recording.with_suffix(registry.KINDS[kind].suffix)
    animate_file(recording, path, replace(settings, kind=kind))
    return registry.read(path, kind=kind)


def engine(recording: Path, **options) -> np.ndarray:
    """What the streaming engine makes of the samples in the file."""
    samples, rate_hz = sf.read(recording, dtype="float32", always_2d=True)
    return Animator(Model(model_path()), rate_hz=rate_hz, **options).animate(samples.mean(axis=1)).weights


def names_of(folder: Path) -> list[str]:
    """All files below a folder, temporary ones too."""
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())


# What is in a file ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("fps", [24, 25, 30, 60])
@pytest.mark.parametrize("rate_hz", [8000, 16_000, 44_100, 96_000])
def test_the_curves_are_the_engines_at_the_recordings_own_rate(tmp_path, rate_hz, fps):
    recording = speech(tmp_path / "a.wav", rate_hz)
    found = animated(recording, replace(SETTINGS, fps=fps))
    assert found.names == CURVES and found.fps == fps
    np.testing.assert_array_equal(found.times_s, np.arange(len(found.times_s)) / fps)
    np.testing.assert_allclose(found.weights, engine(recording, fps=fps), atol=1e-6)
    assert found.weights.std(axis=0).max() > 0.01, "the curves move"


@pytest.mark.parametrize("kind", registry.KINDS)
def test_every_format_reads_back_as_the_same_weights(tmp_path, kind):
    recording = speech(tmp_path / "a.wav")
    found, expected = animated(recording, kind=kind), engine(recording, fps=30)
    written = [name for name in CURVES if name in found.names]
    assert len(written) >= 51  # BEAT has no tongue
    columns = [CURVES.index(name) for name in written]
    np.testing.assert_allclose(found.select(written), expected[:, columns], atol=1e-6)
    np.testing.assert_allclose(found.times_s, np.arange(21) / 30, atol=1e-4)


def test_a_gain_scales_one_curve_and_stays_within_bounds(tmp_path):
    recording = speech(tmp_path / "a.wav")
    plain = animated(recording)
    found = animated(recording, replace(SETTINGS, gains={"mouthRight": 100.0, "jawOpen": 0.5, "mouthLeft": 0.0}))
    np.testing.assert_allclose(found.select(["jawOpen"]), plain.select(["jawOpen"]) / 2, atol=1e-6)
    assert not found.select(["mouthLeft"]).any()
    np.testing.assert_allclose(found.select(["mouthRight"]), np.minimum(100 * plain.select(["mouthRight"]), 1), atol=1e-4)
    assert found.weights.max() == 1, "100 times anything is too much"
    rest = [name for name in CURVES if name not in ("mouthRight", "jawOpen", "mouthLeft")]
    np.testing.assert_array_equal(found.select(rest), plain.select(rest))


def test_blinks_are_seeded_and_each_file_has_its_own(tmp_path):
    first, second = (speech(tmp_path / f"{name}.wav", duration_s=4.0) for name in "ab")
    plain = animated(first)
    one, again, other_seed = (animated(first, replace(SETTINGS, blinks=seed)) for seed in (7, 7, 8))
    other_file = animated(second, replace(SETTINGS, blinks=7))
    np.testing.assert_array_equal(one.weights, again.weights)
    for found in (one, other_seed, other_file):
        np.testing.assert_array_equal(found.select(OTHERS), plain.select(OTHERS))
    for found in (plain, other_seed, other_file):
        assert np.abs(found.select(EYES) - one.select(EYES)).max() > 0.05


def test_the_ensemble_is_the_engines(tmp_path):
    recording = speech(tmp_path / "a.wav")
    found = animated(recording, replace(SETTINGS, ensemble=True)).weights
    np.testing.assert_allclose(found, engine(recording, fps=30, ensemble=True), atol=1e-6)
    assert np.abs(found - animated(recording).weights).max() > 1e-3


@pytest.mark.parametrize("suffix", [".flac", ".ogg", ".mp3", ".WAV"])
def test_any_kind_of_recording(tmp_path, suffix):
    recording = speech(tmp_path / f"a{suffix}", duration_s=2.0)  # shorter Ogg comes with the rest of its last page
    np.testing.assert_allclose(animated(recording).weights, engine(recording, fps=30), atol=1e-6)


@pytest.mark.parametrize(
    "settings",
    [{"channels": 2}, {"rate_hz": 4000}, {"rate_hz": 384_000}, {"level": 0.0}, {"duration_s": MIN_DURATION_S}],
    ids=str,
)
def test_odd_recordings_are_fine(tmp_path, settings, capsys):
    recording = speech(tmp_path / "a.wav", **settings)
    assert animate_batch([recording], tmp_path / "out", SETTINGS) == 0
    found = registry.read(tmp_path / "out" / "a.csv")
    np.testing.assert_allclose(found.weights, engine(recording, fps=30), atol=1e-6)
    assert len(found.times_s) == np.ceil(settings.get("duration_s", 0.7) * 30) and capsys.readouterr().err == ""


@pytest.mark.parametrize("blinks", [None, 3])
def test_a_long_take_takes_little_more_memory_than_its_curves(tmp_path, blinks):
    """Its sound and the text of its curves are never there whole: at 48 kHz they are 6 MB each."""
    recording = speech(tmp_path / "a.wav", 48_000, duration_s=30.0)
    settings = replace(SETTINGS, fps=240, blinks=blinks)
    animate_file(recording, tmp_path / "a.csv", settings)
    tracemalloc.start()
    try:
        animate_file(recording, tmp_path / "b.csv", settings)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 1.9 * 30 * 240 * len(CURVES) * 8
    assert (tmp_path / "a.csv").read_bytes() == (tmp_path / "b.csv").read_bytes()


def test_curves_do_not_depend_on_the_blocks_of_a_recording(tmp_path, monkeypatch):
    recording = speech(tmp_path / "a.wav", 44_100, duration_s=6.0)
    settings = replace(SETTINGS, blinks=1, ensemble=True, gains={"jawOpen": 1.7})
    found = []
    for block_frames in (1, 3, 10_000):
        monkeypatch.setattr("facedistill.speech.decode.BLOCK_FRAMES", block_frames)
        found.append(animate_recording(recording, settings).weights)
    np.testing.assert_array_equal(found[0], found[1])
    np.testing.assert_array_equal(found[0], found[2])


# Where files lie ------------------------------------------------------------------------------------------------------


def test_a_folder_keeps_its_tree(tmp_path):
    for place in ("a.wav", "deep/a.wav", "deep/er/b.FLAC", "deep/er/c.v2.mp3"):
        speech(tmp_path / "in" / place, duration_s=0.1)
    (tmp_path / "in" / "deep" / "notes.txt").write_text("no sound")
    assert animate_batch([tmp_path / "in", speech(tmp_path / "alone.ogg")], tmp_path / "out", SETTINGS) == 0
    assert names_of(tmp_path / "out") == ["a.csv", "alone.csv", "deep/a.csv", "deep/er/b.csv", "deep/er/c.v2.csv"]


def test_out_may_be_a_file(tmp_path, capsys):
    recording = speech(tmp_path / "a.wav")
    assert animate_batch([recording], tmp_path / "new" / "face.npz", replace(SETTINGS, kind="npz")) == 0
    np.testing.assert_allclose(registry.read(tmp_path / "new" / "face.npz").weights, engine(recording, fps=30), atol=1e-6)
    assert capsys.readouterr() == ("", "")
    (tmp_path / "folder.csv").mkdir()
    assert animate_batch([recording], tmp_path / "folder.csv", SETTINGS) == 0
    assert names_of(tmp_path / "folder.csv") == ["a.csv"]


def test_a_file_is_no_place_for_two(tmp_path):
    recordings = [speech(tmp_path / "a.wav"), speech(tmp_path / "b.wav")]
    with pytest.raises(InputError, match="face.csv: one file for 2 recordings; expected a folder"):
        animate_batch(recordings, tmp_path / "face.csv", SETTINGS)
    assert not (tmp_path / "face.csv").exists()


@pytest.mark.parametrize("others", [["deep/a.wav"], ["a.flac"], ["a.wav"]])
def test_two_recordings_of_one_name_are_refused(tmp_path, others):
    recordings = [speech(tmp_path / name) for name in ["a.wav", *others]]
    with pytest.raises(InputError, match=r"would write .*a\.csv, as .*a\.wav does"):
        animate_batch(recordings, tmp_path / "out", SETTINGS)
    assert not (tmp_path / "out").exists()


def test_a_link_to_nothing_in_a_folder_is_told(tmp_path, capsys):
    speech(tmp_path / "in" / "a.wav", duration_s=0.1)
    (tmp_path / "in" / "b.mp3").symlink_to("gone.mp3")
    assert animate_batch([tmp_path / "in"], tmp_path / "out", SETTINGS) == 1
    assert names_of(tmp_path / "out") == ["a.csv"] and "b.mp3: a link to nothing" in capsys.readouterr().err


def test_a_folder_without_recordings_is_refused(tmp_path):
    (tmp_path / "in.wav").mkdir()
    with pytest.raises(InputError, match="in.wav: holds no recordings; expected .wav .flac .ogg .oga .opus .mp3"):
        animate_batch([tmp_path / "in.wav"], tmp_path / "out", SETTINGS)


def test_files_do_not_depend_on_the_number_of_workers(tmp_path):
    """Bad recordings among them, and each file with its own eyes."""
    for number in range(5):
        speech(tmp_path / "in" / f"{number}.wav", duration_s=0.2 + 0.1 * number, seed=number)
    (tmp_path / "in" / "bad.wav").write_bytes(b"")
    settings = Settings(model_path("int8"), blinks=3)
    outs = [tmp_path / "one", tmp_path / "two"]
    for workers, out in enumerate(outs, start=1):
        assert animate_batch([tmp_path / "in"], out, settings, workers=workers) == 1
    assert names_of(outs[0]) == [f"{number}.csv" for number in range(5)]
    one, two = ({path.name: path.read_bytes() for path in out.iterdir()} for out in outs)
    assert one == two and len(set(one.values())) == 5


# Bad recordings -------------------------------------------------------------------------------------------------------


BAD = {
    "missing": (lambda path: None, "no such recording"),
    "nothing": (lambda path: path.write_bytes(b""), "an empty file"),
    "text": (lambda path: path.write_text("not audio"), "not readable as audio"),
    "empty": (lambda path: sf.write(path, np.zeros(0), 16_000), "empty or too short"),
    "short": (lambda path: speech(path, duration_s=MIN_DURATION_S - 0.001), "empty or too short"),
    "nan": (lambda path: sf.write(path, np.full(8000, np.nan), 16_000, subtype="FLOAT"), "NaN"),
    "infinite": (lambda path: sf.write(path, np.full(8000, np.inf), 16_000, subtype="FLOAT"), "infinite"),
    "slow": (lambda path: speech(path, 3999), "sample rate 3999 Hz"),
    "fast": (lambda path: speech(path, 400_000), "sample rate 400000 Hz"),
    "loud": (lambda path: sf.write(path, np.full(8000, 1e38), 16_000, subtype="FLOAT"), "samples of up to 1e"),
}


@pytest.mark.parametrize("kind", BAD)
def test_a_bad_recording_is_one_line_that_names_it(tmp_path, kind, capsys):
    make, message = BAD[kind]
    (tmp_path / "in").mkdir()
    make(tmp_path / "in" / "bad.wav")
    assert animate_batch([tmp_path / "in" / "bad.wav"], tmp_path / "out", SETTINGS) == 1
    error, summary = capsys.readouterr().err.splitlines()
    assert error.startswith("error: ") and "bad.wav: " in error
    with pytest.raises(InputError, match=message):
        animate_file(tmp_path / "in" / "bad.wav", tmp_path / "out.csv", SETTINGS)
    assert "animated 0 of 1 recordings" in summary
    assert not (tmp_path / "out").exists() and not (tmp_path / "out.csv").exists()


def test_a_batch_goes_on_past_every_kind_of_bad_file(tmp_path, capsys):
    recordings = [speech(tmp_path / "in" / "first.wav")]
    for kind, (make, _) in BAD.items():
        recordings.append(tmp_path / "in" / f"{kind}.wav")
        make(recordings[-1])
    recordings.append(speech(tmp_path / "in" / "last.wav"))
    assert animate_batch(recordings, tmp_path / "out", SETTINGS) == len(BAD)
    assert names_of(tmp_path / "out") == ["first.csv", "last.csv"]
    output = capsys.readouterr().err
    errors = [line for line in output.splitlines() if line.startswith("error: ")]
    assert [kind for kind, line in zip(BAD, errors, strict=True) if f"{kind}.wav: " not in line] == []
    assert f"animated 2 of {len(BAD) + 2} recordings into {tmp_path / 'out'}" in output


@pytest.mark.parametrize("kind", registry.KINDS)
@pytest.mark.parametrize("bad", [np.nan, 1e6])
def test_a_recording_that_turns_bad_leaves_no_file(tmp_path, kind, bad):
    samples = np.append(noise(20.0), np.float32(bad))
    sf.write(tmp_path / "bad.wav", samples, 16_000, subtype="FLOAT")
    suffix = registry.KINDS[kind].suffix
    with pytest.raises(InputError, match=r"^.*bad\.wav: (contains NaN or infinite samples|samples of up to 1e\+06); expected"):
        animate_file(tmp_path / "bad.wav", tmp_path / "out" / f"a{suffix}", replace(SETTINGS, kind=kind))
    assert names_of(tmp_path) == ["bad.wav"]


BATCH = """
import resource, sys
from pathlib import Path
import psutil
from facedistill.app.animate import Settings, animate_batch
model, folder, n_bytes = Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3])
animate_batch([folder / "a.wav"], folder / "warm", Settings(model))
limit = psutil.Process().memory_info().vms + n_bytes
resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
sys.exit(animate_batch([folder / name for name in ("a.wav", "b.mkv", "c.wav")], folder / "out", Settings(model)))
"""


@pytest.mark.skipif(sys.platform != "linux", reason="memory is limited as Linux does it")
def test_a_batch_goes_on_past_a_recording_that_there_is_no_memory_for(tmp_path):
    """A minute at 384 kHz in one packet: FFmpeg has to have the whole at once."""
    for name in ("a.wav", "c.wav"):
        speech(tmp_path / name)
    with av.open(str(tmp_path / "b.mkv"), "w", format="matroska") as container:
        stream = container.add_stream("pcm_s16le", rate=384_000, layout="mono")
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 60 * 384_000), np.int16), format="s16", layout="mono")
        frame.sample_rate, frame.pts, frame.time_base = 384_000, 0, Fraction(1, 384_000)
        for packets in (stream.encode(frame), stream.encode(None)):
            container.mux(packets)
    command = [sys.executable, "-c", BATCH, model_path(), tmp_path, str(150_000_000)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    errors = [line for line in done.stderr.splitlines() if line.startswith("error: ")]
    assert errors == [f"error: {tmp_path / 'b.mkv'}: {NO_MEMORY}"] and done.returncode == 1, done.stderr
    assert "expected a shorter recording" in NO_MEMORY
    assert names_of(tmp_path / "out") == ["a.csv", "c.csv"]


@pytest.mark.parametrize("failing", ["speech.decode._blocks", "runtime.animator.Animator.flush", "formats.registry.write"])
def test_want_of_memory_is_the_error_of_a_file(tmp_path, capsys, monkeypatch, failing):
    def without_memory(*_, **__):
        raise MemoryError

    recordings = [speech(tmp_path / "in" / f"{name}.wav") for name in "ab"]
    monkeypatch.setattr(f"facedistill.{failing}", without_memory)
    assert animate_batch(recordings, tmp_path / "out", SETTINGS) == 2
    errors = [line for line in capsys.readouterr().err.splitlines() if line.startswith("error: ")]
    assert errors == [f"error: {recording}: {NO_MEMORY}" for recording in recordings] and not (tmp_path / "out").exists()


def test_what_cannot_be_written_does_not_stop_the_batch(tmp_path, capsys):
    (tmp_path / "out" / "a.csv").mkdir(parents=True)
    assert animate_batch([speech(tmp_path / "a.wav"), speech(tmp_path / "b.wav")], tmp_path / "out", SETTINGS) == 1
    assert names_of(tmp_path / "out") == ["b.csv"] and "a.csv" in capsys.readouterr().err


def test_a_file_is_no_folder_for_the_curves(tmp_path, capsys):
    (tmp_path / "out").write_text("mine")
    with pytest.raises(InputError, match="out: is no folder; expected a folder, or a file that ends in .csv"):
        animate_batch([speech(tmp_path / "a.wav")], tmp_path / "out", SETTINGS)
    assert animate_batch([speech(tmp_path / "a.wav")], tmp_path / "out" / "deeper", SETTINGS) == 1
    assert "error: " in capsys.readouterr().err and (tmp_path / "out").read_text() == "mine"


@pytest.mark.parametrize(("out", "kind"), [("curves.json", "csv"), ("curves.csv", "glb"), ("q.txt", "csv"), ("talk.v2", "npz")])
def test_a_file_of_another_format_is_refused(tmp_path, out, kind):
    with pytest.raises(InputError, match=rf"{out}: {kind} files end in \.{kind}; expected .*such a file, or a folder: .*{out}/"):
        animate_batch([speech(tmp_path / "a.wav")], tmp_path / out, replace(SETTINGS, kind=kind))


def test_a_file_of_another_format_names_the_option(tmp_path):
    with pytest.raises(InputError, match="talk.glb: csv files end in .csv; expected --format glb, such a file"):
        animate_batch([speech(tmp_path / "a.wav")], tmp_path / "talk.glb", SETTINGS)


def test_a_folder_may_have_a_dot_in_its_name(tmp_path):
    recording = speech(tmp_path / "a.wav", duration_s=0.1)
    assert animate_batch([recording], f"{tmp_path}/talk.v2/", SETTINGS) == 0
    assert animate_batch([recording], f"{tmp_path}/talk.v2", SETTINGS) == 0  # now that it is there
    assert names_of(tmp_path / "talk.v2") == ["a.csv"]


def test_nothing_that_is_read_is_written_over(tmp_path):
    """A recording whose content is not what its name says, over itself by way of a link."""
    recording = speech(tmp_path / "a.wav")
    (tmp_path / "a.csv").symlink_to(recording)
    with pytest.raises(InputError, match="a.csv: would be written over, and it is read; expected another place"):
        animate_batch([recording], tmp_path, SETTINGS)


@pytest.mark.parametrize(("inputs", "out"), [([""], "out"), (["a.wav"], "")])
def test_an_empty_name_is_refused(inputs, out):
    with pytest.raises(InputError, match="^an empty name; expected "):
        animate_batch(inputs, out, SETTINGS)


@pytest.mark.parametrize("kind", ["csv", "json", "npz"])
def test_nothing_is_left_half_written(tmp_path, kind, monkeypatch, capsys):
    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("facedistill.core.files.os.replace", full)
    out = tmp_path / "out"
    assert animate_batch([speech(tmp_path / "a.wav")], out, replace(SETTINGS, kind=kind)) == 1
    assert names_of(out) == [] and "No space left on device" in capsys.readouterr().err


@pytest.mark.parametrize("gains", [{"jawopen": 1.0}, {"jawOpen": 1.0, "tail": 2.0}])
def test_a_gain_of_an_unknown_curve_is_refused(tmp_path, gains):
    with pytest.raises(InputError, match="gain of '(jawopen|tail)': no such curve; expected "):
        animate_batch([speech(tmp_path / "a.wav")], tmp_path / "out", replace(SETTINGS, gains=gains))
    assert not (tmp_path / "out").exists()


# Models ---------------------------------------------------------------------------------------------------------------


def test_a_window_graph_animates_nothing(tmp_path):
    with pytest.raises(InputError, match="a graph of one window; expected the streaming graph"):
        animate_batch([speech(tmp_path / "a.wav")], tmp_path / "out", Settings(model_path(kind="window")))
    assert not (tmp_path / "out").exists()


def damaged(path: Path, weight: str, value: object) -> Path:
    """The model with one of its weights filled with a value."""
    model = onnx.load(model_path())
    tensor = next(tensor for tensor in model.graph.initializer if tensor.name == weight)
    tensor.CopyFrom(numpy_helper.from_array(np.full_like(numpy_helper.to_array(tensor), value), weight))
    onnx.save(model, path)
    return path


def test_a_model_that_opens_and_does_not_run_is_none(tmp_path):
    settings = Settings(damaged(tmp_path / "a.onnx", "front.taps", 99))
    with pytest.raises(InputError, match="a.onnx: not a model that facedistill exported"):
        animate_batch([speech(tmp_path / "a.wav")], tmp_path / "out", settings)


def test_a_model_whose_curves_are_no_numbers_is_told(tmp_path, capsys):
    """Of silence they are."""
    nodes = [helper.make_node("MatMul", ["frames", "w"], ["x"]), helper.make_node("Sqrt", ["x"], ["curves"])]
    model = saved(tmp_path / "a.onnx", nodes, [numpy_helper.from_array(np.ones((512, 52), np.float32), "w")])
    assert animate_batch([speech(tmp_path / "a.wav")], tmp_path / "out", Settings(model)) == 1
    assert "a.wav: the model gives no curves" in capsys.readouterr().err and not (tmp_path / "out").exists()
