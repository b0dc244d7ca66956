"""The whole pipeline on `configs/smoke.yaml`, in a scratch copy of this working tree: `make smoke`, and the test suite."""

import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import yaml

from facedistill.repro.config import config

ROOT = Path(__file__).resolve().parents[1]


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
    return {**kept, "PATH": path, "PYTHONPATH": str(scratch / "src"), "DVC_NO_ANALYTICS": "1"}


def dvc(scratch: Path, *arguments: str) -> str:
    """Runs DVC in the copy; returns what it printed.

    Raises:
        RuntimeError: it failed; the message holds the end of what it printed.
    """
    command = [sys.executable, "-m", "dvc", *arguments]
    done = subprocess.run(
        command, cwd=scratch, env=environment(scratch), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False
    )
    if done.returncode != 0:
        raise RuntimeError(f"dvc {' '.join(arguments)}: exit code {done.returncode}\n{done.stdout[-4000:]}")
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
    dvc(scratch, "repro")
    made = outputs(scratch)
    missing = [path.relative_to(scratch) for paths in made.values() for path in paths if not is_filled(path)]
    if missing or not made:
        raise RuntimeError(f"no output, or an empty one: {', '.join(map(str, missing)) or 'dvc.lock'}")
    status = dvc(scratch, "status", "--json", "dvc.yaml").strip()  # of the default pipeline
    if status.splitlines()[-1] != "{}":
        raise RuntimeError(f"not up to date after dvc repro:\n{status}")
    return made


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
