"""The first stage: parameters are checked before anything is made, and each stage knows its code, file by file."""

import subprocess
import sys
from pathlib import Path

import pytest

from facedistill.core import imports
from facedistill.core.errors import InputError
from facedistill.core.params import Params, load_params, with_overrides
from facedistill.core.paths import PACKAGE, ROOT
from facedistill.pipeline import check as module

LOADED = """
import importlib, sys
importlib.import_module(sys.argv[1])
print("\\n".join(m.__file__ for n, m in sys.modules.items() if n.startswith("facedistill.") and getattr(m, "__file__", None)))
"""


@pytest.fixture
def package(tmp_path, monkeypatch) -> Path:
    """A package of few lines in place of this one."""
    folder = tmp_path / "src" / "facedistill"
    for name, text in {
        "__init__": "", "cli": "import facedistill.teach", "teach": "from facedistill.core import files",
        "core/__init__": "", "core/files": "def f():\n    import facedistill.deep.inner", "other": "",
        "deep/__init__": "from facedistill.deep.near import x", "deep/near": "x = 1", "deep/inner": "import os, numpy.linalg",
    }.items():  # fmt: skip
        (folder / f"{name}.py").parent.mkdir(parents=True, exist_ok=True)
        (folder / f"{name}.py").write_text(text)
    monkeypatch.setattr(imports, "PACKAGE", folder)
    monkeypatch.setattr(imports, "GENERIC", frozenset({folder / "__init__.py", folder / "cli.py"}))
    imports.imported.cache_clear()
    yield folder
    imports.imported.cache_clear()


@pytest.fixture
def code(tmp_path, monkeypatch) -> Path:
    monkeypatch.setattr(module, "CODE", tmp_path / "code")
    return tmp_path / "code"


def test_the_closure_follows_imports_into_functions_and_packages(package):
    found = [path.relative_to(package).as_posix() for path in imports.import_closure("facedistill.teach")]
    assert found == ["core/__init__.py", "core/files.py", "deep/__init__.py", "deep/inner.py", "deep/near.py", "teach.py"]


def test_modules_that_import_each_other_are_found_once(package):
    (package / "deep" / "near.py").write_text("import facedistill.teach")
    assert len(imports.import_closure("facedistill.teach")) == 6


def test_a_source_that_is_no_python_is_named(package):
    (package / "deep" / "near.py").write_text("x = (")
    with pytest.raises(InputError, match="near.py: not Python"):
        imports.import_closure("facedistill.teach")


@pytest.mark.parametrize("name", ["pipeline.prepare", "pipeline.teachers", "pipeline.evaluate", "repro.notebooks"])
def test_what_python_loads_is_in_the_closure(name):
    done = subprocess.run([sys.executable, "-c", LOADED, f"facedistill.{name}"], capture_output=True, text=True, check=True)
    loaded = {Path(line).resolve() for line in done.stdout.split()} - imports.GENERIC
    assert loaded and loaded <= set(imports.import_closure(f"facedistill.{name}"))


def test_an_edit_changes_what_is_known_of_those_that_import_it_and_of_no_other(code, monkeypatch):
    def known() -> dict[str, str]:
        imports.imported.cache_clear()
        module.check(load_params())
        return {path.stem: path.read_text() for path in code.iterdir()}

    contents = {}
    monkeypatch.setattr(imports, "sha256", lambda path: contents.get(path.relative_to(ROOT).as_posix(), "same"))
    monkeypatch.setattr(module, "NOTEBOOKS", code.parent)
    before = known()
    for edited, expected in {
        "cli.py": set(), "render/film.py": set(), "repro/benchmark.py": set(),
        "data/face/face.glb": {"align", "teach", "label", "distill", "ablate", "teachers", "evaluate", "export"},
        "pipeline/evaluate.py": {"evaluate"}, "corpora/synthetic.py": {"prepare"}, "deploy/graph.py": {"export"},
        "models/losses.py": {"align", "teach", "label", "distill", "ablate", "teachers", "evaluate", "export"},
    }.items():  # fmt: skip
        contents = {edited if edited.startswith("data") else f"src/facedistill/{edited}": "edited"}
        after = known()
        changed_ones = {name for name in after if after[name] != before[name]}
        assert changed_ones <= expected if edited == "models/losses.py" else changed_ones == expected, edited
    assert changed_ones >= {"teach", "distill"}


def test_a_notebook_depends_on_itself_and_on_what_its_cells_import(code, monkeypatch, tmp_path):
    (tmp_path / "n").mkdir()
    cell = '{"cell_type": "code", "source": ["from facedistill.measure import scores\\n", "x = 1"]}'
    (tmp_path / "n" / "a.ipynb").write_text(
        '{"cells": [{"cell_type": "markdown", "source": "import facedistill.pipeline.teach"}, ' + cell + "]}"
    )
    monkeypatch.setattr(module, "NOTEBOOKS", tmp_path / "n")
    monkeypatch.setattr(module, "digest", lambda files: "\n".join(map(str, files)))
    module.check(load_params())
    message = (code / "a.txt").read_text().splitlines()
    assert {
        str(tmp_path / "n" / "a.ipynb"),
        str(PACKAGE / "measure" / "scores.py"),
        str(PACKAGE / "repro" / "notebooks.py"),
    } <= set(message)
    assert str(PACKAGE / "pipeline" / "teach.py") not in message


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            {"prepare.synthetic.languages": ["en-us", "tlh"]},
            "languages: 'tlh' has no sentences or no voice; expected",
        ),
        ({"prepare.corpora": [{"reader": "recordings", "path": "no/such"}]}, "prepare.corpora.0.path: no/such: no such file or"),
        ({"prepare.corpora": [{"reader": "timit", "path": "."}]}, "corpora.0.reader: 'timit'; expected recordings, librispeech"),
        ({"prepare.corpora": [{"path": "."}]}, "prepare.corpora.0.reader: None; expected recordings, librispeech"),
        (
            {"prepare.corpora": [{"reader": "recordings", "pth": "."}]},
            r"prepare.corpora.0.pth: no such key; expected path \(and 1 more\)",
        ),
        (
            {"prepare.corpora": [{"reader": "librispeech", "path": ".", "test": ["dev-clean"]}]},
            "prepare.corpora.0.test.0: Input should be 'test-clean' or 'test-other', got 'dev-clean'",
        ),
        ({"teach.encoder.source": "data/encodr"}, "teach.encoder.source: data/encodr: no such"),
        ({"align.aligner.source": "./model"}, "align.aligner.source: ./model: no such"),
    ],
)
def test_what_the_parameters_name_must_be_there(code, change, message):
    with pytest.raises(InputError, match=message):
        module.check(with_overrides(load_params(), change))
    assert not code.exists()


def test_models_of_the_hub_are_not_looked_for(code):
    module.check(with_overrides(load_params(), {"teach.encoder.source": "facebook/hubert-base-ls960"}))
    assert (code / "teach.txt").is_file()


def test_labels_from_outside_must_be_there(code):
    values = load_params().model_dump(mode="json")
    values["teachers"]["mine"] = {
        "kind": "outside", "audio": "data/sentences", "labels": "gone", "fps": None, "components": 3, "held_out": ["x"]
    }  # fmt: skip
    with pytest.raises(InputError, match="teachers.mine.labels: gone: no such"):
        module.check(Params.model_validate(values))
