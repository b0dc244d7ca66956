"""Released models: what their names mean, that wheels bring them, and that those of this repository are whole."""

import hashlib
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
from damage import SOME_DAMAGES
from exported import export_tree, model_path, tree

from facedistill.app.info import print_info
from facedistill.core.errors import InputError
from facedistill.core.files import read_json
from facedistill.core.paths import ROOT
from facedistill.repro.release import MAX_RELEASED_BYTES, NAMES, release
from facedistill.runtime import Model, find_model, released
from facedistill.runtime.released import RELEASED

# What names mean ------------------------------------------------------------------------------------------------------


@pytest.fixture
def checkout(tmp_path, monkeypatch) -> Path:
    """A checkout with models/, where `real-time` is in float16, and data/export, in which one works."""
    monkeypatch.setattr("facedistill.repro.release.MAX_RELEASED_BYTES", export_tree(tmp_path / "data" / "export", NAMES))
    release(tmp_path / "data" / "export", tmp_path / "models", results=tmp_path / "none.json")
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


# Whether they are whole ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("how", SOME_DAMAGES)
def test_a_broken_released_model_is_refused_with_what_to_do(checkout, how):
    for name in ("tiny-real-time", "real-time", "on-device-int8-window"):
        path = find_model(name, windows=True)
        path.write_bytes(SOME_DAMAGES[how](path.read_bytes()))
        for load in (lambda path: print_info(str(path)), *([] if "window" in name else [Model])):
            with pytest.raises(InputError, match="expected what was released: `git checkout models` in a clone, or") as error:
                load(path)
            assert str(error.value).startswith(f"{path}: broken, since its SHA-256 is not that of {checkout / 'models'}")
    assert Model(find_model("on-device")) and Model(Path("models/on-device/../on-device/on-device.onnx"))
    with pytest.raises(InputError, match="^models/real-time/../tiny-real-time/tiny-real-time.onnx: broken"):
        Model(Path("models/real-time/../tiny-real-time/tiny-real-time.onnx"))


def test_a_model_that_was_not_released_is_none_of_the_released(checkout):
    shutil.copy(model_path(), checkout / "models" / "on-device" / "mine.onnx")
    with pytest.raises(InputError, match="mine.onnx: was not released, since .* expected models of your own elsewhere"):
        Model(find_model("mine"))
    shutil.copy(model_path(), checkout / "mine.onnx")
    assert Model(checkout / "mine.onnx")  # elsewhere any is right


@pytest.mark.parametrize("content", [b"", b"\xff\0", b"one word"])
def test_broken_checksums_are_told(checkout, content):
    (checkout / "models" / "checksums").write_bytes(content)
    with pytest.raises(InputError, match="was not released, since .*checksums does not list it"):
        Model(find_model("on-device"))


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
        digest = hashlib.sha256(model_path().read_bytes()).hexdigest()
        (source / "models" / "checksums").write_text(f"{digest}  tiny/{model_path().name}\n")
    (tmp_path / "unpacked").mkdir()
    subprocess.run(["tar", "-xf", built("sdist", source, tmp_path), "-C", tmp_path / "unpacked"], check=True)
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
        model = tmp_path / "site" / "facedistill" / "released" / "tiny" / "tiny.onnx"
        assert done.stdout.strip() == str(model), done.stderr
        model.write_bytes(SOME_DAMAGES["flipped"](model.read_bytes()))
        done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=False)
        assert f"InputError: {model}: broken, since its SHA-256 is not that of {model.parents[1] / 'checksums'}" in done.stderr
    else:
        assert "InputError: model 'tiny': neither the file of one nor one of: none is released here" in done.stderr


@pytest.mark.skipif(not RELEASED.is_dir(), reason="models/: nothing is released yet")
def test_the_models_of_this_repository_are_whole():
    lines = [line.split("  ") for line in (RELEASED / "checksums").read_text().splitlines()]
    files = {name for name in tree(RELEASED) if name.endswith(".onnx")}
    assert {name for _, name in lines} == files
    assert {path.name for path in RELEASED.iterdir()} == {"checksums", "results.json", *NAMES}
    assert {Path(name).stem for name in files if "-window" not in name} <= read_json(RELEASED / "results.json").keys()
    for digest, name in lines:
        card, path = (RELEASED / name).with_name("README.md").read_text(), RELEASED / name
        assert hashlib.sha256(path.read_bytes()).hexdigest() == digest and digest in card
        assert path.stat().st_size <= MAX_RELEASED_BYTES or "-float16" in path.name
    for name in NAMES:
        assert Model(find_model(name)).metadata.name == name
