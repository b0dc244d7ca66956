"""The job the students exist for: recordings in, files of ARKit curves out, many at a time."""

import multiprocessing
import sys
import zlib
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

import numpy as np
from tqdm import tqdm

from facedistill.core.errors import InputError
from facedistill.core.paths import DATA
from facedistill.face.arkit import CURVES
from facedistill.formats import registry
from facedistill.formats.animation import Animation, regular
from facedistill.runtime import Animator, Eyes, Model
from facedistill.speech.audio import AUDIO_SUFFIXES, read_mono

DEFAULT_MODEL = "tiny-real-time"
DECIMALS = 6  # of weights in files: far below what can be seen


@dataclass(frozen=True)
class Settings:
    """How recordings are animated.

    Attributes:
        model: an exported streaming student.
        fps: frames a second.
        ensemble: see `runtime.Animator`.
        blinks: seed of blinks and eye darts in place of the model's eyes; none for the model's.
        gains: factors of single curves, which stay in 0..1.
        kind: of the files, see `formats.registry`.
        face: a GLB whose shapes are moved; the built-in head if none.
    """

    model: Path
    fps: int = 30
    ensemble: bool = False
    blinks: int | None = None
    gains: Mapping[str, float] = field(default_factory=dict)
    kind: str = "csv"
    face: Path | None = None


def find_model(model: str) -> Path:
    """The file of an exported student: a path, or the name of one that this checkout has exported, `on-device-int8` say.

    Raises:
        InputError: neither.
    """
    exported = {path.stem: path for path in sorted((DATA / "export").glob("*/*.onnx")) if not path.stem.endswith("-window")}
    if model in exported:
        return exported[model]
    if Path(model).is_file():
        return Path(model)
    allowed = ", ".join(exported) if exported else "none is exported yet: run `make repro`"
    raise InputError(f"--model {model}: neither a model's file nor one of: {allowed}")


def animate_samples(samples: np.ndarray, rate_hz: int, model: Model, settings: Settings, *, name: str = "") -> Animation:
    """Animates a recording.

    Args:
        samples: (S,) at `rate_hz`, any of `runtime.MIN_RATE_HZ` to MAX_RATE_HZ.
        name: of the recording; eyes of the same seed differ from name to name.

    Raises:
        InputError: samples that the engine does not take, or a model whose curves are no numbers or bear a name twice.
    """
    animator = Animator(model, rate_hz=rate_hz, fps=settings.fps, ensemble=settings.ensemble)
    frames = animator.animate(samples)
    weights = frames.weights
    if settings.blinks is not None:
        weights = Eyes([settings.blinks, zlib.crc32(name.encode())]).apply(weights, frames.times_s, animator.curves)
    for curve, gain in settings.gains.items():
        if curve in animator.curves:
            column = animator.curves.index(curve)
            weights[:, column] = np.clip(weights[:, column] * gain, 0, 1)
    try:
        return regular(animator.curves, weights.astype(np.float64).round(DECIMALS), settings.fps)
    except ValueError as error:
        raise InputError(f"the model gives no curves ({error})") from None


def animate_file(recording: Path, path: Path, settings: Settings) -> None:
    """Animates one recording into one file.

    Raises:
        InputError: the recording or the model cannot be used, or the file cannot be written.
    """
    samples, rate_hz = read_mono(recording)
    model = _model(settings.model)
    try:
        animation = animate_samples(samples, rate_hz, model, settings, name=recording.stem)
    except InputError as error:  # the engine does not know where samples come from
        raise InputError(f"{recording}: {error}") from None
    registry.write(path, animation, kind=settings.kind, face=settings.face)


def animate_batch(inputs: Sequence[Path], out: Path, settings: Settings, *, workers: int = 1) -> int:
    """Animates recordings, and all below folders; a bad one is reported in one line and the batch goes on.

    Args:
        inputs: files and folders of recordings.
        out: a folder, in which files have the names of the recordings; or, for one recording, a file.
        workers: processes; the files do not depend on their number.

    Returns:
        How many recordings failed.

    Raises:
        InputError: no such model or curve, nothing to animate, or two recordings would write the same file.
    """
    unknown = sorted(set(settings.gains) - set(CURVES))
    if unknown:
        raise InputError(f"--gain {unknown[0]}: no such curve; allowed: {', '.join(CURVES)}")
    _model(settings.model)
    jobs = [(recording, path, settings) for path, recording in _targets(inputs, out, settings.kind).items()]
    failed = 0
    with _mapped(min(workers, len(jobs))) as run:
        for error in tqdm(run(_attempt, jobs), total=len(jobs), desc="animate", unit="file", disable=len(jobs) < 2):
            if error is not None:
                failed += 1
                tqdm.write(f"error: {error}", file=sys.stderr)
    if len(jobs) > 1 or failed:
        print(f"animated {len(jobs) - failed} of {len(jobs)} recordings into {out}", file=sys.stderr)
    return failed


def _targets(inputs: Sequence[Path], out: Path, kind: str) -> dict[Path, Path]:
    """{file to write: recording}."""
    suffix = registry.KINDS[kind].suffix
    recordings = [pair for path in inputs for pair in _recordings(path)]
    if out.suffix == suffix and not out.is_dir():
        if len(recordings) > 1:
            raise InputError(f"{out}: one file for {len(recordings)} recordings; allowed: a folder")
        return {out: recordings[0][0]}
    targets: dict[Path, Path] = {}
    for recording, place in recordings:
        path = out / place.with_suffix(suffix)
        if path in targets:
            raise InputError(f"{recording}: would write {path}, as {targets[path]} does; allowed: one recording a name")
        targets[path] = recording
    return targets


def _recordings(path: Path) -> list[tuple[Path, Path]]:
    """Recordings, each with its place in the output folder."""
    if not path.is_dir():
        return [(path, Path(path.name))]
    found = sorted(file for file in path.rglob("*") if file.suffix.lower() in AUDIO_SUFFIXES and file.is_file())
    if not found:
        raise InputError(f"{path}: holds no recordings; allowed: {' '.join(AUDIO_SUFFIXES)}")
    return [(file, file.relative_to(path)) for file in found]


@contextmanager
def _mapped(workers: int) -> Iterator:
    """`map`, in processes where there are several; what has not begun is dropped when the loop over it ends early."""
    if workers < 2:
        yield lambda function, jobs: map(function, jobs)
        return
    pool = ProcessPoolExecutor(workers, mp_context=multiprocessing.get_context("spawn"))
    try:
        yield pool.map
    finally:
        pool.shutdown(cancel_futures=True)


def _attempt(job: tuple[Path, Path, Settings]) -> str | None:
    """The error of one recording, in one line."""
    try:
        animate_file(*job)
    except (InputError, OSError) as error:  # one that cannot be written must not stop the others either
        return str(error)
    return None


@cache
def _model(path: Path) -> Model:
    return Model(path)
