"""The judge of claims: verdicts follow the ends of intervals, and what was not measured is not judged."""

import math

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from facedistill.figures import ablations, claims
from facedistill.figures import tables as results
from facedistill.figures.claims import Claim, better, format_claims, intervals_of, judge, pairs_of, summary
from facedistill.pipeline import evaluate

SPLIT, PBM = "test-voices", "PBM at 5 % false closures"
NUMBERS = st.floats(-1e6, 1e6, allow_nan=False)
UNKNOWN = (math.nan,) * 3


def verdict(ends: tuple[float, float, float], sign: str, bound: object, **more: object) -> str:
    rival = {(SPLIT, "rival", "pbm", "value"): bound} if isinstance(bound, tuple) else {}
    claim = Claim("a claim", "one", "pbm", sign, "rival" if rival else bound, **more)
    return judge([claim], {(SPLIT, "one", "pbm", "value"): ends} | rival, SPLIT)["Verdict"].item()


@pytest.mark.parametrize(
    ("sign", "bound", "whole", "expected"),
    [
        ("≥", 0.9, False, "holds"),  # the value is judged, not the lower end
        ("≥", 0.91, False, "FAILS"),
        (">", 0.9, False, "FAILS"),
        ("≤", 0.9, False, "holds"),
        ("<", 0.9, False, "FAILS"),
        ("≥", 0.8, True, "holds"),  # the lower end, of 0.8
        (">", 0.8, True, "FAILS"),
        ("≤", 0.95, True, "holds"),  # the upper end
        ("<", 0.95, True, "FAILS"),
    ],
)
def test_a_number_is_judged_by_its_value_or_by_its_whole_interval(sign, bound, whole, expected):
    assert verdict((0.9, 0.8, 0.95), sign, bound, whole=whole) == expected


@given(NUMBERS, NUMBERS, NUMBERS, NUMBERS)
def test_one_is_better_than_another_only_where_intervals_do_not_overlap(a, b, c, d):
    (low, high), (other_low, other_high) = sorted((a, b)), sorted((c, d))
    ends, rival = (high, low, high), (other_high, other_low, other_high)
    assert verdict(ends, ">", rival) == ("holds" if low > other_high else "FAILS")
    assert verdict(ends, "<", rival) == ("holds" if high < other_low else "FAILS")
    assert (verdict(ends, ">", rival), verdict(rival, "<", ends)).count("holds") in (0, 2), "seen from both sides it is the same"


@pytest.mark.parametrize("sign", claims.SIGNS)
def test_what_was_not_measured_is_not_judged(sign):
    assert judge([Claim("a claim", "one", "pbm", sign, 0.0)], {})["Verdict"].item() == "not measured"
    assert verdict((0.9, math.nan, math.nan), sign, 0.0, whole=True) == "not measured"
    assert verdict((0.9, 0.8, 0.95), sign, UNKNOWN) == verdict(UNKNOWN, sign, (0.9, 0.8, 0.95)) == "not measured"


def test_the_table_tells_test_measure_and_what_is_needed():
    measured = {
        (SPLIT, "one", "pbm", "value"): (0.9, 0.8, 0.95),
        (SPLIT, "other", "pbm", "value"): (0.5, 0.4, 0.7),
        (SPLIT, ("one", "other"), "jitter", "ratio"): (0.4, 0.3, 0.5),
        ("my-test", "one", "Size (MB)", "value"): (1.25, math.nan, math.nan),
    }
    found = judge(
        [
            Claim("beats", "one", "pbm", ">", "other"),
            *better("calmer", ("one", "other"), "jitter", sign="<"),
            Claim("halves", ("one", "other"), "jitter", "≤", 0.5, "ratio", whole=True),
            Claim("fits", "one", "Size (MB)", "≤", 1, split="my-test"),
        ],
        measured,
        SPLIT,
    )
    assert found.to_numpy().tolist() == [
        [
            "beats",
            "unseen voices",
            PBM,
            "0.900 [0.800, 0.950]",
            "interval > 0.500 [0.400, 0.700]",
            "holds",
        ],
        ["calmer", "unseen voices", "Jitter (1/s³), one minus other", "–", "interval < 0", "not measured"],
        ["halves", "unseen voices", "Jitter (1/s³), one over other", "0.400 [0.300, 0.500]", "interval ≤ 0.5", "holds"],
        ["fits", "my-test", "Size (MB)", "1.250", "≤ 1", "FAILS"],
    ]
    assert format_claims(found).splitlines() == [
        f"holds        beats (unseen voices; {PBM}): 0.900 [0.800, 0.950], needed interval > 0.500 [0.400, 0.700]",
        "not measured calmer (unseen voices; Jitter (1/s³), one minus other): –, needed interval < 0",
        "holds        halves (unseen voices; Jitter (1/s³), one over other): 0.400 [0.300, 0.500], needed interval ≤ 0.5",
        "FAILS        fits (my-test; Size (MB)): 1.250, needed ≤ 1",
        "2 of 4 claims hold.",
    ]
    assert summary(found[:1]) == "1 of 1 claims hold."
    assert list(judge([], {})) == claims.COLUMNS


def test_tables_are_looked_up_by_their_subjects_and_differences_both_ways():
    rows = [(SPLIT, "one", "teacher", "pbm", 0.9, 0.8, 0.95), (SPLIT, "one", "student", "pbm", 0.5, np.nan, np.nan)]
    taught = pd.DataFrame(rows, columns=["split", "teacher", "role", "metric", *results.INTERVAL])
    found = intervals_of(taught, "teacher", "role")
    assert found[SPLIT, ("one", "teacher"), "pbm", "value"] == (0.9, 0.8, 0.95) and len(found) == 2
    assert set(intervals_of(taught[:1], "teacher")) == {(SPLIT, "one", "pbm", "value")}
    compared = taught[:1].assign(kind="difference")
    both = pairs_of(pd.concat([compared, compared.assign(kind="ratio")]), "teacher", {"one": "other"})
    assert both == {
        (SPLIT, ("one", "other"), "pbm", "difference"): (0.9, 0.8, 0.95),
        (SPLIT, ("other", "one"), "pbm", "difference"): (-0.9, -0.95, -0.8),
        (SPLIT, ("one", "other"), "pbm", "ratio"): (0.9, 0.8, 0.95),
    }


def test_claims_ask_what_evaluate_measures():
    for claim in (*claims.CLAIMS, *ablations.CLAIMS, *ablations.TEACHER_CLAIMS):
        assert claim.metric in results.METRICS and claim.split in {"", *results.SPLIT_NAMES}, claim
        assert claim.sign in claims.SIGNS and claim.kind in {"value", "difference", "ratio"}, claim
        assert claim.kind != "difference" or claim.whole and claim.bound == 0, claim
    for claim in claims.CLAIMS:
        assert claim.kind == "value" or claim.subject in evaluate.COMPARISONS, claim
