"""Resumable state: what comes back is what was saved, or it is made anew."""

import pytest
import torch
from damage import DAMAGES, SOME_DAMAGES
from hypothesis import given, settings

from facedistill.core.manifest import read_manifest, select
from facedistill.models.training import load_state, save_state
from facedistill.pipeline.align import _phone_model

STATE = {"weights": torch.arange(3000.0), "log": [{"step": 1, "total": 0.5}], "name": "a"}


def as_text(value: object) -> str:
    return repr({key: part.tolist() if isinstance(part, torch.Tensor) else part for key, part in value.items()})


@settings(max_examples=150, deadline=None)
@given(damage=DAMAGES)
def test_state_is_what_was_saved_or_none(tmp_path_factory, damage):
    path = tmp_path_factory.mktemp("state") / "a.pt"
    save_state(path, STATE)
    whole = path.read_bytes()
    path.write_bytes(damage(whole))
    same, found = path.read_bytes() == whole, load_state(path)
    assert (found is not None) is same and path.exists() is same
    assert found is None or as_text(found) == as_text(STATE)
    save_state(path, STATE)  # what is made anew
    assert as_text(load_state(path)) == as_text(STATE)


def test_state_that_a_disk_does_not_give_back_is_made_anew(tmp_path):
    (tmp_path / "a.pt").mkdir()  # reading it is an OSError, as it is of a broken sector
    assert load_state(tmp_path / "a.pt") is None and load_state(tmp_path / "none.pt") is None
    assert [path.name for path in tmp_path.iterdir()] == ["a.pt.broken"]


@pytest.mark.parametrize("how", SOME_DAMAGES)
def test_a_broken_round_of_the_phone_model_is_trained_again(smoke_params, corpus_folder, monkeypatch, tmp_path, caplog, how):
    monkeypatch.setattr("facedistill.pipeline.align.DATA", corpus_folder.parent)
    paired = select(read_manifest(corpus_folder / "manifest.jsonl"), "paired")

    def weights() -> dict[str, torch.Tensor]:
        model = _phone_model(smoke_params, paired, {}, None, tmp_path / "work", 0)
        return {name: value.clone() for name, value in model.state_dict().items()}

    first, path = weights(), tmp_path / "work" / "round-0.pt"
    path.write_bytes(SOME_DAMAGES[how](path.read_bytes()))
    again = weights()
    assert again.keys() == first.keys() and all(torch.equal(again[name], first[name]) for name in first)
    assert [message.split(": ")[0] for message in caplog.messages] == [str(path)]
    weights()
    assert len(caplog.messages) == 1  # what was made anew is whole
