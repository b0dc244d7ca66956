"""The whole pipeline on `configs/smoke.yaml`, in a scratch copy of this working tree: `make smoke`, and the test suite."""

import json
import os
import shlex
import shutil
import subprocess
import sys
import tempfile
import time
from concurrent.futures import FIRST_COMPLETED, ThreadPoolExecutor, wait
from contextlib import chdir
from graphlib import TopologicalSorter
from pathlib import Path

import yaml
from dvc.repo import Repo
from dvc.stage.serialize import to_lockfile
from dvc.utils.serialize import dump_yaml, load_yaml

from facedistill.core.files import write_json
from facedistill.repro.config import config

ROOT = Path(__file__).resolve().parents[1]
N_AT_ONCE = 2  # stages


def copy_tree(scratch: Path) -> None:
    """Copies tracked files and new ones that git does not ignore, then puts the smoke configuration in their params.yaml."""
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard", "-z"], cwd=ROOT, capture_output=True, check=True
    )
    for name in filter(None, listed.stdout.decode().split("\0")):
        if (ROOT / name).is_file():  # not deleted since it was tracked
            (scratch / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, scratch / name)
    (scratch / "params.yaml").write_text(config("smoke"), encoding="utf-8")
    # Without results to compare with, no stage can be skipped.
    (scratch / "dvc.lock").unlink(missing_ok=True)
    subprocess.run(["git", "init", "--quiet"], cwd=scratch, env=environment(scratch), check=True)


def environment(scratch: Path) -> dict[str, str]:
    """The environment in which stage commands use this interpreter and the package of the copy."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("GIT_", "DVC_", "PYTEST_"))}
    path = os.pathsep.join([str(Path(sys.executable).parent), kept.get("PATH", os.defpath)])
    # Of two stages at once, none lets waiting threads spin where the other computes.
    ours = {"PATH": path, "PYTHONPATH": str(scratch / "src"), "DVC_NO_ANALYTICS": "1", "OMP_WAIT_POLICY": "PASSIVE"}
    return kept | ours


def dvc(scratch: Path, *arguments: str) -> str:
    """Runs DVC in the copy, see `run`."""
    return run(scratch, shlex.join([sys.executable, "-m", "dvc", *arguments]))


def run(scratch: Path, command: str) -> str:
    """Runs a command in the copy; returns what it printed.

    Raises:
        RuntimeError: it failed; the message holds the end of what it printed.
    """
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True}
    done = subprocess.run(shlex.split(command), cwd=scratch, env=environment(scratch), **pipes, check=False)
    if done.returncode != 0:
        raise RuntimeError(f"{command}: exit code {done.returncode}\n{done.stdout[-4000:]}")
    return done.stdout


def outputs(scratch: Path) -> dict[str, list[Path]]:
    """The outputs of every finished stage, as dvc.lock names them."""
    stages = yaml.safe_load((scratch / "dvc.lock").read_text(encoding="utf-8"))["stages"]
    return {name: [scratch / out["path"] for out in stage.get("outs", [])] for name, stage in stages.items()}


def make_all(scratch: Path) -> dict[str, list[Path]]:
    """Makes everything in the copy and checks that it is there and up to date.

    Returns:
        The outputs of every stage.

    Raises:
        RuntimeError: a stage failed, or its outputs are missing, empty or not up to date.
    """
    run_stages(scratch)
    made = outputs(scratch)
    missing = [path.relative_to(scratch) for paths in made.values() for path in paths if not is_filled(path)]
    if missing or not made:
        raise RuntimeError(f"no output, or an empty one: {', '.join(map(str, missing)) or 'dvc.lock'}")
    status = dvc(scratch, "status", "--json", "dvc.yaml").strip()  # of the default pipeline
    if status.splitlines()[-1] != "{}":
        raise RuntimeError(f"not up to date after all stages have run:\n{status}")
    return made


def run_stages(scratch: Path) -> None:
    """Runs the stages of dvc.yaml that DVC has not recorded yet, `N_AT_ONCE` at a time, each after those that it depends on.

    `dvc repro` runs one at a time. As it does, this removes what a stage made before, and records in dvc.lock what it makes.
    """
    repo, lock = Repo(str(scratch)), scratch / "dvc.lock"
    recorded = load_yaml(lock) if lock.exists() else {"schema": "2.0", "stages": {}}
    with repo.lock:
        stages = [stage for stage in repo.index.stages if Path(stage.path) == scratch / "dvc.yaml" and stage.changed()]
    order = TopologicalSorter({stage: set(repo.index.graph.successors(stage)) & set(stages) for stage in stages})
    order.prepare()
    ready, running = [], {}
    with ThreadPoolExecutor(N_AT_ONCE) as pool, chdir(scratch):  # where DVC thinks it is
        while order.is_active():
            ready = sorted([*ready, *order.get_ready()], key=stages.index)  # in dvc.yaml, what many others wait for stands first
            while ready and len(running) < N_AT_ONCE:
                stage = ready.pop(0)
                for out in stage.outs:
                    out.remove()
                running[pool.submit(run, scratch, stage.cmd)] = stage
            for future in wait(running, return_when=FIRST_COMPLETED).done:
                future.result()
                stage = running.pop(future)
                with repo.lock:
                    stage.save()
                    stage.commit()
                recorded["stages"] |= json.loads(json.dumps(to_lockfile(stage)))
                write_json(lock, recorded)  # whole at any time: figures tell by it what they were made of
                order.done(stage)
    dump_yaml(lock, recorded)


def is_filled(path: Path) -> bool:
    """Whether a file is not empty, or a folder holds a file that is not."""
    files = path.rglob("*") if path.is_dir() else [path]
    return any(file.is_file() and file.stat().st_size > 0 for file in files)


if __name__ == "__main__":
    start_s = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="facedistill-smoke-") as folder:
        try:
            copy_tree(Path(folder).resolve())
            stages = make_all(Path(folder).resolve())
        except RuntimeError as error:
            sys.exit(f"error: {error}")
    print(f"smoke: {len(stages)} stages, {sum(map(len, stages.values()))} outputs, {time.monotonic() - start_s:.0f} s")
