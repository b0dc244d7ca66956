"""The job the students exist for: recordings in, files of ARKit curves out, many at a time."""

import os
import sys
import zlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

import numpy as np
from tqdm import tqdm

from facedistill.core.errors import InputError
from facedistill.core.processes import mapped
from facedistill.face.arkit import CURVES
from facedistill.formats import gltf, registry
from facedistill.formats.animation import Animation, regular
from facedistill.messages import show_notes, tell_error
from facedistill.runtime import Animator, Eyes, Model
from facedistill.speech.audio import AUDIO_SUFFIXES, list_recordings, read_mono

BLOCK_S = 10  # of sound at once: bounds memory
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


def read_recording(path: Path) -> tuple[np.ndarray, int]:
    """See `audio.read_mono`; and a name that is not UTF-8 is told as what it is.

    Raises:
        InputError: see `audio.read_mono`.
    """
    try:
        str(path).encode()
    except UnicodeEncodeError:
        raise InputError(f"{path}: not a name in UTF-8; allowed: names in UTF-8") from None
    return read_mono(path)


def animate_samples(
    samples: np.ndarray, rate_hz: int, model: Model, settings: Settings, *, name: str = "", progress: bool = False
) -> Animation:
    """Animates a recording.

    Args:
        samples: (S,) at `rate_hz`, any that `runtime.Animator` allows.
        name: of the recording; eyes of the same seed differ from name to name.
        progress: show a bar.

    Raises:
        InputError: samples that the engine does not take, or a model whose curves are no numbers or bear a name twice.
    """
    animator = Animator(model, rate_hz=rate_hz, fps=settings.fps, ensemble=settings.ensemble)
    parts = []
    with tqdm(total=round(len(samples) / rate_hz), desc="animate", unit="s", delay=1, disable=not progress) as bar:
        for first in range(0, len(samples), BLOCK_S * rate_hz):
            block = samples[first : first + BLOCK_S * rate_hz]
            parts.append(animator.push(block).weights)
            bar.update(round(len(block) / rate_hz))
    weights = np.concatenate([*parts, animator.flush().weights])
    if settings.blinks is not None:
        eyes = Eyes([settings.blinks, zlib.crc32(name.encode())])
        weights = eyes.apply(weights, np.arange(len(weights)) / settings.fps, animator.curves)
    for curve, gain in settings.gains.items():
        if curve in animator.curves:
            column = animator.curves.index(curve)
            weights[:, column] = np.clip(weights[:, column] * gain, 0, 1)
    try:
        return regular(animator.curves, weights.astype(np.float64).round(DECIMALS), settings.fps)
    except ValueError as error:
        raise InputError(f"the model gives no curves ({error})") from None


def animate_recording(recording: Path, settings: Settings, *, progress: bool = False) -> Animation:
    """Animates the recording of a file.

    Raises:
        InputError: the recording or the model cannot be used.
    """
    samples, rate_hz = read_recording(recording)
    model = _model(settings.model)
    try:
        return animate_samples(samples, rate_hz, model, settings, name=recording.stem, progress=progress)
    except InputError as error:  # the engine does not know where samples come from
        raise InputError(f"{recording}: {error}") from None


def animate_file(recording: Path, path: Path, settings: Settings, *, progress: bool = False) -> None:
    """Animates one recording into one file.

    Raises:
        InputError: the recording or the model cannot be used, or the file cannot be written.
    """
    animation = animate_recording(recording, settings, progress=progress)
    registry.write(path, animation, kind=settings.kind, face=settings.face)


def animate_batch(inputs: Sequence[str], out: str, settings: Settings, *, workers: int = 1) -> int:
    """Animates recordings, and all below folders; a bad one is reported in one line and the batch goes on.

    Args:
        inputs: files and folders of recordings.
        out: a folder, in which files have the names of the recordings; or, for one recording, a file.
        workers: processes; the files do not depend on their number.

    Returns:
        How many recordings failed.

    Raises:
        InputError: no such model, face or curve, nothing to animate, a file that would be written twice or over one that is
            read, or a worker that was killed.
    """
    unknown = sorted(set(settings.gains) - set(CURVES))
    if unknown:
        raise InputError(f"gain of {unknown[0]!r}: no such curve; allowed: the ARKit 52, jawOpen say")
    _model(settings.model)
    if settings.face is not None:
        gltf.check_face(settings.face)
    targets = _targets(inputs, out, settings)
    jobs = [(recording, path, settings, len(targets) == 1) for path, recording in targets.items()]
    failed = 0
    with _errors(jobs, workers) as errors:
        for error in tqdm(errors, total=len(jobs), desc="animate", unit="file", disable=len(jobs) < 2):
            if error is not None:
                failed += 1
                tell_error(error)
    if len(jobs) > 1 or failed:
        print(f"animated {len(jobs) - failed} of {len(jobs)} recordings into {out}", file=sys.stderr)
    return failed


def _targets(inputs: Sequence[Path], out: str, settings: Settings) -> dict[Path, Path]:
    """{file to write: recording}."""
    if not out or not all(inputs):
        raise InputError("an empty name; allowed: recordings, folders of them, and a folder or a file to write")
    suffix, target = registry.KINDS[settings.kind].suffix, Path(out)
    is_file = bool(target.suffix) and not target.is_dir() and not str(out).endswith(("/", os.sep))
    recordings = [pair for path in inputs for pair in _recordings(Path(path))]
    if target.exists() and not target.is_dir() and not is_file:
        raise InputError(f"{out}: is no folder; expected a folder, or a file that ends in {suffix}")
    if not is_file:
        targets = [(target / place.with_suffix(suffix), recording) for recording, place in recordings]
    elif target.suffix.lower() != suffix:
        other = registry.BY_SUFFIX.get(target.suffix.lower())
        hint = f"--format {other}, " if other else ""
        raise InputError(f"{out}: {settings.kind} files end in {suffix}; expected {hint}such a file, or a folder: {out}/")
    elif len(recordings) > 1:
        raise InputError(f"{out}: one file for {len(recordings)} recordings; allowed: a folder")
    else:
        targets = [(target, recordings[0][0])]
    read = {os.path.realpath(path) for path in (settings.model, settings.face, *dict(recordings)) if path is not None}
    found: dict[Path, Path] = {}
    for path, recording in targets:
        if path in found:
            raise InputError(f"{recording}: would write {path}, as {found[path]} does; allowed: one recording a name")
        if os.path.realpath(path) in read:
            raise InputError(f"{path}: would be written over, and it is read; allowed: another place")
        found[path] = recording
    return found


def _recordings(path: Path) -> list[tuple[Path, Path]]:
    """Recordings, each with its place in the output folder."""
    if not path.is_dir():
        return [(path, Path(path.name))]
    found = list_recordings(path)
    if not found:
        raise InputError(f"{path}: holds no recordings; expected {' '.join(AUDIO_SUFFIXES)}")
    return [(file, file.relative_to(path)) for file in found]


@contextmanager
def _errors(jobs: Sequence[tuple], workers: int) -> Iterator[Iterator[str | None]]:
    """What `_attempt` gives for each of the jobs, in processes where there are several."""
    if min(workers, len(jobs)) < 2:
        yield map(_attempt, jobs)
        return
    with mapped(_attempt_apart, jobs, min(workers, len(jobs)), asked_by=f"--workers {workers}") as errors:
        yield errors


def _attempt_apart(job: tuple[Path, Path, Settings, bool]) -> str | None:
    """`_attempt` in a process of its own, which shows its notes as well."""
    show_notes()
    return _attempt(job)


def _attempt(job: tuple[Path, Path, Settings, bool]) -> str | None:
    """The error of one recording, in one line."""
    *files, progress = job
    try:
        animate_file(*files, progress=progress)
    except (InputError, OSError) as error:  # one that cannot be written must not stop the others either
        return str(error)
    return None


@cache
def _model(path: Path) -> Model:
    return Model(path)
