"""The Makefile works in a clone whatever the folder's name is."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from facedistill.core.paths import ROOT

STAGE = """stages:
  make:
    cmd: python -c "open('out', 'w').write('made')"
    outs: [out]
"""
TARGETS = ("help", "repro", "verify", "test", "smoke", "bench", "release", "page", "lab", "site", "lock")


def make(folder: Path, *arguments: str, **environment: str) -> str:
    """What `make` prints, run with this interpreter in place of the environment that it would build."""
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    command = ["make", "--silent", "--assume-old", ".venv/.ready", *arguments]
    done = subprocess.run(
        command, cwd=folder, env=os.environ | {"PATH": path} | environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture
def clone(tmp_path) -> Path:
    folder = tmp_path / "my projects" / "face (distill) & 'more'"
    folder.mkdir(parents=True)
    shutil.copy(ROOT / "Makefile", folder)
    return folder


def test_targets_are_found_and_no_command_names_the_folder(clone):
    message = make(clone, "help")
    assert all(f"make {target} " in message for target in TARGETS)
    commands = make(clone, "--dry-run", *TARGETS[1:], "cache-archive", "cache-restore")
    assert "dvc repro" in commands and str(clone) not in commands and "projects" not in commands


def test_tests_are_run_with_the_package_of_the_folder(clone):
    (clone / "src").mkdir()
    (clone / "src" / "here.py").write_text("")
    test = "import here, pathlib\ndef test_one(): assert pathlib.Path(here.__file__).parent == pathlib.Path('src').absolute()\n"
    (clone / "test_one.py").write_text(test)
    assert "1 passed" in make(clone, "test", PYTEST_ADDOPTS="-p no:cacheprovider test_one.py")


@pytest.fixture
def archive(clone) -> Path:
    """A pipeline that has run, its results packed and then lost."""
    (clone / "dvc.yaml").write_text(STAGE)
    dvc = {"PYTHONPATH": "", "DVC_NO_ANALYTICS": "1", "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"}
    for arguments in (["init", "--no-scm", "--quiet"], ["repro", "--quiet"]):
        subprocess.run([sys.executable, "-m", "dvc", *arguments], cwd=clone, env=os.environ | dvc, check=True)
    make(clone, "cache-archive")
    (clone / "out").unlink()
    shutil.rmtree(clone / ".dvc" / "cache")
    return clone / "facedistill-cache.tar"


def test_results_are_packed_and_unpacked(clone, archive):
    make(clone, "cache-restore")
    assert (clone / "out").read_text() == "made" and not (clone / ".work" / "archive").exists()


@pytest.mark.parametrize("damage", ["cut", "flipped"])
def test_no_result_comes_from_a_broken_archive(clone, archive, damage):
    content = bytearray(archive.read_bytes())
    content[content.index(b"made")] ^= 1
    archive.write_bytes(content if damage == "flipped" else content[:700])
    with pytest.raises(AssertionError, match="cache-restore"):
        make(clone, "cache-restore")
    assert not (clone / "out").exists()
