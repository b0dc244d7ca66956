"""All that can be evaluated, by name: audio in, curves at 60 fps out."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np

from facedistill.core.params import Params
from facedistill.core.paths import DATA
from facedistill.core.sections import OwnTeacher
from facedistill.face.arkit import CURVES
from facedistill.face.controls import read_controls
from facedistill.face.curves import FPS
from facedistill.face.mesh_basis import FILE, read_basis
from facedistill.measure.baselines import amplitude_envelope
from facedistill.measure.smoothers import Smoother, smoothers
from facedistill.measure.splits import Animate
from facedistill.models.filterbank import GRID_FPS
from facedistill.models.student import ENSEMBLE_DELAY_S, load_student, n_parameters, smooth
from facedistill.models.teacher import folder_of, load_teacher
from facedistill.models.workers import device

TEACHER, STUDENT = "teacher", "student"
ENSEMBLED = ("real-time", "tiny-real-time")


@dataclass(frozen=True)
class System:
    """One row of the tables; `lookahead_ms` is None where the whole utterance is needed.

    A student's look-ahead is its window's future plus one 16 ms step of the grid, between whose frames it is interpolated.
    """

    name: str
    animate: Animate
    parameters: int
    weights_bytes: int
    lookahead_ms: float | None


def systems(params: Params) -> list[System]:
    """Teacher, students, ensembles, the variants that serve as baselines (in their first seed) and the amplitude envelope."""
    teacher = _teacher_system(DATA / "teach", params.label.chunk_s)
    students = [_student_system(DATA / "distill" / name, name) for name in params.distill.students]
    ensembles = [_ensemble_system(system, params.evaluate.ensemble) for system in students if system.name in ENSEMBLED]
    baselines = [_student_system(_folders(params, name)[0], name) for name in params.evaluate.baselines]
    envelope = System("amplitude-envelope", amplitude_envelope, 0, 0, None)  # it must know the loudest moment
    return [teacher, *students, *ensembles, *baselines, envelope]


def variant_systems(params: Params) -> dict[str, list[System]]:
    """The other ablation variants: one system a seed, by the name of the variant."""
    names = [name for name in params.ablate.variants if name not in params.evaluate.baselines]
    return {name: [_student_system(folder, folder.name) for folder in _folders(params, name)] for name in names}


def taught_systems(params: Params) -> dict[str, dict[str, System]]:
    """Each of our own teachers of `params.teachers` and its student, by name and then by role; both give ARKit's curves."""
    table = {}
    for name, choice in params.teachers.items():
        if isinstance(choice, OwnTeacher):
            folder = DATA / "teachers" / name
            taught = folder_of(choice, name)
            student = _student_system(folder / STUDENT, STUDENT, read_controls(folder / "label").names)
            if choice.components is not None:
                student = _on_rig(student, folder, taught)
            table[name] = {TEACHER: _teacher_system(taught, params.label.chunk_s), STUDENT: student}
    return table


def _on_rig(student: System, folder: Path, teacher_folder: Path) -> System:
    """A student of meshes whose meshes become curves as its teacher's do."""
    basis, teacher = read_basis(folder / FILE), load_teacher(teacher_folder).to(device())
    return replace(student, animate=lambda audio: teacher.rig(basis.decode(student.animate(audio))))


def smoothed_systems(params: Params, heard: Sequence[np.ndarray]) -> dict[Smoother, System]:
    """`evaluate.smoothed` in every way to smooth it; `heard` is audio on which delays are made equal."""
    name = params.evaluate.smoothed
    system = _student_system(DATA / "distill" / name, name)
    table = smoothers([system.animate(audio) for audio in heard])
    return {smoother: _smoothed_system(system, smoother) for smoother in table}


def _folders(params: Params, variant: str) -> list[Path]:
    """Of a variant's students, in the order of the seeds."""
    return [DATA / "ablate" / variant / f"seed-{seed}" for seed in params.ablate.seeds]


def _smoothed_system(system: System, smoother: Smoother) -> System:
    return replace(
        system, name=smoother.name, animate=lambda audio: smoother.smooth(system.animate(audio)),
        lookahead_ms=system.lookahead_ms + 1000 * smoother.delay_frames / FPS,
    )  # fmt: skip


def _weights(folder: Path) -> int:
    return (folder / "model.safetensors").stat().st_size


def _teacher_system(folder: Path, chunk_s: float) -> System:
    teacher = load_teacher(folder).to(device())
    animate = partial(teacher.animate, chunk_s=chunk_s)
    return System(TEACHER, animate, n_parameters(teacher), _weights(folder), None)


def _student_system(folder: Path, name: str, curves: tuple[str, ...] = CURVES) -> System:
    student = load_student(folder, curves).to(device())
    config = student.config
    future_ms = 1000 * (config.window_samples - config.past_samples) / 16_000
    return System(name, student.animate, n_parameters(student), _weights(folder), future_ms + 1000 / GRID_FPS)


def _ensemble_system(system: System, weights: tuple[float, float, float]) -> System:
    return System(
        f"{system.name}-ensemble", lambda audio: smooth(system.animate(audio), weights), system.parameters, system.weights_bytes,
        system.lookahead_ms + 1000 * ENSEMBLE_DELAY_S,
    )  # fmt: skip
