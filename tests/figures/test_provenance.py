"""Figures say what made them, and say something else when it changes."""

from pathlib import Path

import PIL.Image
import pytest
import yaml
from matplotlib import pyplot as plt

from facedistill.figures import style as figures
from facedistill.figures.style import UNKNOWN, provenance

PLOTS = [{f"figures/{name}.png": {"cache": False}} for name in ("fig1", "fig1_more")]
DVC = {
    "stages": {
        "prepare": {"cmd": "x", "params": ["prepare"], "outs": ["data/prepare"]},
        "other": {"cmd": "x", "params": ["other"], "outs": ["data/other"]},
        "evaluate": {
            "cmd": "x",
            "deps": ["data/code/a.txt", "data/prepare"],
            "params": ["evaluate"],
            "outs": ["data/evaluate/scores.json"],
        },
        "fig1": {
            "cmd": "x",
            "deps": ["data/code/b.txt", "data/evaluate", "models/one"],
            "params": ["notebooks.fig1"],
            "plots": PLOTS,
        },
    }
}
LOCK = {
    "stages": {
        "prepare": {"params": {"params.yaml": {"prepare": 1}}, "outs": [{"path": "data/prepare", "md5": "aa"}]},
        "other": {"params": {"params.yaml": {"other": 1}}, "outs": [{"path": "data/other", "md5": "bb"}]},
        "evaluate": {
            "deps": [{"path": "data/code/a.txt", "md5": "cc"}, {"path": "data/prepare", "md5": "aa"}],
            "params": {"params.yaml": {"evaluate": 1}}, "outs": [{"path": "data/evaluate/scores.json", "md5": "dd"}],
        },
    }
}  # fmt: skip


def message(root: Path, *, lock=LOCK, params="notebooks: {fig1: {n: 1}}", model="weights") -> str:
    (root / "models" / "one").mkdir(parents=True, exist_ok=True)
    (root / "models" / "one" / "a.onnx").write_text(model)
    (root / "dvc.yaml").write_text(yaml.safe_dump(DVC))
    (root / "dvc.lock").write_text(yaml.safe_dump(lock))
    (root / "params.yaml").write_text(params)
    return provenance("fig1", root)


def replaced(old: str, new: str) -> dict:
    return yaml.safe_load(yaml.safe_dump(LOCK).replace(old, new))


def test_a_figure_that_reads_no_data_says_so(tmp_path):
    alone = {"stages": {"fig1": {"cmd": "x", "deps": ["data/code/b.txt"], "params": ["notebooks.fig1"], "plots": PLOTS}}}
    message(tmp_path)
    (tmp_path / "dvc.yaml").write_text(yaml.safe_dump(alone))
    assert provenance("fig1", tmp_path).endswith(", data none")


@pytest.mark.parametrize(
    "change, params_differ, data_differ",
    [
        ({}, False, False),
        ({"lock": replaced("prepare: 1", "prepare: 2")}, False, False),  # nothing came of it
        ({"lock": replaced("md5: dd", "md5: ee")}, False, True),
        ({"lock": replaced("other: 1", "other: 2")}, False, False),  # leads to another figure
        ({"lock": replaced("md5: cc", "md5: ee")}, False, False),  # code
        ({"params": "notebooks: {fig1: {n: 2}}"}, True, False),
        ({"params": "notebooks: {fig1: {n: 1}, fig2: {n: 2}}"}, False, False),
        ({"model": "other weights"}, False, True),
    ],
)
def test_hashes_change_with_what_the_figure_depends_on(tmp_path, change, params_differ, data_differ):
    before, after = (message(tmp_path, **changes).split(", ") for changes in ({}, change))
    assert before[0] == after[0] == "stage fig1"
    assert [old != new for old, new in zip(before[1:], after[1:], strict=True)] == [params_differ, data_differ]


def test_what_is_no_stage_or_was_not_run_has_none(tmp_path):
    assert message(tmp_path, lock={}) == UNKNOWN
    assert provenance("fig0", tmp_path) == UNKNOWN
    message(tmp_path)
    assert provenance("fig1_more", tmp_path).startswith("stage fig1, "), "a stage may make more than one figure"
    assert provenance("fig1", tmp_path / "nowhere") == UNKNOWN


def test_a_picture_and_its_caption_say_it(tmp_path, monkeypatch):
    monkeypatch.setattr(figures, "provenance", lambda stem: f"stage {stem}, params 123abc, data 456def")
    fig, _ = plt.subplots()
    png = figures.save_figure(fig, "fig1", folder=tmp_path)
    with PIL.Image.open(png) as image:
        assert image.text["Source"] == "stage fig1, params 123abc, data 456def"
    shown = figures.show(png, width=500).data
    assert "fig1: stage fig1, params 123abc, data 456def" in shown and 'width="500"' in shown and "base64" in shown
