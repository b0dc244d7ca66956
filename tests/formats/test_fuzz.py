"""Files made of anything, given to the command line: every one works or is one line on standard error, nothing else."""

import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import soundfile as sf
from exported import model_path, noise
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from facedistill import cli
from facedistill.formats import registry
from facedistill.formats.animation import regular

FUZZ = settings(max_examples=25, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow])
STARTS = {
    ".wav": b"RIFF\xff\xff\0\0WAVEfmt \x10\0\0\0\1\0\1\0",
    ".flac": b"fLaC\0\0\0\x22",
    ".ogg": b"OggS\0\2",
    ".mp3": b"\xff\xfb\x90\x64",
    ".csv": b"time_s,jawOpen\n0,",
    ".json": b'{"format": "facedistill-curves", "version": 1',
    ".glb": b"glTF\2\0\0\0",
    ".npz": b"PK\3\4",
    ".onnx": b"\x08\x08\x12\x0bfacedistill:",
}
Check = Callable[..., None]


@st.composite
def damage(draw, size: int) -> Callable[[bytes], bytes]:
    """Bits flipped, most of them near the ends, where headers are; a cut; or both."""
    places = st.integers(0, size - 1) | st.integers(0, min(200, size - 1)) | st.integers(max(0, size - 6000), size - 1)
    flips = draw(st.lists(st.tuples(places, st.integers(0, 7)), max_size=4))
    end = draw(st.just(size) | places)

    def apply(data: bytes) -> bytes:
        broken = bytearray(data)
        for place, bit in flips:
            broken[place] ^= 1 << bit
        return bytes(broken[:end])

    return apply


@pytest.fixture
def ends_well(monkeypatch, capfd) -> Check:
    """Runs a command and looks at how it ends, what native libraries print included."""

    def check(*arguments: object) -> None:
        monkeypatch.setattr(sys, "argv", ["facedistill", *map(str, arguments)])
        with pytest.raises(SystemExit) as ended:
            cli.main()
        message = capfd.readouterr().err.splitlines()
        lines = [
            line for line in message if line and not line.startswith(("animated ", "animate:"))
        ]  # a bar, where it takes long
        notes = [line for line in lines if line.startswith("note: ")]
        assert all(str(arguments[1]) in note and len(note) < 1000 for note in notes)
        lines = [line for line in lines if line not in notes]
        if ended.value.code in (0, None):
            assert lines == []
        else:
            assert ended.value.code == 2
            assert len(lines) == 1 and lines[0].startswith("error: ") and len(lines[0]) < 1000

    return check


def fuzzed(path: Path, valid: bytes, check: Callable[[], None]) -> None:
    """Gives a command random files, and valid ones that were damaged."""

    @FUZZ
    @given(st.booleans(), st.binary(max_size=300))
    def random(known: bool, data: bytes) -> None:
        path.write_bytes(STARTS[path.suffix] * known + data)
        check()

    @FUZZ
    @given(damage(len(valid)))
    def damaged(spoil: Callable[[bytes], bytes]) -> None:
        path.write_bytes(spoil(valid))
        check()

    random()
    damaged()


@pytest.mark.parametrize("suffix", [".wav", ".flac", ".ogg", ".mp3"])
def test_recordings(tmp_path, ends_well, suffix):
    path = tmp_path / f"a{suffix}"
    sf.write(path, noise(0.1), 16_000)
    command = ["animate", path, "-o", tmp_path / "out", "-m", model_path(), "--workers", 1]
    fuzzed(path, path.read_bytes(), lambda: ends_well(*command))


@pytest.mark.parametrize("kind", ["csv", "livelink", "a2f-csv", "json", "a2f", "beat", "npz", "glb"])
def test_curves(tmp_path, ends_well, kind):
    path = tmp_path / f"a{registry.KINDS[kind].suffix}"
    registry.write(path, regular(("jawOpen", "mouthLeft"), np.linspace(0, 1, 6).reshape(3, 2), 30), kind=kind)
    fuzzed(path, path.read_bytes(), lambda: ends_well("convert", path, tmp_path / "b.csv"))


@pytest.mark.parametrize("precision", ["float32", "int8"])
def test_models(tmp_path, ends_well, precision):
    path = tmp_path / "a.onnx"
    sf.write(tmp_path / "a.wav", noise(0.1), 16_000)

    def check() -> None:
        ends_well("info", path)
        ends_well("animate", tmp_path / "a.wav", "-o", tmp_path / "out", "-m", path, "--workers", 1)

    fuzzed(path, model_path(precision).read_bytes(), check)


def test_window_graphs(tmp_path, ends_well):
    path = tmp_path / "a.onnx"
    fuzzed(path, model_path(kind="window").read_bytes(), lambda: ends_well("info", path))
