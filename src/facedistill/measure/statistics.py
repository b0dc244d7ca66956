"""What is pooled over the utterances of a set, as functions of how often each utterance was drawn; pure NumPy."""

from collections.abc import Callable, Hashable, Sequence

import numpy as np

from facedistill.measure.closures import CLOSED_GAP_MM, FALSE_CLOSURE_RATE, closure_auc, vowels_above
from facedistill.measure.metrics import correlation
from facedistill.measure.scores import UtteranceScores

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

Statistic = Callable[[np.ndarray], np.ndarray]  # (R, N) counts of every utterance in every resample -> (R,) values


def statistics_of(scores: Sequence[UtteranceScores], groups: Sequence[Hashable] | None) -> dict[str, tuple[Statistic, int, int]]:
    """{metric: (statistic, values it holds per resample, n)} of N utterances; see `bootstrap.aggregate`."""
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
        return divide(counts @ (values * weights), counts @ weights)

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
    return threshold, np.where(at_most > allowed, divide(allowed - below, at_most - below), 1.0)


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
        return divide(((counts @ pairs) * counts).sum(axis=1), (counts @ n_bilabial) * (counts @ n_vowel))

    return statistic


def _talkers(scores: Sequence[UtteranceScores], groups: Sequence[Hashable] | None) -> list[tuple[np.ndarray, list[np.ndarray]]]:
    """(utterances, what was measured in each) of every talker; all are one talker where no groups are given."""
    code = np.zeros(len(scores), int) if groups is None else codes(groups)
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
        return divide((np.nan_to_num(values) * drawn).sum(axis=0), drawn.sum(axis=0))

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
    return np.where(np.isnan(threshold), np.nan, divide(below + of_equal * (at_most - below), cumulative[:, -1]))


def divide(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """a / b as float64, NaN where b is 0."""
    return np.divide(a, b, out=np.full(len(a), np.nan), where=b != 0)


def codes(groups: Sequence[Hashable]) -> np.ndarray:
    """(N,) int: groups as numbers, in the order in which they come."""
    order = {group: code for code, group in enumerate(dict.fromkeys(groups))}
    return np.array([order[group] for group in groups], int)
