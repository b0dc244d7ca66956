"""The whole pipeline on configs/smoke.yaml: killed once, finished, repeated from the cache, and one stage made a second time."""

import os
import re
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from smoke import ROOT, copy_tree, dvc, environment, make_all, run_stages


def kill_in(scratch: Path, stage: str) -> None:
    """Starts `dvc repro` and ends it, and all that it started, with SIGKILL once it runs a stage."""
    command = [sys.executable, "-u", "-m", "dvc", "repro"]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True}
    with subprocess.Popen(command, cwd=scratch, env=environment(scratch), start_new_session=True, **pipes) as process:
        for line in process.stdout:
            if f"> python -m facedistill {stage}" in line:
                os.killpg(process.pid, signal.SIGKILL)
                return
    raise AssertionError(f"{stage} was not reached")


def stages(scratch: Path) -> dict[str, dict]:
    return yaml.safe_load((scratch / "dvc.lock").read_text(encoding="utf-8"))["stages"]


@pytest.fixture(scope="module")
def scratch(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("smoke")
    copy_tree(folder)
    kill_in(folder, "teach")
    assert list(stages(folder)) == ["check", "prepare", "align"]
    return folder


@pytest.fixture(scope="module")
def made(scratch) -> dict[str, list[Path]]:
    assert re.findall(r"Running stage '(.*)'", dvc(scratch, "repro", "teach")) == ["teach"]
    return make_all(scratch)


def test_a_killed_run_is_finished_by_the_next(made):
    notebooks = {path.stem for path in (ROOT / "notebooks").glob("*.ipynb")}
    assert {"prepare", "teach", "label", "evaluate"} <= set(made)
    assert notebooks == {path.stem for paths in made.values() for path in paths if path.suffix == ".ipynb"}


def test_nothing_is_done_when_nothing_changed(scratch, made):
    lock = (scratch / "dvc.lock").read_bytes()
    assert "up to date" in dvc(scratch, "repro")
    assert (scratch / "dvc.lock").read_bytes() == lock


def test_what_is_lost_comes_back_from_the_cache(scratch, made):
    lost = [path for name in ("prepare", "teach", "distill@small") for path in made[name]]
    for path in lost:
        shutil.rmtree(path) if path.is_dir() else path.unlink()
    lock = (scratch / "dvc.lock").read_bytes()
    assert "Running stage" not in dvc(scratch, "repro")
    assert all(path.exists() for path in lost)
    assert (scratch / "dvc.lock").read_bytes() == lock


def test_a_comment_in_code_of_no_stage_runs_the_check_alone(scratch, made):
    for name in ("cli.py", "app/render.py", "repro/benchmark.py"):
        path = scratch / "src" / "facedistill" / name
        path.write_text(path.read_text(encoding="utf-8") + "# A comment.\n", encoding="utf-8")
    assert re.findall(r"Running stage '(.*)'", dvc(scratch, "repro")) == ["check"]


def test_a_wrong_parameter_removes_nothing(scratch, made):
    path = scratch / "params.yaml"
    text = path.read_text(encoding="utf-8")
    path.write_text(text.replace("velocity:", "velocty:"), encoding="utf-8")
    with pytest.raises(RuntimeError, match="velocty: no such key; expected velocity"):
        dvc(scratch, "repro")
    path.write_text(text, encoding="utf-8")
    assert all(path.exists() for paths in made.values() for path in paths if "code" not in path.parts)
    assert re.findall(r"Running stage '(.*)'", dvc(scratch, "repro")) in ([], ["check"])


def test_a_stage_made_again_has_the_same_bytes(scratch, made):
    before = stages(scratch)
    dvc(scratch, "repro", "--force", "--single-item", "distill@tiny-real-time")
    assert stages(scratch) == before


def test_no_output_names_a_folder_of_this_machine(scratch, made):
    files = [file for paths in made.values() for path in paths for file in ([path] if path.is_file() else path.rglob("*"))]
    named = [file for file in files if file.is_file() and str(scratch).encode() in file.read_bytes()]
    assert files and not named


def test_a_reader_with_the_archive_has_nothing_to_make(scratch, made, tmp_path):
    reader = tmp_path / "reader"
    git = ["git", "-c", "user.name=x", "-c", "user.email=x@y"]
    make = ["make", "--silent", "--assume-old", ".venv/.ready"]  # with this interpreter
    commands = [([*git, "add", "--all"], scratch), ([*git, "commit", "--quiet", "--message", "x"], scratch)]
    commands += [([*make, "cache-archive"], scratch), (["git", "clone", "--quiet", str(scratch), str(reader)], scratch)]
    for command, folder in commands:
        subprocess.run(command, cwd=folder, env=environment(folder), check=True)
    shutil.move(scratch / "facedistill-cache.tar", reader)
    subprocess.run([*make, "cache-restore"], cwd=reader, env=environment(reader), check=True)
    assert "Running stage" not in dvc(reader, "repro")
    assert (reader / "dvc.lock").read_bytes() == (scratch / "dvc.lock").read_bytes()
    for command in (("params", "diff"), ("metrics", "diff"), ("plots", "diff"), ("exp", "show")):
        dvc(reader, *command)


def test_stages_run_after_those_that_they_depend_on_and_one_that_fails_ends_the_run(tmp_path):
    chain = {"last": ("cp b c", "b", "c"), "middle": ("cp a b", "a", "b"), "first": ("cp given a", "given", "a")}
    pipeline = {"stages": {name: {"cmd": cmd, "deps": [dep], "outs": [out]} for name, (cmd, dep, out) in chain.items()}}
    (tmp_path / "dvc.yaml").write_text(yaml.safe_dump(pipeline))
    (tmp_path / "given").write_text("x")
    dvc(tmp_path, "init", "--no-scm", "--quiet")
    run_stages(tmp_path)
    assert list(stages(tmp_path)) == ["first", "middle", "last"] and (tmp_path / "c").read_text() == "x"
    assert "up to date" in dvc(tmp_path, "repro")
    (tmp_path / "dvc.yaml").write_text(yaml.safe_dump(pipeline).replace("cp a b", "cp nothing b"))
    (tmp_path / "dvc.lock").unlink()
    with pytest.raises(RuntimeError, match="cp nothing b: exit code 1"):
        run_stages(tmp_path)
    assert list(stages(tmp_path)) == ["first"]
