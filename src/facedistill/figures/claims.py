"""Claims as data, the one judge of them, and how verdicts are printed."""

import operator
from collections.abc import Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from facedistill.figures.tables import ENVELOPE, INTERVAL, METRICS, SPLIT_NAMES, interval_text

COLUMNS = ["Claim", "Test", "Measure", "Measured", "Needed", "Verdict"]
SIGNS = {"≥": operator.ge, ">": operator.gt, "≤": operator.le, "<": operator.lt}
JOINED = {"difference": " minus ", "ratio": " over "}
UNKNOWN = (np.nan,) * 3

Interval = tuple[float, float, float]  # value, low, high; NaN where unknown
Intervals = dict[tuple[str, Hashable, str, str], Interval]  # (split, subject, metric, kind) -> what was measured


@dataclass(frozen=True)
class Claim:
    """A statement about one measured number, of which the value meets a bound or, where `whole` is set, the whole interval."""

    text: str
    subject: Hashable  # a system, a question of `comparisons.json`, or a pair, of whom the first is claimed better
    metric: str  # one of `tables.METRICS`, or the name of another measure, with its unit
    sign: str  # one of `SIGNS`
    bound: Hashable  # a number, or another subject: then the two intervals must not overlap
    kind: str = "value"  # or "difference" or "ratio" of a comparison
    split: str = ""  # the test; empty where it is given to `judge`
    whole: bool = False


def better(text: str, subject: Hashable, *metrics: str, sign: str = ">", splits: Sequence[str] = ("",)) -> list[Claim]:
    """Claims that one of two is better: the whole interval of their difference in each metric is on one side of 0."""
    return [Claim(text, subject, metric, sign, 0.0, "difference", split, True) for split in splits for metric in metrics]


def _better_in_noise_too(text: str, question: str) -> list[Claim]:
    return better(text, question, "lip_gap_r", "pbm", splits=("test-voices", "test-noisy"))


CLAIMS = (
    Claim("The teacher follows the lips", "teacher", "lip_gap_r", "≥", 0.85),
    Claim("The teacher's lips close on p, b, m", "teacher", "pbm_1mm", "≥", 0.85),
    Claim("The teacher's lips are closer on p, b, m than in vowels", "teacher", "pbm", "≥", 0.85),
    *_better_in_noise_too("The teacher beats `small` on the paired data", "teacher-against-small-on-paired-data"),
    *_better_in_noise_too("The teacher beats `on-device` on the paired data", "teacher-against-on-device-on-paired-data"),
    Claim("`on-device` keeps the teacher's correlation", "on-device-against-teacher", "lip_gap_r", "≥", 0.95, "ratio"),
    Claim("`on-device` keeps the teacher's closures", "on-device-against-teacher", "pbm_1mm", "≥", 0.92, "ratio"),
    Claim("`on-device` keeps the teacher's order of gaps", "on-device-against-teacher", "pbm", "≥", 0.92, "ratio"),
    *_better_in_noise_too("Distillation beats the paired data alone", "distilled-against-paired-only"),
    Claim("The ensemble halves the jitter", "ensemble-against-real-time", "jitter", "≤", 0.5, "ratio"),
)


def intervals_of(table: pd.DataFrame, *subject: str) -> Intervals:
    """What a tidy table holds, for `judge`; a subject of two columns is a pair. Without a column kind, it is "value"."""
    subjects = table[subject[0]] if len(subject) == 1 else zip(*(table[column] for column in subject), strict=True)
    kinds = table["kind"] if "kind" in table else ["value"] * len(table)
    ends = table[[*INTERVAL]].astype(float).itertuples(index=False, name=None)
    return dict(zip(zip(table["split"], subjects, table["metric"], kinds, strict=True), ends, strict=True))


def pairs_of(table: pd.DataFrame, column: str, references: Mapping[str, str]) -> Intervals:
    """`intervals_of` comparisons with references: subjects are (name, reference) and, of differences, the reverse."""
    found = {}
    for (split, name, metric, kind), (value, low, high) in intervals_of(table, column).items():
        found[split, (name, references[name]), metric, kind] = value, low, high
        if kind == "difference":
            found[split, (references[name], name), metric, kind] = -value, -high, -low
    return found


def judge(claims: Iterable[Claim], measured: Intervals, split: str = "") -> pd.DataFrame:
    """`COLUMNS`, all text, a row a claim, on `split` where it names no test; Verdict is "holds", "FAILS" or "not measured"."""
    return pd.DataFrame([_row(claim, measured, claim.split or split) for claim in claims], columns=COLUMNS)


def _row(claim: Claim, measured: Intervals, split: str) -> tuple[str, ...]:
    heading, n_digits = METRICS.get(claim.metric, (claim.metric, 3))
    if claim.kind != "value":
        heading += f", {JOINED[claim.kind].join(claim.subject) if isinstance(claim.subject, tuple) else claim.kind}"
    if claim.kind == "ratio":
        n_digits = 3
    ends = measured.get((split, claim.subject, claim.metric, claim.kind), UNKNOWN)
    if isinstance(claim.bound, int | float):
        whole, bound, needed = claim.whole, (claim.bound,) * 3, f"{claim.bound:.3g}"
    else:
        whole, bound = True, measured.get((split, claim.bound, claim.metric, claim.kind), UNKNOWN)
        needed = interval_text(*bound, n_digits=n_digits)
    nearest, facing = (0, 0) if not whole else (1, 2) if claim.sign in "≥>" else (2, 1)
    if np.isnan([ends[nearest], bound[facing]]).any():
        verdict = "not measured"
    else:
        verdict = "holds" if SIGNS[claim.sign](ends[nearest], bound[facing]) else "FAILS"
    shown, needed = interval_text(*ends, n_digits=n_digits), f"{'interval ' * whole}{claim.sign} {needed}"
    return claim.text, SPLIT_NAMES.get(split, split), heading, shown, needed, verdict


def format_claims(verdicts: pd.DataFrame) -> str:
    """The table of `judge` as lines to print; the last is `summary`."""
    lines = [
        f"{row.Verdict:12} {row.Claim} ({'; '.join(filter(None, (row.Test, row.Measure)))}): {row.Measured}, needed {row.Needed}"
        for row in verdicts.itertuples()
    ]
    return "\n".join([*lines, summary(verdicts)])


def summary(verdicts: pd.DataFrame) -> str:
    """How the table of `judge` came out: "3 of 5 claims hold."."""
    return f"{(verdicts['Verdict'] == 'holds').sum()} of {len(verdicts)} claims hold."


def judge_results(scores: pd.DataFrame, comparisons: pd.DataFrame) -> pd.DataFrame:
    """Judges `CLAIMS` by scores and comparisons of `tables.FILES`; see `judge`."""
    return judge(CLAIMS, intervals_of(scores, "system") | intervals_of(comparisons, "question"), "test-voices")


def judge_against_envelope(scores: pd.DataFrame, systems: Iterable[str], split: str) -> pd.DataFrame:
    """Judges whether systems follow the lips better than the amplitude-envelope baseline."""
    text = "follows the lips better than the amplitude-envelope baseline"
    claims = [Claim(f"{name} {text}", name, "lip_gap_r", ">", ENVELOPE) for name in systems]
    return judge(claims, intervals_of(scores, "system"), split)


def judge_inheritance(comparisons: pd.DataFrame, first_split: str, *, margin: float) -> pd.DataFrame:
    """Judges whether `on-device` keeps as much of its teacher's lip-gap correlation on other tests, less `margin`."""
    measured, asked = intervals_of(comparisons, "question"), ("on-device-against-teacher", "lip_gap_r", "ratio")
    bound = measured[first_split, *asked][0] - margin
    claims = [
        Claim("`on-device` keeps its share of the teacher's correlation", *asked[:2], "≥", bound, asked[2], split, whole=True)
        for split, *rest in measured if tuple(rest) == asked and split != first_split
    ]  # fmt: skip
    return judge(claims, measured)
