"""What the scores of recordings say of a source, a language and all sources, with percentile bootstrap intervals.

AUC pools the frames and PBM the intervals of a source, r is a mean over its recordings. "mean" counts sources alike, "weighted"
by their /p b m/. Recordings are drawn with replacement within a source (its speakers, where it has several); a source of one
recording cannot be redrawn, has no interval of its own and counts as it is in the others'.
"""

from collections.abc import Callable, Mapping, Sequence

import numpy as np

from facedistill.measure.closures import FALSE_CLOSURE_RATE
from facedistill.measure.statistics import CONFIDENCE
from facedistill.real_speech.gaps import Scores
from facedistill.real_speech.names import MEAN, METRICS, WEIGHTED
from facedistill.real_speech.recordings import Recording

Replicates = dict[str, np.ndarray]  # {metric: (1 + R,) values}, of everyone first and then of every resample


def source_replicates(scores: Sequence[Scores], counts: np.ndarray) -> Replicates:
    """The metrics of one source in every resample.

    Args:
        scores: (N,) its recordings.
        counts: (1 + R, N) how often each was drawn, see `resamples`.

    Returns:
        {metric of `names.METRICS`: (1 + R,) float64}, NaN where nothing was to be measured.
    """
    draws = [np.repeat(np.arange(len(scores)), row) for row in counts]
    return {
        "auc": _auc(scores, counts),
        "r": _mean(np.array([one.r for one in scores]), np.ones(len(scores)), counts),
        "pbm": np.array([_pbm(scores, draw) for draw in draws]),
        "closure_lag_ms": np.array([_median([scores[index].closure_lags_ms for index in draw]) for draw in draws]),
        "jitter": _share([one.jitter for one in scores], [one.n_jerks for one in scores], counts),
        "jitter_silence": _share([one.jitter_silence for one in scores], [one.n_silent_jerks for one in scores], counts),
    }


def resamples(recordings: Sequence[Recording], *, rng: np.random.Generator, n_boot: int) -> np.ndarray:
    """(1 + R, N) int counts: every recording of a source once, then resamples; the first row alone where there is one to draw."""
    speakers = list(dict.fromkeys(recording.row.speaker for recording in recordings))
    group = np.arange(len(recordings))
    if len(speakers) > 1:
        group = np.array([speakers.index(recording.row.speaker) for recording in recordings])
    n_groups, everyone = group.max() + 1, np.ones((1, len(recordings)), int)
    if n_groups < 2:
        return everyone
    drawn = rng.multinomial(n_groups, np.full(n_groups, 1 / n_groups), size=n_boot)
    return np.concatenate([everyone, drawn[:, group]])


def combined(parts: Sequence[Replicates], weights: Sequence[float]) -> Replicates:
    """The weighted mean of several sources, resample by resample; what a source could not measure is left out."""
    size = max(len(values) for part in parts for values in part.values())
    table = {}
    for metric in METRICS:
        values = np.array([np.broadcast_to(part[metric], size) if len(part[metric]) == 1 else part[metric] for part in parts])
        shares = np.where(np.isnan(values), 0.0, np.array(weights, np.float64)[:, None])
        total = shares.sum(axis=0)
        sums = (np.nan_to_num(values) * shares).sum(axis=0)
        table[metric] = np.divide(sums, total, out=np.full(size, np.nan), where=total > 0)
    return table


def summary(replicates: np.ndarray) -> dict[str, float]:
    """{"value", "low", "high"} of (1 + R,) replicates: low and high bound the 95 % interval, NaN without resamples."""
    valid, tail = replicates[1:][~np.isnan(replicates[1:])], (1 - CONFIDENCE) / 2
    low, high = np.quantile(valid, [tail, 1 - tail]) if valid.size else (np.nan, np.nan)
    return {"value": float(replicates[0]), "low": float(low), "high": float(high)}


def table_of(
    recordings: Sequence[Recording],
    scores: Sequence[Scores],
    *,
    seed: int,
    n_boot: int,
    key: Callable[[Recording], str] = lambda recording: recording.row.source,
) -> dict[str, dict]:
    """All sources, their mean and their mean weighted by /p b m/.

    Args:
        recordings: (N,).
        scores: (N,) of one system on each.
        seed: of the resamples, which are the same for every system.
        n_boot: R.
        key: what a recording is grouped by.

    Returns:
        {source, "mean" or "weighted": {metric: {"value", "low", "high"}, "n": /p b m/, "n_vowels", "n_recordings"}}.
    """
    rng, parts, counts = np.random.default_rng(seed), {}, {}
    for name in sorted(set(map(key, recordings))):
        chosen = [index for index, recording in enumerate(recordings) if key(recording) == name]
        members = [scores[index] for index in chosen]
        draws = resamples([recordings[index] for index in chosen], rng=rng, n_boot=n_boot)
        if any(len(one.bilabial) or len(one.vowel) for one in members):
            parts[name] = source_replicates(members, draws)
            counts[name] = n_of(members)
    table = {name: _described(parts[name], counts[name]) for name in parts}
    if parts:
        total = {unit: sum(count[unit] for count in counts.values()) for unit in next(iter(counts.values()))}
        table[MEAN] = _described(combined(list(parts.values()), [1.0] * len(parts)), total)
        table[WEIGHTED] = _described(combined(list(parts.values()), [count["n"] for count in counts.values()]), total)
    return table


def n_of(scores: Sequence[Scores]) -> dict[str, int]:
    """How many /p b m/, vowels and recordings there are."""
    n = {"n": sum(len(one.closures) for one in scores), "n_vowels": sum(len(one.interiors) for one in scores)}
    return n | {"n_recordings": len(scores)}


def pooled_auc(bilabial: np.ndarray, vowel: np.ndarray) -> float:
    """The chance that a /p b m/ gap is smaller than a vowel's, ties counting half; NaN when either is empty."""
    if not len(bilabial) or not len(vowel):
        return float("nan")
    return float(_wins(bilabial, np.sort(vowel)).sum() / (len(bilabial) * len(vowel)))


def pbm_at(closures: np.ndarray, interiors: np.ndarray, rate: float = FALSE_CLOSURE_RATE) -> float:
    """The share of closures at or under the `rate` quantile of the interiors; NaN when either is empty."""
    if not len(closures) or not len(interiors):
        return float("nan")
    return float(np.mean(closures <= np.quantile(interiors, rate)))


def _described(part: Mapping[str, np.ndarray], counts: Mapping[str, int]) -> dict:
    return {metric: summary(part[metric]) for metric in METRICS} | dict(counts)


def _pbm(scores: Sequence[Scores], draw: np.ndarray) -> float:
    drawn = [scores[index] for index in draw]
    return pbm_at(np.concatenate([one.closures for one in drawn]), np.concatenate([one.interiors for one in drawn]))


def _median(parts: Sequence[np.ndarray]) -> float:
    pooled = np.concatenate(parts)
    return float(np.median(pooled)) if pooled.size else float("nan")


def _wins(bilabial: np.ndarray, ascending: np.ndarray) -> np.ndarray:
    """How many vowel gaps each /p b m/ gap is smaller than, ties counting half."""
    under, over = (np.searchsorted(ascending, bilabial, side=side) for side in ("left", "right"))
    return len(ascending) - (under + over) / 2


def _auc(scores: Sequence[Scores], counts: np.ndarray) -> np.ndarray:
    """`pooled_auc` of every resample, from how often the /p b m/ of one recording lie under the vowels of another."""
    n_bilabial, n_vowel = np.array([(len(one.bilabial), len(one.vowel)) for one in scores]).T
    owner = np.repeat(np.arange(len(scores)), n_bilabial)
    gaps, pairs = np.concatenate([one.bilabial for one in scores]), np.zeros((len(scores), len(scores)))
    for other, one in enumerate(scores):
        pairs[:, other] = np.bincount(owner, weights=_wins(gaps, np.sort(one.vowel)), minlength=len(scores))
    return _divide(((counts @ pairs) * counts).sum(axis=1), (counts @ n_bilabial) * (counts @ n_vowel))


def _mean(values: np.ndarray, weights: np.ndarray, counts: np.ndarray) -> np.ndarray:
    weights = np.where(np.isnan(values), 0.0, weights)
    return _divide(counts @ (np.nan_to_num(values) * weights), counts @ weights)


def _share(sums: Sequence[float], numbers: Sequence[int], counts: np.ndarray) -> np.ndarray:
    return _divide(counts @ np.array(sums, np.float64), counts @ np.array(numbers, np.float64))


def _divide(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    return np.divide(a, b, out=np.full(len(a), np.nan), where=b != 0)
