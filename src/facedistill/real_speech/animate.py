"""Step `animate`: the curves of every system for every recording, as files of `facedistill animate`, one at a time.

`curves/<system>/<recording>.csv` are those of the test, `curves/<system>/<split>/` of the recordings that lags are fitted on,
`curves/<system>/<condition>/` of degraded ones, `curves/<system>/quiet/` of sound in which nobody speaks. What is there and not
older than its recording stays.
"""

import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from tqdm import tqdm

from facedistill.core.errors import InputError
from facedistill.core.files import read_json, write_json
from facedistill.formats import registry
from facedistill.formats.animation import Animation
from facedistill.real_speech.conditions import conditions_of, degraded, quiet_sounds
from facedistill.real_speech.gaps import GAP
from facedistill.real_speech.inventory import System, recordings_of
from facedistill.real_speech.names import CURVES_FOLDER, DEGRADED_KINDS, QUIET
from facedistill.real_speech.recordings import Recording, spread
from facedistill.real_speech.settings import Settings
from facedistill.real_speech.systems import animator
from facedistill.speech.audio import read_audio

MADE_OF = "made_of.json"
BATCH = 16  # sounds that a system is given at once


@dataclass(frozen=True)
class Job:
    """One file of curves: its place below its system's folder, its sound (S,), what it must not be older than, if anything."""

    place: Path
    sound: Callable[[], np.ndarray]
    recording: Path | None = None
    gap_only: bool = False


def animate(settings: Settings, folder: Path, systems: Sequence[System]) -> None:
    """Writes `<folder>/curves`, what is missing of it.

    Raises:
        InputError: recordings or a model cannot be used.
    """
    tests, lags = recordings_of(settings, folder)
    for system in systems:
        out = folder / CURVES_FOLDER / system.name
        _start(out, system, settings, lags)
        todo = [job for job in jobs_of(system, settings, tests, lags) if not _is_there(out / job.place, job)]
        many = animator(system, settings, folder, lags) if todo else None
        with tqdm(total=len(todo), desc=f"animate {system.name}", unit="file", disable=not todo, mininterval=5) as bar:
            for first in range(0, len(todo), BATCH):
                batch = todo[first : first + BATCH]
                for job, animation in zip(batch, many([job.sound() for job in batch]), strict=True):
                    registry.write(out / job.place, _gap_curves(animation) if job.gap_only else animation, kind="csv")
                bar.update(len(batch))


def jobs_of(system: System, settings: Settings, tests: Sequence[Recording], lags: Sequence[Recording]) -> list[Job]:
    """All files of a system."""
    jobs = [_clean(recording, Path()) for recording in tests]
    jobs += [_clean(recording, Path(settings.lag.split)) for recording in lags]
    jobs += [Job(Path(QUIET) / f"{name}.csv", lambda sound=sound: sound) for name, sound in quiet_sounds(settings).items()]
    if system.kind in DEGRADED_KINDS:
        for name, condition in conditions_of(settings).items():
            for recording in degraded_recordings(settings, tests):

                def sound(recording=recording, condition=condition) -> np.ndarray:
                    return degraded(read_audio(recording.audio), condition, name=recording.name, seed=settings.seed)

                jobs.append(Job(Path(name) / f"{recording.name}.csv", sound, recording.audio, gap_only=True))
    return jobs


def degraded_recordings(settings: Settings, tests: Sequence[Recording]) -> list[Recording]:
    """Those of the test that are degraded."""
    kept = {row.id for row in spread([recording.row for recording in tests], settings.conditions.max_recordings)}
    return [recording for recording in tests if recording.row.id in kept]


def read_curves(path: Path) -> Animation:
    """Reads one file of the step.

    Raises:
        InputError: it is missing or broken.
    """
    if not path.is_file():
        raise InputError(f"{path}: no such curves; run `facedistill benchmark animate`")
    return registry.read(path, kind="csv")


def _clean(recording: Recording, place: Path) -> Job:
    return Job(place / f"{recording.name}.csv", lambda: read_audio(recording.audio), recording.audio)


def _start(out: Path, system: System, settings: Settings, lags: Sequence[Recording]) -> None:
    """Empties the folder of a system that is another one by now, or of other settings."""
    made_of = {
        "fingerprint": system.fingerprint, "fps": settings.fps, "seed": settings.seed, "chunk_s": settings.chunk_s,
        "quiet": settings.quiet.model_dump(mode="json"), "lag": [recording.row.id for recording in lags],
    }  # fmt: skip
    path = out / MADE_OF
    if not path.is_file() or read_json(path) != made_of:
        shutil.rmtree(out, ignore_errors=True)
        write_json(path, made_of)


def _is_there(path: Path, job: Job) -> bool:
    return path.is_file() and (job.recording is None or path.stat().st_mtime >= job.recording.stat().st_mtime)


def _gap_curves(animation: Animation) -> Animation:
    """The curves that part the lips alone: degraded recordings are many."""
    columns = [index for index, name in enumerate(animation.names) if name in GAP]
    names = tuple(animation.names[index] for index in columns)
    return Animation(names, animation.weights[:, columns], animation.times_s, animation.fps)
