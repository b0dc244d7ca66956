import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from facedistill.core.manifest import read_manifest
from facedistill.models.encoder import build_encoder
from facedistill.models.filterbank import FIELD_SAMPLES, HOP_SAMPLES
from facedistill.models.pretraining import SPAN_FRAMES, audible, pretrain, spans


@given(st.integers(1, 4), st.integers(1, 40), st.integers(0, 2**31), st.integers(0, 500))
def test_audible_is_the_naive_loop(n_crops, n_frames, seed, rest):
    masked = torch.from_numpy(np.random.default_rng(seed).random((n_crops, n_frames)) < 0.6)
    n_samples = (n_frames - 1) * HOP_SAMPLES + FIELD_SAMPLES + rest
    expected = torch.zeros(n_crops, n_samples, dtype=torch.bool)
    expected[:, n_samples - rest :] = True
    for crop, frame in torch.nonzero(~masked).tolist():
        expected[crop, frame * HOP_SAMPLES : frame * HOP_SAMPLES + FIELD_SAMPLES] = True
    assert torch.equal(audible(masked, n_samples), expected)


def test_spans_cover_about_half_of_every_crop():
    masked = spans(200, 250, np.random.default_rng(0))
    assert masked.mean() == pytest.approx(0.5, abs=0.04) and masked.any(axis=1).all() and masked[:, [0, -1]].any(axis=0).all()
    assert spans(50, SPAN_FRAMES // 2, np.random.default_rng(0)).all(), "crops shorter than a span are one"


def test_pretraining_learns_repeats_and_gives_an_encoder(smoke_params, corpus_folder, monkeypatch, tmp_path):
    monkeypatch.setattr("facedistill.models.training.WORK", tmp_path / "work")
    encoder = smoke_params.teach.encoder.model_copy(update={"source": "scratch"})
    params = smoke_params.model_copy(update={"teach": smoke_params.teach.model_copy(update={"encoder": encoder})})
    rows = read_manifest(corpus_folder / "manifest.jsonl")
    for out in (tmp_path / "one", tmp_path / "two"):
        pretrain(params, corpus_folder, rows, steps=60, out=out)
    saved = [(tmp_path / name / "model.safetensors").read_bytes() for name in ("one", "two")]
    assert saved[0] == saved[1]
    log = pd.read_csv(tmp_path / "one" / "losses.csv")
    assert log["total"].iloc[-1] < log["total"].iloc[0] < 2 * np.log(100)
    build_encoder(encoder.model_copy(update={"source": str(tmp_path / "one")}))
