"""Wherever it runs: full disks, foreign locales and time zones, no home folder, one thread or two, names like options."""

import hashlib
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile as sf
from exported import model_path, noise

from facedistill.cli import FORMATS
from facedistill.core.errors import InputError
from facedistill.formats.registry import KINDS
from facedistill.speech.audio import open_mono

LIMITED = """
import resource, sys
resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv.pop(1)),) * 2)  # what a file may hold, as a disk that is full
import facedistill.cli
facedistill.cli.main()
"""
POSIX = pytest.mark.skipif(os.name == "nt", reason="limits of POSIX")


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """A recording beside a model."""
    folder = tmp_path_factory.mktemp("places")
    sf.write(folder / "a.wav", noise(1.5), 16_000)
    (folder / "m.onnx").write_bytes(model_path().read_bytes())
    return folder


def run(folder: Path, *arguments: str, code: tuple[str, ...] = ("-m", "facedistill"), **variables: str | None):
    """The command line in a folder; a variable of the environment that is None is not there."""
    environment = {name: value for name, value in (os.environ | variables).items() if value is not None}
    return subprocess.run(
        [sys.executable, *code, *arguments],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
        errors="replace",
    )


def digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


@POSIX
@pytest.mark.parametrize("kind", FORMATS)
def test_a_full_disk_is_told_and_nothing_half_written_stays(folder, tmp_path, kind):
    path = tmp_path / f"x{KINDS[kind].suffix}"
    path.write_bytes(b"what was there before")
    done = run(folder, "animate", "a.wav", "-m", "m.onnx", "-o", str(path), "--format", kind, code=("-c", LIMITED, "2000"))
    assert done.returncode == 2
    assert "File too large" in done.stderr and "Traceback" not in done.stderr
    assert path.read_bytes() == b"what was there before"
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("kind", ["csv", "livelink"])
def test_bytes_do_not_depend_on_the_place(folder, tmp_path, kind):
    """Nor on the number of threads of the libraries."""
    threads = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")
    places = [
        {},
        {"LC_ALL": "tr_TR.UTF-8", "TZ": "Asia/Kathmandu", **dict.fromkeys(threads, "1")},
        {"LC_ALL": "de_DE.UTF-8", "TZ": "None/Such", **dict.fromkeys(threads, "2")},
        {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0", "HOME": None, "XDG_CACHE_HOME": None},
        {"HOME": str(tmp_path / "none" / "such")},
    ]
    digests = set()
    for number, variables in enumerate(places):
        path = tmp_path / f"{number}{KINDS[kind].suffix}"
        done = run(folder, "animate", "a.wav", "-m", "m.onnx", "-o", str(path), "--format", kind, "--blinks", **variables)
        assert done.returncode == 0, (variables, done.stderr)
        digests.add(digest(path))
    assert len(digests) == 1
    assert not (tmp_path / "none").exists()


@pytest.mark.parametrize("name", ["-a.wav", "--out.wav", "-", "--help.wav"])
def test_names_may_look_like_options(folder, tmp_path, name):
    (tmp_path / name).write_bytes((folder / "a.wav").read_bytes())
    model = str(folder / "m.onnx")
    for recording in (f"./{name}", str(tmp_path / name)):
        done = run(tmp_path, "animate", recording, "-m", model, "-o", "./-out/")
        assert done.returncode == 0, done.stderr
    done = run(tmp_path, "animate", "-m", model, "-o", "-out.csv", "--", name)
    assert done.returncode == 0, done.stderr
    assert digest(tmp_path / "-out.csv") == digest(tmp_path / "-out" / Path(name).with_suffix(".csv"))


@pytest.mark.parametrize("subtype", ["PCM_U8", "PCM_16", "PCM_24", "PCM_32", "FLOAT", "DOUBLE"])
@pytest.mark.parametrize("n_channels", [64, 65, 512, 1024])
def test_a_recording_may_have_many_channels(tmp_path, n_channels, subtype):
    samples = np.random.default_rng(0).uniform(-0.5, 0.5, (1501, n_channels))
    sf.write(tmp_path / "many.wav", samples, 16_000, subtype)
    mono, rate_hz = open_mono(tmp_path / "many.wav").whole()
    assert rate_hz == 16_000
    np.testing.assert_allclose(mono, sf.read(tmp_path / "many.wav")[0].mean(axis=1), atol=1e-6)


def test_many_channels_are_read_to_the_real_end(tmp_path, caplog):
    samples = np.random.default_rng(0).uniform(-0.5, 0.5, (1501, 65))
    sf.write(tmp_path / "whole.wav", samples, 16_000)
    whole = (tmp_path / "whole.wav").read_bytes()
    expected = sf.read(tmp_path / "whole.wav")[0].mean(axis=1)
    cases = {
        "cut": (whole[: -130 * 500 - 7], expected[:1000]),
        "longer": (whole + whole[-130 * 500 :], np.r_[expected, expected[-500:]]),
    }
    cases["joined"] = whole + whole, np.r_[expected, expected]
    for name, (content, sound) in cases.items():
        (tmp_path / f"{name}.wav").write_bytes(content)
        np.testing.assert_allclose(open_mono(tmp_path / f"{name}.wav").whole()[0], sound, atol=1e-6)
    assert "cut.wav: ends after" in caplog.text and "longer.wav: goes on after" in caplog.text


def test_what_stands_behind_many_channels_is_no_sound(tmp_path):
    samples = np.random.default_rng(0).uniform(-0.5, 0.5, (1501, 100))
    for kind in ("WAV", "RF64"):
        path = tmp_path / f"{kind}.wav"
        sf.write(path, samples, 16_000, "PCM_16", format=kind)
        expected = sf.read(path)[0].mean(axis=1)
        path.write_bytes(path.read_bytes() + b"LIST" + (40_000).to_bytes(4, "little") + bytes(range(250)) * 160)
        np.testing.assert_allclose(open_mono(path).whole()[0], expected, atol=1e-6)
    (tmp_path / "none.wav").write_bytes((tmp_path / "WAV.wav").read_bytes()[:44])
    with pytest.raises(InputError, match="none.wav: holds no sound; expected a recording"):
        open_mono(tmp_path / "none.wav").whole()


def test_more_channels_than_any_recording_has_are_refused(tmp_path):
    sf.write(tmp_path / "many.wav", np.zeros((1501, 1024), np.int16), 16_000)
    content = bytearray((tmp_path / "many.wav").read_bytes())
    content[22:24] = (1025).to_bytes(2, "little")
    (tmp_path / "more.wav").write_bytes(content)
    with pytest.raises(InputError, match="more.wav: 1025 channels; expected at most 1024"):
        open_mono(tmp_path / "more.wav").whole()
