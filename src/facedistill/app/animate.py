"""The job the students exist for: recordings in, files of ARKit curves out, many at a time."""

import os
import sys
import zlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field
from functools import cache, partial
from pathlib import Path

import numpy as np
from tqdm import tqdm

from facedistill.core.errors import InputError
from facedistill.core.messages import print_error, show_notes
from facedistill.core.processes import mapped
from facedistill.formats import gltf, registry
from facedistill.formats.animation import Animation, regular
from facedistill.rig.arkit import CURVES
from facedistill.runtime import Animator, Eyes, Frames, Model
from facedistill.speech.audio import AUDIO_SUFFIXES, Sound, list_recordings, open_mono

NO_MEMORY = "not enough memory; expected a shorter recording, fewer frames a second or fewer at a time (--workers)"


@dataclass(frozen=True)
class Settings:
    """How recordings are animated."""

    model: Path  # an exported streaming student
    fps: int = 30
    ensemble: bool = False  # see `runtime.Animator`
    blinks: int | None = None  # seed of blinks and eye darts in place of the model's eyes; none for the model's
    gains: Mapping[str, float] = field(default_factory=dict)  # factors of single curves, which stay in 0..1
    kind: str = "csv"  # of the files, see `formats.registry`
    face: Path | None = None  # a GLB whose shapes are moved; the built-in head if none


def open_recording(path: Path) -> Sound:
    """See `audio.open_mono`; and a name that is not UTF-8 is told as what it is."""
    try:
        str(path).encode()
    except UnicodeEncodeError:
        raise InputError(f"{path}: not a name in UTF-8; expected names in UTF-8") from None
    return open_mono(path)


def read_recording(path: Path) -> tuple[np.ndarray, int]:
    """The whole of a recording: (S,) float32, and the sample rate in Hz; InputError as `open_recording`."""
    return open_recording(path).whole()


def animate_recording(recording: Path, settings: Settings, *, progress: bool = False) -> Animation:
    """Animates a recording, part by part; eyes of a seed differ by name. InputError as of recordings and models; MemoryError."""
    sound = open_recording(recording)
    animator = Animator(_model(settings.model), rate_hz=sound.rate_hz, fps=settings.fps, ensemble=settings.ensemble)
    eyes = None if settings.blinks is None else Eyes([settings.blinks, zlib.crc32(recording.stem.encode())])
    parts = [_finished(frames, animator.curves, settings, eyes) for frames in _frames(animator, sound, progress)]
    weights = np.concatenate(parts, dtype=np.float64)
    del parts
    np.round(weights, 6, out=weights)  # far below what can be seen
    weights.flags.writeable = False  # so it need not be copied
    try:
        return regular(animator.curves, weights, settings.fps)
    except ValueError as error:
        raise InputError(f"{recording}: the model gives no curves ({error})") from None


def _frames(animator: Animator, sound: Sound, progress: bool) -> Iterator[Frames]:
    n_samples, announced_s = 0, round(sound.announced_s) or None
    with tqdm(total=announced_s, desc="animate", unit="s", delay=1, disable=not progress) as bar:
        for block in sound.blocks:
            yield animator.push(block)
            n_samples += len(block)
            bar.update(n_samples // sound.rate_hz - bar.n)
        yield animator.flush()


def _finished(frames: Frames, curves: Sequence[str], settings: Settings, eyes: Eyes | None) -> np.ndarray:
    """(T, K) weights, with other eyes and with gains."""
    weights = frames.weights if eyes is None else eyes.apply(frames.weights, frames.times_s, curves)
    for curve, gain in settings.gains.items():
        if curve in curves:
            column = curves.index(curve)
            weights[:, column] = np.clip(weights[:, column] * gain, 0, 1)
    return weights


def animate_file(recording: Path, path: Path, settings: Settings, *, progress: bool = False) -> None:
    """Animates one recording into one file, as `animate_recording` does."""
    animation = animate_recording(recording, settings, progress=progress)
    registry.write(path, animation, kind=settings.kind, face=settings.face)


def animate_batch(inputs: Sequence[str], out: str, settings: Settings, *, workers: int = 1) -> int:
    """Animates recordings, and all below folders; a bad one is reported in one line and the batch goes on.

    The files, the same for any number of workers, are named as the recordings, in `out`; returned is how many failed.
    """
    unknown = sorted(set(settings.gains) - set(CURVES))
    if unknown:
        raise InputError(f"gain of {unknown[0]!r}: no such curve; expected the ARKit 52, jawOpen say")
    _model(settings.model)
    if settings.face is not None:
        gltf.check_face(settings.face)
    targets = _targets(inputs, out, settings)
    jobs = [(recording, path, settings, len(targets) == 1) for path, recording in targets.items()]
    n_workers, failed = min(workers, len(jobs)), 0
    if n_workers > 1:  # whose results, which are short, may all wait
        attempts = mapped(partial(_attempt, apart=True), jobs, n_workers, asked_by=f"--workers {workers}", ahead=len(jobs))
    else:
        attempts = nullcontext(map(_attempt, jobs))
    with attempts as errors:
        shown = tqdm(errors, total=len(jobs), desc="animate", unit="file", disable=len(jobs) < 2)
        for _, error in zip(jobs, shown, strict=True):
            if error is not None:
                failed += 1
                print_error(error)
    if len(jobs) > 1 or failed:
        print(f"animated {len(jobs) - failed} of {len(jobs)} recordings into {out}", file=sys.stderr)
    return failed


def _targets(inputs: Sequence[Path], out: str, settings: Settings) -> dict[Path, Path]:
    """{file to write: recording}."""
    if not out or not all(inputs):
        raise InputError("an empty name; expected recordings, folders of them, and a folder or a file to write")
    suffix, target = registry.KINDS[settings.kind].suffix, Path(out)
    is_file = bool(target.suffix) and not target.is_dir() and not str(out).endswith(("/", os.sep))
    recordings = [pair for path in inputs for pair in _recordings(Path(path))]
    if target.exists() and not target.is_dir() and not is_file:
        raise InputError(f"{out}: is no folder; expected a folder, or a file that ends in {suffix}")
    if is_file and target.suffix.lower() != suffix:
        other = registry.BY_SUFFIX.get(target.suffix.lower())
        hint = f"--format {other}, " if other else ""
        raise InputError(f"{out}: {settings.kind} files end in {suffix}; expected {hint}such a file, or a folder: {out}/")
    if is_file and len(recordings) > 1:
        raise InputError(f"{out}: one file for {len(recordings)} recordings; expected a folder")
    read = {os.path.realpath(path) for path in (settings.model, settings.face, *dict(recordings)) if path is not None}
    found: dict[Path, Path] = {}
    for recording, place in recordings:
        path = target if is_file else target / place.with_suffix(suffix)
        if path in found:
            raise InputError(f"{recording}: would write {path}, as {found[path]} does; expected one recording a name")
        if os.path.realpath(path) in read:
            raise InputError(f"{path}: would be written over, and it is read; expected another place")
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


def _attempt(job: tuple[Path, Path, Settings, bool], *, apart: bool = False) -> str | None:
    """The error of one recording, in one line; in a process `apart`, notes are shown as in this one."""
    if apart:
        show_notes()
    recording, path, settings, progress = job
    try:
        animate_file(recording, path, settings, progress=progress)
    except (InputError, OSError) as error:  # one that cannot be written must not stop the others either
        return str(error)
    except MemoryError:
        return f"{recording}: {NO_MEMORY}"
    return None


@cache
def _model(path: Path) -> Model:
    return Model(path)
