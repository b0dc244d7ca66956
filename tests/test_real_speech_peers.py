"""Other people's tools: what they are given, what becomes of what they say, and what happens when they fail."""

import shutil

import numpy as np
import pytest
from real_speech_tree import WAWA, install_package, install_rhubarb, make_tree

from facedistill.core.errors import InputError
from facedistill.real_speech import peers
from facedistill.real_speech.recordings import read_recordings


def test_rhubarb_holds_its_shapes(tmp_path, monkeypatch):
    install_rhubarb(tmp_path / "bin", monkeypatch)
    assert peers.version("rhubarb", tmp_path) == "1.14.0"
    (curves,) = peers.animate("rhubarb", [np.zeros(16_000, np.float32)], fps=30, folder=tmp_path)
    assert curves.shape == (30, 52)
    assert (curves[:3] == 0).all() and (curves[3:6].max(axis=1) > 0).all() and (curves[6:] == curves[6]).all()


@pytest.mark.skipif(shutil.which("node") is None, reason="no command `node`")
def test_a_package_for_browsers_hears_sound_at_its_time(tmp_path):
    install_package(tmp_path, "wawa-lipsync", WAWA)
    assert peers.version("wawa-lipsync", tmp_path) == "9.9.9"
    tone = (0.3 * np.sin(2 * np.pi * 940 * np.arange(16_000) / 16_000)).astype(np.float32)
    spoken, silent = peers.animate("wawa-lipsync", [tone, np.zeros(8_000, np.float32)], fps=30, folder=tmp_path)
    opened = spoken[:, 17] > 0  # jawOpen
    assert spoken.shape == (30, 52) and silent.shape == (15, 52)
    assert opened.tolist() == [False] * 15 + [True] * 15 and not silent.any()


@pytest.mark.skipif(shutil.which("node") is None, reason="no command `node`")
def test_a_tool_that_fails_is_one_line(tmp_path):
    install_package(tmp_path, "wawa-lipsync", "throw new Error('broken');")
    with pytest.raises(InputError, match="wawa-lipsync: failed with exit code 1 .*broken"):
        peers.animate("wawa-lipsync", [np.zeros(8_000, np.float32)], fps=30, folder=tmp_path)


def test_curves_that_end_early_are_held(tmp_path, monkeypatch):
    monkeypatch.setattr(peers, "_run_package", lambda *_: [{"aa": np.linspace(0, 1, 20)}, {"aa": np.ones(99)}])
    short, long = peers.animate("headaudio", [np.zeros(16_000, np.float32)] * 2, fps=30, folder=tmp_path)
    assert short.shape == long.shape == (30, 52)
    assert (short[20:] == short[19]).all() and short[19].max() > 0


def test_calibration_takes_clear_vowels(tmp_path):
    recording = read_recordings(make_tree(tmp_path), "train")[0]
    points = peers.calibration_points(recording)
    assert points == sorted(points) and {name for _, name in points} <= {"A", "E", "I", "O", "U", "-"}
    said = {
        (start + end) / 2: label for start, end, label in zip(recording.starts_s, recording.ends_s, recording.labels, strict=True)
    }
    assert [name for _, name in points] == [
        {"a": "A", "E": "E", "i": "I", "O": "O", "#": "-"}[said[time]] for time, _ in points
    ]  # fmt: skip
