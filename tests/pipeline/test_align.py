import json
from dataclasses import replace

import numpy as np
import pytest

from facedistill.core.errors import InputError
from facedistill.core.manifest import SYNTHETIC, read_manifest, select, write_manifest
from facedistill.models.aligner import Aligner, boundary_errors_ms
from facedistill.models.networks import CPU_WORKERS
from facedistill.pipeline import align as stage
from facedistill.pipeline.align import AlignerLoss, align
from facedistill.rig.curves import n_frames, read_curves
from facedistill.speech.audio import read_audio, write_flac
from facedistill.speech.espeak import Voice, language_of, pronounce, synthesize
from facedistill.speech.phones import classify, read_phones, write_phones

TEXTS = ("Mom buys a big map.", "People hope for peace.", "My apple pie is warm.", "Bob made a poem.")


@pytest.fixture
def data(corpus_folder, monkeypatch, tmp_path):
    """data/prepare: paired tones, and a synthetic voice as recordings: transcribed, labelled, held out, tested."""
    monkeypatch.setattr(stage, "DATA", corpus_folder.parent)
    monkeypatch.setattr("facedistill.models.training.WORK", tmp_path / "work")
    rows = read_manifest(corpus_folder / "manifest.jsonl")
    splits = ("unlabelled", "unlabelled", "held-out", "test-recordings")
    for number, (text, split) in enumerate(zip(TEXTS, splits, strict=True)):
        audio, phones = synthesize(text, Voice("en-us", "Alex"))
        key = f"r{number}"
        write_flac(corpus_folder / f"audio/{key}.flac", audio)
        labelled = number in (1, 3)
        if labelled:
            write_phones(corpus_folder / f"phones/{key}.tsv", phones)
        rows.append(
            replace(
                rows[-1], id=key, source="real", split=split, audio=f"audio/{key}.flac", duration_s=len(audio) / 16_000,
                transcript=text, language="en", curves=None, phones=f"phones/{key}.tsv" if labelled else None,
                label_kind="given" if labelled else None,
            )
        )  # fmt: skip
    rows = [replace(row, phones="phones/r1.tsv") if row.split == "paired" else row for row in rows]
    # what is synthetic stays what it is, transcript or not
    rows = [
        replace(row, source=SYNTHETIC, language="en", transcript="A tone.") if row.source == "tones" and not row.curves else row
        for row in rows
    ]
    write_manifest(corpus_folder / "manifest.jsonl", rows)
    return corpus_folder.parent


def tree(folder) -> dict:
    return {path.relative_to(folder): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def with_confidence(params, least: float):
    return params.model_copy(update={"align": params.align.model_copy(update={"min_confidence": least})})


def test_recordings_become_paired_data(smoke_params, data, monkeypatch):
    monkeypatch.setattr("facedistill.pipeline.align.SHARD_UTTERANCES", 2)
    align(with_confidence(smoke_params, 0.0))
    rows = {row.id: row for row in read_manifest(data / "align" / "manifest.jsonl")}
    assert [rows[f"r{number}"].split for number in range(3)] == ["paired", "paired", "held-out"] and "r3" not in rows
    assert (rows["r0"].label_kind, rows["r1"].label_kind) == ("aligned", "given")
    assert rows["u3"].split == "unlabelled" and rows["u3"].curves is None  # a synthetic voice
    assert len(select(rows.values(), "paired")) == 3 + 2
    curves = read_curves(data / "align", rows.values())
    assert [rows[f"r{number}"].curves for number in range(3)] == [f"curves/recordings-0000{shard}.npz" for shard in (0, 0, 1)]
    for key in ("r0", "r1", "r2"):
        audio, phones = read_audio(data / "align" / rows[key].audio), read_phones(data / "align" / rows[key].phones)
        assert len(curves[key]) == n_frames(len(audio))
        assert phones[-1].end_s <= len(audio) / 16_000 + 1e-6
    spoken = [phone.label for phone in read_phones(data / "align" / rows["r0"].phones)]
    assert spoken == pronounce(TEXTS[0], "en")
    # given phones are kept as they are
    assert read_phones(data / "align" / rows["r1"].phones) == read_phones(data / "prepare" / "phones/r1.tsv")
    summary = json.loads((data / "align" / "summary.json").read_text())
    assert (summary["given"], summary["aligned"], summary["dropped"]) == (1, 2, 0)
    assert len(summary["rounds"]) == smoke_params.align.rounds + 1 and summary["rounds"][0]["boundaries"]["real"]["n"] > 0


def test_recordings_it_is_unsure_of_are_left_unlabelled(smoke_params, data):
    align(with_confidence(smoke_params, 1.0))
    rows = {row.id: row for row in read_manifest(data / "align" / "manifest.jsonl")}
    assert (rows["r0"].split, rows["r0"].phones, rows["r1"].split) == ("unlabelled", None, "paired") and "r2" not in rows


def test_without_recordings_nothing_is_trained(smoke_params, data, monkeypatch):
    path = data / "prepare" / "manifest.jsonl"
    write_manifest(path, [row for row in read_manifest(path) if row.source != "real"])
    monkeypatch.setattr(stage, "Run", None)
    align(smoke_params)
    rows = read_manifest(data / "align" / "manifest.jsonl")
    assert [row.split for row in rows] == ["paired"] * 3 + ["unlabelled"] * 2


def test_a_killed_run_resumes_to_the_same_bytes(smoke_params, data, monkeypatch):
    params = with_confidence(smoke_params, 0.0)
    align(params)
    whole = tree(data / "align")
    calls, call = [], AlignerLoss.__call__
    whole_calls = CPU_WORKERS * (params.align.steps + params.align.rounds * params.align.round_steps)

    def dies(self, *batch):
        calls.append(None)
        if len(calls) == 6:
            raise KeyboardInterrupt
        return call(self, *batch)

    monkeypatch.setattr("facedistill.models.training.CHECKPOINT_EVERY_S", 0.0)
    monkeypatch.setattr(AlignerLoss, "__call__", dies)
    with pytest.raises(KeyboardInterrupt):
        align(params)
    assert tree(data / "align") == whole  # nothing lost, nothing half-written
    before = len(calls)
    align(params)
    assert 0 < len(calls) - before < whole_calls  # it does not start over
    assert tree(data / "align") == whole


def test_the_phone_model_learns_where_phones_are(smoke_params, data):
    """A minute of training on four sentences is enough to find their phones again: the whole path works."""
    rows = read_manifest(data / "prepare" / "manifest.jsonl")
    labelled = [replace(row, split="paired") for row in rows if row.id in ("r1", "r3")]
    loss = AlignerLoss(stage.Corpus(data / "prepare", labelled, with_curves=False), smoke_params.align)
    model = Aligner(32)
    optimizer, rng = stage.torch.optim.AdamW(model.parameters(), lr=5e-3), np.random.default_rng(0)
    for _ in range(60):
        optimizer.zero_grad()
        loss(model, 4, rng)["total"].backward()
        optimizer.step()
    trusted = read_phones(data / "prepare" / "phones/r3.tsv")
    audio = read_audio(data / "prepare" / "audio/r3.flac")
    found = stage.align_phones(model.eval(), audio, [phone.label for phone in trusted if phone.label])
    errors = np.abs(boundary_errors_ms(found.phones, trusted))
    assert len(errors) > 8 and np.median(errors) < 25
    assert any(classify(phone.label) == "bilabial" for phone in found.phones)


@pytest.mark.parametrize(
    "tag, name",
    [("de", "de"), ("en-GB", "en-gb"), ("en (L1 Mandarin)", "en-us"), ("zh", "cmn"), ("pt-BR", "pt-br"), ("nl_BE", "nl")],
)
def test_languages_of_manifests_are_espeaks(tag, name):
    assert language_of(tag) == name


def test_an_unknown_language_is_named():
    with pytest.raises(InputError, match="language 'tlh'.*expected .*de"):
        pronounce("nuqneH", "tlh")
