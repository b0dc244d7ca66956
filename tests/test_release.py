"""Released models: which files they are, what their cards and checksums say, what names mean, and that wheels bring them."""

import hashlib
import json
import os
import shutil
import subprocess
import sys
import tarfile
import zipfile
from dataclasses import replace
from functools import cache
from pathlib import Path

import onnx
import pytest
from exported import model_path, noise, student

from facedistill import cli
from facedistill import release as module
from facedistill.core.errors import InputError
from facedistill.core.files import write_json
from facedistill.core.paths import ROOT
from facedistill.deploy.card import METRICS
from facedistill.deploy.precision import PRECISIONS
from facedistill.export import _described, build, write_model
from facedistill.release import MAX_RELEASED_BYTES, NAMES, chosen, release, whole_folder
from facedistill.runtime import Model, find_model, released
from facedistill.runtime.released import RELEASED

SMALL = [f"{{}}{precision}{kind}.onnx" for precision in ("", "-int8") for kind in ("", "-window")]
LARGE = ["{}-float16.onnx", "{}-float16-window.onnx"]
CORPUS = {"source": "vctk", "hours": 1.25, "speakers": 3, "languages": ["en"], "licences": ["CC BY 4.0"]}


@cache
def graphs(channels: int) -> dict[tuple[str, str], onnx.ModelProto]:
    return build(student(channels=channels), iter([noise(1.0)]))


@pytest.fixture
def export(tmp_path, monkeypatch) -> Path:
    """data/export as the stage writes it: untrained students, of which `real-time` is too large to be released in float32."""
    facts, limit = Model(model_path()).facts, 0
    for name in NAMES:
        folder, files = tmp_path / "data" / "export" / name, {}
        for (precision, kind), graph in graphs(24 if name == "real-time" else 8).items():
            path = write_model(folder, graph, replace(facts, name=name, precision=precision, kind=kind))
            files[path.name] = _described(path, graph, precision=precision, kind=kind)
        summary = {"value": 0.5, "low": 0.25, "high": 0.75, "n": 77}
        scores = {precision: dict.fromkeys(METRICS, summary) for precision in PRECISIONS}
        tolerances = {"float32": 1e-5, "float16": 2e-3, "int8": 0.05}
        write_json(folder / "files.json", files)
        write_json(
            folder / "quality.json", {"scores": scores, "tolerances": tolerances, "differences": dict.fromkeys(files, 1e-6)}
        )
        write_json(folder / "origin.json", {"n_parameters": 1234, "corpora": [CORPUS]})
        if name != "real-time":
            limit = max(limit, *(file["bytes"] for file in files.values()))
    monkeypatch.setattr(module, "MAX_RELEASED_BYTES", limit)
    return tmp_path / "data" / "export"


def tree(folder: Path) -> dict[str, bytes]:
    """{path: content} of all files below a folder, temporary ones too."""
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


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
    assert list(chosen(described(*bytes_of))) == [f"{precision}.onnx" for precision in kept]


def test_one_large_file_makes_a_student_large():
    window = {"window.onnx": {"precision": "float32", "bytes": MAX_RELEASED_BYTES + 1}}
    assert list(chosen(described(1, 1, 1) | window)) == ["float16.onnx"]


def test_a_release_is_the_chosen_files_with_cards_and_checksums(export, tmp_path):
    out = tmp_path / "models"
    told = release(export, out, results=tmp_path / "none.json")
    files = {name: [form.format(name) for form in (LARGE if name == "real-time" else SMALL)] for name in NAMES}
    assert tree(out).keys() == {
        "checksums", *(f"{name}/{file}" for name in NAMES for file in [*files[name], "README.md"])
    }  # fmt: skip
    assert {folder: sorted(path.name for path in paths) for folder, paths in told.items()} == {
        out / name: sorted(files[name]) for name in NAMES
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


def test_cards_quote_what_was_measured_on_recordings(export, tmp_path):
    results = {
        "tiny-real-time-int8": {"emu_ae": {"auc": 0.875, "n": 12}},
        "real-time": {"mean": {"pbm": 0.75}},
        "real-time-float16": {"mean": {"pbm": 0.625}},
        "real-time-int8": {"mean": {"pbm": 0.123}},
        "amplitude-envelope": {"mean": {"pbm": 0.321}},
    }
    write_json(tmp_path / "results.json", results)
    release(export, tmp_path / "models", results=tmp_path / "results.json")
    cards = {name: (tmp_path / "models" / name / "README.md").read_text() for name in NAMES}
    assert "| `tiny-real-time-int8` | emu_ae | 12 | 0.875 |" in cards["tiny-real-time"]
    assert (
        "| `real-time` | mean | 0.750 |\n| `real-time-float16` | mean | 0.625 |" in cards["real-time"]
        and "0.123" not in cards["real-time"]
    )
    assert "Not measured." in cards["on-device"] and not any("0.321" in card for card in cards.values())
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

    monkeypatch.setattr("facedistill.release.os.replace", failing)
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
    monkeypatch.setattr(module, "release", lambda: {Path("models/a"): [Path("models/a/a.onnx"), Path("models/a/a-int8.onnx")]})
    monkeypatch.setattr(sys, "argv", ["facedistill", "release"])
    with pytest.raises(SystemExit) as ended:
        cli.main()
    assert not ended.value.code and capsys.readouterr().out == "models/a: a.onnx, a-int8.onnx\n"


# What names mean ------------------------------------------------------------------------------------------------------


@pytest.fixture
def checkout(export, tmp_path, monkeypatch) -> Path:
    """A checkout with models/ and data/export, in which one works."""
    release(export, tmp_path / "models", results=tmp_path / "none.json")
    monkeypatch.setattr(released, "RELEASED", tmp_path / "models")
    monkeypatch.setattr(released, "DATA", tmp_path / "data")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_a_name_is_a_released_model_and_an_exported_one_is_a_path(checkout):
    """Even where the pipeline has exported one of the same name, and where a file is called that."""
    (checkout / "on-device").write_text("a file")
    for name in ("on-device", "on-device-int8", "tiny-real-time"):
        assert find_model(name) == checkout / "models" / name.removesuffix("-int8") / f"{name}.onnx"
    exported = Path("data/export/on-device/on-device.onnx")
    assert find_model(str(exported)) == exported and find_model("./on-device") == Path("on-device")


def test_a_large_model_has_its_plain_name_too(checkout):
    half = checkout / "models" / "real-time" / "real-time-float16.onnx"
    assert find_model("real-time") == find_model("real-time-float16") == half
    assert find_model("real-time-window", windows=True) == half.with_name("real-time-float16-window.onnx")
    with pytest.raises(InputError, match="exported, so named by its path: .*export/real-time/real-time-int8.onnx$"):
        find_model("real-time-int8")


def test_an_unknown_name_is_told_what_there_is(checkout):
    allowed = "on-device-int8, on-device, real-time-float16, tiny-real-time-int8, tiny-real-time, real-time"
    for name in ("nope", "", "models", "on-device.onnx"):
        with pytest.raises(InputError, match=f"^model '{name}': neither the file of one nor one of: {allowed}$"):
            find_model(name)
    with pytest.raises(InputError, match="^model 'on-device-window': "):
        find_model("on-device-window")
    assert find_model("on-device-window", windows=True).name == "on-device-window.onnx"


def test_nothing_released_and_nothing_trained_is_one_line(tmp_path, monkeypatch):
    monkeypatch.setattr(released, "RELEASED", tmp_path / "models")
    monkeypatch.setattr(released, "DATA", tmp_path / "data")
    assert released.released_models() == {}
    with pytest.raises(InputError, match="^model 'tiny-real-time': neither .*: none is released here: .*`make repro`.*$"):
        find_model("tiny-real-time")


# Wheels, and the models of this repository ----------------------------------------------------------------------------


def built(kind: str, source: Path, out: Path) -> Path:
    """A source distribution or a wheel, with the tools of this environment."""
    code = f"from setuptools import build_meta; build_meta.build_{kind}({str(out)!r})"
    done = subprocess.run([sys.executable, "-c", code], cwd=source, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return next(path for path in out.iterdir() if path.suffix in (".gz", ".whl"))


@pytest.mark.parametrize("with_models", [True, False])
def test_a_wheel_brings_the_models(tmp_path, with_models):
    """Built from a source distribution, as `uv build` does, and imported from where it was unpacked."""
    source = tmp_path / "source"
    shutil.copytree(ROOT / "src", source / "src", ignore=shutil.ignore_patterns("__pycache__", "*.egg-info"))
    for name in ("pyproject.toml", "setup.py", "MANIFEST.in", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, source)
    if with_models:
        (source / "models" / "tiny").mkdir(parents=True)
        shutil.copy(model_path(), source / "models" / "tiny")
        (source / "models" / "checksums").write_text("")
    with tarfile.open(built("sdist", source, tmp_path)) as packed:
        packed.extractall(tmp_path / "unpacked", filter="data")
    (unpacked,) = (tmp_path / "unpacked").iterdir()
    (tmp_path / "wheels").mkdir()
    with zipfile.ZipFile(built("wheel", unpacked, tmp_path / "wheels")) as wheel:
        names = [name for name in wheel.namelist() if "released/" in name]
        wheel.extractall(tmp_path / "site")
    assert sorted(names) == (["facedistill/released/checksums", "facedistill/released/tiny/tiny.onnx"] if with_models else [])
    code = "from facedistill.runtime import Model, find_model; path = find_model('tiny'); Model(path); print(path)"
    environment = {"PYTHONPATH": str(tmp_path / "site"), "PATH": ""}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=False)
    if with_models:
        assert done.stdout.strip() == str(tmp_path / "site" / "facedistill" / "released" / "tiny" / "tiny.onnx"), done.stderr
    else:
        assert "InputError: model 'tiny': neither the file of one nor one of: none is released here" in done.stderr


@pytest.mark.skipif(not RELEASED.is_dir(), reason="models/: nothing is released yet")
def test_the_models_of_this_repository_are_whole():
    lines = [line.split("  ") for line in (RELEASED / "checksums").read_text().splitlines()]
    files = {name for name in tree(RELEASED) if name.endswith(".onnx")}
    assert {name for _, name in lines} == files and {path.name for path in RELEASED.iterdir()} == {"checksums", *NAMES}
    for digest, name in lines:
        card, path = (RELEASED / name).with_name("README.md").read_text(), RELEASED / name
        assert hashlib.sha256(path.read_bytes()).hexdigest() == digest and digest in card
        assert path.stat().st_size <= MAX_RELEASED_BYTES or "-float16" in path.name
    for name in NAMES:
        assert Model(find_model(name)).facts.name == name
