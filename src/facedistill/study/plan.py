"""Which clips a rater compares: every pair equally often, either side equally often, in an order of the sheet's own."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np

from facedistill.core.errors import InputError


@dataclass(frozen=True)
class Trial:
    """Two clips of one sentence, side by side; with `check`, the side ("left" or "right") that the page asks for."""

    sentence: str
    left: str
    right: str
    check: str = ""


def make_sheets(
    sentences: Sequence[str], systems: Sequence[str], *, n_sheets: int, n_trials: int, n_checks: int, seed: int
) -> list[list[Trial]]:
    """What each of `n_sheets` raters sees: comparisons and, among them, attention checks.

    A check is an instructed response (Oppenheimer, Meyvis and Davidenko, 2009): one system on both sides, and the page says which
    to choose.

    Returns:
        `n_sheets` lists of `n_trials` + `n_checks` trials. Over all sheets the pairs of systems differ by at most one in how
        often they are compared, and each pair's sentences and sides likewise.

    Raises:
        InputError: fewer than two systems, no sentence, or no trials.
    """
    if len(systems) < 2 or not sentences:
        raise InputError(f"{len(systems)} systems, {len(sentences)} sentences; allowed: at least two systems, one sentence")
    if min(n_sheets, n_trials) < 1 or n_checks < 0:
        raise InputError(f"{n_sheets} sheets of {n_trials} trials, {n_checks} checks; allowed: at least 1, 1 and 0")
    rng = np.random.default_rng(seed)
    pairs = list(combinations(systems, 2))
    pairs = [pairs[index] for index in rng.permutation(len(pairs))]
    comparisons = {pair: _of_pair(sentences, pair, rng) for pair in pairs}
    sheets, count = [], 0
    for _ in range(n_sheets):
        sheet = [next(comparisons[pairs[(count + number) % len(pairs)]]) for number in range(n_trials)]
        count += n_trials
        sheet += [_check(sentences, systems, rng) for _ in range(n_checks)]
        sheets.append([sheet[index] for index in rng.permutation(len(sheet))])
    return sheets


def _of_pair(sentences: Sequence[str], pair: tuple[str, str], rng: np.random.Generator) -> Iterator[Trial]:
    """Comparisons of a pair without end: all sentences in turn, sides swapped from one to the next and from round to round."""
    first, second = pair if rng.random() < 0.5 else pair[::-1]
    swap = False
    while True:
        for index in rng.permutation(len(sentences)):
            yield Trial(sentences[index], *((second, first) if swap else (first, second)))
            swap = not swap


def _check(sentences: Sequence[str], systems: Sequence[str], rng: np.random.Generator) -> Trial:
    system = systems[rng.integers(len(systems))]
    return Trial(sentences[rng.integers(len(sentences))], system, system, check=("left", "right")[rng.integers(2)])
