"""Whether this run came out as the committed one did: numbers within tolerances, outputs byte for byte."""

import hashlib
import importlib.metadata
import json
import subprocess
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path

import pandas as pd
import yaml
from dvc.repo import Repo

from facedistill.bench import machine
from facedistill.core.config import read_yaml
from facedistill.core.errors import InputError
from facedistill.core.files import read_json, write_json
from facedistill.core.paths import DATA, ROOT, WORK
from facedistill.durations import durations

EXPECTED = ROOT / "tests" / "expected"
MEASURED = DATA / "evaluate" / "metrics.json"
REPORT = WORK / "verify.json"
LOCK = ROOT / "dvc.lock"
VERSIONS = ("facedistill", "torch", "torchaudio", "transformers", "numpy", "scipy", "onnxruntime", "espeakng-loader")


def verify() -> bool:
    """Prints a table of PASS and FAIL, writes `REPORT` with machine, versions, seeds and durations; True if nothing failed.

    Raises:
        InputError: no run to verify, or no committed numbers.
    """
    table = compared(read_json(MEASURED), read_json(EXPECTED / "metrics.json"), read_json(EXPECTED / "tolerances.json"))
    stages = stage_names()
    made = outputs(_stages(LOCK.read_text(encoding="utf-8")), stages) if LOCK.is_file() else {}
    wrong = [path for path, told in made.items() if not _is(ROOT / path, told)]
    anew = sorted(path for path, told in outputs(_committed_lock(), stages).items() if made.get(path) != told)
    passed = bool((table["verdict"] == "PASS").all()) and not wrong and bool(made)
    print(table.to_markdown(index=False, floatfmt=".4f"))
    print(f"\n{'FAIL' if wrong else 'PASS'}: {len(made) - len(wrong)} of {len(made)} outputs are those of dvc.lock")
    for path in wrong:
        print(f"  differs: {path}")
    print(f"beside the committed dvc.lock: {f'{len(anew)} outputs were made anew' if anew else 'the same, byte for byte'}")
    write_json(REPORT, _report(table, wrong, anew))
    print(f"{'PASS' if passed else 'FAIL'}; written to {REPORT.relative_to(ROOT)}")
    return passed


def accept() -> None:
    """Makes the numbers of this run the expected ones, and its durations those that are told."""
    write_json(EXPECTED / "metrics.json", read_json(MEASURED))
    write_json(EXPECTED / "durations.json", durations())


def compared(measured: Mapping, expected: Mapping, tolerances: Mapping[str, float | None]) -> pd.DataFrame:
    """A row for every expected number: columns test, system, metric, expected, measured, tolerance, verdict (PASS or FAIL).

    Args:
        measured, expected: {test: {system: {metric: value, or None where nothing can be measured}}}.
        tolerances: {metric: how far a number may be off; None for one that is not compared}.

    Raises:
        InputError: not of this form, or a metric without a tolerance.
    """
    rows = []
    try:
        for test, system, metric, value in _leaves(expected):
            found = measured.get(test, {}).get(system, {}).get(metric)
            tolerance = tolerances[metric]
            if tolerance is None:
                continue
            same = found is None if value is None else found is not None and abs(found - value) <= tolerance
            rows.append((test, system, metric, value, found, tolerance, "PASS" if same else "FAIL"))
    except (AttributeError, KeyError, TypeError) as error:
        raise InputError(f"{EXPECTED}: not what `verify` compares ({error!r}); allowed: test, system, metric, value") from None
    return pd.DataFrame(rows, columns=["test", "system", "metric", "expected", "measured", "tolerance", "verdict"])


def stage_names() -> set[str]:
    """The stages of dvc.yaml; dvc.lock still has those that were removed from it."""
    stages = Repo(str(ROOT), config={"core": {"no_scm": True}}).index.stages
    return {stage.name for stage in stages if Path(stage.path) == ROOT / "dvc.yaml"}


def outputs(locked: Mapping, stages: Collection[str]) -> dict[str, str]:
    """{path of an output: its hash} of the stages of a dvc.lock that are among `stages`."""
    return {out["path"]: out["md5"] for name, entry in locked.items() if name in stages for out in entry.get("outs", [])}


def hash_of(path: Path) -> str:
    """What DVC calls the MD5 of a file, or of a folder: that of the list of its files, sorted by path."""
    if not path.is_dir():
        return _md5(path)
    files = sorted((file.relative_to(path).as_posix(), _md5(file)) for file in path.rglob("*") if file.is_file())
    listed = [{"md5": md5, "relpath": name} for name, md5 in files]
    return hashlib.md5(json.dumps(listed, sort_keys=True).encode()).hexdigest() + ".dir"  # noqa: S324


def _md5(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "md5").hexdigest()


def _is(path: Path, told: str) -> bool:
    return path.exists() and hash_of(path) == told


def _leaves(table: Mapping) -> Iterator[tuple[str, str, str, float | None]]:
    for test, systems in table.items():
        for system, metrics in systems.items():
            for metric, value in metrics.items():
                yield test, system, metric, value


def _stages(text: str) -> dict:
    return (yaml.safe_load(text) or {}).get("stages", {})


def _committed_lock() -> dict:
    """The stages of the dvc.lock in git; none, where there is no git."""
    try:
        done = subprocess.run(["git", "show", "HEAD:dvc.lock"], cwd=ROOT, capture_output=True, text=True, check=False)
    except OSError:
        return {}
    return _stages(done.stdout) if done.returncode == 0 else {}


def _report(table: pd.DataFrame, wrong: list[str], anew: list[str]) -> dict:
    params = read_yaml(ROOT / "params.yaml")
    return {
        "numbers": json.loads(table.to_json(orient="records")),
        "outputs_that_differ_from_dvc_lock": wrong,
        "outputs_made_anew": anew,
        "seeds": {"seed": params["seed"], "ablate.seeds": params["ablate"]["seeds"]},
        "machine": machine(),
        "versions": {name: importlib.metadata.version(name) for name in VERSIONS},
        "durations_s": durations(),
    }
