"""How far training runs of the same code come out apart: what `make verify` may allow.

Run `python benchmarks/seed_spread.py`, which writes tests/expected/seed_spread.json: teacher, labels, students and baselines
of params.yaml anew for every seed, on one corpus, each in a copy below .work/seeds; a quarter of an hour a seed on two cores. A
run that is killed goes on where it stood. `facedistill verify` allows for what is kept here, see `verify.tolerances`.
"""

import argparse
import os
import shutil
import subprocess
import sys
from pathlib import Path

from facedistill.core.files import read_json, write_json, write_text
from facedistill.core.params import load_params
from facedistill.core.paths import PARAMS, ROOT, WORK
from facedistill.repro.config import changed_text
from facedistill.repro.verify import EXPECTED, compared, tolerances

COPIED = ("src", "data/sentences", "data/encoder", "params.yaml")
MIN_SEEDS = 3
CORPUS = ("prepare", "align")  # the same for all seeds
EVALUATE = (
    "from facedistill.core.params import load_params; from facedistill.models.training import prepare_torch; "
    "from facedistill.pipeline import evaluate as e; prepare_torch(); p = load_params(); "
    "e.evaluate_systems(p, e.test_sets(p))"
)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3, 4])
    parser.add_argument("--out", type=Path, default=EXPECTED / "seed_spread.json")
    given = parser.parse_args()
    if len(given.seeds) < MIN_SEEDS:
        parser.error(f"--seeds: {len(given.seeds)} of them; expected at least {MIN_SEEDS}, whose spread says something")
    corpus = WORK / "seeds" / "corpus"
    copy_sources(corpus)
    for stage in CORPUS:
        run_once(corpus, stage, "-m", "facedistill", stage)
    runs = {f"seed-{seed}": metrics_of(seed, corpus) for seed in given.seeds}
    write_json(given.out, runs)
    print_left_out(runs, read_json(EXPECTED / "metrics.json"))


def print_left_out(runs: dict, expected: dict) -> None:
    """How many numbers of each run would fail, had it not been among those that tolerances come from."""
    for name, run in runs.items():
        others = [other for key, other in runs.items() if key != name]
        table = compared(run, expected, tolerances([expected, *others]))
        print(f"{name}, left out: {(table['verdict'] == 'FAIL').sum()} of {len(table)} numbers fail")


def metrics_of(seed: int, corpus: Path) -> dict:
    """{test: {system: {metric: value}}} of all systems, trained with this seed."""
    params, folder = load_params(), WORK / "seeds" / f"seed-{seed}"
    copy_sources(folder)
    for stage in CORPUS:
        if not (folder / "data" / stage).exists():
            (folder / "data" / stage).symlink_to(corpus / "data" / stage)
    write_text(folder / "params.yaml", changed_text(PARAMS, {"seed": seed, "ablate.seeds": [seed]}, PARAMS))
    for stage in ("teach", "label"):
        run_once(folder, stage, "-m", "facedistill", stage)
    for name in params.distill.students:
        run_once(folder, name, "-m", "facedistill", "distill", name)
    for name in params.evaluate.baselines:
        run_once(folder, name, "-m", "facedistill", "ablate", name)
    run_once(folder, "evaluate", "-c", EVALUATE)
    return read_json(folder / "data" / "evaluate" / "metrics.json")


def copy_sources(folder: Path) -> None:
    """The code and its inputs, as they are now, unless an earlier run has copied them."""
    for name in COPIED:
        source, target = ROOT / name, folder / name
        target.parent.mkdir(parents=True, exist_ok=True)
        if source.is_file():
            shutil.copy2(source, target)
        elif not target.exists():
            shutil.copytree(source, target, ignore=shutil.ignore_patterns("__pycache__"))


def run_once(folder: Path, name: str, *arguments: str) -> None:
    """Runs a stage in the copy, unless it has finished there."""
    done = folder / ".done" / name
    if done.exists():
        return
    print(f"{folder.name}: {name}", file=sys.stderr)
    subprocess.run([sys.executable, *arguments], cwd=folder, env=os.environ | {"PYTHONPATH": str(folder / "src")}, check=True)
    done.parent.mkdir(exist_ok=True)
    done.touch()


if __name__ == "__main__":
    main()
