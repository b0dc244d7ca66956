"""What the scores of utterances say of a set of them: pooled values with cluster-bootstrap confidence intervals."""

import math
from collections.abc import Callable, Hashable, Mapping, Sequence

import numpy as np

from facedistill.measure.closures import CLOSED_GAP_MM, FALSE_CLOSURE_RATE, closure_auc, vowels_above
from facedistill.measure.metrics import correlation
from facedistill.measure.scores import UtteranceScores

CONFIDENCE = 0.95
DIGITS = 5  # of numbers in files
MEAN, WEIGHTED = "mean", "weighted"  # of several sources: each alike, or by their /p b m/
EYES_MM = 88.0  # between the outer corners of a grown-up's eyes, the unit of measured lips
MEASURED_CLOSED, MEASURED_OPEN = 0.15, 0.35  # of the range of a talker's measured gap: at most, at least
MEASURED_RANGE = (2, 95)  # percentiles that bound it
MIN_MEASURED = 6  # frames; fewer say nothing

# metric -> the field that weighs utterances: pooled over all frames where that is a count, None where utterances count alike
MEANS = {
    "mse": "n_frames",
    "mse_mouth": "n_frames",
    "lip_gap_r": None,
    "width_r": None,
    "opening_r": None,
    "mod_mm": "n_frames",
    "lve_mm": "n_frames",
    "lve_mm2": "n_frames",
    "fdd_mm": None,
    "abs_fdd_mm": None,
    "jitter": "n_jerks",
    "jitter_silence": "n_silent_jerks",
    "rest_error_mm": "n_silent",
}

_BLOCK_VALUES = 4_000_000  # resampled values held at once

Statistic = Callable[[np.ndarray], np.ndarray]  # (R, N) counts of every utterance in every resample -> (R,) values


def aggregate(
    scores: Sequence[UtteranceScores],
    *,
    rng: np.random.Generator,
    n_boot: int = 500,
    groups: Sequence[Hashable] | None = None,
) -> dict[str, dict[str, float]]:
    """Pools utterances, with percentile bootstrap intervals: utterances (or whole groups) are drawn with replacement.

    Errors, LVE and jitter are pooled over frames; correlations and FDD are means, lag a median over utterances; closure lag is a
    median over bilabials; PBM, its threshold (`pbm_threshold_mm`) and AUC pool all intervals and frames. The threshold is
    refitted to 5 % false closures in every resample, so the interval of PBM holds the doubt about it too; `pbm_1mm` and
    `false_closures_1mm` are at a gap of `closures.CLOSED_GAP_MM`. Memory grows with N^2 (AUC): 54 MB at 2600 utterances.
    Where a camera measured the lips: `measured_gap_r`, `measured_width_r`, `measured_auc` (its closed lips against its open ones)
    and `measured_spread` (the deviation of the gap over that of the measured one) pool the frames of a talker, each group being
    one, and are means over talkers.

    Args:
        scores: N utterances.
        rng: draws the resamples.
        n_boot: resamples.
        groups: (N,) label of every utterance, such as its speaker, to resample by instead.

    Returns:
        {metric: {"value", "low", "high", "n"}}: low and high bound the 95 % interval (NaN for under two groups), n counts what is
        pooled: frames, utterances, bilabial intervals (PBM) or bilabial frames (AUC).
    """
    return aggregate_runs([scores], rng=rng, n_boot=n_boot, groups=groups)


def aggregate_runs(
    runs: Sequence[Sequence[UtteranceScores]],
    *,
    rng: np.random.Generator,
    n_boot: int = 500,
    groups: Sequence[Hashable] | None = None,
) -> dict[str, dict[str, float]]:
    """The mean of several models, such as training runs with other seeds, each evaluated by itself on the same resamples.

    Args:
        runs: the scores of each model, on the same N utterances in the same order.
        rng, n_boot, groups: see `aggregate`.

    Returns:
        As `aggregate`; n is that of one model.
    """
    counts = _resamples(len(runs[0]), rng=rng, n_boot=n_boot, groups=groups)
    return _summaries(_mean_replicates(runs, counts, groups=groups))


def by_source(
    scores: Sequence[UtteranceScores], sources: Sequence[str], speakers: Sequence[str], *, seed: int, n_boot: int
) -> dict[str, dict[str, dict[str, float]]]:
    """`aggregate` of every source by itself, and their mean.

    Resampled are the speakers of a source, or its utterances where it has one speaker; a source of one utterance counts as it is.

    Args:
        scores: N utterances.
        sources, speakers: (N,) of each.
        seed: of the resamples, which are the same for every system.
        n_boot: resamples.

    Returns:
        {source, "mean" (each source alike) or "weighted" (by /p b m/): {metric: {"value", "low", "high", "n"}}}.
    """
    rng, parts, table = np.random.default_rng(seed), {}, {}
    for source in sorted(set(sources)):
        members = [index for index, name in enumerate(sources) if name == source]
        voices = [speakers[index] for index in members]
        groups = voices if len(set(voices)) > 1 else None
        selected = [scores[index] for index in members]
        counts = _resamples(len(members), rng=rng, n_boot=n_boot, groups=groups)
        parts[source] = _mean_replicates([selected], counts, groups=voices)
        table[source] = _summaries(parts[source])
    for name in (MEAN, WEIGHTED):
        weights = [1.0 if name == MEAN else float(part["pbm"][1]) for part in parts.values()]
        table[name] = _summaries(
            {metric: _combined([part[metric] for part in parts.values()], weights) for metric in next(iter(parts.values()), {})}
        )
    return table


def _combined(parts: Sequence[tuple[np.ndarray, int]], weights: Sequence[float]) -> tuple[np.ndarray, int]:
    """The weighted mean of several sources, resample by resample, and all of n; what a source could not measure is left out.

    A source counts as it is in resamples in which nothing of it is to be measured: the same sources are averaged in all.
    """
    size = max(len(replicates) for replicates, _ in parts)
    values = np.array([np.broadcast_to(replicates, size) for replicates, _ in parts])
    values = np.where(np.isnan(values), values[:, :1], values)
    shares = np.where(np.isnan(values), 0.0, np.array(weights)[:, None])
    return _divide((np.nan_to_num(values) * shares).sum(axis=0), shares.sum(axis=0)), sum(n for _, n in parts)


def compare(
    scores: Sequence[UtteranceScores],
    reference: Sequence[UtteranceScores],
    *,
    rng: np.random.Generator,
    n_boot: int = 500,
    groups: Sequence[Hashable] | None = None,
) -> dict[str, dict[str, dict[str, float]]]:
    """Compares two models on the same utterances, both evaluated on the same resamples, so that what they share cancels.

    Args:
        scores: N utterances of the model in question.
        reference: the same N utterances, in the same order, of the model it is compared with.
        rng, n_boot, groups: see `aggregate`.

    Returns:
        {metric: {"difference": {"value", "low", "high"}, "ratio": the same}}: scores minus, and over, reference.

    Raises:
        ValueError: the two have different lengths.
    """
    return compare_runs([scores], [reference], rng=rng, n_boot=n_boot, groups=groups)


def compare_runs(
    runs: Sequence[Sequence[UtteranceScores]],
    references: Sequence[Sequence[UtteranceScores]],
    *,
    rng: np.random.Generator,
    n_boot: int = 500,
    groups: Sequence[Hashable] | None = None,
) -> dict[str, dict[str, dict[str, float]]]:
    """`compare` of the means of several models each, as `aggregate_runs` takes them.

    Raises:
        ValueError: not all have the same length.
    """
    lengths = sorted({len(scores) for scores in (*runs, *references)})
    if len(lengths) > 1:
        raise ValueError(f"{lengths[0]} and {lengths[-1]} utterances cannot be paired")
    counts = _resamples(lengths[0], rng=rng, n_boot=n_boot, groups=groups)
    theirs, table = _mean_replicates(references, counts, groups=groups), {}
    for name, (a, _) in _mean_replicates(runs, counts, groups=groups).items():
        b = theirs[name][0]
        table[name] = {"difference": summary(a - b), "ratio": summary(_divide(a, b))}
    return table


def summary(replicates: np.ndarray) -> dict[str, float]:
    """{"value", "low", "high"} of (1 + R,) values, of everyone first and then of every resample: a 95 % percentile interval."""
    valid, tail = replicates[1:][~np.isnan(replicates[1:])], (1 - CONFIDENCE) / 2
    low, high = np.quantile(valid, [tail, 1 - tail]) if valid.size else (np.nan, np.nan)
    return {"value": float(replicates[0]), "low": float(low), "high": float(high)}


def rounded(value: object) -> object:
    """Rounds every float, and turns NaN (not measurable) into null: JSON has no NaN."""
    if isinstance(value, dict):
        return {key: rounded(item) for key, item in value.items()}
    if isinstance(value, float):
        return None if math.isnan(value) else round(value, DIGITS)
    return value


def _summaries(replicates: Mapping[str, tuple[np.ndarray, int]]) -> dict[str, dict[str, float]]:
    return {name: summary(values) | {"n": n} for name, (values, n) in replicates.items()}


def _mean_replicates(
    runs: Sequence[Sequence[UtteranceScores]], counts: np.ndarray, *, groups: Sequence[Hashable] | None
) -> dict[str, tuple[np.ndarray, int]]:
    """{metric: ((R,) mean over the runs of what each resample gives, n of one run)}."""
    tables = [_statistics(scores, groups) for scores in runs]
    return {
        name: (np.mean([_evaluate(table[name][0], counts, table[name][1]) for table in tables], axis=0), n)
        for name, (_, _, n) in tables[0].items()
    }


def _resamples(n: int, *, rng: np.random.Generator, n_boot: int, groups: Sequence[Hashable] | None) -> np.ndarray:
    """(1 + n_boot, n) int32 counts: every utterance once, then resamples; the first row alone for under two groups."""
    group_of = np.arange(n) if groups is None else _codes(groups)
    n_groups = int(group_of.max(initial=-1)) + 1
    everyone = np.ones((1, n), np.int32)
    if n_groups < 2:
        return everyone
    drawn = rng.multinomial(n_groups, np.full(n_groups, 1 / n_groups), size=n_boot).astype(np.int32)
    return np.concatenate([everyone, drawn[:, group_of]])


def _codes(groups: Sequence[Hashable]) -> np.ndarray:
    order = {group: code for code, group in enumerate(dict.fromkeys(groups))}
    return np.array([order[group] for group in groups], int)


def _evaluate(statistic: Statistic, counts: np.ndarray, width: int) -> np.ndarray:
    """The statistic of every resample, in blocks of resamples so that `width` values of each fit in memory."""
    step = max(1, _BLOCK_VALUES // max(width, 1))
    return np.concatenate([statistic(counts[first : first + step]) for first in range(0, len(counts), step)])


def _statistics(scores: Sequence[UtteranceScores], groups: Sequence[Hashable] | None) -> dict[str, tuple[Statistic, int, int]]:
    """{metric: (statistic, values it holds per resample, n)}."""
    table = {}
    for name, weight in MEANS.items():
        values = np.array([getattr(score, name) for score in scores], np.float64)
        weights = np.ones(len(scores)) if weight is None else np.array([getattr(score, weight) for score in scores], np.float64)
        weights = np.where(np.isnan(values), 0, weights)
        table[name] = _mean_statistic(np.nan_to_num(values), weights), len(scores), int(weights.sum())
    lag = _pool([[score.lag_ms] for score in scores])
    closure_lag = _pool([score.closure_lags_ms for score in scores])
    for name, pooled in (("lag_ms", lag), ("closure_lag_ms", closure_lag)):
        table[name] = _quantile_statistic(pooled, 0.5), len(pooled[0]), len(pooled[0])
    bilabials = _pool([score.bilabial_minima_mm for score in scores])
    vowels = _pool([score.vowel_minima_mm for score in scores])
    n, width = len(bilabials[0]), max(len(bilabials[0]), len(vowels[0]))
    table["pbm"] = (lambda counts: _share_closed(bilabials, counts, *_threshold(vowels, counts))), width, n
    table["false_closures"] = (lambda counts: _share_closed(vowels, counts, *_threshold(vowels, counts))), width, len(vowels[0])
    table["pbm_threshold_mm"] = (lambda counts: _threshold(vowels, counts)[0]), width, len(vowels[0])
    for name, pooled in (("pbm_1mm", bilabials), ("false_closures_1mm", vowels)):
        table[name] = _closed_statistic(pooled), width, len(pooled[0])
    n_frames = sum(len(score.bilabial_frames_mm) for score in scores)
    table["closure_auc"] = _auc_statistic(scores), len(scores), n_frames
    n_frames = sum(len(score.measured) for score in scores)
    talkers = _talkers(scores, groups) if n_frames else []
    for number, name in enumerate(("measured_gap_r", "measured_width_r", "measured_auc", "measured_spread")):
        table[name] = _talker_statistic(talkers, number), len(scores), n_frames
    return table


Pooled = tuple[np.ndarray, np.ndarray]  # (M,) ascending values, (M,) index of the utterance of each


def _pool(values: Sequence[Sequence[float]]) -> Pooled:
    """All values but NaN, ascending, each with its utterance."""
    flat = np.concatenate([np.asarray(one, np.float64) for one in values]) if len(values) else np.empty(0)
    owner = np.repeat(np.arange(len(values)), [len(one) for one in values])
    order = np.argsort(flat, kind="stable")[: np.count_nonzero(~np.isnan(flat))]  # NaN sorts last
    return flat[order], owner[order]


def _mean_statistic(values: np.ndarray, weights: np.ndarray) -> Statistic:
    def statistic(counts: np.ndarray) -> np.ndarray:
        return _divide(counts @ (values * weights), counts @ weights)

    return statistic


def _quantile_statistic(pooled: Pooled, q: float) -> Statistic:
    """The quantile of each resample, linear between order statistics as in np.quantile."""

    def statistic(counts: np.ndarray) -> np.ndarray:
        return _quantile(pooled, counts, q)[0]

    return statistic


def _threshold(vowels: Pooled, counts: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """((R,) the gap under which 5 % of vowels lie, linear between order statistics; (R,) the share of equal gaps that closes).

    All equal gaps close, unless more than 5 % of vowels would: then as many of them as are allowed. So a mouth that never moves
    has as many closures as false ones.
    """
    threshold, cumulative, allowed = _quantile(vowels, counts, FALSE_CLOSURE_RATE)
    below, at_most = (_under(vowels, cumulative, threshold, side) for side in ("left", "right"))
    return threshold, np.where(at_most > allowed, _divide(allowed - below, at_most - below), 1.0)


def _closed_statistic(pooled: Pooled) -> Statistic:
    return lambda counts: _share_closed(pooled, counts, np.full(len(counts), CLOSED_GAP_MM), np.ones(len(counts)))


def _auc_statistic(scores: Sequence[UtteranceScores]) -> Statistic:
    """`closures.closure_auc` over the frames of each resample, from how often the bilabials of i lie under the vowels of j."""
    gaps, owner = _pool([score.bilabial_frames_mm for score in scores])
    n, pairs = len(scores), np.zeros((len(scores), len(scores)))
    for j, score in enumerate(scores):
        pairs[:, j] = np.bincount(owner, weights=vowels_above(gaps, score.vowel_frames_mm), minlength=n)
    n_bilabial = np.array([len(score.bilabial_frames_mm) for score in scores], np.float64)
    n_vowel = np.array([len(score.vowel_frames_mm) for score in scores], np.float64)

    def statistic(counts: np.ndarray) -> np.ndarray:
        return _divide(((counts @ pairs) * counts).sum(axis=1), (counts @ n_bilabial) * (counts @ n_vowel))

    return statistic


def _talkers(scores: Sequence[UtteranceScores], groups: Sequence[Hashable] | None) -> list[tuple[np.ndarray, list[np.ndarray]]]:
    """(utterances, what was measured in each) of every talker; all are one talker where no groups are given."""
    code = np.zeros(len(scores), int) if groups is None else _codes(groups)
    members = [np.flatnonzero(code == talker) for talker in range(code.max() + 1)]
    return [(indices, [scores[index].measured for index in indices]) for indices in members]


def _talker_statistic(talkers: list[tuple[np.ndarray, list[np.ndarray]]], number: int) -> Statistic:
    """The mean over the talkers of each resample of one of four measures, see `aggregate`.

    A talker's frames are pooled over utterances as often as they were drawn, so talkers drawn whole are the same every time.
    """

    def statistic(counts: np.ndarray) -> np.ndarray:
        if not talkers:
            return np.full(len(counts), np.nan)
        drawn = np.stack([counts[:, indices].sum(axis=1) / len(indices) for indices, _ in talkers])  # (talkers, R)
        values = np.stack([_of_talker(frames, counts[:, indices], number) for indices, frames in talkers])
        drawn = np.where(np.isnan(values), 0, drawn)
        return _divide((np.nan_to_num(values) * drawn).sum(axis=0), drawn.sum(axis=0))

    return statistic


def _of_talker(frames: list[np.ndarray], counts: np.ndarray, number: int) -> np.ndarray:
    """(R,) of one talker's utterances, which were drawn `counts` (R, N) times; all alike is computed once."""
    found, values = {}, []
    for row in counts:
        key = (row // max(np.gcd.reduce(row), 1)).tobytes()
        if key not in found:
            drawn = [frames[index] for index in np.repeat(np.arange(len(row)), row)]
            found[key] = _of_frames(np.concatenate([np.empty((0, 4)), *drawn]), number)
        values.append(found[key])
    return np.array(values)


def _of_frames(frames: np.ndarray, number: int) -> float:
    gap, width, gap_mm, width_mm = frames.T
    if number < 2:
        return correlation(**({"pred": gap_mm, "target": gap} if number == 0 else {"pred": width_mm, "target": width}))
    low, high = np.percentile(gap, MEASURED_RANGE) if len(gap) >= MIN_MEASURED else (0.0, 0.0)
    if high <= low:
        return float("nan")
    if number == 3:
        return float(gap_mm.std() / (EYES_MM * gap.std()))
    share = (gap - low) / (high - low)
    return closure_auc(gap_mm[share < MEASURED_CLOSED], gap_mm[share > MEASURED_OPEN])


def _quantile(pooled: Pooled, counts: np.ndarray, q: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """((R,) quantile, (R, M) cumulative counts, (R,) how many values lie at or under it when none are equal)."""
    values, owner = pooled
    cumulative = np.cumsum(counts[:, owner], axis=1, dtype=np.int32)
    if not len(values):
        return np.full(len(counts), np.nan), cumulative, np.zeros(len(counts), int)
    position = np.maximum(cumulative[:, -1] - 1, 0) * q
    below = np.floor(position).astype(int)
    low, high = ((cumulative <= rank[:, None]).sum(axis=1) for rank in (below, below + 1))
    low, high = np.minimum(low, len(values) - 1), np.minimum(high, len(values) - 1)
    quantile = values[low] + (values[high] - values[low]) * (position - below)
    return np.where(cumulative[:, -1] > 0, quantile, np.nan), cumulative, below + 1


def _under(pooled: Pooled, cumulative: np.ndarray, threshold: np.ndarray, side: str) -> np.ndarray:
    """(R,) how many resampled values lie under each resample's threshold ("left"), or at or under it ("right")."""
    if not len(pooled[0]):
        return np.zeros(len(cumulative), int)
    index = np.searchsorted(pooled[0], threshold, side=side)
    return np.where(index > 0, np.take_along_axis(cumulative, np.maximum(index - 1, 0)[:, None], axis=1)[:, 0], 0)


def _share_closed(pooled: Pooled, counts: np.ndarray, threshold: np.ndarray, of_equal: np.ndarray) -> np.ndarray:
    """(R,) the share of values under a threshold, with the share `of_equal` of those at it."""
    if not len(pooled[0]):
        return np.full(len(counts), np.nan)
    cumulative = np.cumsum(counts[:, pooled[1]], axis=1, dtype=np.int32)
    below, at_most = (_under(pooled, cumulative, threshold, side) for side in ("left", "right"))
    return np.where(np.isnan(threshold), np.nan, _divide(below + of_equal * (at_most - below), cumulative[:, -1]))


def _divide(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """a / b as float64, NaN where b is 0."""
    return np.divide(a, b, out=np.full(len(a), np.nan), where=b != 0)
