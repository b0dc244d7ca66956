"""Metrics, closures and their statistics against naive loops, laws that must hold, and degenerate clips."""

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy.ndimage import gaussian_filter1d

from facedistill.measure import closures, metrics
from facedistill.measure.bootstrap import aggregate, compare
from facedistill.measure.scores import Face, Truth, UtteranceScores, score_utterance
from facedistill.rig.arkit import INDEX, N_CURVES
from facedistill.rig.curves import FPS
from facedistill.speech.phones import Phone

ROUNDING_S = closures._LABEL_ROUNDING_S
SEEDS = st.integers(0, 2**32 - 1)
GAPS = arrays(np.float64, st.integers(1, 25), elements=st.integers(-5, 20).map(lambda tenth: tenth / 10))
NAN = float("nan")


def smooth_gap(rng: np.random.Generator, n_frames: int) -> np.ndarray:
    return 5 + 3 * gaussian_filter1d(rng.normal(size=n_frames), 3)


def random_phones(rng: np.random.Generator, duration_s: float) -> list[Phone]:
    phones, start_s = [], 0.0
    while start_s < duration_s:
        end_s = start_s + rng.uniform(0.02, 0.15)
        phones.append(Phone(start_s, end_s, str(rng.choice(["p", "m", "a", "i", "s", "f", ""]))))
        start_s = end_s
    return phones


def toy_head(rng: np.random.Generator) -> SimpleNamespace:
    gap_mm = np.zeros(N_CURVES)
    gap_mm[INDEX["jawOpen"]] = 20.0
    regions = {"lips": np.array([0, 3, 4]), "upper_face": np.array([1, 2, 5, 6])}
    basis, width_mm = rng.normal(size=(N_CURVES, 8, 3)), np.zeros(N_CURVES)
    width_mm[INDEX["mouthPucker"]] = -10.0
    return SimpleNamespace(
        basis=basis, regions=regions, lip_gap_mm=lambda w: 0.5 + w @ gap_mm, mouth_width_mm=lambda w: 50 + w @ width_mm
    )


def toy_scores(rng: np.random.Generator, n: int, **fields: float) -> list[UtteranceScores]:
    """Scores of `n` random utterances with some empty intervals and exact ties between gaps."""
    draw = lambda high, opening: (opening + rng.normal(size=rng.integers(0, high))).round(1)  # noqa: E731
    return [
        UtteranceScores(
            n_frames=int(rng.integers(4, 300)), n_jerks=5, n_silent_jerks=int(rng.integers(0, 3)),
            bilabial_minima_mm=draw(8, 0), vowel_minima_mm=draw(20, 2), bilabial_frames_mm=draw(60, 0),
            vowel_frames_mm=draw(250, 1), closure_lags_ms=draw(8, 5), opening_r=float(rng.normal()), jitter=float(rng.normal()),
            jitter_silence=float(rng.normal()), mse=float(rng.uniform()), lag_ms=float(rng.choice([rng.normal(), NAN])), **fields,
        )
        for _ in range(n)
    ]  # fmt: skip


# one utterance, against loops


def test_errors_equal_loops_over_frames():
    rng = np.random.default_rng(0)
    pred, target, head = rng.uniform(size=(30, N_CURVES)), rng.uniform(size=(30, N_CURVES)), toy_head(rng)
    squared, distances = 0.0, []
    for t in range(30):
        squared += sum((pred[t, k] - target[t, k]) ** 2 for k in range(N_CURVES)) / N_CURVES / 30
        moved = [sum((pred[t, k] - target[t, k]) * head.basis[k, v] for k in range(N_CURVES)) for v in head.regions["lips"]]
        distances.append(max(np.linalg.norm(one) for one in moved))
    face = Face(head)
    found = face.lips.distances(metrics.difference(pred=pred, target=target)).max(axis=1)
    np.testing.assert_allclose(found, distances)
    scores = score_utterance(pred, [], face, truth=Truth(target, face))
    assert scores.mse == pytest.approx(squared)
    assert scores.lve_mm == pytest.approx(np.mean(distances))
    assert scores.lve_mm2 == pytest.approx(np.mean(np.square(distances)))
    opening = INDEX["jawOpen"]
    assert scores.mod_mm == pytest.approx(20 * np.abs(pred[:, opening] - target[:, opening]).mean())
    assert scores.lip_gap_r == pytest.approx(np.corrcoef(pred[:, opening], target[:, opening])[0, 1])
    pucker = INDEX["mouthPucker"]
    assert scores.width_r == pytest.approx(np.corrcoef(pred[:, pucker], target[:, pucker])[0, 1])
    assert scores.n_silent == 30 and scores.rest_error_mm == pytest.approx(20 * pred[:, opening].mean())


def test_dynamics_equal_a_loop_over_vertices_and_chunks_change_nothing(monkeypatch):
    rng = np.random.default_rng(1)
    weights, head = rng.uniform(size=(40, N_CURVES)), toy_head(rng)
    face = Face(head)
    displacement = np.einsum("tk,kvc->tvc", weights, head.basis)
    expected = np.mean([np.std([np.linalg.norm(frame[v]) for frame in displacement]) for v in head.regions["upper_face"]])
    assert metrics.upper_face_dynamics(weights, face.upper_face) == pytest.approx(expected)
    monkeypatch.setattr(metrics, "_CHUNK_VALUES", 130)
    assert metrics.upper_face_dynamics(weights, face.upper_face) == pytest.approx(expected)


def test_fdd_is_positive_when_the_prediction_is_less_lively():
    rng = np.random.default_rng(2)
    target, head = rng.uniform(size=(40, N_CURVES)), toy_head(rng)
    face = Face(head)
    still, wild = (score_utterance(pred, [], face, truth=Truth(target, face)) for pred in (target * 0 + 0.5, target * 3))
    assert still.fdd_mm == still.abs_fdd_mm > 0 > wild.fdd_mm == -wild.abs_fdd_mm
    assert still.fdd_mm == pytest.approx(metrics.upper_face_dynamics(target, face.upper_face))  # what is still has none


@given(SEEDS, st.integers(-10, 10))
@settings(max_examples=30, deadline=None)
def test_a_shift_by_k_frames_is_a_lag_of_k_frames(seed, k):
    gap = smooth_gap(np.random.default_rng(seed), 260)
    late = metrics.lag_ms(pred=gap[20 - k : 220 - k], target=gap[20:220])
    assert late == pytest.approx(1000 * k / FPS, abs=0.1 * 1000 / FPS)


def test_lag_is_refined_between_frames():
    time_s = np.arange(300) / FPS
    wave = lambda t: np.sin(9 * t) + 0.5 * np.sin(17 * t + 1)  # noqa: E731
    assert metrics.lag_ms(pred=wave(time_s - 0.0123), target=wave(time_s)) == pytest.approx(12.3, abs=0.5)


@given(SEEDS)
@example(201675)  # a label ends within its rounding of a frame
@settings(max_examples=25, deadline=None)
def test_closures_equal_loops_over_frames(seed):
    rng = np.random.default_rng(seed)
    gap, lag_s = smooth_gap(rng, 100), float(rng.uniform(-0.1, 0.1))
    phones = random_phones(rng, rng.uniform(1, 2))
    times = np.arange(100) / FPS - lag_s
    minima, frames = {"p": [], "a": []}, {"p": [], "a": []}
    for phone in phones:
        kind = {"p": "p", "m": "p", "a": "a", "i": "a"}.get(phone.label)
        if kind is None:
            continue
        pad_s = 0.02 if kind == "p" else -0.03
        first_s, last_s = phone.start_s - ROUNDING_S, phone.end_s - ROUNDING_S  # labels that meet a frame are at it
        inside = [gap[t] for t in range(100) if first_s - pad_s <= times[t] <= last_s + pad_s + 2 * ROUNDING_S]
        minima[kind] += [min(inside)] if inside else []
        frames[kind] += [gap[t] for t in range(100) if first_s <= times[t] < last_s]
    found = closures.closure_minima(gap, phones, lag_s=lag_s)
    for one, other in ((found, minima), (closures.closure_frames(gap, phones, lag_s=lag_s), frames)):
        np.testing.assert_array_equal(one[0], other["p"])
        np.testing.assert_array_equal(one[1], other["a"])


@pytest.mark.parametrize("late_frames", [-3, 0, 4])
def test_closure_lag_is_when_the_lips_meet(late_frames):
    time_frames = np.arange(120)
    gap = np.minimum(np.abs(time_frames - 60 - late_frames), 8) + np.minimum(np.abs(time_frames - 90 - late_frames), 8)
    phones = [Phone(58 / FPS, 62 / FPS, "p"), Phone(88 / FPS, 92 / FPS, "m"), Phone(30 / FPS, 31 / FPS, "a")]
    found = closures.closure_lags_ms(gap, phones)
    np.testing.assert_allclose(found, [1000 * late_frames / FPS] * 2)
    assert closures.closure_lags_ms(np.arange(120.0), phones).size == 0  # never closes: no moment


def test_frame_classes_start_on_their_rounded_label():
    phones = [Phone(0.0, 0.016667, "s"), Phone(0.016667, 0.05, "p")]
    assert closures.frame_classes(phones, 4).tolist() == ["other", "bilabial", "bilabial", "silence"]


def test_opening_follows_the_phones():
    phones = [Phone(0.0, 0.5, "a"), Phone(0.5, 1.0, "p")]
    assert closures.opening_correlation(np.repeat([6.0, 1.0], 30), phones) == pytest.approx(1)
    late = np.roll(np.repeat([6.0, 1.0], 30), 5)
    late[:5] = 6.0
    assert closures.opening_correlation(late, phones, lag_s=5 / FPS) > closures.opening_correlation(late, phones)


@given(SEEDS, st.floats(-5, 5), st.floats(-5, 5), st.floats(-5, 5))
@settings(max_examples=25, deadline=None)
def test_jitter_of_a_quadratic_is_zero(seed, a, b, c):
    time_s = np.arange(np.random.default_rng(seed).integers(4, 60))[:, None] / FPS
    assert metrics.jerks(a * time_s**2 + b * time_s + c + np.zeros((1, 3))).mean() == pytest.approx(0, abs=1e-6)


def test_jitter_equals_a_loop_and_silence_takes_only_silent_frames():
    rng = np.random.default_rng(3)
    curves, silent = rng.uniform(size=(20, 4)), rng.uniform(size=20) < 0.8
    third = [curves[t + 3] - 3 * curves[t + 2] + 3 * curves[t + 1] - curves[t] for t in range(17)]
    assert metrics.jerks(curves).mean() == pytest.approx(np.abs(third).mean() * FPS**3)
    expected = [np.abs(third[t]).mean() * FPS**3 for t in range(17) if silent[t : t + 4].all()]
    np.testing.assert_allclose(metrics.silent_jerks(curves, silent), expected)
    assert expected and len(expected) < 17


# intervals pooled


def pbm_of(bilabials: np.ndarray, vowels: np.ndarray) -> tuple[float, float, float]:
    """PBM, false closures and the threshold, plainly: of gaps that are equal to it as many close as 5 % of vowels allow."""
    if not len(vowels):
        return NAN, NAN, NAN
    threshold, allowed = np.quantile(vowels, 0.05), int(0.05 * (len(vowels) - 1)) + 1
    below, equal = sum(vowels < threshold), sum(vowels == threshold)
    part = (allowed - below) / equal if below + equal > allowed else 1.0
    pbm, false = (np.mean((gaps < threshold) + part * (gaps == threshold)) if len(gaps) else NAN for gaps in (bilabials, vowels))
    return pbm, false, threshold


@given(GAPS, GAPS)
@settings(max_examples=40, deadline=None)
def test_false_closures_stay_at_their_rate(bilabials, vowels):
    empty = np.empty(0)
    scores = UtteranceScores(1, 1, 0, bilabials, vowels, empty, empty, empty, opening_r=NAN, jitter=0.0, jitter_silence=NAN)
    found = {name: row["value"] for name, row in aggregate([scores], rng=np.random.default_rng(0)).items()}
    assert [found[name] for name in ("pbm", "false_closures", "pbm_threshold_mm")] == pytest.approx(pbm_of(bilabials, vowels))
    assert found["false_closures"] <= 0.05 + 1 / len(vowels) + 1e-12
    assert found["pbm_1mm"] == np.mean(bilabials <= 1) and found["false_closures_1mm"] == np.mean(vowels <= 1)
    if len(np.unique(vowels)) == len(vowels):
        assert found["pbm_threshold_mm"] == pytest.approx(np.quantile(vowels, 0.05))


@given(GAPS, GAPS)
@settings(max_examples=40, deadline=None)
def test_auc_counts_pairs(bilabials, vowels):
    pairs = [(b < v) + 0.5 * (b == v) for b in bilabials for v in vowels]
    assert closures.closure_auc(bilabials, vowels) == pytest.approx(np.mean(pairs))
    assert closures.closure_auc(bilabials, bilabials.max() + 1 + np.abs(vowels)) == 1


# sets of utterances


def test_resamples_equal_scores_of_the_concatenated_utterances():
    """Every replicate, PBM with its refitted threshold included, is what the plain functions give for the repeated utterances."""
    rng = np.random.default_rng(4)
    for n in (4, 9):
        scores = toy_scores(rng, n)
        counts = np.random.default_rng(9).multinomial(n, np.full(n, 1 / n), size=40)
        replicates = {"pbm": [], "closure_auc": [], "lag_ms": [], "mse": [], "closure_lag_ms": [], "false_closures": []}
        for row in np.concatenate([np.ones((1, n), int), counts]):
            drawn = [score for score, count in zip(scores, row, strict=True) for _ in range(count)]
            pool = lambda name, drawn=drawn: np.concatenate([getattr(score, name) for score in drawn])  # noqa: E731
            bilabials, vowels = pool("bilabial_minima_mm"), pool("vowel_minima_mm")
            pbm, false, _ = pbm_of(bilabials, vowels)
            lags = [score.lag_ms for score in drawn if not np.isnan(score.lag_ms)]
            replicates["pbm"].append(pbm)
            replicates["false_closures"].append(false)
            replicates["closure_auc"].append(closures.closure_auc(pool("bilabial_frames_mm"), pool("vowel_frames_mm")))
            replicates["lag_ms"].append(np.median(lags) if lags else NAN)
            replicates["closure_lag_ms"].append(np.median(pool("closure_lags_ms")) if len(pool("closure_lags_ms")) else NAN)
            replicates["mse"].append(np.average([s.mse for s in drawn], weights=[s.n_frames for s in drawn]))
        table = aggregate(scores, rng=np.random.default_rng(9), n_boot=40)
        for name, (value, *resampled) in replicates.items():
            interval = np.nanquantile(resampled, [0.025, 0.975])
            found = [table[name][key] for key in ("value", "low", "high")]
            np.testing.assert_allclose(found, [value, *interval], rtol=1e-9, err_msg=name)
        assert table["pbm"]["n"] == sum(len(s.bilabial_minima_mm) for s in scores)
        assert table["mse"]["n"] == sum(s.n_frames for s in scores)


def test_fixed_threshold_and_blocks_of_resamples(monkeypatch):
    scores = toy_scores(np.random.default_rng(5), 20)
    table = aggregate(scores, rng=np.random.default_rng(1))
    pool = {name: np.concatenate([getattr(s, name) for s in scores]) for name in ("bilabial_minima_mm", "vowel_minima_mm")}
    expected = [np.mean(gaps <= closures.CLOSED_GAP_MM) for gaps in pool.values()]
    assert (table["pbm_1mm"]["value"], table["false_closures_1mm"]["value"]) == pytest.approx(expected)
    monkeypatch.setattr("facedistill.measure.bootstrap._BLOCK_VALUES", 500)
    again = aggregate(scores, rng=np.random.default_rng(1))
    for name, row in table.items():
        assert again[name] == pytest.approx(row, nan_ok=True), name


def test_intervals_cover_the_truth_about_as_often_as_they_say():
    rng = np.random.default_rng(6)
    n_trials, n, covered = 100, 40, 0
    for _ in range(n_trials):
        scores = [UtteranceScores(1, 1, 0, *[np.empty(0)] * 5, opening_r=float(rng.normal()), jitter=0.0, jitter_silence=NAN)
                  for _ in range(n)]  # fmt: skip
        row = aggregate(scores, rng=rng, n_boot=150)["opening_r"]
        covered += row["low"] <= 0 <= row["high"]
    assert 0.86 <= covered / n_trials <= 0.99


def test_groups_are_drawn_whole():
    """Copies of one utterance by the same speaker add no certainty."""
    scores = toy_scores(np.random.default_rng(7), 12)
    once = aggregate(scores, rng=np.random.default_rng(0))
    copies = aggregate(scores * 5, rng=np.random.default_rng(0), groups=list(range(12)) * 5)
    for name in ("opening_r", "mse", "closure_auc"):
        assert [copies[name][k] for k in ("value", "low", "high")] == pytest.approx(
            [once[name][k] for k in ("value", "low", "high")]
        )
    alone = aggregate(scores * 5, rng=np.random.default_rng(0))
    assert alone["opening_r"]["high"] - alone["opening_r"]["low"] < 0.7 * (once["opening_r"]["high"] - once["opening_r"]["low"])


def test_a_model_compared_with_itself_does_not_differ():
    scores = toy_scores(np.random.default_rng(8), 10)
    for name in ("pbm", "closure_auc", "mse"):
        row = compare([scores], [scores], rng=np.random.default_rng(0))[name]
        assert row == {
            "difference": dict.fromkeys(("value", "low", "high"), 0),
            "ratio": dict.fromkeys(("value", "low", "high"), 1),
        }
    with pytest.raises(ValueError, match="cannot be paired"):
        compare([scores], [scores[1:]], rng=np.random.default_rng(0))


def shifted(scores: UtteranceScores, offset_mm: float) -> UtteranceScores:
    names = ("bilabial_minima_mm", "vowel_minima_mm", "bilabial_frames_mm", "vowel_frames_mm")
    return replace(scores, **{name: getattr(scores, name) + offset_mm for name in names})


def test_models_are_averaged_each_by_its_own_threshold():
    """A model whose gaps all lie 3 mm higher closes as well as the first: their vowels and bilabials must not be mixed."""
    scores = toy_scores(np.random.default_rng(11), 12)
    runs = [scores, [shifted(score, 3.0) for score in scores]]
    alone, both = aggregate(scores, rng=np.random.default_rng(0)), aggregate(*runs, rng=np.random.default_rng(0))
    for name in ("pbm", "closure_auc", "opening_r", "jitter"):
        assert both[name] == pytest.approx(alone[name], nan_ok=True), name
    assert both["pbm_threshold_mm"]["value"] == pytest.approx(alone["pbm_threshold_mm"]["value"] + 1.5)
    gained = compare(runs, [scores], rng=np.random.default_rng(0))
    assert gained["pbm"]["difference"]["value"] == pytest.approx(0)
    assert gained["pbm_threshold_mm"]["difference"] == pytest.approx(dict.fromkeys(("value", "low", "high"), 1.5))


# what cannot be measured


@pytest.mark.parametrize("n_frames", [0, 1, 3, 200])
def test_degenerate_clips_give_nan_not_errors(n_frames):
    face, flat = Face(toy_head(np.random.default_rng(10))), np.full((n_frames, N_CURVES), 0.25)
    phones = [Phone(0.0, 0.01, "s"), Phone(0.01, 5.0, "")]
    scores = score_utterance(flat, phones, face, truth=Truth(flat, face))
    assert np.isnan([scores.lip_gap_r, scores.lag_ms]).all()
    assert scores.opening_r == 0 if n_frames == 200 else np.isnan(scores.opening_r)  # it does not follow its phones
    assert scores.bilabial_minima_mm.size == scores.vowel_minima_mm.size == scores.closure_lags_ms.size == 0
    for table in (
        aggregate([], rng=np.random.default_rng(0)),
        aggregate([scores], rng=np.random.default_rng(0)),
    ):
        assert np.isnan([table[name]["value"] for name in ("pbm", "false_closures", "closure_auc", "lag_ms", "lip_gap_r")]).all()
        assert np.isnan(table["mse"]["low"])
    assert aggregate([scores, scores], rng=np.random.default_rng(0))["mse"]["low"] == (
        0 if n_frames else pytest.approx(NAN, nan_ok=True)
    )


def test_empty_intervals_and_unequal_clips():
    some, none = np.ones(3), np.empty(0)
    assert np.isnan(closures.closure_auc(none, some)) and np.isnan(closures.closure_auc(some, none))
    with pytest.raises(ValueError, match="differ in shape"):
        metrics.difference(pred=np.zeros((3, 2)), target=np.zeros((2, 2)))
