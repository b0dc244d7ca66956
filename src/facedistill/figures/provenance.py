"""What made a figure: its stage, and hashes of the parameters and the data that it was made of, as DVC wrote them down."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import yaml

from facedistill.core.files import sha256
from facedistill.core.paths import ROOT

LETTERS = 12
CODE = "data/code/"  # a dep that is no data


@dataclass(frozen=True)
class Provenance:
    """A stage, and hashes of what it reads."""

    stage: str
    params: str
    data: str  # "none" where no data is read

    def __str__(self) -> str:
        return f"stage {self.stage}, params {self.params}, data {self.data}"


def provenance(figure: str, root: Path = ROOT) -> Provenance | None:
    """Looks the stage that makes figures/FIGURE.png up; None for what no stage makes, or where nothing was run yet.

    One hash is of the parameters that the stage reads, one of the files that it reads, which show all that was done before it:
    they change when DVC would make the figure anew for something else than code, and only then.
    """
    declared, locked = _declared(root), _read(root / "dvc.lock").get("stages", {})
    stage = next((name for name, entry in declared.items() if f"figures/{figure}.png" in _outputs(entry)), None)
    if stage is None or not locked:
        return None
    made = {out["path"]: out["md5"] for entry in locked.values() for out in entry.get("outs", [])}
    deps = [dep for dep in declared[stage].get("deps", []) if not dep.startswith(CODE)]
    read = [f"{path} {md5}" for dep in deps for path, md5 in _files(dep, made, root)]
    params = {key: _value(_read(root / "params.yaml"), key) for key in declared[stage].get("params", [])}
    return Provenance(stage, _short(json.dumps(params, sort_keys=True)), _short(*read) if read else "none")


def _declared(root: Path) -> dict[str, dict]:
    """The stages of dvc.yaml, those that are made for each of several names under their whole names."""
    stages = {}
    for name, entry in _read(root / "dvc.yaml").get("stages", {}).items():
        names = entry.get("foreach", [""])
        for key in () if isinstance(names, str) else names:  # students, variants and teachers of params.yaml, which draw nothing
            stages[f"{name}@{key}" if key else name] = json.loads(json.dumps(entry.get("do", entry)).replace("${key}", key))
    return stages


def _outputs(entry: Mapping) -> set[str]:
    """The paths that a stage of dvc.yaml declares as outputs."""
    declared = (*entry.get("outs", []), *entry.get("plots", []))
    return {path for out in declared for path in ([out] if isinstance(out, str) else out)}


def _files(dep: str, made: Mapping, root: Path) -> list[tuple[str, str]]:
    """(path, hash) of what a dependency is: outputs of stages by dvc.lock, files of the repository by their content."""
    outs = sorted((path, md5) for path, md5 in made.items() if _within(path, dep))
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
