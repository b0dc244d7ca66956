"""The benchmark on recordings: its measures are what they say, and an independent scorer and a naive one agree."""

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from real_speech_tree import FPS, make_tree, naive_scores, write_random_curves

from facedistill.core.errors import InputError
from facedistill.core.paths import ROOT
from facedistill.face.arkit import CURVES
from facedistill.formats.animation import regular
from facedistill.real_speech import visemes
from facedistill.real_speech.animate import read_curves
from facedistill.real_speech.gaps import lip_gap, score
from facedistill.real_speech.lags import fit_lag_ms, lag_grid_ms
from facedistill.real_speech.pooled import pbm_at, pooled_auc, resamples, table_of
from facedistill.real_speech.recordings import phone_class, read_recordings
from facedistill.real_speech.score import scored
from facedistill.real_speech.settings import LagSettings

SCORER = ROOT.parent / "shared" / "tools" / "score_speech.py"
LAG = LagSettings(split="train", max_recordings=60, reach_ms=200, step_ms=20, fit="auc")


def tables(manifest: Path, curves: Path, lag_s: float = 0.0) -> dict[str, dict]:
    tests = read_recordings(manifest, "test")
    animations = [read_curves(curves / f"{recording.name}.csv") for recording in tests]
    return table_of(tests, scored(tests, animations, FPS, lag_s=lag_s), seed=0, n_boot=20)


@pytest.fixture
def manifest(tmp_path: Path) -> Path:
    return make_tree(tmp_path / "speech")


# measures -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("levels", [None, 4])
@pytest.mark.parametrize("lag_s", [0.0, 0.033, -0.05])
def test_measures_are_those_of_a_naive_reference(tmp_path, manifest, levels, lag_s):
    write_random_curves(manifest, tmp_path / "curves", levels=levels)
    ours, naive = tables(manifest, tmp_path / "curves", lag_s), naive_scores(manifest, tmp_path / "curves", lag_s=lag_s)
    assert set(ours) == {*naive, "mean", "weighted"}
    for source, expected in naive.items():
        assert ours[source]["n"] == expected["n"] > 0
        for metric in ("auc", "r", "pbm"):
            assert ours[source][metric]["value"] == pytest.approx(expected[metric], abs=1e-9)
    n = sum(expected["n"] for expected in naive.values())
    for metric in ("auc", "r", "pbm"):
        mean = np.mean([expected[metric] for expected in naive.values()])
        weighted = sum(expected[metric] * expected["n"] for expected in naive.values()) / n
        assert ours["mean"][metric]["value"] == pytest.approx(mean, abs=1e-9)
        assert ours["weighted"][metric]["value"] == pytest.approx(weighted, abs=1e-9)
    assert ours["weighted"]["n"] == n


@pytest.mark.skipif(not SCORER.is_file(), reason="no ../shared/tools/score_speech.py, the independent scorer")
@pytest.mark.parametrize("levels", [None, 4])
def test_an_independent_scorer_agrees(tmp_path, manifest, levels):
    write_random_curves(manifest, tmp_path / "curves", levels=levels)
    for train in (tmp_path / "curves").glob("*-train-*"):
        train.unlink()
    command = [sys.executable, str(SCORER), str(manifest), str(tmp_path / "curves"), "--json", str(tmp_path / "out.json")]
    subprocess.run(command, check=True, capture_output=True)
    theirs, ours = json.loads((tmp_path / "out.json").read_text()), tables(manifest, tmp_path / "curves")
    assert set(theirs) == set(ours)
    for group, expected in theirs.items():
        for metric, name in (("auc", "auc"), ("r", "r"), ("pbm", "pbm5")):
            assert ours[group][metric]["value"] == pytest.approx(expected[name], abs=1e-6), (group, metric)


@pytest.mark.parametrize(
    ("label", "phoneset", "expected"),
    [
        ("SIL", "arpabet", "silence"), ("<p:>", "SAMPA", "silence"), ("P", "cmu-radio", "bilabial"), ("mː", "IPA", "bilabial"),
        ("F", "arpabet", "labiodental"), ("AA1", "MFA IPA/arpabet", "vowel"), ("ay", "arpabet", "vowel"), ("aj", "IPA", "vowel"),
        ("ng", "arpabet", "other"), ("O", "MRPA/SAMPA", "vowel"), ("Q", "SAMPA", "vowel"),
        ("Q", "IPA", "other"), ("@", "SAMPA", "vowel"),
        ("ˈaɪ", "ipa", "vowel"), ("ˈp", "ipa", "bilabial"), ("a~", "SAMPA", "vowel"), ("h", "", "other"), ("pf", "IPA", "other"),
    ],
)  # fmt: skip
def test_phones_are_classed_by_their_labels(label, phoneset, expected):
    assert phone_class(label, phoneset) == expected


def test_a_mouth_that_never_moves_is_at_chance():
    still = np.zeros(50)
    assert pooled_auc(still, still) == 0.5
    assert np.isnan(pooled_auc(still, np.empty(0))) and np.isnan(pbm_at(np.empty(0), still))


def test_curves_that_are_not_there_rest(manifest):
    recording = read_recordings(manifest, "test")[0]
    weights = np.random.default_rng(0).uniform(0, 1, (60, 2))
    full = np.zeros((60, len(CURVES)))
    full[:, [CURVES.index("jawOpen"), CURVES.index("mouthClose")]] = weights
    few = score(("jawOpen", "mouthClose"), weights, np.arange(60) / FPS, recording, fps=FPS)
    all_of_them = score(CURVES, full, np.arange(60) / FPS, recording, fps=FPS)
    assert few.jitter == pytest.approx(all_of_them.jitter) and few.r == pytest.approx(all_of_them.r)
    assert few.n_silent_jerks == all_of_them.n_silent_jerks < few.n_jerks


# intervals ------------------------------------------------------------------------------------------------------------


def test_intervals_hold_the_value_and_one_recording_has_none(tmp_path, manifest):
    write_random_curves(manifest, tmp_path / "curves")
    found = tables(manifest, tmp_path / "curves")
    for group, row in found.items():
        ends = row["auc"]
        assert np.isnan(ends["low"]) if group == "field" else ends["low"] <= ends["value"] <= ends["high"]
    assert found["field"]["n_recordings"] == 1


def test_speakers_are_drawn_whole(manifest):
    recordings = [one for one in read_recordings(manifest, "test") if one.row.source == "studio"]
    counts = resamples(recordings, rng=np.random.default_rng(0), n_boot=50)
    assert counts.shape == (51, 3) and (counts[0] == 1).all()
    assert (counts[:, 0] == counts[:, 2]).all() and (counts[:, 0] != counts[:, 1]).any()


def test_resampled_auc_is_that_of_the_drawn_recordings(tmp_path, manifest):
    write_random_curves(manifest, tmp_path / "curves", levels=5)
    recordings = [one for one in read_recordings(manifest, "test") if one.row.source == "lab"]
    recordings = [replace(one, row=replace(one.row, speaker="one")) for one in recordings]
    scores = scored(recordings, [read_curves(tmp_path / "curves" / f"{one.name}.csv") for one in recordings], FPS)
    counts = resamples(recordings, rng=np.random.default_rng(0), n_boot=5)
    from facedistill.real_speech.pooled import source_replicates

    found = source_replicates(scores, counts)["auc"]
    for value, row in zip(found, counts, strict=True):
        drawn = [scores[index] for index in np.repeat(np.arange(3), row)]
        pools = [np.concatenate([getattr(one, kind) for one in drawn]) for kind in ("bilabial", "vowel")]
        assert value == pytest.approx(pooled_auc(*pools))


# lag ------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("fit", ["auc", "r"])
@pytest.mark.parametrize("late_ms", [-100, 0, 120])
def test_the_lag_of_curves_is_found(manifest, fit, late_ms):
    recordings, animations = read_recordings(manifest, "train"), []
    for recording in recordings:
        times = np.arange(90) / FPS - late_ms / 1000
        opening = np.zeros(90)
        for start, end, kind in zip(recording.starts_s, recording.ends_s, recording.classes, strict=True):
            opening[(times >= start) & (times < end)] = (0.05, 0.0, 0.15, 0.3, 0.8)[kind]
        animations.append(regular(("jawOpen",), opening[:, None], FPS))
    found = fit_lag_ms(recordings, animations, LAG.model_copy(update={"fit": fit}))
    assert abs(found - late_ms) <= 1000 / FPS
    assert fit_lag_ms([], [], LAG) is None


def test_lags_are_tried_from_the_smallest():
    grid = lag_grid_ms(LAG)
    assert grid[0] == 0 and sorted(grid) == list(range(-200, 201, 20))


# recordings and shapes ------------------------------------------------------------------------------------------------


def test_bad_recordings_are_told_in_one_line(tmp_path, manifest):
    rows = manifest.read_text().splitlines()
    manifest.write_text("\n".join([*rows, rows[0]]) + "\n")
    with pytest.raises(InputError, match="2 recordings of test are called 'lab-test-0'"):
        read_recordings(manifest, "test")
    (manifest.parent / "phones/lab-test-0.tsv").write_text("0.0\tx\tp\n")
    with pytest.raises(InputError, match=r"lab-test-0\.tsv: line 1"):
        read_recordings(manifest, "test")


def test_recordings_of_a_source_are_spread(tmp_path):
    manifest = make_tree(tmp_path, n_test=5)
    found = read_recordings(manifest, "test", max_per_source=2)
    assert [one.name for one in found] == ["lab-test-0", "lab-test-4", "studio-test-0", "studio-test-4", "field-test-0"]


@pytest.mark.parametrize("table", [visemes.OCULUS, visemes.RHUBARB])
def test_shapes_part_the_lips_as_their_names_say(table):
    gaps = {}
    for shape in table:
        weights = visemes.curves_of({shape: np.ones(1)}, table)
        assert weights.max() <= 1
        gaps[shape] = float(lip_gap(CURVES, weights)[0])
    closed, rest, wide = ("PP", "sil", "aa") if "PP" in table else ("A", "X", "D")
    assert gaps[closed] == min(gaps.values()) < gaps[rest] == 0 < gaps[wide] == max(gaps.values())
