"""The command `release`: which files it takes, what cards and checksums say, and that it does all or nothing."""

import hashlib
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from exported import export_tree, tree

from facedistill import cli
from facedistill.core.errors import InputError
from facedistill.core.files import read_json, sha256, write_json
from facedistill.deploy.precision import PRECISIONS
from facedistill.repro import release as module
from facedistill.repro.release import MAX_RELEASED_BYTES, NAMES, release, selected, whole_folder

SMALL = [f"{{}}{precision}{kind}.onnx" for precision in ("", "-int8") for kind in ("", "-window")]
LARGE = ["{}-float16.onnx", "{}-float16-window.onnx"]


@pytest.fixture
def export(tmp_path, monkeypatch) -> Path:
    """data/export with untrained students, of which `real-time` is too large to be released in float32."""
    folder = tmp_path / "data" / "export"
    monkeypatch.setattr(module, "MAX_RELEASED_BYTES", export_tree(folder, NAMES))
    return folder


# What is released -----------------------------------------------------------------------------------------------------


def described(*bytes_of: int) -> dict[str, dict]:
    return {
        f"{precision}.onnx": {"precision": precision, "bytes": size} for precision, size in zip(PRECISIONS, bytes_of, strict=True)
    }


@pytest.mark.parametrize(
    ("bytes_of", "kept"),
    [
        ((MAX_RELEASED_BYTES, 1, MAX_RELEASED_BYTES), ["float32", "int8"]),
        ((MAX_RELEASED_BYTES, 1, MAX_RELEASED_BYTES + 1), ["float32"]),
        ((MAX_RELEASED_BYTES + 1, 1, 1), ["float16"]),
        ((10 * MAX_RELEASED_BYTES, 5 * MAX_RELEASED_BYTES, 3 * MAX_RELEASED_BYTES), ["float16"]),
    ],
)
def test_what_is_small_is_released_as_it_is_and_what_is_large_in_float16(bytes_of, kept):
    assert list(selected(described(*bytes_of))) == [f"{precision}.onnx" for precision in kept]


def test_one_large_file_makes_a_student_large():
    window = {"window.onnx": {"precision": "float32", "bytes": MAX_RELEASED_BYTES + 1}}
    assert list(selected(described(1, 1, 1) | window)) == ["float16.onnx"]


def test_a_release_is_the_chosen_files_with_cards_and_checksums(export, tmp_path, capsys):
    out = tmp_path / "models"
    release(export, out, results=tmp_path / "none.json")
    files = {name: [form.format(name) for form in (LARGE if name == "real-time" else SMALL)] for name in NAMES}
    assert tree(out).keys() == {
        "checksums", "results.json", *(f"{name}/{file}" for name in NAMES for file in [*files[name], "README.md"])
    }  # fmt: skip
    printed = dict(line.split(": ") for line in capsys.readouterr().out.splitlines())
    assert {folder: sorted(names.split(", ")) for folder, names in printed.items()} == {
        str(out / name): sorted(files[name]) for name in NAMES
    }
    for name in NAMES:
        for file in files[name]:
            assert (out / name / file).read_bytes() == (export / name / file).read_bytes()
    done = subprocess.run(["sha256sum", "--strict", "-c", "checksums"], cwd=out, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout.count(": OK\n")) == (0, 10), done.stderr


def test_a_card_is_about_the_released_files_alone(export, tmp_path):
    release(export, tmp_path / "models", results=tmp_path / "none.json")
    for name in NAMES:
        card, folder = (tmp_path / "models" / name / "README.md").read_text(), tmp_path / "models" / name
        for file in (export / name).glob("*.onnx"):
            digest = hashlib.sha256(file.read_bytes()).hexdigest()
            assert (digest in card) is (f"`{file.name}`" in card) is (folder / file.name).is_file()
        assert ("| | float16 |" if name == "real-time" else "| | float32 | int8 |") in card
        assert "| vctk | 1.25 | 3 | en | CC BY 4.0 |" in card and "1,234 parameters" in card
        assert "\n## Real speech\n\nNot measured.\n\n## Limits\n\nTrained on 1.2 h of recordings by 3 speakers" in card


def test_cards_quote_what_was_measured_on_recordings(export, tmp_path, capsys):
    hashes = {name: sha256(export / name / f"{name}.onnx") for name in NAMES}

    def pbm(value: float) -> dict:
        return {"pbm": {"value": value, "low": None, "high": None, "n": 34}}

    results = {
        "on-device": {"sha256": "0" * 64, "mean": pbm(0.456)},
        "tiny-real-time": {"sha256": hashes["tiny-real-time"], "mean": pbm(0.75)},
        "tiny-real-time-int8": {"sha256": None, "lag_ms": 10, "emu_ae": pbm(0.875)},
        "real-time": {"mean": pbm(0.75)},
        "real-time-float16": {"mean": pbm(0.625)},
        "real-time-int8": {"mean": pbm(0.123)},
        "amplitude-envelope": {"mean": pbm(0.321)},
    }
    write_json(tmp_path / "results.json", results)
    release(export, tmp_path / "models", results=tmp_path / "results.json")
    cards = {name: (tmp_path / "models" / name / "README.md").read_text() for name in NAMES}
    assert "| `tiny-real-time-int8` | emu_ae | 34 | 0.875 |" in cards["tiny-real-time"]
    assert (
        "| `real-time` | mean | 34 | 0.750 |\n| `real-time-float16` | mean | 34 | 0.625 |" in cards["real-time"]
        and "0.123" not in cards["real-time"]
    )
    assert "| `tiny-real-time` | mean | 34 | 0.750 |" in cards["tiny-real-time"]
    assert capsys.readouterr().err.startswith("release: on-device was measured with another file: not quoted; run ")
    assert "Not measured." in cards["on-device"] and not any("0.321" in card for card in cards.values())
    kept = read_json(tmp_path / "models" / "results.json")
    assert kept.keys() == results.keys() - {"on-device"} and kept["amplitude-envelope"] == {"mean": pbm(0.321)}
    assert kept["tiny-real-time"] == {"mean": pbm(0.75)} and kept["tiny-real-time-int8"] == {}
    (tmp_path / "results.json").write_text("[]")
    with pytest.raises(InputError, match="results.json: not what the benchmark on recordings writes"):
        release(export, tmp_path / "models", results=tmp_path / "results.json")


# All or nothing -------------------------------------------------------------------------------------------------------


def test_a_release_takes_the_place_of_the_last_and_is_the_same_twice(export, tmp_path):
    out = tmp_path / "models"
    release(export, out, results=tmp_path / "none.json")
    first = tree(out)
    (out / "small").mkdir()
    (out / "small" / "small.onnx").write_text("of an older release")
    release(export, out, results=tmp_path / "none.json")
    assert tree(out) == first and sorted(path.name for path in tmp_path.iterdir()) == ["data", "models"]


def spoil(export: Path, how: str) -> str:
    """Breaks the last student that is released; returns what is to be said of it."""
    folder, name = export / NAMES[-1], NAMES[-1]
    path = folder / f"{name}-int8.onnx"
    if how == "no export":
        shutil.rmtree(folder)
        return f"{name}: not exported; run `make repro`, or `facedistill export {name}`"
    if how == "no origin":
        (folder / "origin.json").unlink()
        return "origin.json: cannot be read as JSON"
    if how == "no model":
        path.unlink()
    elif how == "another model":
        path.write_bytes(path.read_bytes().replace(b"16000", b"16001"))
    elif how == "no quality":
        write_json(folder / "quality.json", {})
        return f"{name}: not what `facedistill export {name}` writes"
    elif how == "does not run":
        path.write_bytes(b"onnx")
        files = json.loads((folder / "files.json").read_text())
        files[path.name] |= {"bytes": 4, "sha256": hashlib.sha256(b"onnx").hexdigest()}
        write_json(folder / "files.json", files)
        return f"{name}-int8.onnx: not a model that facedistill exported"
    return f"{name}-int8.onnx: not the file that was exported; run `facedistill export {name}` again"


@pytest.mark.parametrize("how", ["no export", "no origin", "no model", "another model", "no quality", "does not run"])
@pytest.mark.parametrize("there", [True, False])
def test_a_failed_release_changes_nothing(export, tmp_path, how, there):
    out = tmp_path / "models"
    if there:
        (out / "on-device").mkdir(parents=True)
        (out / "on-device" / "on-device.onnx").write_text("of an older release")
    before, message = tree(out), spoil(export, how)
    with pytest.raises(InputError) as raised:
        release(export, out, results=tmp_path / "none.json")
    assert message in str(raised.value) and "\n" not in str(raised.value)
    assert tree(out) == before and out.exists() is there
    assert sorted(path.name for path in tmp_path.iterdir()) == (["data", "models"] if there else ["data"])


@pytest.mark.parametrize("fails", [1, 2])
def test_a_folder_that_cannot_be_moved_stays(tmp_path, monkeypatch, fails):
    (tmp_path / "models").mkdir()
    (tmp_path / "models" / "a").write_text("old")
    moved, move = [], os.replace

    def failing(*paths):
        moved.append(paths)
        if len(moved) == fails:
            raise OSError(28, "No space left on device")
        move(*paths)

    monkeypatch.setattr("facedistill.repro.release.os.replace", failing)
    with pytest.raises(OSError), whole_folder(tmp_path / "models") as new:
        (new / "a").write_text("new")
    assert tree(tmp_path) == {"models/a": b"old"}


def test_what_a_killed_run_left_is_put_right(tmp_path):
    """Killed between the renames: the old folder has another name, and the new one is ready but not in its place."""
    for name in (".models.old", ".models.tmp"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "a").write_text(name)
    with pytest.raises(InputError), whole_folder(tmp_path / "models") as new:
        assert not list(new.iterdir())
        raise InputError("nothing to release")
    assert tree(tmp_path) == {"models/a": b".models.old"}


def test_the_command_tells_what_it_wrote(monkeypatch, capsys):
    monkeypatch.setattr(module, "release", lambda: print("models/a: a.onnx, a-int8.onnx"))
    monkeypatch.setattr(sys, "argv", ["facedistill", "release"])
    with pytest.raises(SystemExit) as ended:
        cli.main()
    assert not ended.value.code and capsys.readouterr().out == "models/a: a.onnx, a-int8.onnx\n"
