"""Stage `teachers`: other teachers, each with a student: data/teachers/NAME.

A teacher is one of ours, trained otherwise or asked for its meshes in place of curves; or anybody's, who has left labels.
"""

import shutil
import sys
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
from tqdm import tqdm

from facedistill.core.errors import InputError
from facedistill.core.files import write_json
from facedistill.core.manifest import Utterance, read_manifest, rebase_paths, select, write_manifest
from facedistill.core.params import Params, with_overrides
from facedistill.core.paths import DATA, ROOT
from facedistill.core.sections import ExternalLabels, InternalTeacher
from facedistill.core.sound import SAMPLE_RATE_HZ
from facedistill.corpora.recordings import HELD_OUT
from facedistill.formats.takes import MESH, Labels, Take, find_takes, median_ends
from facedistill.models.networks import device, n_parameters, workers
from facedistill.models.teacher import Teacher, folder_of, load_teacher
from facedistill.models.training import prepare_torch, remove_checkpoints
from facedistill.pipeline.distill import train_student
from facedistill.pipeline.label import label_utterances
from facedistill.pipeline.teach import train_teacher
from facedistill.rig import mesh_pca
from facedistill.rig.arkit import CURVES
from facedistill.rig.controls import Controls, Lips, arkit, lip_gram_matrix, write_controls
from facedistill.rig.curves import write_shard
from facedistill.rig.head import head
from facedistill.rig.mesh_pca import MeshBasis, evenly_spaced_indices
from facedistill.speech.audio import read_audio, write_flac

TESTED = "test-voices"  # what students are compared with their teachers on, where the teacher can label it
N_BASIS_UTTERANCES = 100
MAX_DRIFT = 0.03  # of the labels' frame rate


def teachers(params: Params, name: str) -> None:
    """Writes data/teachers/NAME: label/, student/ (which does not learn from the split "held-out" of label/) and summary.json.

    Of one of our own teachers that is not data/teach also teacher/, and of labels that are meshes mesh.safetensors.

    Raises:
        InputError: unknown name, or labels that are missing or do not match.
    """
    if name not in params.teachers:
        raise InputError(f"teachers: no teacher {name!r}; expected {', '.join(params.teachers)}")
    prepare_torch()
    choice, out = params.teachers[name], DATA / "teachers" / name
    shutil.rmtree(out, ignore_errors=True)
    states, metadata = ([], _adopt(choice, out)) if isinstance(choice, ExternalLabels) else _own(params, choice, out)
    rows = read_manifest(out / "label" / "manifest.jsonl")
    held_out, training = select(rows, HELD_OUT), [row for row in rows if row.split != HELD_OUT]
    alone = with_overrides(params, {"distill.losses.feature": 0.0})
    states.append(train_student(alone, params.ablate.student, out / "student", folder=out / "label", rows=training))
    hours = {"hours": _hours(training), "held_out_hours": _hours(held_out)}
    write_json(out / "summary.json", {"kind": choice.kind} | metadata | hours)
    remove_checkpoints(*states)


def _hours(rows: Sequence[Utterance]) -> float:
    return round(sum(row.duration_s for row in rows) / 3600, 4)


# one of ours --------------------------------------------------------------------------------------------------------


def _own(params: Params, choice: InternalTeacher, out: Path) -> tuple[list[Path], dict]:
    """Writes label/, and teacher/ and mesh.safetensors as far as there are such; returns resumable states and facts."""
    folder, chunk_s = folder_of(choice, out.name), params.label.chunk_s
    varied = with_overrides(params, choice.set)
    if choice.set and varied == params:
        print(f"teachers.{out.name}: the teacher of `teach` once more: its values are those of params.yaml", file=sys.stderr)
    states = [train_teacher(varied, DATA / "align", "paired", folder)] if choice.set else []
    teacher = load_teacher(folder).to(device())
    training = select(read_manifest(DATA / "align" / "manifest.jsonl"), *choice.splits)
    tests = select(read_manifest(DATA / "prepare" / "manifest.jsonl"), TESTED)
    tests = [replace(rebase_paths(row, "../prepare"), split=HELD_OUT) for row in tests]
    predict, controls, kept = partial(teacher.predict, chunk_s=chunk_s), arkit(), None
    inputs = [folder / "model.safetensors"]
    if choice.components is not None:
        some = partial(_some_meshes, teacher, chunk_s)
        basis, kept = _fit(out, choice.components, some(training), some(tests), source=folder)
        predict, controls = partial(_coefficients, teacher, basis, chunk_s), _of_mesh(basis)
        inputs.append(out / mesh_pca.FILE)
    labels = {"inputs": inputs, "controls": controls}
    states.append(label_utterances(params.label, training + tests, predict, out / "label", **labels))
    return states, {"parameters": n_parameters(teacher), "controls": len(controls.names), "variance_kept": kept}


def _fit(out: Path, n_components: int, training: np.ndarray, tests: np.ndarray, *, source: Path) -> tuple[MeshBasis, float]:
    """Writes mesh.safetensors, the basis of (N, 3V) training meshes; returns it, and what it keeps of the tests' variance."""
    basis = mesh_pca.fit(training, n_components)
    if not basis.names():
        raise InputError(f"{source}: meshes that never move; expected faces that speak")
    mesh_pca.write_basis(out / mesh_pca.FILE, basis)
    return basis, basis.kept(tests)


def _some_meshes(teacher: Teacher, chunk_s: float, rows: Sequence[Utterance]) -> np.ndarray:
    """(N, 3V) meshes that are spread over what a teacher labels."""
    spread = [rows[index] for index in evenly_spaced_indices(len(rows), N_BASIS_UTTERANCES)]

    def some(row: Utterance) -> np.ndarray:
        meshes, _ = teacher.predict_meshes(read_audio(DATA / "align" / row.audio), chunk_s)
        return meshes[evenly_spaced_indices(len(meshes), mesh_pca.MAX_FITTED // len(spread))]

    with workers() as pool:
        return np.concatenate(list(pool.map(some, spread)))


def _coefficients(teacher: Teacher, basis: MeshBasis, chunk_s: float, audio: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    meshes, classes = teacher.predict_meshes(audio, chunk_s)
    return basis.encode(meshes), classes


def _of_mesh(basis: MeshBasis) -> Controls:
    """The coefficients of the built-in head's meshes as controls, which tell its lips too."""
    upper, lower = (3 * head().regions[f"{lip}_lip_inner"][0] + 1 for lip in ("upper", "lower"))
    neutral_mm = head().gap_neutral_mm + float(basis.mean[upper] - basis.mean[lower])
    rest = basis.encode(np.zeros((1, len(basis.mean)), np.float32))[0]
    gram_mm2 = lip_gram_matrix(basis.components.reshape(len(basis.components), -1, 3)[:, head().regions["lips"]])
    lips = Lips(basis.components[:, upper] - basis.components[:, lower], neutral_mm, gram_mm2)
    return Controls(basis.names(), rest, lips)


# anybody's ----------------------------------------------------------------------------------------------------------


def _adopt(choice: ExternalLabels, out: Path) -> dict:
    """Writes label/ and mesh.safetensors, if that is what they are, from an outside teacher's takes; returns facts."""
    takes = find_takes(ROOT / choice.audio, ROOT / choice.labels)
    tests = [take for take in takes if choice.is_held_out(take.name)]
    training = [take for take in takes if take not in tests]
    if not training or not tests:
        raise InputError(f"teachers.{out.name}.held_out: {list(choice.held_out)} match all takes or none; expected some of them")
    read = partial(_read_like, takes[0], takes[0].read(choice.fps), fps=choice.fps)
    names, basis, kept = read(takes[0]).names, None, None
    if names == MESH:
        some = partial(_some_frames, read)
        basis, kept = _fit(out, choice.components, some(training), some(tests), source=ROOT / choice.labels)
        names = basis.names()
    curves = _read_all(takes, read, basis)
    controls = arkit() if names == CURVES else Controls(names, median_ends([curves[take.name] for take in training]))
    rows = [_imported(out / "label", take, out.name, held_out=take in tests) for take in takes]
    write_shard(out / "label" / "curves.npz", curves)
    write_controls(out / "label", controls)
    write_manifest(out / "label" / "manifest.jsonl", rows)
    return {"parameters": None, "controls": len(names), "variance_kept": kept}


def _read_like(first: Take, wanted: Labels, take: Take, *, fps: float | None) -> Labels:
    """Reads a take that must have the curves, or as many vertices, as the first has."""
    found = take.read(fps)
    if (found.names, found.frames.shape[1]) != (wanted.names, wanted.frames.shape[1]):
        what = f"{found.frames.shape[1]} controls, others than the {wanted.frames.shape[1]} of {first.labels.name}"
        raise InputError(f"{take.labels}: {what}; expected the same in every file")
    return found


def _some_frames(read: Callable[[Take], Labels], takes: Sequence[Take]) -> np.ndarray:
    """(N, D) frames that are spread over takes."""
    spread = [takes[index] for index in evenly_spaced_indices(len(takes), mesh_pca.MAX_FITTED)]
    every = mesh_pca.MAX_FITTED // len(spread)
    found = (read(take).frames for take in tqdm(spread, desc="read meshes", unit="take", mininterval=5))
    return np.concatenate([frames[evenly_spaced_indices(len(frames), every)] for frames in found])


def _read_all(takes: Sequence[Take], read: Callable[[Take], Labels], basis: MeshBasis | None) -> dict[str, np.ndarray]:
    """{take: (T, K) curves, or coefficients of meshes}.

    Raises:
        InputError: most labels are longer or shorter than their recordings, as at another frame rate.
    """
    curves, ratios, left_out = {}, [], ()
    for take in tqdm(takes, desc="read labels", unit="take", mininterval=5):
        labels = read(take)
        curves[take.name] = labels.frames if basis is None else basis.encode(labels.frames)
        ratios.append(labels.ratio)
        left_out = labels.left_out or left_out
    if abs(np.median(ratios) - 1) > MAX_DRIFT:
        raise InputError(
            f"{takes[0].labels.parent}: labels last {np.median(ratios):.2f} times as long as their recordings, in the median; "
            f"expected {1 - MAX_DRIFT:g} to {1 + MAX_DRIFT:g}, so set fps to their frame rate"
        )
    if left_out:
        print(f"{takes[0].labels.parent}: not ARKit's, and left out: {', '.join(left_out)}", file=sys.stderr)
    return curves


def _imported(folder: Path, take: Take, source: str, *, held_out: bool) -> Utterance:
    audio, path = read_audio(take.audio), f"audio/{take.name}.flac"
    write_flac(folder / path, audio)
    return Utterance(
        id=take.name, source=source, speaker=source, language="und", split=HELD_OUT if held_out else "paired", audio=path,
        duration_s=len(audio) / SAMPLE_RATE_HZ, label_kind="teacher", curves="curves.npz",
    )  # fmt: skip
