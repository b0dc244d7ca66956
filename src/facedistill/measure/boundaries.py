"""How far timed phones are from trusted ones: boundary errors in ms; pure numpy.

Alphabets differ, and so does what counts as one phone: boundaries are compared where both sides change between the same classes
of `phones.classify`, which a mouth can show, found by aligning the two sequences of classes.
"""

from difflib import SequenceMatcher
from itertools import pairwise

import numpy as np

from facedistill.speech.phones import Phone, classify


def boundary_errors_ms(found: list[Phone], trusted: list[Phone]) -> np.ndarray:
    """The starts of matching runs of one class, found minus trusted.

    Args:
        found: timed phones of an utterance, in IPA.
        trusted: the same utterance's, by hand or given.

    Returns:
        (N,) float64 ms, positive where found late; N is at most the number of runs in either.
    """
    ours, theirs = _runs(found), _runs(trusted)
    matcher = SequenceMatcher(None, [kind for kind, _ in ours], [kind for kind, _ in theirs], autojunk=False)
    pairs = [(block.a + step, block.b + step) for block in matcher.get_matching_blocks() for step in range(block.size)]
    # the start of a run is the border of two runs: both must match
    borders = [pair for before, pair in pairwise(pairs) if (before[0] + 1, before[1] + 1) == pair]
    return np.array([1000 * (ours[one][1] - theirs[other][1]) for one, other in borders], np.float64)


def _runs(phones: list[Phone]) -> list[tuple[str, float]]:
    """(class, start in s) of every run of phones of one class; time between phones is silence."""
    runs: list[tuple[str, float]] = [("silence", 0.0)]
    clock_s = 0.0
    for phone in phones:
        if phone.start_s - clock_s > 1e-3 and runs[-1][0] != "silence":
            runs.append(("silence", clock_s))
        kind = classify(phone.label)
        if kind != runs[-1][0]:
            runs.append((kind, phone.start_s))
        clock_s = phone.end_s
    return runs
