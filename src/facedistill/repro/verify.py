"""Whether this run came out as the committed one did: numbers within tolerances, outputs byte for byte."""

import importlib.metadata
import json
from collections.abc import Iterator, Mapping, Sequence

import pandas as pd
from dvc.exceptions import DvcException
from dvc.output import Output
from dvc.repo import Repo

from facedistill.app.bench import machine
from facedistill.core.errors import InputError
from facedistill.core.files import read_json, write_json
from facedistill.core.params import read_yaml
from facedistill.core.paths import DATA, DURATION_NOTES, ROOT, WORK

EXPECTED = ROOT / "tests" / "expected"
MEASURED = DATA / "evaluate" / "metrics.json"
REPORT = WORK / "verify.json"
# Tolerances are so many standard deviations over runs. Two runs differ by 1.4 of them, dozens of numbers are compared, and a
# deviation over five runs is rough itself: `benchmarks/seed_spread.py` prints how many numbers of a run that was left out fail.
DEVIATIONS = 5.0
ROUNDING = {"lip_gap_r": 0.002, "pbm": 0.01, "pbm_1mm": 0.01, "lve_mm": 0.02}  # that a processor makes, where no seed matters
MEANING = f"""
A FAIL is a number further from the committed run than {DEVIATIONS:g} standard deviations of what training seeds make of the same
system (tests/expected/seed_spread.json, by `python benchmarks/seed_spread.py`). Another processor is like another seed: chance
fails a number or two of a run now and then. More than that mean something: look for other versions (the report lists them),
changed parameters or changed code."""
VERSIONS = ("facedistill", "torch", "torchaudio", "transformers", "numpy", "scipy", "onnxruntime", "espeakng-loader")


def verify() -> bool:
    """Prints a table of PASS and FAIL, writes `REPORT` with machine, versions, seeds and durations; True if nothing failed."""
    try:
        repo = Repo(str(ROOT))
        made = _outputs(repo)
    except DvcException as error:
        raise InputError(f"verify: {' '.join(str(error).split())}; expected a clone that DVC can read") from None
    missing = [path for path, out in made.items() if not out.exists]
    if missing or not made:
        such = f"{len(missing)} of {len(made)} outputs are missing, such as {[*missing, 'dvc.lock'][0]}"
        hint = "`make repro` makes them in about an hour, `make cache-restore` unpacks those of another run"
        raise InputError(f"verify: {such}; hint: {hint}")
    expected, spread = read_json(EXPECTED / "metrics.json"), read_json(EXPECTED / "seed_spread.json")
    try:
        table = compared(read_json(MEASURED), expected, tolerances([expected, *spread.values()]))
    except (AttributeError, KeyError, TypeError) as error:
        raise InputError(f"{EXPECTED}: not what `verify` compares ({error!r}); expected test, system, metric, value") from None
    wrong = [path for path, out in made.items() if out.changed_checksum()]
    anew = sorted(path for path, out in _committed(repo).items() if path not in made or out.hash_info != made[path].hash_info)
    same_numbers = bool((table["verdict"] == "PASS").all())
    passed = same_numbers and not wrong
    print(table.to_markdown(index=False, floatfmt=".4f"))
    if not same_numbers:
        print(MEANING)
    print(f"\n{'FAIL' if wrong else 'PASS'}: {len(made) - len(wrong)} of {len(made)} outputs are those of dvc.lock")
    print(*(f"  differs: {path}\n" for path in wrong), sep="", end="")
    print(f"beside the committed dvc.lock: {f'{len(anew)} outputs were made anew' if anew else 'the same, byte for byte'}")
    write_json(REPORT, _report(table, wrong, anew))
    print(f"{'PASS' if passed else 'FAIL'}; written to {REPORT.relative_to(ROOT)}")
    return passed


def accept() -> None:
    """Makes the numbers of this run the expected ones, and its durations those that are told."""
    write_json(EXPECTED / "metrics.json", read_json(MEASURED))
    write_json(EXPECTED / "durations.json", durations())


def durations() -> dict[str, float]:
    """{stage: seconds} of the last run of each, by the notes of `cli.record_duration`; other lines are left out."""
    lines = DURATION_NOTES.read_bytes().splitlines() if DURATION_NOTES.is_file() else []
    return dict(filter(None, map(_note, lines)))


def _note(line: bytes) -> tuple[str, float] | None:
    try:
        note = json.loads(line)
        is_note = isinstance(note["name"], str) and isinstance(note["seconds"], float)
    except (ValueError, RecursionError, LookupError, TypeError):
        return None
    return (note["name"], note["seconds"]) if is_note else None


def tolerances(runs: Sequence[Mapping]) -> dict[str, dict[str, float]]:
    """{system: {metric: how far a number may be off}}, from how far runs of the same code came out apart.

    Args:
        runs: {test: {system: {metric: value}}} each; of the standard deviations over runs, that of the widest test counts.
    """
    table = pd.DataFrame([leaf for run in runs for leaf in _leaves(run)], columns=["test", "system", "metric", "value"])
    deviations = table.groupby(["system", "metric", "test"])["value"].std().groupby(["system", "metric"]).max()
    found: dict[str, dict[str, float]] = {}
    for (system, metric), deviation in deviations.items():
        found.setdefault(system, {})[metric] = max(ROUNDING[metric], DEVIATIONS * deviation)  # NaN of a single run goes
    return found


def compared(measured: Mapping, expected: Mapping, allowed: Mapping[str, Mapping[str, float]]) -> pd.DataFrame:
    """A row for every expected number: columns test, system, metric, expected, measured, tolerance, verdict (PASS or FAIL).

    Args:
        measured, expected: {test: {system: {metric: value, or None where nothing can be measured}}}.
        allowed: {system: {metric: how far a number may be off}}.
    """
    rows = []
    for test, system, metric, value in _leaves(expected):
        found, tolerance = measured.get(test, {}).get(system, {}).get(metric), allowed[system][metric]
        same = found is None if value is None else found is not None and abs(found - value) <= tolerance
        rows.append((test, system, metric, value, found, tolerance, "PASS" if same else "FAIL"))
    return pd.DataFrame(rows, columns=["test", "system", "metric", "expected", "measured", "tolerance", "verdict"])


def _leaves(table: Mapping) -> Iterator[tuple[str, str, str, float | None]]:
    for test, systems in table.items():
        for system, metrics in systems.items():
            for metric, value in metrics.items():
                yield test, system, metric, value


def _outputs(repo: Repo) -> dict[str, Output]:
    """{path: output} of what the stages of dvc.yaml make, where dvc.lock tells its hash."""
    stages = repo.stage.load_all(repo.fs.join(repo.root_dir, "dvc.yaml"))
    return {out.def_path: out for stage in stages for out in stage.outs if out.hash_info}


def _committed(repo: Repo) -> dict[str, Output]:
    """The outputs of the last commit; none, where DVC finds no commit that has some."""
    try:
        with repo.switch("HEAD"):
            return _outputs(repo)
    except DvcException:
        return {}


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
