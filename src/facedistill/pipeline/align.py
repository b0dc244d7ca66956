"""Stage `align`: recordings become paired data: phones of their transcripts, timed by forced alignment, and their curves."""

import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import cross_entropy
from tqdm import tqdm

from facedistill.core import SAMPLE_RATE_HZ
from facedistill.core.errors import InputError
from facedistill.core.files import write_json
from facedistill.core.imports import import_closure
from facedistill.core.manifest import SYNTHETIC, Utterance, read_manifest, rebase_paths, select, write_manifest
from facedistill.core.params import Params
from facedistill.core.paths import DATA
from facedistill.core.sections import AlignParams
from facedistill.corpora.recordings import HELD_OUT, UNDETERMINED
from facedistill.corpora.truth import truth_curves
from facedistill.models.aligner import Aligner, Alignment, HubAligner, PhoneModel, align_phones, boundary_errors_ms
from facedistill.models.dataset import UNKNOWN, Corpus, batch
from facedistill.models.encoder import SCRATCH
from facedistill.models.networks import device, workers
from facedistill.models.training import Run, load_state, prepare_torch, remove_checkpoints, save_state, work_folder
from facedistill.rig.curves import write_shard
from facedistill.speech.audio import read_audio
from facedistill.speech.espeak import pronounce
from facedistill.speech.phones import Phone, read_phones, write_phones

SHARD_UTTERANCES = 500
ALIGNED = "aligned"  # the label kind of what this stage has timed


class AlignerLoss:
    """The loss of the aligner on random crops: its phones, frame by frame."""

    def __init__(self, corpus: Corpus, params: AlignParams) -> None:
        self.corpus, self.params = corpus, params

    def __call__(self, model: Aligner, n_crops: int, rng: np.random.Generator) -> dict[str, Tensor]:
        n_samples = int(self.params.optimizer.crop_s * SAMPLE_RATE_HZ)
        times_s = np.arange(1, n_samples // model.hop_samples) * model.hop_samples / SAMPLE_RATE_HZ
        crops = {"size": n_crops, "n_samples": n_samples, "times_s": times_s, "params": self.params.augment, "rng": rng}
        audio, _, classes = batch(self.corpus, **crops)
        scores = model(audio.to(device()))
        return {"total": cross_entropy(scores.flatten(0, 1), classes.to(device()).flatten(), ignore_index=UNKNOWN)}


def align(params: Params) -> None:
    """Writes data/align: phones/, curves/, summary.json, and manifest.jsonl with all training data and the held-out recordings.

    What is aligned is split "paired" there beside the synthetic utterances, or "held-out"; what is not stays "unlabelled".
    """
    prepare_torch()
    manifest, out = DATA / "prepare" / "manifest.jsonl", DATA / "align"
    rows = read_manifest(manifest)
    known = [row for row in select(rows, "unlabelled", HELD_OUT) if row.phones or _is_transcribed(row)]
    recorded = [row for row in known if row.source != SYNTHETIC]
    tests = [row for row in rows if row.split == "test-recordings" and row.phones]
    settings = f"{params.seed}{params.align.model_dump_json()}"
    work = work_folder("align", code=import_closure(__name__), settings=settings, inputs=[manifest])
    timed, summary = _timed(params, select(rows, "paired"), recorded, tests, work)
    shutil.rmtree(out, ignore_errors=True)
    others = [rebase_paths(row, "../prepare") for row in select(rows, "paired", "unlabelled") if row.id not in timed]
    write_json(out / "summary.json", summary)
    kept = [row for row in recorded if row.id in timed]
    write_manifest(out / "manifest.jsonl", others + _write_recordings(out, kept, timed, params))
    remove_checkpoints(work)


def _timed(
    params: Params, paired: list[Utterance], recorded: list[Utterance], tests: list[Utterance], work: Path
) -> tuple[dict[str, list[Phone]], dict]:
    """{id: phones} of the recordings that the model is sure of, and what is known of the alignments.

    The model learns from speech whose phones are known; then it aligns the others, learns from those too, and aligns them again.
    """
    given = {row.id: _labelled(row) for row in recorded if row.phones}
    to_align = {row: _pronounced(row) for row in recorded if row.id not in given}
    if not to_align:
        return given, {"given": len(given), "aligned": 0, "dropped": 0, "rounds": []}
    checks = {
        row: _pronounced(row) if _is_transcribed(row) else [phone.label for phone in _labelled(row) if phone.label]
        for row in tests
    }
    settings, known, model, rounds = params.align, given, None, []
    is_ours = settings.aligner.source == SCRATCH
    for number in range(settings.rounds + 1 if is_ours else 1):
        training = {row: known[row.id] for row in recorded if row.id in known and row.split != HELD_OUT}
        model = _phone_model(params, paired, training, model, work, number) if is_ours else HubAligner(settings.aligner.source)
        found = _align_all(model, to_align, f"align, round {number}")
        kept = {key: value.phones for key, value in found.items() if value.confidence >= settings.min_confidence}
        known = given | kept
        confidences = [alignment.confidence for alignment in found.values()] or [0.0]
        quantiles = {f"p{share}": round(float(np.percentile(confidences, share)), 3) for share in (5, 25, 50, 75, 95)}
        rounds.append({"kept": len(kept), "confidence": quantiles, "boundaries": _boundaries(model, checks)})
    return known, {"given": len(given), "aligned": len(kept), "dropped": len(to_align) - len(kept), "rounds": rounds}


def _is_transcribed(row: Utterance) -> bool:
    return bool(row.transcript) and row.language != UNDETERMINED


def _pronounced(row: Utterance) -> list[str]:
    try:
        return pronounce(row.transcript, row.language)
    except InputError as error:
        raise InputError(f"{row.id}: its transcript cannot be read ({error})") from None


def _labelled(row: Utterance) -> list[Phone]:
    return read_phones(DATA / "prepare" / row.phones)


def _phone_model(
    params: Params,
    paired: list[Utterance],
    recorded: dict[Utterance, list[Phone]],
    before: Aligner | None,
    work: Path,
    number: int,
) -> Aligner:
    """Our own model after a round: trained on synthetic speech and on the recordings whose phones are known by now."""
    settings = params.align
    torch.manual_seed(params.seed)
    model = before or Aligner(settings.aligner.channels).to(device())
    saved = work / f"round-{number}.pt"
    if (weights := load_state(saved)) is None:
        rows = list(paired)
        for row, phones in recorded.items():
            path = work / f"phones-{number}" / f"{row.id}.tsv"
            write_phones(path, phones)
            rows.append(replace(row, phones=str(path)))
        run = Run(
            name=f"align, round {number}", module=model, optimizer=settings.optimizer, seed=params.seed + number,
            steps=settings.round_steps if number else settings.steps, work=work / f"training-{number}",
            loss=AlignerLoss(Corpus(DATA / "prepare", rows, with_curves=False), settings),
        )  # fmt: skip
        run.fit()
        weights = model.state_dict()
        save_state(saved, weights)
        remove_checkpoints(run.work)
    model.load_state_dict(weights)
    return model.eval()


def _align_all(model: PhoneModel, spoken: dict[Utterance, list[str]], title: str) -> dict[str, Alignment]:
    """{id: alignment} of the recordings that can be aligned at all."""
    with workers() as pool:
        found = pool.map(lambda row: align_phones(model, read_audio(DATA / "prepare" / row.audio), spoken[row]), spoken)
        shown = tqdm(zip(spoken, found, strict=True), total=len(spoken), desc=title, unit="recording", mininterval=5)
        return {row.id: alignment for row, alignment in shown if alignment is not None}


def _boundaries(model: PhoneModel, checks: dict[Utterance, list[str]]) -> dict[str, dict[str, float | int]]:
    """Boundary errors against the labels of test recordings, by source: number, median and 90th percentile in ms."""
    found, errors = _align_all(model, checks, "measure alignments"), {}
    for row in checks:
        if row.id in found:
            errors.setdefault(row.source, []).extend(np.abs(boundary_errors_ms(found[row.id].phones, _labelled(row))))
    return {
        source: {"n": len(own), "median_ms": round(float(np.median(own)), 1), "p90_ms": round(float(np.quantile(own, 0.9)), 1)}
        for source, own in errors.items()
        if own
    }


def _write_recordings(out: Path, kept: list[Utterance], timed: dict[str, list[Phone]], params: Params) -> list[Utterance]:
    """Writes the phones and, shard by shard, the curves of what was timed, and gives its rows of the manifest."""
    rows, curves = [], {}
    for number, row in enumerate(tqdm(kept, desc="curves of recordings", unit="recording", mininterval=5)):
        audio, phones = read_audio(DATA / "prepare" / row.audio), timed[row.id]
        curves[row.id] = truth_curves(audio, phones, seed=params.seed + number, strength=params.prepare.articulation)
        write_phones(out / f"phones/{row.id}.tsv", phones)
        shard = f"curves/recordings-{number // SHARD_UTTERANCES:05d}.npz"
        rows.append(
            replace(
                row, audio=f"../prepare/{row.audio}", phones=f"phones/{row.id}.tsv", phoneset="ipa", curves=shard,
                split=row.split if row.split == HELD_OUT else "paired", label_kind=row.label_kind if row.phones else ALIGNED,
            )
        )  # fmt: skip
        if len(curves) == SHARD_UTTERANCES or row is kept[-1]:
            write_shard(out / shard, curves)
            curves = {}
    return rows
