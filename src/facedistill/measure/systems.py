"""All that can be evaluated, by name: audio in, curves at 60 fps out.

`models.teacher` is imported where a teacher is: `transformers` takes three seconds, and students need none of it.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Self

import numpy as np

from facedistill.core.params import Params
from facedistill.core.paths import DATA
from facedistill.core.sections import InternalTeacher
from facedistill.measure.baselines import Smoother, amplitude_envelope, band_envelope, smoothers
from facedistill.models.filterbank import GRID_FPS
from facedistill.models.networks import device, n_parameters, parallel_map
from facedistill.models.student import ENSEMBLE_DELAY_S, load_student, smooth
from facedistill.rig.arkit import CURVES
from facedistill.rig.controls import MESH_FILE, read_basis, read_controls
from facedistill.rig.curves import FPS
from facedistill.runtime.animator import Animator
from facedistill.runtime.model import Model

TEACHER, STUDENT = "teacher", "student"

Animate = Callable[[np.ndarray], np.ndarray]  # (S,) audio at 16 kHz -> (T, K) curves at 60 fps
AnimateAll = Callable[[Sequence[np.ndarray]], list[np.ndarray]]  # the same of many


@dataclass(frozen=True)
class System:
    """One row of the tables; `lookahead_ms` is None where the whole utterance is needed."""

    name: str  # unique in its table
    load: Callable[[], AnimateAll]  # reads the model, and gives what animates with it
    parameters: int = 0
    weights_bytes: int = 0
    lookahead_ms: float | None = None

    def then(self, name: str, change: Animate, delay_ms: float) -> Self:
        """The system whose (T, K) curves are this one's, changed, and later by so much."""

        def load() -> AnimateAll:
            animate = self.load()
            return lambda audios: [change(curves) for curves in animate(audios)]

        return replace(self, name=name, load=load, lookahead_ms=self.lookahead_ms + delay_ms)


def each(animate: Animate) -> AnimateAll:
    """Animates recordings one by one, several at a time."""
    return partial(parallel_map, animate)


def systems(params: Params) -> list[System]:
    """Teacher, students, ensembles, the variants that serve as baselines (in their first seed) and the amplitude envelopes."""
    students = {name: student_system(DATA / "distill" / name, name) for name in params.distill.students}
    average = partial(smooth, weights=params.evaluate.ensemble)
    averaged = [name for name in students if name in ("real-time", "tiny-real-time")]
    ensembles = [students[name].then(f"{name}-ensemble", average, 1000 * ENSEMBLE_DELAY_S) for name in averaged]
    baselines = [student_system(_folders(params, name)[0], name) for name in params.evaluate.baselines]
    return [teacher_system(DATA / "teach", params.label.chunk_s), *students.values(), *ensembles, *baselines, *envelopes()]


def envelopes() -> list[System]:
    """The baselines that need no learning; they must know the loudest moment."""
    ways = {"amplitude-envelope": band_envelope, "amplitude-envelope-whole-band": amplitude_envelope}
    return [System(name, partial(each, animate)) for name, animate in ways.items()]


def variant_systems(params: Params) -> dict[str, list[System]]:
    """The other ablation variants: one system a seed, by the name of the variant."""
    names = [name for name in params.ablate.variants if name not in params.evaluate.baselines]
    return {name: [student_system(folder, folder.name) for folder in _folders(params, name)] for name in names}


def teacher_student_pairs(params: Params) -> dict[str, dict[str, System]]:
    """Each of our own teachers of `params.teachers` and its student, by name and then by role; both give ARKit's curves."""
    from facedistill.models.teacher import folder_of

    table = {}
    for name, choice in params.teachers.items():
        if isinstance(choice, InternalTeacher):
            folder = DATA / "teachers" / name
            taught = folder_of(choice, name)
            student = student_system(folder / STUDENT, STUDENT, read_controls(folder / "label").names)
            if choice.components is not None:
                student = _on_rig(student, folder, taught)
            table[name] = {TEACHER: teacher_system(taught, params.label.chunk_s), STUDENT: student}
    return table


def smoothed_systems(params: Params, audios: Sequence[np.ndarray]) -> dict[Smoother, System]:
    """`evaluate.smoothed` in every way to smooth it; `audios` are those on which delays are made equal."""
    name = params.evaluate.smoothed
    system = student_system(DATA / "distill" / name, name)
    ways = smoothers(system.load()(audios))
    return {way: system.then(way.name, way.smooth, 1000 * way.delay_frames / FPS) for way in ways}


def teacher_system(folder: Path, chunk_s: float) -> System:
    """The teacher of a folder, which animates long audio `chunk_s` at a time."""
    from facedistill.models.teacher import load_teacher

    def load() -> AnimateAll:
        return each(partial(load_teacher(folder).to(device()).animate, chunk_s=chunk_s))

    return System(TEACHER, load, n_parameters(load_teacher(folder)), _weights(folder))


def student_system(folder: Path, name: str, curves: tuple[str, ...] = CURVES) -> System:
    """The student of a folder; it looks ahead by its window's future and a step of the grid, which it is interpolated from."""
    student = load_student(folder, curves)

    def load() -> AnimateAll:
        return each(load_student(folder, curves).to(device()).animate)

    return System(name, load, n_parameters(student), _weights(folder), student.config.future_ms + 1000 / GRID_FPS)


def exported_system(path: Path) -> System:
    """A streaming model through the engine that games use."""

    def load() -> AnimateAll:
        model = Model(path)
        return each(lambda audio: Animator(model, fps=FPS).animate(audio).weights)

    return System(path.stem, load, weights_bytes=path.stat().st_size)


def _on_rig(student: System, folder: Path, teacher_folder: Path) -> System:
    """A student of meshes whose meshes become curves as its teacher's do."""
    from facedistill.models.teacher import load_teacher

    def load() -> AnimateAll:
        basis, teacher, animate = read_basis(folder / MESH_FILE), load_teacher(teacher_folder).to(device()), student.load()
        return lambda audios: [teacher.rig(basis.decode(coefficients)) for coefficients in animate(audios)]

    return replace(student, load=load)


def _folders(params: Params, variant: str) -> list[Path]:
    return [DATA / "ablate" / variant / f"seed-{seed}" for seed in params.ablate.seeds]


def _weights(folder: Path) -> int:
    return (folder / "model.safetensors").stat().st_size
