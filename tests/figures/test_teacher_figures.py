"""Table 4 and its figure, on made-up numbers."""

import json
from pathlib import Path

import numpy as np
import pytest

from facedistill.core.errors import InputError
from facedistill.figures import ablations
from facedistill.figures.tables import read_evaluated

SPLIT = "test-voices"
QUALITY = {"hubert": (0.9, 0.85), "mesh": (0.9, 0.84), "mfcc": (0.8, 0.78), "brief": (0.89, 0.7)}


def interval(value: float | None) -> dict[str, float | None]:
    return {"value": value, "low": value and value - 0.02, "high": value and value + 0.02, "n": 7}


@pytest.fixture
def evaluated(tmp_path: Path) -> Path:
    """What `evaluate` writes of four teachers of ours and one from outside, of whom there are labels alone."""
    metadata = {
        name: {"kind": "ours", "parameters": 5e6, "controls": 50 if name == "mesh" else 52, "hours": 1.5, "held_out_hours": 0.2}
        | {"variance_kept": 0.9995 if name == "mesh" else None}
        for name in QUALITY
    }
    metadata["theirs"] = metadata["hubert"] | {"kind": "outside", "parameters": None, "controls": 116}
    taught = {
        name: {
            role: dict.fromkeys(ablations.TEACHERS_SHOWN, interval(value))
            for role, value in zip(("teacher", "student"), pair, strict=True)
        }
        for name, pair in QUALITY.items()
    }
    agreement = {name: {"correlation": interval(0.7), "explained": interval(0.5)} for name in metadata}
    for stem, value in {"teachers": metadata, "taught": {SPLIT: taught}, "agreement": agreement}.items():
        (tmp_path / f"{stem}.json").write_text(json.dumps(value))
    return tmp_path


def table_of(folder: Path):
    taught, agreement, metadata = (read_evaluated(stem, folder) for stem in ("taught", "agreement", "teachers"))
    return ablations.teachers_table(taught, agreement, metadata, SPLIT)


def verdicts_of(folder: Path):
    judged = ablations.judge_teachers(read_evaluated("taught", folder), read_evaluated("teachers", folder), SPLIT)
    return judged.set_index("Claim")


def test_every_teacher_has_its_row_in_their_order(evaluated):
    table = table_of(evaluated)
    assert list(table["teacher"]) == [*QUALITY, "theirs"]
    shown = ablations.readable_teachers(table).set_index("Teacher")
    assert shown.loc["mesh", "Variance kept"] == "99.950 %" and shown.loc["hubert", "Variance kept"] == "–"
    assert shown.loc["mfcc", "Student: Lip-gap correlation"] == "0.780 [0.760, 0.800]"
    assert shown.loc["theirs", "Teacher: Lip-gap correlation"] == shown.loc["theirs", "Parameters"] == "–"
    assert shown.loc["theirs", "Follows its teacher: correlation"] == "0.700 [0.680, 0.720]"


def test_verdicts_need_intervals_that_do_not_overlap(evaluated):
    verdict = verdicts_of(evaluated)["Verdict"]
    assert verdict["HuBERT features beat MFCC"] == "holds"
    assert verdict["A teacher that is trained longer is better"] == "FAILS"  # 0.90 and 0.89, each within 0.02
    assert verdict["Its student is better too"] == "holds"
    assert verdicts_of(evaluated).loc["50 components keep 99.9 % of the meshes of mesh"].tolist() == [
        "unseen voices", "Variance kept (%)", "99.950", "≥ 99.9", "holds",
    ]  # fmt: skip


def test_what_was_not_trained_is_not_judged(evaluated):
    path = evaluated / "taught.json"
    taught = json.loads(path.read_text())
    del taught[SPLIT]["mfcc"]
    path.write_text(json.dumps(taught))
    assert verdicts_of(evaluated)["Verdict"]["HuBERT features beat MFCC"] == "not measured"


def test_a_student_is_drawn_against_its_teacher(evaluated):
    fig = ablations.teachers_figure(table_of(evaluated), read_evaluated("taught", evaluated), SPLIT)
    drawn = [bars.lines[0] for bars in fig.axes[0].containers]
    np.testing.assert_allclose([(line.get_xdata()[0], line.get_ydata()[0]) for line in drawn], list(QUALITY.values()))
    assert [text.get_text() for text in fig.legends[0].get_texts()] == list(QUALITY)


def test_files_of_another_form_are_named(evaluated):
    (evaluated / "taught.json").write_text('{"a": 1}')
    with pytest.raises(InputError, match="taught.json: not what the evaluate stage writes"):
        read_evaluated("taught", evaluated)
