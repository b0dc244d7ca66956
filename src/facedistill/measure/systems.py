"""All that can be evaluated, by name: audio in, curves at 60 fps out.

`models.teacher` is imported where a teacher is: `transformers` takes three seconds, and students need none of it.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np

from facedistill.core.params import Params
from facedistill.core.paths import DATA
from facedistill.core.sections import InternalTeacher
from facedistill.measure.baselines import amplitude_envelope, band_envelope
from facedistill.measure.smoothers import Smoother, smoothers
from facedistill.models.filterbank import GRID_FPS
from facedistill.models.student import ENSEMBLE_DELAY_S, load_student, n_parameters, smooth
from facedistill.models.workers import device, workers
from facedistill.rig.arkit import CURVES
from facedistill.rig.controls import read_controls
from facedistill.rig.curves import FPS
from facedistill.rig.mesh_pca import FILE, read_basis
from facedistill.runtime.animator import Animator
from facedistill.runtime.model import Model

TEACHER, STUDENT = "teacher", "student"
ENSEMBLED = ("real-time", "tiny-real-time")
ENVELOPES = {"amplitude-envelope": band_envelope, "amplitude-envelope-whole-band": amplitude_envelope}

Animate = Callable[[np.ndarray], np.ndarray]  # (S,) audio at 16 kHz -> (T, K) curves at 60 fps
AnimateAll = Callable[[Sequence[np.ndarray]], list[np.ndarray]]  # the same of many


@dataclass(frozen=True)
class System:
    """One row of the tables.

    Attributes:
        name: unique in its table.
        load: reads the model, and gives what animates with it.
        parameters, weights_bytes: its size.
        lookahead_ms: a student's is its window's future plus one 16 ms step of the grid, between whose frames it is interpolated;
            None where the whole utterance is needed.
    """

    name: str
    load: Callable[[], AnimateAll]
    parameters: int = 0
    weights_bytes: int = 0
    lookahead_ms: float | None = None

    def then(self, change: Callable[[np.ndarray], np.ndarray]) -> Callable[[], AnimateAll]:
        """`load` of a system whose (T, K) curves are this one's, changed."""

        def load() -> AnimateAll:
            animate = self.load()
            return lambda audios: [change(curves) for curves in animate(audios)]

        return load


def each(animate: Animate) -> AnimateAll:
    """Animates many sounds, some at a time."""

    def animate_all(audios: Sequence[np.ndarray]) -> list[np.ndarray]:
        with workers() as pool:
            return list(pool.map(animate, audios))

    return animate_all


def systems(params: Params) -> list[System]:
    """Teacher, students, ensembles, the variants that serve as baselines (in their first seed) and the amplitude envelopes."""
    students = [student_system(DATA / "distill" / name, name) for name in params.distill.students]
    ensembles = [_ensemble_system(system, params.evaluate.ensemble) for system in students if system.name in ENSEMBLED]
    baselines = [student_system(_folders(params, name)[0], name) for name in params.evaluate.baselines]
    return [teacher_system(DATA / "teach", params.label.chunk_s), *students, *ensembles, *baselines, *envelopes()]


def envelopes() -> list[System]:
    """The baselines that need no learning; they must know the loudest moment."""
    return [System(name, lambda animate=animate: each(animate)) for name, animate in ENVELOPES.items()]


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
    return {smoother: _smoothed_system(system, smoother) for smoother in smoothers(system.load()(audios))}


def teacher_system(folder: Path, chunk_s: float) -> System:
    """The teacher of a folder, which animates long audio `chunk_s` at a time."""
    from facedistill.models.teacher import load_teacher

    def load() -> AnimateAll:
        return each(partial(load_teacher(folder).to(device()).animate, chunk_s=chunk_s))

    return System(TEACHER, load, n_parameters(load_teacher(folder)), _weights(folder))


def student_system(folder: Path, name: str, curves: tuple[str, ...] = CURVES) -> System:
    """The student of a folder."""

    def load() -> AnimateAll:
        return each(load_student(folder, curves).to(device()).animate)

    student = load_student(folder, curves)
    future_ms = 1000 * (student.config.window_samples - student.config.past_samples) / 16_000
    return System(name, load, n_parameters(student), _weights(folder), future_ms + 1000 / GRID_FPS)


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
        basis, teacher, animate = read_basis(folder / FILE), load_teacher(teacher_folder).to(device()), student.load()
        return lambda audios: [teacher.rig(basis.decode(coefficients)) for coefficients in animate(audios)]

    return replace(student, load=load)


def _folders(params: Params, variant: str) -> list[Path]:
    """Of a variant's students, in the order of the seeds."""
    return [DATA / "ablate" / variant / f"seed-{seed}" for seed in params.ablate.seeds]


def _smoothed_system(system: System, smoother: Smoother) -> System:
    lookahead_ms = system.lookahead_ms + 1000 * smoother.delay_frames / FPS
    return replace(system, name=smoother.name, load=system.then(smoother.smooth), lookahead_ms=lookahead_ms)


def _ensemble_system(system: System, weights: tuple[float, float, float]) -> System:
    load, lookahead_ms = system.then(lambda curves: smooth(curves, weights)), system.lookahead_ms + 1000 * ENSEMBLE_DELAY_S
    return replace(system, name=f"{system.name}-ensemble", load=load, lookahead_ms=lookahead_ms)


def _weights(folder: Path) -> int:
    return (folder / "model.safetensors").stat().st_size
