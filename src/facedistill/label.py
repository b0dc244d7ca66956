"""Stage `label`: the teacher's curves and phones for all training audio, sharded, and resumable shard by shard."""

import os
import posixpath
import shutil
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from tqdm import tqdm

from facedistill.core.errors import InputError
from facedistill.core.imports import import_closure
from facedistill.core.manifest import Utterance, read_manifest, rebase_paths, select, write_manifest
from facedistill.core.params import Params
from facedistill.core.paths import DATA
from facedistill.core.sections import LabelParams
from facedistill.face.controls import Controls, arkit, write_controls
from facedistill.face.curves import write_shard
from facedistill.face.phones import write_phones
from facedistill.models.dataset import phones_of
from facedistill.models.state import load_state, save_state
from facedistill.models.teacher import load_teacher
from facedistill.models.training import prepare_torch, remove_checkpoints, work_folder
from facedistill.models.workers import device, workers
from facedistill.speech.audio import read_audio

Predict = Callable[[np.ndarray], tuple[np.ndarray, np.ndarray]]  # (S,) audio -> (T, K) curves and (T,) phone classes
Labels = dict[str, tuple[Tensor, Tensor]]  # {utterance id: (T, K) float16 curves and (T,) phone classes}


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
    predict = partial(load_teacher(teacher_folder).to(device()).predict, chunk_s=params.chunk_s)
    remove_checkpoints(label_utterances(params, rows, predict, out, inputs=[teacher_folder / "model.safetensors"], kept=kept))


def label_utterances(
    params: LabelParams,
    rows: Sequence[Utterance],
    predict: Predict,
    out: Path,
    *,
    inputs: list[Path],
    kept: Sequence[Utterance] = (),
    controls: Controls | None = None,
) -> Path:
    """Writes `out`, below data: curves/label-NNNNN.npz (float16, 60 fps), phones/*.tsv, manifest.jsonl; audio stays where it is.

    Args:
        rows: what is labelled, its paths relative to data/align.
        inputs: files that decide what `predict` gives.
        kept: utterances that keep the curves they have.
        controls: what the curves are of; ARKit's, if None.

    Returns:
        The resumable state, for the caller to forget once nothing needs to be labelled again.
    """
    prepare_torch()
    corpus, name = DATA / "align", "-".join(out.relative_to(DATA).parts)
    way = Path(os.path.relpath(corpus, out)).as_posix()
    inputs = [corpus / "manifest.jsonl", *inputs]
    work = work_folder(name, code=import_closure(__name__), settings=f"{params.model_dump_json()}{rows}", inputs=inputs)
    made, size = work / "made", params.shard_utterances
    labelled: list[Utterance] = []
    with tqdm(total=round(sum(row.duration_s for row in rows)), desc=name, unit="audio s", mininterval=5) as progress:
        for number, first in enumerate(range(0, len(rows), size)):
            shard_rows = rows[first : first + size]
            perceived = _perceived(work / f"{number:05d}.pt", shard_rows, predict, progress)
            labelled += _write_shard(made, f"curves/label-{number:05d}.npz", shard_rows, perceived)
    labelled = [replace(row, audio=posixpath.normpath(f"{way}/{row.audio}")) for row in labelled]
    write_controls(made, controls or arkit())
    write_manifest(made / "manifest.jsonl", [rebase_paths(row, way) for row in kept] + labelled)
    shutil.rmtree(out, ignore_errors=True)
    shutil.copytree(made, out)
    return work


def _perceived(state: Path, rows: Sequence[Utterance], predict: Predict, progress: tqdm) -> Labels:
    """What the teacher makes of the utterances of one shard; an interrupted run may have it already."""
    labels = load_state(state)
    if labels is None:
        labels = {}
        with workers() as pool:
            perceived = pool.map(lambda row: predict(read_audio(DATA / "align" / row.audio)), rows)
            for row, (frames, classes) in zip(rows, perceived, strict=True):
                labels[row.id] = torch.from_numpy(frames.astype(np.float16)), torch.from_numpy(classes)
                progress.update(round(row.duration_s))
        save_state(state, labels)
    return labels


def _write_shard(folder: Path, shard: str, rows: Sequence[Utterance], labels: Labels) -> list[Utterance]:
    """Writes the curves and phones of the utterances of one shard, and gives these with their labels."""
    write_shard(folder / shard, {key: frames.numpy() for key, (frames, _) in labels.items()})
    for key, (_, classes) in labels.items():
        write_phones(folder / f"phones/{key}.tsv", phones_of(classes.numpy()))
    return [replace(row, curves=shard, phones=f"phones/{row.id}.tsv", phoneset="ipa", label_kind="teacher") for row in rows]
