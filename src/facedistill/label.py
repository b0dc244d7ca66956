"""Stage `label`: the teacher's curves for audio-only corpora, sharded, and resumable shard by shard."""

import shutil
from dataclasses import replace
from pathlib import Path

from tqdm import tqdm

from facedistill.core.errors import InputError
from facedistill.core.manifest import Utterance, read_manifest, select, write_manifest
from facedistill.core.params import Params
from facedistill.core.paths import DATA
from facedistill.face.curves import write_shard
from facedistill.models.teacher import Teacher, load_teacher
from facedistill.models.training import device, prepare_torch, work_folder
from facedistill.speech.audio import read_audio


def label(params: Params) -> None:
    """Writes data/label: curves/label-NNNNN.npz (float16, 60 fps) and manifest.jsonl, whose audio stays in data/prepare.

    Raises:
        InputError: nothing to label, or no teacher.
    """
    prepare_torch()
    corpus, out = DATA / "prepare", DATA / "label"
    rows = select(read_manifest(corpus / "manifest.jsonl"), *params.label.splits)
    if not rows:
        raise InputError(f"label.splits: {list(params.label.splits)} hold no utterances in {corpus / 'manifest.jsonl'}")
    teacher = load_teacher(DATA / "teach").to(device())
    inputs = [corpus / "manifest.jsonl", DATA / "teach" / "model.safetensors"]
    work = work_folder("label", settings=params.label.model_dump_json(), inputs=inputs)
    size = params.label.shard_utterances
    labelled: list[Utterance] = []
    with tqdm(total=round(sum(row.duration_s for row in rows)), desc="label", unit="audio s", mininterval=5) as progress:
        for first in range(0, len(rows), size):
            shard = f"curves/label-{first // size:05d}.npz"
            labelled += _label_shard(work / shard, shard, rows[first : first + size], teacher, params.label.chunk_s, progress)
    shutil.rmtree(out, ignore_errors=True)
    shutil.move(work, out)
    write_manifest(out / "manifest.jsonl", labelled)


def _label_shard(
    path: Path, shard: str, rows: list[Utterance], teacher: Teacher, chunk_s: float, progress: tqdm
) -> list[Utterance]:
    """Labels the utterances of one shard, unless an interrupted run did."""
    if not path.is_file():
        curves = {}
        for row in rows:
            curves[row.id] = teacher.animate(read_audio(DATA / "prepare" / row.audio), chunk_s)
            progress.update(round(row.duration_s))
        write_shard(path, curves)
    return [replace(row, audio=f"../prepare/{row.audio}", curves=shard, label_kind="teacher", phones=None) for row in rows]
