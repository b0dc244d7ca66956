"""Tables and figures of the ablation, of smoothing and of closures: on made-up numbers."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from facedistill.core.errors import InputError
from facedistill.core.sections import BASELINE
from facedistill.figures import ablations, closures, plots
from facedistill.figures.claims import format_claims
from facedistill.figures.tables import METRICS, read_evaluated
from facedistill.speech.phones import Phone

SPLIT = "test-voices"
CHANGES = {
    BASELINE: {},
    "no-feature-loss": {ablations.FEATURE: 0.0},
    "future-0ms": {ablations.FUTURE: 0},
    "future-0ms-no-feature-loss": {ablations.FUTURE: 0, ablations.FEATURE: 0.0},
    "window-256ms": {ablations.WINDOW: 256, ablations.FUTURE: 128},
    "channels-64": {"ablate.student.channels": 64},
    "voices-5": {"distill.data.voices": 5, ablations.FEATURE: 0.0},
}
GAIN = {name: -0.1 * number for number, name in enumerate(CHANGES)}


def interval(value: float) -> dict[str, float]:
    return {"value": value, "low": value - 0.02, "high": value + 0.02}


def measured(value: float) -> dict[str, dict[str, float]]:
    return {metric: interval(value) | {"n": 9} for metric in METRICS}


def facts_of(change: dict[str, float]) -> dict[str, object]:
    two = len(change) > 1
    return {
        "set": change, "reference": "no-feature-loss" if two and ablations.FEATURE in change else BASELINE,
        "why": "two at once" if two else "", "guided": ablations.FEATURE not in change,
        "channels": change.get("ablate.student.channels", 128), "window_ms": change.get(ablations.WINDOW, 512),
        "future_ms": change.get(ablations.FUTURE, 256), "voices": change.get("distill.data.voices", 40), "languages": 14,
        "parameters": 1000, "hours": 1.5,
    }  # fmt: skip


def verdicts_of(folder: Path) -> pd.Series:
    differences = read_evaluated("ablation_differences", folder)
    table = ablations.judge_ablations(differences, ablations.read_variants(folder), SPLIT)
    assert len(table) == len(ablations.CLAIMS)
    return table.set_index(["Claim", table["Measure"].str.partition(",")[0]])["Verdict"]


SMOOTHED = {"none": (0, 1), "average-3": (-2, 0.4), "one-euro-17ms": (0.1, 1.1)}  # difference and ratio of every metric


def smoothed(difference: float, ratio: float) -> dict:
    return {metric: {"difference": interval(difference), "ratio": interval(ratio)} for metric in METRICS}


@pytest.fixture
def evaluated(tmp_path: Path) -> Path:
    """The ablation's files of `evaluate`: each variant is 0.1 worse than the one before, with 0.02 of doubt; two seeds."""
    metadata = {name: facts_of(change) for name, change in CHANGES.items()}
    differences = {
        name: {metric: {"difference": interval(gain), "ratio": interval(1)} for metric in METRICS} for name, gain in GAIN.items()
    }
    seeds = {name: {f"seed-{seed}": dict.fromkeys(METRICS, 0.9 + gain * seed) for seed in (1, 2)} for name, gain in GAIN.items()}
    files = {
        "variants": metadata,
        "ablations": {SPLIT: {name: measured(0.9 + gain) for name, gain in GAIN.items()}},
        "ablation_differences": {SPLIT: differences},
        "ablation_seeds": {SPLIT: seeds},
        "smoothing": {SPLIT: {"none": measured(3.0), "average-3": measured(1.0), "one-euro-17ms": measured(1.5)}},
        "smoothing_differences": {SPLIT: {name: smoothed(*gain) for name, gain in SMOOTHED.items()}},
        "smoothers": {
            "none": {"kind": "none", "strength": "none", "reference": "none", "lookahead_ms": 80.0},
            "average-3": {"kind": "average", "strength": "3 frames", "reference": "none", "lookahead_ms": 97.0},
            "one-euro-17ms": {"kind": "One-Euro", "strength": "5.8 Hz", "reference": "average-3", "lookahead_ms": 97.0},
        },
    }  # fmt: skip
    for stem, value in files.items():
        (tmp_path / f"{stem}.json").write_text(json.dumps(value))
    return tmp_path


def test_the_table_has_every_variant_and_its_difference(evaluated):
    variants = ablations.read_variants(evaluated)
    scores, differences = (read_evaluated(stem, evaluated) for stem in ("ablations", "ablation_differences"))
    table = ablations.ablation_table(scores, differences, variants, SPLIT).set_index("variant")
    assert list(table.index) == list(CHANGES)
    assert table.loc["channels-64", "lip_gap_r"] == pytest.approx(0.9 + GAIN["channels-64"])
    assert table.loc["channels-64", "lip_gap_r_gain_low"] == pytest.approx(GAIN["channels-64"] - 0.02)
    assert table.loc["window-256ms", "change"] == f"{ablations.WINDOW} = 256, {ablations.FUTURE} = 128"
    shown = ablations.readable_ablations(table.reset_index())
    assert shown.loc[0, "Lip-gap correlation: gain"] == "" and "[" in shown.loc[1, "Lip-gap correlation: gain"]
    fig = ablations.gains_figure(table.reset_index(), ablations.read_seeds(evaluated))
    assert [label.get_text() for label in fig.axes[0].get_yticklabels()] == [
        "no-feature-loss", "future-0ms", "future-0ms-no-feature-loss – no-feature-loss", "window-256ms", "channels-64",
        "voices-5 – no-feature-loss",
    ]  # fmt: skip
    crosses = [line for line in fig.axes[0].lines if line.get_marker() == "x"]
    assert len(crosses) == len(CHANGES) - 1
    np.testing.assert_allclose(crosses[0].get_xdata(), [-0.1, -0.2])  # each seed against the baseline of its own seed
    np.testing.assert_allclose(crosses[2].get_xdata(), [-0.2, -0.4])  # or against what it is a change of


def test_an_axis_holds_what_differs_by_it_alone(evaluated):
    scores, variants = read_evaluated("ablations", evaluated), ablations.read_variants(evaluated)
    points = ablations.axis_points(scores[scores["metric"] == "pbm"], variants, "future")
    assert set(zip(points["variant"], points["x"], points["guided"], strict=True)) == {
        (BASELINE, 256, True), ("no-feature-loss", 256, False), ("future-0ms", 0, True), ("future-0ms-no-feature-loss", 0, False),
    }  # fmt: skip
    assert set(ablations.axis_points(scores, variants, "voices")["variant"]) == {"no-feature-loss", "voices-5"}
    fig = ablations.axes_figure(scores, variants, ["future", "window", "width"])
    assert [ax.get_xlabel() for ax in fig.axes[9:]] == [ablations.AXES[axis][2] for axis in ("future", "window", "width")]


def test_no_verdict_is_made_of_a_difference_from_something_else(evaluated):
    path = evaluated / "variants.json"
    metadata = json.loads(path.read_text())
    metadata["voices-5"]["reference"] = BASELINE
    path.write_text(json.dumps(metadata))
    assert verdicts_of(evaluated)["Five voices are too few", "Lip-gap correlation"] == "not measured"


def test_verdicts_follow_the_interval_of_the_difference(evaluated):
    verdicts = verdicts_of(evaluated)
    assert verdicts["The feature loss helps", "PBM at 5 % false closures"] == "holds"
    assert verdicts["More channels help", "Lip-gap correlation"] == "not measured"
    assert verdicts["Five voices are too few", "Lip-gap correlation"] == "holds"
    path = evaluated / "ablation_differences.json"
    path.write_text(path.read_text().replace("-0.12", "0.12").replace("-0.1,", "0.1,").replace("-0.08", "0.13"))
    verdicts = verdicts_of(evaluated)
    assert verdicts["The feature loss helps", "PBM at 5 % false closures"] == "FAILS"


def test_claims_along_an_axis_are_about_changes_along_it(evaluated):
    differences, variants = read_evaluated("ablation_differences", evaluated), ablations.read_variants(evaluated)
    along = ablations.judge_ablations(differences, variants, SPLIT, ["future", "width"])
    assert set(along["Claim"]) == {"No future is worse than 256 ms", "Fewer channels hurt"}
    voices = ablations.judge_ablations(differences, variants, SPLIT, ["voices"])
    assert list(voices["Claim"]) == ["Five voices are too few"], "made without the feature loss, which is no axis"
    assert (
        format_claims(along)
        .splitlines()[0]
        .startswith("holds        Fewer channels hurt (unseen voices; Lip-gap correlation, baseline minus channels-64): 0.5")
    )


@pytest.mark.parametrize(
    "stem", ["variants", "ablations", "ablation_differences", "ablation_seeds", "smoothing", "smoothing_differences", "smoothers"]
)
def test_files_of_another_form_are_named(evaluated, stem):
    (evaluated / f"{stem}.json").write_text('{"a": 1}')
    readers = {"variants": ablations.read_variants, "ablation_seeds": ablations.read_seeds, "smoothing": ablations.read_smoothing}
    with pytest.raises(InputError, match=f"{stem}.json: not what the evaluate stage writes"):
        readers.get(stem, lambda folder: read_evaluated(stem, folder))(evaluated)


def test_the_front_is_what_nothing_beats_in_both():
    cost = pd.Series({"a": 1.0, "b": 2.0, "c": 3.0, "d": 2.0})
    harm = pd.Series({"a": 5.0, "b": 4.0, "c": 4.0, "d": 9.0})
    assert ablations.front_of(cost, harm) == ["a", "b"]


def test_smoothing_is_drawn_by_its_delay_side_by_side(evaluated):
    fig = ablations.smoothing_figure(ablations.read_smoothing(evaluated), SPLIT)
    points = {bars.get_label(): bars.lines[0].get_xdata()[0] for bars in fig.axes[0].containers if len(bars.lines[0].get_xdata())}
    assert points == {"none": 80.0, "average": 97 - ablations.BESIDE_MS, "One-Euro": 97 + ablations.BESIDE_MS}


def test_smoothing_is_judged_at_equal_delay_by_intervals(evaluated):
    table = ablations.smoothing_table(ablations.read_smoothing(evaluated), SPLIT)
    differences = read_evaluated("smoothing_differences", evaluated)
    message = ablations.judge_smoothing(table, differences, SPLIT)
    verdicts = dict(zip(message["Claim"], message["Verdict"], strict=True))
    assert verdicts == {
        "average-3 halves the jitter": "holds",
        "average-3 shakes less than one-euro-17ms, which is as late": "holds",  # 0.1 less, give or take 0.02
        "average-3 follows the lips better than one-euro-17ms, which is as late": "FAILS",
        "All are as late as their look-ahead says": "holds",
    }
    assert message.loc[2, "Measured"] == "-0.100 [-0.120, -0.080]"
    assert message.loc[2, "Measure"] == "Lip-gap correlation, average-3 minus one-euro-17ms"
    late = ablations.judge_smoothing(
        table.assign(lag_ms=[0.0, 1.0, 4.5]), read_evaluated("smoothing_differences", evaluated), SPLIT
    )
    assert late.loc[3, ["Measured", "Verdict"]].tolist() == ["4.500", "FAILS"]


def test_splits_are_drawn_with_their_intervals():
    rows = [
        {"split": split, "system": system, "metric": metric, "value": 0.5, "low": 0.4, "high": 0.6, "n": 3}
        for split in ("test-voices", "test-noisy") for system in ("teacher", "on-device") for metric in METRICS
    ]  # fmt: skip
    fig = plots.splits_figure(pd.DataFrame(rows), ["teacher", "on-device"])
    assert [label.get_text().split("\n")[0] for label in fig.axes[0].get_xticklabels()] == [
        "unseen voices",
        "noise, room, telephone",
    ]


def test_traces_are_centred_on_single_lip_sounds():
    gap_mm = np.arange(120, dtype=float)  # at 60 fps the gap tells the frame
    phones = [Phone(0.05, 0.1, "p"), Phone(0.9, 1.1, "b"), Phone(1.1, 1.2, "a"), Phone(1.2, 1.4, "mp"), Phone(1.4, 1.5, "m")]
    traces = closures.closure_traces(gap_mm, phones, "anna")
    assert traces.index.tolist() == [("b", "anna"), ("m", "anna")]
    np.testing.assert_allclose(traces.iloc[0], 60 * (1.0 + closures.TIMES_S))
    none = closures.closure_traces(gap_mm, [], "bert")
    assert none.shape == (0, len(closures.TIMES_S))
    pooled = pd.concat([traces, none, traces])
    fig = closures.closures_figure({"truth": pooled, "on-device": traces})
    assert [ax.get_title() for ax in fig.axes] == ["/p/, n = 0", "/b/, n = 2", "/m/, n = 2", "", "", ""]
    np.testing.assert_allclose(fig.axes[4].lines[1].get_ydata(), traces.loc["b"].iloc[0])


def test_shares_that_close_equal_a_count_and_resample_voices():
    rng, times = np.random.default_rng(0), closures.TIMES_S
    traces = []
    for n, voice in ((3, "anna"), (2, "bert"), (4, "carl")):
        heights = rng.choice([0.4, 3.0], size=(n, 1)) * np.ones((n, len(times)))
        heights[:, 0] = 0  # far from the middle, which does not count
        heights = np.concatenate([heights, np.full((n, len(times)), 0.5)])
        index = pd.MultiIndex.from_arrays([["p"] * n + ["b"] * n, [voice] * 2 * n], names=["letter", "voice"])
        traces.append(pd.DataFrame(heights, index, times))
    pooled = pd.concat(traces)
    shares = closures.closed_shares(pooled, np.random.default_rng(1))
    assert shares.index.tolist() == list(closures.LIPS)
    value, low, high, n = shares.loc["p"]
    assert (value, n) == (pytest.approx((pooled.loc["p"].iloc[:, len(times) // 2] < 1).mean()), 9)
    by_voice = [(one.loc["p"].iloc[:, len(times) // 2] < 1).agg(["sum", "size"]).to_numpy() for one in traces]
    drawn = np.random.default_rng(1).multinomial(3, [1 / 3] * 3, size=closures.N_BOOT)
    naive = [np.divide(*sum(times * counts for times, counts in zip(row, by_voice, strict=True))) for row in drawn]
    assert (low, high) == pytest.approx(np.quantile(naive, [0.025, 0.975]))
    assert shares.loc["b"].tolist() == [1, 1, 1, 9]
    assert shares.loc["m", ["value", "low", "high"]].isna().all() and shares.loc["m", "n"] == 0
    verdict = closures.judge_closures({"on-device": shares}, SPLIT)
    assert list(verdict["Verdict"]) == ["FAILS", "holds", "not measured"]
    assert verdict.loc[1, ["Claim", "Measure", "Measured"]].tolist() == [
        "on-device closes its lips on /b/", "Share closed of 9 /b/", "1.000 [1.000, 1.000]",
    ]  # fmt: skip
