import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import soundfile as sf
import torch

from facedistill import animate as module
from facedistill.animate import animate_batch, animate_one, find_model
from facedistill.core.errors import InputError
from facedistill.face.arkit import CURVES
from facedistill.face.curves import n_frames
from facedistill.models.ensemble import ensemble
from facedistill.models.student import Student, StudentConfig, load_student, save_student
from facedistill.speech.audio import read_audio

SRC = Path(module.__file__).parents[1]


@pytest.fixture
def model(tmp_path) -> Path:
    torch.manual_seed(0)
    save_student(Student(StudentConfig(channels=8, past_ms=256, future_ms=256, filters=16)), tmp_path / "model")
    return tmp_path / "model"


def speech(path: Path, rate_hz: int = 16_000, channels: int = 1, duration_s: float = 0.7, level: float = 0.1) -> Path:
    samples = level * np.random.default_rng(0).standard_normal((int(duration_s * rate_hz), channels))
    sf.write(path, samples, rate_hz, subtype="PCM_16")
    return path


def truncated(path: Path) -> None:
    path.write_bytes(speech(path).read_bytes()[:-3000])


BAD = {
    "missing": lambda path: None,
    "folder": Path.mkdir,
    "empty": lambda path: path.write_bytes(b""),
    "text": lambda path: path.write_text("not audio"),
    "truncated": truncated,
    "nan": lambda path: sf.write(path, np.full(8000, np.nan), 16_000, subtype="FLOAT"),
}


def a_batch_with_bad_ones(folder: Path) -> list[Path]:
    folder.mkdir()
    recordings = [speech(folder / "first.wav")]
    for kind, make in BAD.items():
        make(folder / f"{kind}.wav")
        recordings.append(folder / f"{kind}.wav")
    return [*recordings, speech(folder / "last.wav")]


def check_what_is_left(out: Path, errors: list[str]) -> None:
    assert sorted(path.name for path in out.iterdir()) == ["first.csv", "last.csv"]  # and nothing half-written
    assert len(errors) == len(BAD)
    for line, kind in zip(errors, BAD, strict=True):
        assert f"{kind}.wav: " in line


def test_the_csv_is_the_students_curves(model, tmp_path):
    recording, student = speech(tmp_path / "a.wav"), load_student(model)
    animate_one(recording, tmp_path / "a.csv", student)
    table = pd.read_csv(tmp_path / "a.csv")
    assert list(table.columns) == ["time_s", *CURVES]
    np.testing.assert_allclose(table["time_s"], np.arange(21) / 30, atol=6e-5)
    curves = table[list(CURVES)].to_numpy()
    np.testing.assert_allclose(curves, student.animate(read_audio(recording), 30), atol=6e-5)
    assert 0 <= curves.min() and curves.max() <= 1
    animate_one(recording, tmp_path / "b.csv", student, smoothed=True)
    averaged = pd.read_csv(tmp_path / "b.csv")[list(CURVES)].to_numpy()
    np.testing.assert_allclose(averaged, ensemble(student.animate(read_audio(recording))), atol=6e-5)


def test_what_cannot_be_written_does_not_stop_the_batch(model, tmp_path, capsys):
    (tmp_path / "out" / "a.csv").mkdir(parents=True)
    assert animate_batch([speech(tmp_path / "a.wav"), speech(tmp_path / "b.wav")], tmp_path / "out", str(model)) == 1
    assert (tmp_path / "out" / "b.csv").is_file() and "a.csv" in capsys.readouterr().err


@pytest.mark.parametrize(
    "settings", [{"channels": 2}, {"rate_hz": 8000}, {"rate_hz": 96_000}, {"level": 0.0}, {"duration_s": 0.02}], ids=str
)
def test_odd_recordings_are_fine(model, tmp_path, settings, capsys):
    assert animate_batch([speech(tmp_path / "a.wav", **settings)], tmp_path / "out", str(model)) == 0
    table = pd.read_csv(tmp_path / "out" / "a.csv")
    assert len(table) == n_frames(round(settings.get("duration_s", 0.7) * 16_000), 30)
    assert np.isfinite(table.to_numpy()).all()
    assert capsys.readouterr().err == ""


def test_a_batch_goes_on_past_every_kind_of_bad_file(model, tmp_path, capsys):
    failed = animate_batch(a_batch_with_bad_ones(tmp_path / "in"), tmp_path / "out", str(model))
    assert failed == len(BAD)
    output = capsys.readouterr().err
    check_what_is_left(tmp_path / "out", [line for line in output.splitlines() if line.startswith("error: ")])
    assert f"animated 2 of {len(BAD) + 2} recordings" in output


def test_the_command_line_reports_one_line_a_bad_file(model, tmp_path):
    recordings = a_batch_with_bad_ones(tmp_path / "in")
    command = [sys.executable, "-m", "facedistill", "animate", *recordings, "--out", tmp_path / "out", "--model", model]
    environment = {**os.environ, "PYTHONPATH": str(SRC), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert "Traceback" not in done.stderr and done.stdout == ""
    check_what_is_left(tmp_path / "out", [line for line in done.stderr.splitlines() if line.startswith("error: ")])


def test_two_recordings_of_one_name_are_refused(model, tmp_path):
    (tmp_path / "deep").mkdir()
    recordings = [speech(tmp_path / "a.wav"), speech(tmp_path / "deep" / "a.wav")]
    with pytest.raises(InputError, match="several recordings would write .*a.csv"):
        animate_batch(recordings, tmp_path / "out", str(model))
    assert not (tmp_path / "out").exists()


def test_an_unknown_model_is_told_what_there_is(model, tmp_path, monkeypatch):
    monkeypatch.setattr(module, "DATA", tmp_path / "data")
    with pytest.raises(InputError, match="--model nope: .*none is distilled yet") as caught:
        find_model("nope")
    assert "\n" not in str(caught.value)
    for name in ("small", "on-device"):
        save_student(load_student(model), tmp_path / "data" / "distill" / name)
    with pytest.raises(InputError, match="--model nope: .* one of: on-device, small$"):
        animate_batch([speech(tmp_path / "a.wav")], tmp_path / "out", "nope")
    assert not (tmp_path / "out").exists()
    assert find_model("small") == tmp_path / "data" / "distill" / "small"
    assert find_model(str(model)) == model


@pytest.mark.parametrize("out", ["out", "out/deeper"])
def test_a_file_is_no_folder_for_the_curves(model, tmp_path, out):
    (tmp_path / "out").write_text("mine")
    with pytest.raises(InputError, match="cannot be a folder for the curves"):
        animate_batch([speech(tmp_path / "a.wav")], tmp_path / out, str(model))
    assert (tmp_path / "out").read_text() == "mine"
