"""What the scores of utterances say of a set of them: pooled values with cluster-bootstrap confidence intervals."""

import math
from collections.abc import Hashable, Mapping, Sequence

import numpy as np

from facedistill.measure.scores import UtteranceScores
from facedistill.measure.statistics import Statistic, codes, divide, statistics_of

CONFIDENCE = 0.95
DIGITS = 5  # of numbers in files
MEAN, WEIGHTED = "mean", "weighted"  # of several sources: each alike, or by their /p b m/

_BLOCK_VALUES = 4_000_000  # resampled values held at once


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
    return divide((np.nan_to_num(values) * shares).sum(axis=0), shares.sum(axis=0)), sum(n for _, n in parts)


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
        table[name] = {"difference": summary(a - b), "ratio": summary(divide(a, b))}
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
    tables = [statistics_of(scores, groups) for scores in runs]
    return {
        name: (np.mean([_evaluate(table[name][0], counts, table[name][1]) for table in tables], axis=0), n)
        for name, (_, _, n) in tables[0].items()
    }


def _resamples(n: int, *, rng: np.random.Generator, n_boot: int, groups: Sequence[Hashable] | None) -> np.ndarray:
    """(1 + n_boot, n) int32 counts: every utterance once, then resamples; the first row alone for under two groups."""
    group_of = np.arange(n) if groups is None else codes(groups)
    n_groups = int(group_of.max(initial=-1)) + 1
    everyone = np.ones((1, n), np.int32)
    if n_groups < 2:
        return everyone
    drawn = rng.multinomial(n_groups, np.full(n_groups, 1 / n_groups), size=n_boot).astype(np.int32)
    return np.concatenate([everyone, drawn[:, group_of]])


def _evaluate(statistic: Statistic, counts: np.ndarray, width: int) -> np.ndarray:
    """The statistic of every resample, in blocks of resamples so that `width` values of each fit in memory."""
    step = max(1, _BLOCK_VALUES // max(width, 1))
    return np.concatenate([statistic(counts[first : first + step]) for first in range(0, len(counts), step)])
