"""Reading what `evaluate` measured, judging it, and drawing it: on made-up numbers."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from facedistill.core.errors import InputError
from facedistill.core.manifest import Utterance
from facedistill.figures import claims, corpus, plots, sentence
from facedistill.figures import tables as results
from facedistill.measure.closures import CLOSED_GAP_MM
from facedistill.rig.arkit import INDEX, N_CURVES
from facedistill.speech.phones import Phone, write_phones

SIZES = {
    "teacher": 4_000_000, "small": 2_900_000, "on-device": 200_000, "real-time": 2_900_000, "real-time-ensemble": 2_900_000,
    "small-paired-only": 2_900_000, "amplitude-envelope": 0,
}  # fmt: skip
PHONES = [Phone(0.0, 0.1, ""), Phone(0.1, 0.2, "p"), Phone(0.2, 0.5, "a"), Phone(0.5, 0.6, "f"), Phone(0.6, 0.8, "i")]


@pytest.fixture
def evaluated(tmp_path: Path) -> Path:
    """The files of `evaluate`, every value 0.9 [0.8, 0.95] but for the amplitude envelope, which has none."""
    good, none = {"value": 0.9, "low": 0.8, "high": 0.95}, dict.fromkeys(results.INTERVAL)
    systems = {
        name: {"parameters": size, "weights_bytes": 4 * size, "lookahead_ms": None if name == "teacher" else 80.0}
        for name, size in SIZES.items()
    }
    scores = {
        split: {name: {metric: (good if size else none) | {"n": 7} for metric in results.METRICS} for name, size in SIZES.items()}
        for split in ("test-voices", "test-noisy")
    }
    question = {metric: {"difference": good, "ratio": good} for metric in results.METRICS}
    comparisons = {"test-voices": {"on-device-against-teacher": question, "ensemble-against-real-time": question}}
    for name, value in {"systems": systems, "scores": scores, "comparisons": comparisons}.items():
        (tmp_path / f"{name}.json").write_text(json.dumps(value))
    return tmp_path


def test_results_are_read_as_tidy_tables(evaluated: Path):
    scores, comparisons, systems = (results.read_evaluated(stem, evaluated) for stem in ("scores", "comparisons", "systems"))
    assert list(scores) == ["split", "system", "metric", "value", "low", "high", "n"]
    assert len(scores) == 2 * len(SIZES) * len(results.METRICS)
    assert scores.set_index(["split", "system", "metric"]).loc[("test-noisy", "small", "pbm"), "low"] == 0.8
    assert scores.loc[scores["system"] == "amplitude-envelope", "value"].isna().all(), "null means not measurable"
    assert list(comparisons) == ["split", "question", "metric", "kind", "value", "low", "high"]
    assert len(comparisons) == 2 * 2 * len(results.METRICS)
    assert dict(zip(systems["system"], systems["parameters"], strict=True)) == SIZES


@pytest.mark.parametrize("text", ["[]", '{"test-voices": 1}', '{"test-voices": {"small": {"pbm": {"value": 1}}}}', "{"])
def test_other_files_are_bad_input(tmp_path: Path, text: str):
    (tmp_path / "scores.json").write_text(text)
    with pytest.raises(InputError, match="scores.json"):
        results.read_evaluated("scores", tmp_path)


def test_the_main_table_has_every_system_in_every_test(evaluated: Path):
    table = results.results_table(results.read_evaluated("scores", evaluated), results.read_evaluated("systems", evaluated))
    assert list(zip(table["split"], table["system"], strict=True)) == [
        (s, n) for s in ("test-voices", "test-noisy") for n in SIZES
    ]
    assert table.loc[0, ["parameters", "n_bilabials", "pbm", "pbm_low", "pbm_high"]].tolist() == [4_000_000, 7, 0.9, 0.8, 0.95]
    shown = results.readable(table)
    assert shown.loc[0, "PBM at 5 % false closures"] == "0.900 [0.800, 0.950]"
    assert (shown.loc[0, "Parameters"], shown.loc[0, "Look-ahead (ms)"], shown.loc[2, "Look-ahead (ms)"]) == (
        "4,000,000",
        "all",
        "80",
    )
    assert shown.loc[6, "PBM at 5 % false closures"] == "–"


def test_headings_name_the_gap_that_counts_as_closed():
    for metric in ("pbm_1mm", "false_closures_1mm"):
        assert f"at {CLOSED_GAP_MM:g} mm" in results.METRICS[metric][0]


def test_verdicts_follow_the_numbers(evaluated: Path):
    found = claims.judge_results(*(results.read_evaluated(stem, evaluated) for stem in ("scores", "comparisons")))
    verdict = found.set_index("Claim")["Verdict"]
    assert len(found) == len(claims.CLAIMS)
    assert verdict["The teacher follows the lips"] == "holds"  # 0.9 >= 0.85
    assert verdict["`on-device` keeps the teacher's correlation"] == "FAILS"  # 0.9 < 0.95
    assert verdict["`on-device` keeps the teacher's closures"] == "FAILS"  # 0.9 < 0.92
    assert verdict["The ensemble halves the jitter"] == "FAILS"  # 0.9 > 0.5
    assert set(verdict["Distillation beats the paired data alone"]) == {"not measured"}


def test_the_headline_says_what_is_kept_of_the_teacher(evaluated: Path):
    read = (results.read_evaluated(stem, evaluated) for stem in ("scores", "comparisons", "systems"))
    kept = "90 [80, 95] % of its {} (0.90 of 0.90)"
    assert results.headline(*read) == (
        "A student of 200,000 parameters follows a HuBERT teacher on synthetic voices that neither has heard: it keeps "
        + ", ".join(kept.format(name) for name in ("lip-gap correlation", "PBM at 1 mm"))
        + f" and {kept.format('PBM at 5 % false closures')}."
    )


def test_systems_of_equal_size_stand_side_by_side(evaluated: Path):
    systems = results.read_evaluated("systems", evaluated)
    places = plots.dodged(systems[systems["parameters"] > 0])
    assert places["on-device"] == pytest.approx(200_000) and places["teacher"] == pytest.approx(4_000_000)
    assert len(set(places.values())) == len(places)
    assert all(SIZES[name] / 2 < place < SIZES[name] * 2 for name, place in places.items())


def test_result_figures_draw_all_splits_and_skip_what_cannot_be_measured(evaluated: Path):
    scores, systems = results.read_evaluated("scores", evaluated), results.read_evaluated("systems", evaluated)
    dots = plots.intervals_figure(scores, ("pbm", "lag_ms"))
    assert [ax.get_xlabel() for ax in dots.axes] == 2 * ["PBM at 5 % false closures"] + 2 * ["Lag (ms)"]
    assert all(len(ax.containers) == len(SIZES) - 1 for ax in dots.axes)
    sizes = plots.size_figure(scores, systems)
    assert len(sizes.axes) == 6 and all(ax.get_xscale() == "log" for ax in sizes.axes)
    for fig in (dots, sizes):
        fig.canvas.draw()


def test_corpus_tables_and_figure(tmp_path: Path):
    write_phones(tmp_path / "a.tsv", PHONES)
    common = {"source": "made-up", "language": "de", "audio": "a.flac"}
    rows = [
        Utterance(id="a", speaker="one", split="paired", duration_s=3600.0, phones="a.tsv", **common),
        Utterance(id="b", speaker="two", split="paired", duration_s=1800.0, phones="a.tsv", **common),
        Utterance(id="c", speaker="two", split="unlabelled", duration_s=360.0, **common),
    ]
    splits, phones = corpus.split_table(rows), corpus.phone_table(rows, tmp_path)
    assert splits.to_dict("list") == {
        "split": ["paired", "unlabelled"], "hours": [1.5, 0.1], "utterances": [2, 1], "voices": [2, 1], "languages": [1, 1],
    }  # fmt: skip
    assert phones["label"].tolist() == 2 * ["p", "a", "f", "i"], "silence is not heard"
    assert phones["class"].tolist()[:4] == ["bilabial", "vowel", "labiodental", "vowel"]
    assert phones["duration_ms"][:2].tolist() == pytest.approx([100, 300])
    assert corpus.speakers(rows, "unlabelled") == {("made-up", "two")} and corpus.languages(rows, "paired") == {"de"}
    corpus.corpus_figure(splits, phones).canvas.draw()


def test_key_phones_are_the_lips_own_first():
    selected = sentence.key_phones(PHONES, n=3, first_s=0.0, last_s=1.0)
    assert [phone.label for phone in selected] == ["p", "a", "f"]
    assert [phone.label for phone in sentence.key_phones(PHONES, n=9, first_s=0.15, last_s=0.7)] == ["a", "f"]


def test_sentence_figure_draws_curves_phones_and_faces():
    truth = np.zeros((48, N_CURVES), np.float32)
    truth[:, INDEX["jawOpen"]] = np.linspace(0, 0.5, 48)
    fig = sentence.sentence_figure(
        {"truth": truth, "on-device": truth / 2}, PHONES, first_s=0.0, last_s=0.8, faces=["truth", "on-device"], n_faces=2
    )
    fig.canvas.draw()
    faces, panels = fig.subfigs[0].axes, fig.subfigs[1].axes
    assert len(faces) == 4 and all(ax.images for ax in faces)
    assert [ax.get_ylabel() for ax in panels] == ["Lip gap (mm)", "jawOpen", "mouthPucker"]
    assert [text.get_text() for text in panels[0].texts] == [phone.label for phone in PHONES]
    jaw = {line.get_label(): line.get_ydata() for line in panels[1].lines}
    assert jaw["truth"][-1] == 0.5 and jaw["on-device"][-1] == 0.25


def test_the_envelope_is_beaten_where_intervals_do_not_overlap(evaluated: Path):
    scores = results.read_evaluated("scores", evaluated)
    judged = claims.judge_against_envelope(scores, ["teacher", "small"], "test-voices")
    assert set(judged["Verdict"]) == {"not measured"}
    loud = (scores["system"] == results.ENVELOPE) & (scores["metric"] == "lip_gap_r")
    scores.loc[loud, ["value", "low", "high"]] = [0.5, 0.4, 0.7]
    scores.loc[(scores["system"] == "small") & (scores["metric"] == "lip_gap_r"), "low"] = 0.6
    judged = claims.judge_against_envelope(scores, ["teacher", "small", "nobody"], "test-voices")
    assert list(judged["Verdict"]) == ["holds", "FAILS", "not measured"]
    assert judged.loc[0, ["Measured", "Needed"]].tolist() == ["0.900 [0.800, 0.950]", "interval > 0.500 [0.400, 0.700]"]


def test_what_a_student_inherits_is_judged_by_the_whole_interval(evaluated: Path):
    comparisons = results.read_evaluated("comparisons", evaluated)
    other = comparisons.assign(split="test-noisy")
    both = pd.concat([comparisons, other], ignore_index=True)
    judge = lambda margin: claims.judge_inheritance(both, "test-voices", margin=margin)  # noqa: E731
    assert list(judge(0.05)["Verdict"]) == ["FAILS"] and list(judge(0.11)["Verdict"]) == ["holds"]  # 0.9 [0.8, 0.95]
    assert judge(0.05).loc[0, ["Test", "Measured", "Needed"]].tolist() == [
        "noise, room, telephone", "0.900 [0.800, 0.950]", "interval ≥ 0.85",
    ]  # fmt: skip


def test_numbers_of_a_row_make_a_text_with_dashes_for_what_is_not_known():
    table = pd.DataFrame({"a": [1.0, np.nan, 2.0], "b": [3.0, 4.0, np.nan]})
    assert results.texts(table, "{:.1f} / {:.0f}", "a", "b") == ["1.0 / 3", "–", "2.0 / –"]
