"""What a set of utterances says: pooled values with bootstrap confidence intervals, of scores and of a student's agreement."""

import math
from collections.abc import Hashable, Mapping, Sequence

import numpy as np

from facedistill.measure.scores import UtteranceScores
from facedistill.measure.statistics import codes, divide, statistics_of
from facedistill.rig.curves import FPS

CONFIDENCE = 0.95
DIGITS = 5  # of numbers in files
MEAN, WEIGHTED = "mean", "weighted"  # of several sources: each alike, or by their /p b m/
BLOCK_S = 10.0  # what is resampled of takes, which may be few and long
MOVING_RATIO = 0.02  # of the spread of the control that moves most; what moves less is still
ROUNDING = 1e-9  # of a variance: less is none
_BLOCK_VALUES = 4_000_000  # resampled values held at once

Runs = Sequence[Sequence[UtteranceScores]]  # of each model, N utterances
Groups = Sequence[Hashable] | None  # (N,) label of every utterance, such as its speaker, to resample by instead
Replicates = tuple[np.ndarray, int]  # (1 + R,) values, of everyone first and then of every resample, and n of one


def aggregate(
    *runs: Sequence[UtteranceScores], rng: np.random.Generator, n_boot: int = 500, groups: Groups = None
) -> dict[str, dict[str, float]]:
    """Pools N utterances, with percentile bootstrap intervals: utterances (or whole groups) are drawn with replacement.

    Errors, LVE and jitter are pooled over frames; correlations and FDD are means, lag a median over utterances; closure lag is a
    median over bilabials; PBM, its threshold (`pbm_threshold_mm`) and AUC pool all intervals and frames. The threshold is
    refitted to 5 % false closures in every resample, so the interval of PBM holds the doubt about it too; `pbm_1mm` and
    `false_closures_1mm` are at a gap of `closures.CLOSED_GAP_MM`. Memory grows with N^2 (AUC): 54 MB at 2600 utterances.
    Where a camera measured the lips: `measured_gap_r`, `measured_width_r`, `measured_auc` (its closed lips against its open ones)
    and `measured_spread` (the deviation of the gap over that of the measured one) pool the frames of a talker, each group being
    one, and are means over talkers. Of several runs, such as of other seeds, it is the mean, each run on the same resamples.

    Returns:
        {metric: {"value", "low", "high", "n"}}: low and high bound the 95 % interval (NaN for under two groups), n counts what is
        pooled of one model: frames, utterances, bilabial intervals (PBM) or bilabial frames (AUC).
    """
    counts = resamples(len(runs[0]), rng=rng, n_boot=n_boot, groups=groups)
    return _summaries(_mean_replicates(runs, counts, groups))


def compare(
    runs: Runs, references: Runs, *, rng: np.random.Generator, n_boot: int = 500, groups: Groups = None
) -> dict[str, dict[str, dict[str, float]]]:
    """Compares two models on the same utterances in the same order, evaluated on the same resamples: what they share cancels.

    {metric: {"difference": {"value", "low", "high"}, "ratio": the same}}: `runs` minus, and over, `references`, see `aggregate`.
    """
    lengths = sorted({len(scores) for scores in (*runs, *references)})
    if len(lengths) > 1:
        raise ValueError(f"{lengths[0]} and {lengths[-1]} utterances cannot be paired")
    counts = resamples(lengths[0], rng=rng, n_boot=n_boot, groups=groups)
    ours, theirs = (_mean_replicates(models, counts, groups) for models in (runs, references))
    pairs = {name: (ours[name][0], theirs[name][0]) for name in ours}
    return {name: {"difference": summary(a - b), "ratio": summary(divide(a, b))} for name, (a, b) in pairs.items()}


def by_source(
    scores: Sequence[UtteranceScores], sources: Sequence[str], speakers: Sequence[str], *, seed: int, n_boot: int
) -> dict[str, dict[str, dict[str, float]]]:
    """`aggregate` of every source by itself, and their mean.

    Resampled are the speakers of a source, or its utterances where it has one speaker; a source of one utterance counts as it is.
    {source, "mean" (each source alike) or "weighted" (by /p b m/): {metric: {"value", "low", "high", "n"}}} of N utterances.
    """
    rng, parts = np.random.default_rng(seed), {}
    for source in sorted(set(sources)):
        members = [index for index, name in enumerate(sources) if name == source]
        voices = [speakers[index] for index in members]
        groups = voices if len(set(voices)) > 1 else None
        counts = resamples(len(members), rng=rng, n_boot=n_boot, groups=groups)
        parts[source] = _mean_replicates([[scores[index] for index in members]], counts, voices)
    of_metrics = {metric: [part[metric] for part in parts.values()] for metric in next(iter(parts.values()), {})}
    n_closures = [part["pbm"][1] for part in parts.values()]
    for name, weights in ((MEAN, np.ones(len(parts))), (WEIGHTED, np.array(n_closures, np.float64))):
        parts[name] = {metric: _combined(of_sources, weights) for metric, of_sources in of_metrics.items()}
    return {name: _summaries(replicates) for name, replicates in parts.items()}


def agreement(
    pairs: Sequence[tuple[np.ndarray, np.ndarray]], scale: np.ndarray, *, rng: np.random.Generator, n_boot: int = 500
) -> dict[str, dict[str, float]]:
    """How well a student does what its teacher does, whatever moves the face: on any controls, without a head.

    By the mean correlation of the controls that move, and by the share of all their variance that is explained (R^2).

    Args:
        pairs: student and teacher, (T, K) each, of every take; n blocks of `BLOCK_S` of them are resampled.
        scale: (K,) what a unit of each control is worth: 1 for curves, the length of its component for a mesh.
    """
    step = round(BLOCK_S * FPS)
    blocks = [[part[first : first + step] for part in pair] for pair in pairs for first in range(0, len(pair[1]), step)]
    moments = np.stack([_moments(pred * scale, target * scale) for pred, target in blocks])  # (N, 6, K)
    counts = resamples(len(moments), rng=rng, n_boot=n_boot)
    found = dict(zip(("correlation", "explained"), _measured(np.einsum("rn,nmk->rmk", counts, moments)), strict=True))
    return {name: summary(values) | {"n": len(moments)} for name, values in found.items()}


def resamples(n: int, *, rng: np.random.Generator, n_boot: int, groups: Groups = None) -> np.ndarray:
    """(1 + n_boot, n) int32 counts: all n once, then resamples of them or of groups; the first row alone for under two groups."""
    group_of = np.arange(n) if groups is None else codes(groups)
    n_groups = int(group_of.max(initial=-1)) + 1
    if n_groups < 2:
        return np.ones((1, n), np.int32)
    drawn = rng.multinomial(n_groups, np.full(n_groups, 1 / n_groups), size=n_boot).astype(np.int32)
    return np.concatenate([np.ones((1, n), np.int32), drawn[:, group_of]])


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


def _summaries(replicates: Mapping[str, Replicates]) -> dict[str, dict[str, float]]:
    return {name: summary(values) | {"n": n} for name, (values, n) in replicates.items()}


def _combined(parts: Sequence[Replicates], weights: np.ndarray) -> Replicates:
    """The weighted mean of several sources, resample by resample, and all of n; what a source could not measure is left out.

    A source counts as it is in resamples in which nothing of it is to be measured: the same sources are averaged in all.
    """
    size = max(len(replicates) for replicates, _ in parts)
    values = np.array([np.broadcast_to(replicates, size) for replicates, _ in parts])
    values = np.where(np.isnan(values), values[:, :1], values)
    shares = np.where(np.isnan(values), 0.0, weights[:, None])
    return divide((np.nan_to_num(values) * shares).sum(axis=0), shares.sum(axis=0)), sum(n for _, n in parts)


def _mean_replicates(runs: Runs, counts: np.ndarray, groups: Groups) -> dict[str, Replicates]:
    """{metric: the mean over the runs of what each resample gives, and n of one run}; blocks of resamples fit in memory."""
    tables, found = [statistics_of(scores, groups) for scores in runs], {}
    for name, (_, width, n) in tables[0].items():
        step = max(1, _BLOCK_VALUES // max(width, 1))
        blocks = [counts[first : first + step] for first in range(0, len(counts), step)]
        found[name] = np.mean([np.concatenate(list(map(table[name][0], blocks))) for table in tables], axis=0), n
    return found


def _moments(pred: np.ndarray, target: np.ndarray) -> np.ndarray:
    """(6, K) sums over frames: of ones, both, their squares and their product."""
    pred, target = pred.astype(np.float64), target.astype(np.float64)
    parts = (np.ones_like(pred), pred, target, pred**2, target**2, pred * target)
    return np.stack([part.sum(axis=0) for part in parts])


def _measured(sums: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(R, 6, K) sums -> (R,) mean correlation and (R,) variance explained."""
    count, pred, target, pred2, target2, product = np.moveaxis(sums, 1, 0)
    variance_p, variance_t = pred2 - pred**2 / count, target2 - target**2 / count
    covariance = product - pred * target / count
    moves = variance_t > MOVING_RATIO**2 * variance_t.max(axis=1, keepdims=True)
    with np.errstate(invalid="ignore", divide="ignore"):
        # What a student never moves does not follow: its correlation is 0.
        r = np.where(variance_p > ROUNDING * variance_t, covariance / np.sqrt(variance_p * variance_t), 0.0)
        correlation = np.where(moves, r, 0.0).sum(axis=1) / moves.sum(axis=1)
        explained = 1 - (pred2 - 2 * product + target2).sum(axis=1) / variance_t.sum(axis=1)
    return correlation, explained
