"""Stage `teachers`: other teachers, each with a student: ours, trained otherwise or giving meshes, or labels of anybody's."""

import shutil
import sys
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TypeVar

import numpy as np
from tqdm import tqdm

from facedistill.core import SAMPLE_RATE_HZ
from facedistill.core.errors import InputError
from facedistill.core.files import write_json
from facedistill.core.manifest import Utterance, hours, read_manifest, rebase_paths, select, write_manifest
from facedistill.core.params import Params, with_overrides
from facedistill.core.paths import DATA, ROOT
from facedistill.core.sections import ExternalLabels, InternalTeacher
from facedistill.corpora.recordings import HELD_OUT
from facedistill.formats.takes import MESH, Labels, Take, find_takes, median_ends
from facedistill.models.networks import device, n_parameters, workers
from facedistill.models.teacher import folder_of, load_teacher
from facedistill.models.training import prepare_torch, remove_checkpoints
from facedistill.pipeline.distill import train_student
from facedistill.pipeline.label import Predict, label_utterances
from facedistill.pipeline.teach import train_teacher
from facedistill.rig import controls as rig_controls
from facedistill.rig.arkit import CURVES
from facedistill.rig.controls import Controls, Lips, MeshBasis, arkit, evenly_spaced_indices, lip_gram_matrix, write_controls
from facedistill.rig.curves import write_shard
from facedistill.rig.head import mesh
from facedistill.speech.audio import read_audio, write_flac

TESTED = "test-voices"  # what students are compared with their teachers on, where the teacher can label it
N_BASIS_UTTERANCES = 100
MAX_DRIFT = 0.03  # of the labels' frame rate

Source = TypeVar("Source")


def teachers(params: Params, name: str) -> None:
    """Writes data/teachers/NAME: label/, student/ (which does not learn from the split "held-out" of label/) and summary.json.

    Of one of our own teachers that is not data/teach also teacher/, and of labels that are meshes mesh.safetensors.
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
    states.append(train_student(alone, params.ablate.student, out / "student", out / "label", training))
    lengths = {"hours": round(hours(training), 4), "held_out_hours": round(hours(held_out), 4)}
    write_json(out / "summary.json", {"kind": choice.kind} | metadata | lengths)
    remove_checkpoints(*states)


def _own(params: Params, choice: InternalTeacher, out: Path) -> tuple[list[Path], dict]:
    """Writes label/, and teacher/ and mesh.safetensors as far as there are such; returns resumable states and metadata."""
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
        meshes_of = partial(teacher.predict_meshes, chunk_s=chunk_s)
        some = partial(_some_frames, lambda row: meshes_of(read_audio(DATA / "align" / row.audio))[0], N_BASIS_UTTERANCES)
        basis, kept = _fit(out, choice.components, some(training), some(tests), source=folder)
        predict, controls = partial(_coefficients, meshes_of, basis), _of_mesh(basis)
        inputs.append(out / rig_controls.MESH_FILE)
    states.append(label_utterances(params.label, training + tests, predict, out / "label", inputs=inputs, controls=controls))
    return states, {"parameters": n_parameters(teacher), "controls": len(controls.names), "variance_kept": kept}


def _some_frames(frames_of: Callable[[Source], np.ndarray], n_sources: int, sources: Sequence[Source]) -> np.ndarray:
    """(N, D) frames that are spread over sources."""
    spread = [sources[index] for index in evenly_spaced_indices(len(sources), n_sources)]
    every = rig_controls.MAX_FITTED // len(spread)

    def some(source: Source) -> np.ndarray:
        frames = frames_of(source)
        return frames[evenly_spaced_indices(len(frames), every)]

    with workers() as pool:
        return np.concatenate(list(tqdm(pool.map(some, spread), total=len(spread), desc="read meshes", mininterval=5)))


def _fit(out: Path, n_components: int, training: np.ndarray, tests: np.ndarray, *, source: Path) -> tuple[MeshBasis, float]:
    """Writes mesh.safetensors, the basis of (N, 3V) training meshes; returns it, and what it keeps of the tests' variance."""
    basis = rig_controls.fit(training, n_components)
    if not basis.names():
        raise InputError(f"{source}: meshes that never move; expected faces that speak")
    rig_controls.write_basis(out / rig_controls.MESH_FILE, basis)
    return basis, basis.kept(tests)


def _coefficients(meshes_of: Predict, basis: MeshBasis, audio: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    meshes, classes = meshes_of(audio)
    return basis.encode(meshes), classes


def _of_mesh(basis: MeshBasis) -> Controls:
    """The coefficients of the built-in head's meshes as controls, which tell its lips too."""
    upper, lower = (3 * mesh().landmarks[lip] + 1 for lip in ("upper_lip", "lower_lip"))
    neutral_mm = mesh().gap_neutral_mm + float(basis.mean[upper] - basis.mean[lower])
    rest = basis.encode(np.zeros((1, len(basis.mean)), np.float32))[0]
    gram_mm2 = lip_gram_matrix(basis.components.reshape(len(basis.components), -1, 3)[:, mesh().regions["lips"]])
    lips = Lips(basis.components[:, upper] - basis.components[:, lower], neutral_mm, gram_mm2)
    return Controls(basis.names(), rest, lips)


def _adopt(choice: ExternalLabels, out: Path) -> dict:
    """Writes label/, and mesh.safetensors if labels are meshes, from an external teacher's takes; returns metadata."""
    takes = find_takes(ROOT / choice.audio, ROOT / choice.labels)
    tests = [take for take in takes if choice.is_held_out(take.name)]
    training = [take for take in takes if take not in tests]
    if not training or not tests:
        raise InputError(f"teachers.{out.name}.held_out: {list(choice.held_out)} match all takes or none; expected some of them")
    first = takes[0].read(choice.fps)

    def read(take: Take) -> Labels:
        found, n_controls = take.read(choice.fps), first.frames.shape[1]
        if (found.names, found.frames.shape[1]) != (first.names, n_controls):
            what = f"{found.frames.shape[1]} controls, others than the {n_controls} of {takes[0].labels.name}"
            raise InputError(f"{take.labels}: {what}; expected the same in every file")
        return found

    names, basis, kept = first.names, None, None
    if names == MESH:
        some = partial(_some_frames, lambda take: read(take).frames, rig_controls.MAX_FITTED)
        basis, kept = _fit(out, choice.components, some(training), some(tests), source=ROOT / choice.labels)
        names = basis.names()
    curves = _read_all(takes, read, basis)
    controls = arkit() if names == CURVES else Controls(names, median_ends([curves[take.name] for take in training]))
    rows = [_imported(out / "label", take, out.name, HELD_OUT if take in tests else "paired") for take in takes]
    write_shard(out / "label" / "curves.npz", curves)
    write_controls(out / "label", controls)
    write_manifest(out / "label" / "manifest.jsonl", rows)
    return {"parameters": None, "controls": len(names), "variance_kept": kept}


def _read_all(takes: Sequence[Take], read: Callable[[Take], Labels], basis: MeshBasis | None) -> dict[str, np.ndarray]:
    """{take: (T, K) curves, or coefficients of meshes}; InputError if most labels do not last as long as their recordings."""
    curves, ratios, left_out = {}, [], ()
    for take in tqdm(takes, desc="read labels", unit="take", mininterval=5):
        labels = read(take)
        curves[take.name] = labels.frames if basis is None else basis.encode(labels.frames)
        ratios.append(labels.ratio)
        left_out = labels.left_out or left_out
    folder, ratio = takes[0].labels.parent, np.median(ratios)
    if abs(ratio - 1) > MAX_DRIFT:
        raise InputError(
            f"{folder}: labels last {ratio:.2f} times as long as their recordings, in the median; "
            f"expected {1 - MAX_DRIFT:g} to {1 + MAX_DRIFT:g}, so set fps to their frame rate"
        )
    if left_out:
        print(f"{folder}: not ARKit's, and left out: {', '.join(left_out)}", file=sys.stderr)
    return curves


def _imported(folder: Path, take: Take, source: str, split: str) -> Utterance:
    audio, path = read_audio(take.audio), f"audio/{take.name}.flac"
    write_flac(folder / path, audio)
    return Utterance(
        id=take.name, source=source, speaker=source, language="und", split=split, audio=path,
        duration_s=len(audio) / SAMPLE_RATE_HZ, label_kind="teacher", curves="curves.npz",
    )  # fmt: skip
