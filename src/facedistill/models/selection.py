"""Which utterances students learn from: `distill.data` of params.yaml."""

from collections.abc import Callable, Hashable, Sequence

import numpy as np

from facedistill.core.errors import InputError
from facedistill.core.manifest import SYNTHETIC, Utterance
from facedistill.core.sections import DataParams


def subsample(rows: Sequence[Utterance], data: DataParams, seed: int) -> list[Utterance]:
    """The utterances of the wanted sources, languages, voices and share of the hours, in the order of the manifest.

    Languages, voices and utterances are drawn at random, and what a smaller number draws is part of what a larger one does.

    Raises:
        InputError: nothing is left.
    """
    kept = [row for row in rows if data.sources == "all" or (row.source == SYNTHETIC) == (data.sources == "synthetic")]
    kept = _drawn(kept, lambda row: row.language, data.languages, np.random.default_rng([seed, 0]))
    kept = _drawn(kept, lambda row: (row.source, row.speaker), data.voices, np.random.default_rng([seed, 1]))
    kept = _share(kept, data.hours_ratio, np.random.default_rng([seed, 2]))
    if not kept:
        raise InputError(f"distill.data: no utterances with {data.model_dump()}; allowed: what the labels hold")
    return kept


def _drawn(
    rows: list[Utterance], group: Callable[[Utterance], Hashable], count: int | None, rng: np.random.Generator
) -> list[Utterance]:
    """The utterances of `count` groups."""
    groups = list(dict.fromkeys(map(group, rows)))
    wanted = {groups[index] for index in rng.permutation(len(groups))[:count]}
    return [row for row in rows if group(row) in wanted]


def _share(rows: list[Utterance], ratio: float, rng: np.random.Generator) -> list[Utterance]:
    """Utterances that together last `ratio` of all, or less by under one of them; at least one."""
    order = rng.permutation(len(rows))
    ends_s = np.cumsum([rows[index].duration_s for index in order])
    n_kept = max(1, np.count_nonzero(ends_s <= ratio * ends_s[-1] * (1 + 1e-9))) if len(rows) else 0
    return [rows[index] for index in sorted(order[:n_kept])]
