"""What a set of utterances says: pooled values with bootstrap confidence intervals, of scores and of a student's agreement."""

import math
from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import fields
from functools import partial

import numpy as np

from facedistill.measure.closures import CLOSED_GAP_MM, FALSE_CLOSURE_RATE, closure_auc, vowels_above
from facedistill.measure.metrics import correlation
from facedistill.measure.scores import UtteranceScores
from facedistill.rig.curves import FPS

CONFIDENCE = 0.95
DIGITS = 5  # of numbers in files
MEAN, WEIGHTED = "mean", "weighted"  # of several sources: each alike, or by their /p b m/
BLOCK_S = 10.0  # what is resampled of takes, which may be few and long
MOVING_RATIO = 0.02  # of the spread of the control that moves most; what moves less is still
ROUNDING = 1e-9  # of a variance: less is none
EYES_MM = 88.0  # between the outer corners of a grown-up's eyes, the unit of measured lips
MEASURED_CLOSED, MEASURED_OPEN = 0.15, 0.35  # of the range of a talker's measured gap: at most, at least
LIP_MEASURES = ("measured_gap_r", "measured_width_r", "measured_auc", "measured_spread")
MEANS = {entry.name: entry.metadata["weight"] for entry in fields(UtteranceScores) if "weight" in entry.metadata}
_BLOCK_VALUES = 4_000_000  # resampled values held at once

Runs = Sequence[Sequence[UtteranceScores]]  # of each model, N utterances
Groups = Sequence[Hashable] | None  # (N,) label of every utterance, such as its speaker, to resample by instead
Statistic = Callable[[np.ndarray], np.ndarray]  # (R, N) counts of every utterance in every resample -> (R,) values
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

    {source, "mean" (each source alike) or "weighted" (by /p b m/): {metric: {"value", "low", "high", "n"}}} of N utterances.
    Resampled are the speakers of a source, or its utterances where it has one speaker; a source of one utterance counts as it is.
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
    """How well a student does what its teacher does, on any controls, by `pairs` (T, K) of both, of which blocks are resampled.

    {"correlation", in the mean of the controls that move, and "explained" (R^2 of all): {"value", "low", "high", "n"}}. `scale`
    (K,) is what a unit of each control is worth: 1 for curves, the length of its component for a mesh.
    """
    step = round(BLOCK_S * FPS)
    blocks = [[part[first : first + step] for part in pair] for pair in pairs for first in range(0, len(pair[1]), step)]
    moments = np.stack([_moments(pred * scale, target * scale) for pred, target in blocks])  # (N, 6, K)
    counts = resamples(len(moments), rng=rng, n_boot=n_boot)
    found = _agreement(np.einsum("rn,nmk->rmk", counts, moments))
    return {name: summary(values) | {"n": len(moments)} for name, values in found.items()}


def resamples(n: int, *, rng: np.random.Generator, n_boot: int, groups: Groups = None) -> np.ndarray:
    """(1 + n_boot, n) int32 counts: all n once, then resamples of them or of groups; the first row alone for under two groups."""
    group_of = np.arange(n) if groups is None else codes(groups)
    n_groups = int(group_of.max(initial=-1)) + 1
    everyone = np.ones((1, n), np.int32)
    if n_groups < 2:
        return everyone
    drawn = rng.multinomial(n_groups, np.full(n_groups, 1 / n_groups), size=n_boot).astype(np.int32)
    return np.concatenate([everyone, drawn[:, group_of]])


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
    """The weighted mean, resample by resample, of the sources that could be measured, and all of n."""
    size = max(len(replicates) for replicates, _ in parts)
    values = np.array([np.broadcast_to(replicates, size) for replicates, _ in parts])
    values = np.where(np.isnan(values), values[:, :1], values)  # so the same sources are averaged in all resamples
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


def _agreement(sums: np.ndarray) -> dict[str, np.ndarray]:
    """(R, 6, K) sums -> (R,) mean correlation and (R,) variance explained."""
    count, pred, target, pred2, target2, product = np.moveaxis(sums, 1, 0)
    variance_p, variance_t = pred2 - pred**2 / count, target2 - target**2 / count
    covariance = product - pred * target / count
    moves = variance_t > MOVING_RATIO**2 * variance_t.max(axis=1, keepdims=True)
    with np.errstate(invalid="ignore", divide="ignore"):
        # What a student never moves does not follow: its correlation is 0.
        r = np.where(variance_p > ROUNDING * variance_t, covariance / np.sqrt(variance_p * variance_t), 0.0)
        errors = (pred2 - 2 * product + target2).sum(axis=1) / variance_t.sum(axis=1)
        return {"correlation": np.where(moves, r, 0.0).sum(axis=1) / moves.sum(axis=1), "explained": 1 - errors}


def statistics_of(scores: Sequence[UtteranceScores], groups: Sequence[Hashable] | None) -> dict[str, tuple[Statistic, int, int]]:
    """{metric: (statistic, values it holds per resample, n)} of N utterances; see `aggregate`."""
    table = {}
    for name, weight in MEANS.items():
        values = _field(scores, name)
        weights = np.where(np.isnan(values), 0, np.ones(len(scores)) if weight is None else _field(scores, weight))
        table[name] = _weighted_mean(np.nan_to_num(values), weights), len(scores), int(weights.sum())
    lags, closure_lags = Pool([[score.lag_ms] for score in scores]), Pool([score.closure_lags_ms for score in scores])
    for name, pool in (("lag_ms", lags), ("closure_lag_ms", closure_lags)):
        table[name] = lambda counts, pool=pool: pool.quantile(counts, 0.5), len(pool), len(pool)
    bilabials, vowels = Pool([score.bilabial_minima_mm for score in scores]), Pool([score.vowel_minima_mm for score in scores])
    width = max(len(bilabials), len(vowels))
    table["pbm"] = (lambda counts: bilabials.closed(counts, *vowels.threshold(counts))), width, len(bilabials)
    table["false_closures"] = (lambda counts: vowels.closed(counts, *vowels.threshold(counts))), width, len(vowels)
    table["pbm_threshold_mm"] = (lambda counts: vowels.threshold(counts)[0]), width, len(vowels)
    for name, pool in (("pbm_1mm", bilabials), ("false_closures_1mm", vowels)):
        table[name] = lambda counts, pool=pool: pool.closed(counts, np.full(len(counts), CLOSED_GAP_MM), 1.0), width, len(pool)
    table["closure_auc"] = _auc(scores), len(scores), sum(len(score.bilabial_frames_mm) for score in scores)
    n_frames, code = sum(len(score.measured) for score in scores), codes(groups or [None] * len(scores))  # None: one talker
    talkers = [Talker(scores, np.flatnonzero(code == talker)) for talker in np.unique(code)] if n_frames else []
    for column, name in enumerate(LIP_MEASURES):
        table[name] = partial(_over_talkers, talkers, column), len(scores), n_frames
    return table


class Pool:
    """M values of N utterances, all but NaN, ascending, each with its utterance."""

    def __init__(self, values: Sequence[Sequence[float]]) -> None:
        flat = np.concatenate([np.empty(0), *values])
        owner = np.repeat(np.arange(len(values)), [len(one) for one in values])
        order = np.argsort(flat, kind="stable")[: np.count_nonzero(~np.isnan(flat))]  # NaN sorts last
        self.values, self.owner = flat[order], owner[order]

    def __len__(self) -> int:
        return len(self.values)

    def quantile(self, counts: np.ndarray, q: float) -> np.ndarray:
        """(R,) of each resample, linear between order statistics as in np.quantile."""
        cumulative, last = self._cumulative(counts), max(len(self) - 1, 0)
        position = np.maximum(cumulative[:, -1] - 1, 0) * q
        below = np.floor(position).astype(int)
        low, high = (np.minimum((cumulative[:, 1:] <= rank[:, None]).sum(axis=1), last) for rank in (below, below + 1))
        values = np.append(self.values, np.nan)
        return np.where(cumulative[:, -1] > 0, values[low] + (values[high] - values[low]) * (position - below), np.nan)

    def threshold(self, counts: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """((R,) the gap under which 5 % of vowels lie; (R,) the share of equal gaps that closes): all, if under 5 %."""
        threshold, cumulative = self.quantile(counts, FALSE_CLOSURE_RATE), self._cumulative(counts)
        allowed = np.floor(np.maximum(cumulative[:, -1] - 1, 0) * FALSE_CLOSURE_RATE) + 1
        below, at_most = self._under(cumulative, threshold)
        # A mouth that never moves has as many closures as false ones.
        return threshold, np.where(at_most > allowed, divide(allowed - below, at_most - below), 1.0)

    def closed(self, counts: np.ndarray, threshold: np.ndarray, of_equal: np.ndarray | float) -> np.ndarray:
        """(R,) the share of values under a threshold, with the share `of_equal` of those at it."""
        cumulative = self._cumulative(counts)
        below, at_most = self._under(cumulative, threshold)
        return np.where(np.isnan(threshold), np.nan, divide(below + of_equal * (at_most - below), cumulative[:, -1]))

    def _cumulative(self, counts: np.ndarray) -> np.ndarray:
        """(R, 1 + M) how many resampled values are among the first 0, 1, ... M."""
        cumulative = np.zeros((len(counts), 1 + len(self)), np.int32)
        np.cumsum(counts[:, self.owner], axis=1, dtype=np.int32, out=cumulative[:, 1:])
        return cumulative

    def _under(self, cumulative: np.ndarray, threshold: np.ndarray) -> list[np.ndarray]:
        """(R,) how many resampled values lie under each resample's threshold, and at or under it."""
        columns = [np.searchsorted(self.values, threshold, side=side) for side in ("left", "right")]
        return [np.take_along_axis(cumulative, column[:, None], axis=1)[:, 0] for column in columns]


def _field(scores: Sequence[UtteranceScores], name: str) -> np.ndarray:
    return np.array([getattr(score, name) for score in scores], np.float64)


def _weighted_mean(values: np.ndarray, weights: np.ndarray) -> Statistic:
    return lambda counts: divide(counts @ (values * weights), counts @ weights)


def _auc(scores: Sequence[UtteranceScores]) -> Statistic:
    """`closures.closure_auc` over the frames of each resample, from how often the bilabials of i lie under the vowels of j."""
    pool, pairs = Pool([score.bilabial_frames_mm for score in scores]), np.zeros((len(scores), len(scores)))
    for j, score in enumerate(scores):
        above = vowels_above(pool.values, score.vowel_frames_mm)
        pairs[:, j] = np.bincount(pool.owner, weights=above, minlength=len(scores))
    n_bilabial = np.array([len(score.bilabial_frames_mm) for score in scores], np.float64)
    n_vowel = np.array([len(score.vowel_frames_mm) for score in scores], np.float64)
    return lambda counts: divide(((counts @ pairs) * counts).sum(axis=1), (counts @ n_bilabial) * (counts @ n_vowel))


class Talker:
    """Some utterances of one talker whose lips a camera measured."""

    def __init__(self, scores: Sequence[UtteranceScores], indices: np.ndarray) -> None:
        self.indices, self.frames = indices, [scores[index].measured for index in indices]
        self.found: dict[bytes, tuple[float, ...]] = {}

    def measures(self, counts: np.ndarray) -> np.ndarray:
        """(R, 4) `_lip_measures` of all frames, of each utterance as often as it was drawn; all alike is measured once."""
        keys = [(row // max(np.gcd.reduce(row), 1)).tobytes() for row in counts[:, self.indices]]
        for key, row in zip(keys, counts[:, self.indices], strict=True):
            if key not in self.found:
                drawn = [frames for frames, times in zip(self.frames, row, strict=True) for _ in range(times)]
                self.found[key] = _lip_measures(np.concatenate([np.empty((0, 4)), *drawn]))
        return np.array([self.found[key] for key in keys])


def _over_talkers(talkers: Sequence[Talker], column: int, counts: np.ndarray) -> np.ndarray:
    """The mean over the talkers of each resample of one of `LIP_MEASURES`, see `aggregate`."""
    total, weight = np.zeros(len(counts)), np.zeros(len(counts))
    for talker in talkers:
        values = talker.measures(counts)[:, column]
        share = np.where(np.isnan(values), 0, counts[:, talker.indices].mean(axis=1))
        total, weight = total + np.nan_to_num(values) * share, weight + share
    return divide(total, weight)


def _lip_measures(frames: np.ndarray) -> tuple[float, float, float, float]:
    """`LIP_MEASURES` of (N, 4) frames as `UtteranceScores.measured` has them."""
    gap, width, gap_mm, width_mm = frames.T
    follows = correlation(pred=gap_mm, target=gap), correlation(pred=width_mm, target=width)
    low, high = np.percentile(gap, (2, 95)) if len(gap) >= 6 else (0.0, 0.0)  # fewer frames say nothing
    if high <= low:
        return *follows, np.nan, np.nan
    share = (gap - low) / (high - low)
    auc = closure_auc(gap_mm[share < MEASURED_CLOSED], gap_mm[share > MEASURED_OPEN])
    return *follows, auc, gap_mm.std() / (EYES_MM * gap.std())


def divide(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """a / b as float64, NaN where b is 0."""
    return np.divide(a, b, out=np.full(len(a), np.nan), where=b != 0)


def codes(groups: Sequence[Hashable]) -> np.ndarray:
    """(N,) int: groups as numbers, in the order in which they come."""
    order = {group: code for code, group in enumerate(dict.fromkeys(groups))}
    return np.array([order[group] for group in groups], int)
