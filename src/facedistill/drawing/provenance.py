"""What made a figure: its stage, and hashes of the parameters and the data that led to it, as DVC wrote them down."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import yaml

from facedistill.core.files import sha256
from facedistill.core.paths import ROOT

LETTERS = 12
CODE = ("src/", "notebooks/")  # deps that are no data


@dataclass(frozen=True)
class Provenance:
    """A stage, and what it and all stages before it read."""

    stage: str
    params: str
    data: str

    def __str__(self) -> str:
        return f"stage {self.stage}, params {self.params}, data {self.data}"


def provenance(stage: str, root: Path = ROOT) -> Provenance | None:
    """Follows a stage of dvc.yaml back through dvc.lock; None for what is no stage, or where nothing was run yet.

    The hash of the parameters is one of all that the stage and those before it read, that of the data one of the files that the
    stage reads. So they change when what the figure depends on does, and only then.
    """
    declared, locked = _read(root / "dvc.yaml").get("stages", {}), _read(root / "dvc.lock").get("stages", {})
    if stage not in declared or not locked:
        return None
    made = {out["path"]: (name, out["md5"]) for name, entry in locked.items() for out in entry.get("outs", [])}
    deps = [dep for dep in declared[stage].get("deps", []) if not dep.startswith(CODE)]
    read = [f"{path} {md5}" for dep in deps for path, md5 in _files(dep, made, root)]
    before = {made[path][0] for dep in deps for path in made if _within(path, dep)}
    params = {name: locked[name].get("params", {}) for name in sorted(_upstream(before, locked, made))}
    params[stage] = {key: _value(_read(root / "params.yaml"), key) for key in declared[stage].get("params", [])}
    return Provenance(stage, _short(json.dumps(params, sort_keys=True)), _short(*read))


def _upstream(stages: set[str], locked: Mapping, made: Mapping) -> set[str]:
    """The stages and all that led to them."""
    found, todo = set(), set(stages)
    while todo:
        name = todo.pop()
        found.add(name)
        deps = [dep["path"] for dep in locked[name].get("deps", []) if not dep["path"].startswith(CODE)]
        todo |= {made[path][0] for dep in deps for path in made if _within(path, dep)} - found
    return found


def _files(dep: str, made: Mapping, root: Path) -> list[tuple[str, str]]:
    """(path, hash) of what a dependency is: outputs of stages by dvc.lock, files of the repository by their content."""
    outs = sorted((path, md5) for path, (_, md5) in made.items() if _within(path, dep))
    if outs:
        return outs
    path = root / dep
    return [(dep, sha256(*sorted(file for file in (path.rglob("*") if path.is_dir() else [path]) if file.is_file())))]


def _value(values: dict, key: str) -> object:
    """What a dotted key leads to; None if nothing."""
    for name in key.split("."):
        values = values.get(name) if isinstance(values, dict) else None
    return values


def _within(path: str, dep: str) -> bool:
    """Whether an output is a dependency, holds it or lies in it."""
    return path == dep or path.startswith(f"{dep}/") or dep.startswith(f"{path}/")


def _short(*parts: str) -> str:
    return sha256(*parts)[:LETTERS]


def _read(path: Path) -> dict:
    return yaml.load(path.read_text(encoding="utf-8"), yaml.CSafeLoader) or {} if path.is_file() else {}
