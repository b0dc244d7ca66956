"""Stage `label`: the teacher's curves and phones for all training audio, sharded, and resumable shard by shard."""

import os
import shutil
from dataclasses import replace
from pathlib import Path

from tqdm import tqdm

from facedistill.core.errors import InputError
from facedistill.core.manifest import Utterance, read_manifest, seen_from, select, write_manifest
from facedistill.core.params import Params
from facedistill.core.paths import DATA
from facedistill.core.sections import LabelParams
from facedistill.face.curves import write_shard
from facedistill.face.phones import write_phones
from facedistill.models.dataset import phones_of
from facedistill.models.teacher import Teacher, load_teacher
from facedistill.models.training import prepare_torch, work_folder
from facedistill.models.workers import device, workers
from facedistill.speech.audio import read_audio


def label(params: Params) -> None:
    """Labels the training audio of data/align with data/teach into data/label."""
    write_labels(params.label, DATA / "teach", DATA / "label")


def write_labels(params: LabelParams, teacher_folder: Path, out: Path) -> None:
    """Writes `out`, below data: curves/label-NNNNN.npz (float16, 60 fps), phones/*.tsv, manifest.jsonl; audio stays where it is.

    Paired utterances are labelled by the teacher too, or with `keep_paired` they keep the curves they have.

    Raises:
        InputError: nothing to label, or no teacher.
    """
    prepare_torch()
    corpus, name = DATA / "align", "-".join(out.relative_to(DATA).parts)
    way = Path(os.path.relpath(corpus, out)).as_posix()
    chosen = select(read_manifest(corpus / "manifest.jsonl"), *params.splits)
    if not chosen:
        raise InputError(f"label.splits: {list(params.splits)} hold no utterances in {corpus / 'manifest.jsonl'}")
    kept = [seen_from(row, way) for row in chosen if params.keep_paired and row.split == "paired"]
    rows = [row for row in chosen if not params.keep_paired or row.split != "paired"]
    teacher = load_teacher(teacher_folder).to(device())
    inputs = [corpus / "manifest.jsonl", teacher_folder / "model.safetensors"]
    work = work_folder(name, settings=params.model_dump_json(), inputs=inputs)
    size = params.shard_utterances
    labelled: list[Utterance] = []
    with tqdm(total=round(sum(row.duration_s for row in rows)), desc=name, unit="audio s", mininterval=5) as progress:
        for first in range(0, len(rows), size):
            shard = f"curves/label-{first // size:05d}.npz"
            shard_rows = _label_shard(work, shard, rows[first : first + size], teacher, params.chunk_s, progress)
            labelled += [replace(row, audio=f"{way}/{row.audio}") for row in shard_rows]
    write_manifest(work / "manifest.jsonl", kept + labelled)
    shutil.rmtree(out, ignore_errors=True)
    shutil.move(work, out)


def _label_shard(
    work: Path, shard: str, rows: list[Utterance], teacher: Teacher, chunk_s: float, progress: tqdm
) -> list[Utterance]:
    """Labels the utterances of one shard, unless an interrupted run did."""
    common = {"curves": shard, "phoneset": "ipa", "label_kind": "teacher"}
    labelled = [replace(row, phones=f"phones/{row.id}.tsv", **common) for row in rows]
    if not (work / shard).is_file():
        curves = {}
        with workers() as pool:
            perceived = pool.map(lambda row: teacher.perceive(read_audio(DATA / "align" / row.audio), chunk_s), rows)
            for row, (frames, classes) in zip(labelled, perceived, strict=True):
                curves[row.id] = frames
                write_phones(work / row.phones, phones_of(classes))
                progress.update(round(row.duration_s))
        write_shard(work / shard, curves)
    return labelled
