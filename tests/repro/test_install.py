"""README's commands in empty environments that hold the wheel, what it declares, and nothing else."""

import os
import re
import shutil
import subprocess
import sys
import tomllib
from functools import cache
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import soundfile as sf
from exported import noise

from facedistill.core.paths import ROOT
from facedistill.formats import registry
from facedistill.formats.animation import regular
from facedistill.rig.arkit import CURVES
from facedistill.study.analysis import COLUMNS

UV = Path(sys.executable).with_name("uv")
CORE, FILM, MIC, STUDY = "", "film", "mic", "study"
COMMANDS = {"animate": CORE, "live": CORE, "convert": CORE, "info": CORE, "bench": CORE, "render": FILM, "study": STUDY}
NOT_INSTALLED = {"torch", "transformers", "dvc", "soundfile"}  # in any of them
MAX_BYTES = 1e9
NO_MICROPHONE = re.compile(r"error: --mic: .*(no microphone|PortAudio)")


def pythons() -> list[str]:
    """The suite's own, and 3.12 where there is one that runs."""
    found = shutil.which("python3.12")
    is_there = found and subprocess.run([found, "-c", ""], capture_output=True, check=False).returncode == 0
    return [sys.executable, *([found] if is_there and sys.version_info < (3, 12) else [])]


@cache
def readme_commands() -> dict[str, list[str]]:
    """{extra: commands} that README shows for those who use a model."""
    blocks = re.findall(r"^```bash\n(.*?)^```", (ROOT / "README.md").read_text(encoding="utf-8"), flags=re.MULTILINE | re.DOTALL)
    parts = [part.strip() for block in blocks for line in block.splitlines() for part in line.partition("#")[0].split("&&")]
    commands: dict[str, list[str]] = {extra: [] for extra in (CORE, FILM, MIC, STUDY)}
    for part in parts:
        words = part.split()
        if words[:1] == ["facedistill"] and words[1] in COMMANDS:
            commands[MIC if "--mic" in words else COMMANDS[words[1]]].append(part)
    return commands


@pytest.fixture(scope="session")
def wheel(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    for name in ("src", "models", "data/face"):
        shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__", "*.egg-info"))
    for name in ("pyproject.toml", "setup.py", "MANIFEST.in", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, folder)
    code = "from setuptools import build_meta; print(build_meta.build_wheel('.'))"
    done = subprocess.run([sys.executable, "-c", code], cwd=folder, capture_output=True, text=True, check=True)
    return folder / done.stdout.split()[-1]


@pytest.fixture(scope="session", params=[(python, extra) for python in pythons() for extra in (CORE, FILM, MIC, STUDY)], ids=str)
def environment(request, wheel, tmp_path_factory) -> tuple[str, Path]:
    """An extra, and an environment with it; versions are those of the lock."""
    python, extra = request.param
    place = tmp_path_factory.mktemp("bare") / "env"
    wanted = f"facedistill[{extra}] @ {wheel.as_uri()}" if extra else f"facedistill @ {wheel.as_uri()}"
    constraints = tmp_path_factory.mktemp("lock") / "constraints.txt"
    lines = re.findall(r"^[\w.-]+==[^\\\n]*", (ROOT / "requirements.txt").read_text(), re.MULTILINE)
    constraints.write_text("\n".join(line.strip() for line in lines))
    for command in (
        ["venv", "--python", python, place],
        ["pip", "install", "--python", place / "bin" / "python", "--constraint", constraints, wanted],
    ):
        subprocess.run([UV, *command, "--quiet"], check=True)
    yield extra, place
    shutil.rmtree(place)


@pytest.fixture
def folder(tmp_path) -> Path:
    """Where a user's files lie, those that README names."""
    for name in ("talk.wav", "interviews/first.wav", "interviews/second.wav"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        sf.write(tmp_path / name, noise(0.5), 16_000)
    moving = regular(CURVES, np.random.default_rng(0).random((15, len(CURVES))), 30)
    for name in ("head.glb", "take.csv", "a.csv", "b.csv", "curves/tiny/first.csv", "curves/tiny/second.csv"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        registry.write(tmp_path / name, moving)
    for system in ("on-device", "tiny"):
        for number in range(4):
            clip = tmp_path / "clips" / system / f"{number}.mp4"
            clip.parent.mkdir(parents=True, exist_ok=True)
            clip.write_bytes(f"{system} {number}".encode())
    (tmp_path / "answers").mkdir()
    rows = [("r", 0, trial, f"{trial}", "on-device", "tiny", "", "left", 3.0) for trial in range(20)]
    pd.DataFrame(rows, columns=list(COLUMNS)).to_csv(tmp_path / "answers" / "r.csv", index=False)
    return tmp_path


def run(command: str, place: Path, folder: Path) -> subprocess.CompletedProcess:
    """As a user types it, with nothing of this suite's environment."""
    (folder / "home").mkdir(exist_ok=True)
    variables = {"PATH": f"{place / 'bin'}{os.pathsep}{os.defpath}", "HOME": str(folder / "home"), "LC_ALL": "C.UTF-8"}
    return subprocess.run(["bash", "-c", command], cwd=folder, env=variables, capture_output=True, text=True, check=False)


def test_every_command_of_the_readme_runs(environment, folder):
    extra, place = environment
    assert readme_commands()[extra]
    for command in readme_commands()[extra]:
        done = run(command, place, folder)
        if extra == MIC and done.returncode:  # a machine without a microphone
            assert done.returncode == 2 and NO_MICROPHONE.match(done.stderr), done.stderr
            continue
        assert done.returncode == 0, f"{command}\n{done.stderr}"
        for out in re.findall(r" -o (\S+)", command):
            assert (folder / out).exists(), command


def test_an_environment_is_light(environment):
    extra, place = environment
    packages = next((place / "lib").iterdir()) / "site-packages"
    assert not NOT_INSTALLED & {path.name for path in packages.iterdir()}
    n_bytes = sum(path.stat().st_size for path in packages.rglob("*") if path.is_file())
    install = f'`pip install ".[{extra}]"`' if extra else "`pip install .`"
    message = re.search(re.escape(install) + r" \|.*\| ([\d.]+) GB \|", (ROOT / "README.md").read_text(encoding="utf-8"))
    print(f"{extra or 'core'}: {n_bytes / 1e6:.0f} MB")
    assert n_bytes < MAX_BYTES and float(message[1]) == pytest.approx(n_bytes / 1e9, abs=0.15)  # pip adds bytecode


def test_every_other_command_says_what_installs_it(environment, folder):
    extra, place = environment
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    others = {FILM: "render talk.wav -o talk.mp4", STUDY: "study analyse answers/r.csv", MIC: "live --mic", "train": "prepare"}
    for needed, command in others.items():
        if needed != extra:
            done = run(f"facedistill {command}", place, folder)
            assert done.returncode == 2 and len(done.stderr.splitlines()) == 1, done.stderr
            editable = "-e " if needed == "train" else ""
            assert f'`pip install {editable}".[{needed}]"`' in done.stderr and needed in extras


def test_every_command_that_uses_a_model_runs_in_the_core(environment, folder):
    extra, place = environment
    if extra != CORE:
        pytest.skip("the core's own")
    for command in (
        "bench tiny-real-time --seconds 1",
        "live --wav talk.wav --target 127.0.0.1:9",
        "study --help",
        "info on-device",
    ):
        done = run(f"facedistill {command}", place, folder)
        assert done.returncode == 0 or "nobody listens there" in done.stderr, f"{command}\n{done.stderr}"
