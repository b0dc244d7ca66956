"""What is pooled over the utterances of a set, as functions of how often each utterance was drawn; pure NumPy."""

from collections.abc import Callable, Hashable, Sequence
from dataclasses import fields

import numpy as np

from facedistill.measure.closures import CLOSED_GAP_MM, FALSE_CLOSURE_RATE, closure_auc, vowels_above
from facedistill.measure.metrics import correlation
from facedistill.measure.scores import UtteranceScores

EYES_MM = 88.0  # between the outer corners of a grown-up's eyes, the unit of measured lips
MEASURED_CLOSED, MEASURED_OPEN = 0.15, 0.35  # of the range of a talker's measured gap: at most, at least
MEASURED_RANGE = (2, 95)  # percentiles that bound it
MIN_MEASURED = 6  # frames; fewer say nothing
LIP_MEASURES = ("measured_gap_r", "measured_width_r", "measured_auc", "measured_spread")
MEANS = {entry.name: entry.metadata["weight"] for entry in fields(UtteranceScores) if "weight" in entry.metadata}

Statistic = Callable[[np.ndarray], np.ndarray]  # (R, N) counts of every utterance in every resample -> (R,) values


def statistics_of(scores: Sequence[UtteranceScores], groups: Sequence[Hashable] | None) -> dict[str, tuple[Statistic, int, int]]:
    """{metric: (statistic, values it holds per resample, n)} of N utterances; see `bootstrap.aggregate`."""
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
    return table | {name: (_over_talkers(talkers, column), len(scores), n_frames) for column, name in enumerate(LIP_MEASURES)}


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
        """((R,) the gap under which 5 % of vowels lie; (R,) the share of equal gaps that closes): all, unless that is over 5 %.

        So a mouth that never moves has as many closures as false ones.
        """
        threshold, cumulative = self.quantile(counts, FALSE_CLOSURE_RATE), self._cumulative(counts)
        allowed = np.floor(np.maximum(cumulative[:, -1] - 1, 0) * FALSE_CLOSURE_RATE) + 1
        below, at_most = self._under(cumulative, threshold)
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


def _over_talkers(talkers: Sequence[Talker], column: int) -> Statistic:
    """The mean over the talkers of each resample of one of `LIP_MEASURES`, see `aggregate`."""

    def statistic(counts: np.ndarray) -> np.ndarray:
        total, weight = np.zeros(len(counts)), np.zeros(len(counts))
        for talker in talkers:
            values = talker.measures(counts)[:, column]
            share = np.where(np.isnan(values), 0, counts[:, talker.indices].mean(axis=1))
            total, weight = total + np.nan_to_num(values) * share, weight + share
        return divide(total, weight)

    return statistic


def _lip_measures(frames: np.ndarray) -> tuple[float, float, float, float]:
    """`LIP_MEASURES` of (N, 4) frames as `UtteranceScores.measured` has them."""
    gap, width, gap_mm, width_mm = frames.T
    follows = correlation(pred=gap_mm, target=gap), correlation(pred=width_mm, target=width)
    low, high = np.percentile(gap, MEASURED_RANGE) if len(gap) >= MIN_MEASURED else (0.0, 0.0)
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
