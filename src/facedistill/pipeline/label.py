"""Stage `label`: the teacher's curves and phones for all training audio, sharded, and resumable shard by shard."""

import os
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
from facedistill.models.dataset import phones_of
from facedistill.models.networks import device, workers
from facedistill.models.teacher import load_teacher
from facedistill.models.training import load_state, prepare_torch, remove_checkpoints, save_state, work_folder
from facedistill.rig.controls import Controls, arkit, write_controls
from facedistill.rig.curves import write_shard
from facedistill.speech.audio import read_audio
from facedistill.speech.phones import write_phones

Predict = Callable[[np.ndarray], tuple[np.ndarray, np.ndarray]]  # (S,) audio -> (T, K) curves and (T,) phone classes


def label(params: Params) -> None:
    """Labels the training audio of data/align with data/teach into data/label."""
    write_labels(params.label, DATA / "teach", DATA / "label")


def write_labels(params: LabelParams, teacher_folder: Path, out: Path) -> None:
    """Writes a teacher's labels of the training audio; paired utterances keep the curves they have with `keep_paired`."""
    manifest = DATA / "align" / "manifest.jsonl"
    wanted = select(read_manifest(manifest), *params.splits)
    if not wanted:
        raise InputError(f"label.splits: {list(params.splits)} hold no utterances in {manifest}")
    kept = select(wanted, "paired") if params.keep_paired else []
    rows = select(wanted, "unlabelled") if params.keep_paired else wanted
    predict = partial(load_teacher(teacher_folder).to(device()).predict, chunk_s=params.chunk_s)
    inputs = [teacher_folder / "model.safetensors"]
    remove_checkpoints(label_utterances(params, rows, predict, out, inputs=inputs, kept=kept))


def label_utterances(
    params: LabelParams, rows: Sequence[Utterance], predict: Predict, out: Path, *,
    inputs: list[Path], kept: Sequence[Utterance] = (), controls: Controls | None = None,
) -> Path:  # fmt: skip
    """Writes `out`, below data: curves/label-NNNNN.npz (float16, 60 fps), phones/*.tsv, manifest.jsonl; audio stays where it is.

    Labels `rows` of data/align; `kept` keep their curves; `inputs` decide what `predict` gives. Returned is resumable state.
    """
    prepare_torch()
    corpus, name = DATA / "align", "-".join(out.relative_to(DATA).parts)
    inputs = [corpus / "manifest.jsonl", *inputs]
    work = work_folder(name, code=import_closure(__name__), settings=f"{params.model_dump_json()}{rows}", inputs=inputs)
    way, made, size = Path(os.path.relpath(corpus, out)).as_posix(), work / "made", params.shard_utterances
    manifest = [rebase_paths(row, way) for row in kept]
    with tqdm(total=round(sum(row.duration_s for row in rows)), desc=name, unit="audio s", mininterval=5) as progress:
        for number, first in enumerate(range(0, len(rows), size)):
            shard, shard_rows = f"curves/label-{number:05d}.npz", rows[first : first + size]
            labels = _predicted(work / f"{number:05d}.pt", shard_rows, predict, progress)
            write_shard(made / shard, {key: frames.numpy() for key, (frames, _) in labels.items()})
            for row in shard_rows:
                phones = f"phones/{row.id}.tsv"
                write_phones(made / phones, phones_of(labels[row.id][1].numpy()))
                own = {"curves": shard, "phones": phones, "phoneset": "ipa", "label_kind": "teacher"}
                manifest.append(replace(rebase_paths(row, way), **own))
    write_controls(made, controls or arkit())
    write_manifest(made / "manifest.jsonl", manifest)
    shutil.rmtree(out, ignore_errors=True)
    shutil.copytree(made, out)
    return work


def _predicted(state: Path, rows: Sequence[Utterance], predict: Predict, progress: tqdm) -> dict[str, tuple[Tensor, Tensor]]:
    """{id: (T, K) float16 curves and (T,) phone classes} of one shard; an interrupted run may have them already."""
    if (labels := load_state(state)) is None:
        labels = {}
        with workers() as pool:
            predicted = pool.map(lambda row: predict(read_audio(DATA / "align" / row.audio)), rows)
            for row, (frames, classes) in zip(rows, predicted, strict=True):
                labels[row.id] = torch.from_numpy(frames.astype(np.float16)), torch.from_numpy(classes)
                progress.update(round(row.duration_s))
        save_state(state, labels)
    return labels
