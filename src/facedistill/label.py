"""Stage `label`: the teacher's curves and phones for all training audio, sharded, and resumable shard by shard."""

import os
import posixpath
import shutil
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
from tqdm import tqdm

from facedistill.core.errors import InputError
from facedistill.core.manifest import Utterance, read_manifest, seen_from, select, write_manifest
from facedistill.core.params import Params
from facedistill.core.paths import DATA
from facedistill.core.sections import LabelParams
from facedistill.face.controls import Controls, arkit, write_controls
from facedistill.face.curves import write_shard
from facedistill.face.phones import write_phones
from facedistill.models.dataset import phones_of
from facedistill.models.teacher import load_teacher
from facedistill.models.training import forget, prepare_torch, work_folder
from facedistill.models.workers import device, workers
from facedistill.speech.audio import read_audio

Perceive = Callable[[np.ndarray], tuple[np.ndarray, np.ndarray]]  # (S,) audio -> (T, K) curves and (T,) phone classes


def label(params: Params) -> None:
    """Labels the training audio of data/align with data/teach into data/label."""
    write_labels(params.label, DATA / "teach", DATA / "label")


def write_labels(params: LabelParams, teacher_folder: Path, out: Path) -> None:
    """Writes a teacher's labels of the training audio, see `label_utterances`.

    Paired utterances are labelled by the teacher too, or with `keep_paired` they keep the curves they have.

    Raises:
        InputError: nothing to label, or no teacher.
    """
    manifest = DATA / "align" / "manifest.jsonl"
    chosen = select(read_manifest(manifest), *params.splits)
    if not chosen:
        raise InputError(f"label.splits: {list(params.splits)} hold no utterances in {manifest}")
    kept = [row for row in chosen if params.keep_paired and row.split == "paired"]
    rows = [row for row in chosen if not params.keep_paired or row.split != "paired"]
    perceive = partial(load_teacher(teacher_folder).to(device()).perceive, chunk_s=params.chunk_s)
    forget(label_utterances(params, rows, perceive, out, inputs=[teacher_folder / "model.safetensors"], kept=kept))


def label_utterances(
    params: LabelParams,
    rows: Sequence[Utterance],
    perceive: Perceive,
    out: Path,
    *,
    inputs: list[Path],
    kept: Sequence[Utterance] = (),
    controls: Controls | None = None,
) -> Path:
    """Writes `out`, below data: curves/label-NNNNN.npz (float16, 60 fps), phones/*.tsv, manifest.jsonl; audio stays where it is.

    Args:
        rows: what is labelled, its paths relative to data/align.
        inputs: files that decide what `perceive` gives.
        kept: utterances that keep the curves they have.
        controls: what the curves are of; ARKit's, if None.

    Returns:
        The resumable state, for the caller to forget once nothing needs to be labelled again.
    """
    prepare_torch()
    corpus, name = DATA / "align", "-".join(out.relative_to(DATA).parts)
    way = Path(os.path.relpath(corpus, out)).as_posix()
    work = work_folder(name, settings=f"{params.model_dump_json()}{rows}", inputs=[corpus / "manifest.jsonl", *inputs])
    size = params.shard_utterances
    labelled: list[Utterance] = []
    with tqdm(total=round(sum(row.duration_s for row in rows)), desc=name, unit="audio s", mininterval=5) as progress:
        for first in range(0, len(rows), size):
            shard = f"curves/label-{first // size:05d}.npz"
            shard_rows = _label_shard(work, shard, rows[first : first + size], perceive, progress)
            labelled += [replace(row, audio=posixpath.normpath(f"{way}/{row.audio}")) for row in shard_rows]
    write_controls(work, controls or arkit())
    write_manifest(work / "manifest.jsonl", [seen_from(row, way) for row in kept] + labelled)
    shutil.rmtree(out, ignore_errors=True)
    shutil.copytree(work, out)
    return work


def _label_shard(work: Path, shard: str, rows: Sequence[Utterance], perceive: Perceive, progress: tqdm) -> list[Utterance]:
    """Labels the utterances of one shard, unless an interrupted run did."""
    common = {"curves": shard, "phoneset": "ipa", "label_kind": "teacher"}
    labelled = [replace(row, phones=f"phones/{row.id}.tsv", **common) for row in rows]
    if not (work / shard).is_file():
        curves = {}
        with workers() as pool:
            perceived = pool.map(lambda row: perceive(read_audio(DATA / "align" / row.audio)), rows)
            for row, (frames, classes) in zip(labelled, perceived, strict=True):
                curves[row.id] = frames
                write_phones(work / row.phones, phones_of(classes))
                progress.update(round(row.duration_s))
        write_shard(work / shard, curves)
    return labelled
