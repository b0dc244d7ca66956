"""What `evaluate` measured, as tidy tables, and whether it bears out what is claimed."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from facedistill.core.errors import InputError
from facedistill.core.files import read_json
from facedistill.core.paths import DATA

EVALUATED = DATA / "evaluate"
INTERVAL = ("value", "low", "high")
# metric -> (heading with its unit, decimals), in the order of the tables
METRICS = {
    "lip_gap_r": ("Lip-gap correlation", 3),
    "lag_ms": ("Lag (ms)", 1),
    "pbm": ("PBM accuracy", 3),
    "false_closures": ("False closures", 3),
    "pbm_1mm": ("PBM, gap ≤ 1 mm", 3),
    "false_closures_1mm": ("False closures, gap ≤ 1 mm", 3),
    "closure_auc": ("Closure AUC", 3),
    "lve_mm": ("LVE (mm)", 2),
    "mse": ("MSE", 4),
    "jitter": ("Jitter (1/s³)", 0),
}
SPLIT_NAMES = {
    "test-voices": "unseen voices",
    "test-languages": "unseen languages",
    "test-noisy": "noise, room, telephone",
    "test-recordings": "recordings",
}


@dataclass(frozen=True)
class Claim:
    """A statement about one number of `comparisons.json` or `scores.json`.

    Attributes:
        subject: a question of the comparisons, or a system of the scores.
        kind: "value" of a score, or "difference" or "ratio" of a comparison.
        judged: the end of the interval that must meet the bound: "value" for targets; "low" for the claim that one system is
            better than another, which doubt about the measurement must not decide.
    """

    text: str
    split: str
    subject: str
    metric: str
    kind: str
    bound: float
    at_least: bool = True
    judged: str = "value"


def _better(text: str, subject: str, *splits: str) -> list[Claim]:
    return [Claim(text, split, subject, metric, "difference", 0.0, judged="low") for split in splits for metric in QUALITY]


LOUDNESS = "amplitude-envelope"
QUALITY = ("lip_gap_r", "pbm")
BOTH = ("test-voices", "test-noisy")
CLAIMS = (
    Claim("The teacher follows the lips", "test-voices", "teacher", "lip_gap_r", "value", 0.85),
    Claim("The teacher closes them on p, b, m", "test-voices", "teacher", "pbm", "value", 0.85),
    *_better("The teacher beats `small` on the paired data", "teacher-against-small-on-paired-data", *BOTH),
    *_better("The teacher beats `on-device` on the paired data", "teacher-against-on-device-on-paired-data", *BOTH),
    Claim("`on-device` keeps the teacher's correlation", "test-voices", "on-device-against-teacher", "lip_gap_r", "ratio", 0.95),
    Claim("`on-device` keeps the teacher's closures", "test-voices", "on-device-against-teacher", "pbm", "ratio", 0.92),
    *_better("Distillation beats the paired data alone", "distilled-against-paired-only", *BOTH),
    Claim("The ensemble halves the jitter", "test-voices", "ensemble-against-real-time", "jitter", "ratio", 0.5, at_least=False),
)  # fmt: skip


def read_scores(folder: Path = EVALUATED) -> pd.DataFrame:
    """Reads scores.json: columns split, system, metric, value, low, high, n; NaN where nothing could be measured.

    Raises:
        InputError: missing, not JSON, or of another form; so do the other readers.
    """
    return tidy(folder / "scores.json", ["split", "system", "metric"], [*INTERVAL, "n"])


def read_comparisons(folder: Path = EVALUATED) -> pd.DataFrame:
    """Reads comparisons.json: columns split, question, metric, kind (difference or ratio), value, low, high."""
    return tidy(folder / "comparisons.json", ["split", "question", "metric", "kind"], [*INTERVAL])


def read_systems(folder: Path = EVALUATED) -> pd.DataFrame:
    """Reads systems.json: columns system, parameters, weights_bytes, lookahead_ms (NaN: needs the whole utterance)."""
    return tidy(folder / "systems.json", ["system"], ["parameters", "weights_bytes", "lookahead_ms"])


def tidy(path: Path, keys: list[str], columns: list[str]) -> pd.DataFrame:
    """Reads nested JSON objects as a table: one row for each leaf, `keys` naming the levels; NaN for null.

    Raises:
        InputError: missing, not JSON, or of another form.
    """
    rows = [((), read_json(path))]
    try:
        for _ in keys:
            rows = [((*names, name), value) for names, values in rows for name, value in values.items()]
        leaves = [(*names, *(np.nan if value[name] is None else value[name] for name in columns)) for names, value in rows]
    except (AttributeError, KeyError, TypeError) as error:
        raise InputError(f"{path}: not what the evaluate stage writes ({error!r})") from None
    return pd.DataFrame(leaves, columns=[*keys, *columns])


def results_table(scores: pd.DataFrame, systems: pd.DataFrame) -> pd.DataFrame:
    """The numbers of the main table: one row for each split and system, three columns (value, low, high) for each metric."""
    wide = scores[scores["metric"].isin(METRICS)].pivot(index=["split", "system"], columns="metric", values=[*INTERVAL])
    table = scores[["split", "system"]].drop_duplicates().merge(systems, on="system", validate="many_to_one")
    rows = pd.MultiIndex.from_frame(table[["split", "system"]])
    for metric, word in (("pbm", "bilabials"), ("lip_gap_r", "utterances")):
        counts = scores[scores["metric"] == metric].set_index(["split", "system"])["n"]
        table[f"n_{word}"] = counts.reindex(rows).to_numpy()
    for metric in METRICS:
        for end in INTERVAL:
            table[metric if end == "value" else f"{metric}_{end}"] = wide[(end, metric)].reindex(rows).to_numpy()
    return table


def readable(table: pd.DataFrame) -> pd.DataFrame:
    """`results_table` for readers: intervals as "value [low, high]", units in the headings, a dash where nothing is known."""
    shown = pd.DataFrame({"Test": table["split"].map(lambda split: SPLIT_NAMES.get(split, split)), "System": table["system"]})
    shown["Parameters"] = [f"{count:,}" for count in table["parameters"]]
    shown["Weights (MB)"] = [f"{count / 1e6:.2f}" for count in table["weights_bytes"]]
    shown["Look-ahead (ms)"] = ["all" if np.isnan(ms) else f"{ms:.0f}" for ms in table["lookahead_ms"]]
    shown["n /p b m/"] = [str(count) for count in table["n_bilabials"]]
    for metric, (heading, n_digits) in METRICS.items():
        ends = table[[metric, f"{metric}_low", f"{metric}_high"]].to_numpy(float)
        shown[heading] = [interval_text(*row, n_digits=n_digits) for row in ends]
    return shown


def interval_text(value: float, low: float, high: float, *, n_digits: int) -> str:
    """ "0.912 [0.901, 0.923]"; without brackets where there is no interval, a dash where there is no value."""
    if np.isnan(value):
        return "–"
    told, least, most = (f"{round(float(end), n_digits) + 0.0:.{n_digits}f}" for end in (value, low, high))  # no "-0.000"
    return told + ("" if np.isnan(low) else f" [{least}, {most}]")


def quoted(scores: pd.DataFrame, split: str, system: str, metric: str) -> str:
    """One number of the scores for a text, "0.912 [0.901, 0.923]"; a dash where it was not measured."""
    found = scores[(scores["split"] == split) & (scores["system"] == system) & (scores["metric"] == metric)]
    ends = found[[*INTERVAL]].iloc[0] if len(found) else (np.nan,) * len(INTERVAL)
    return interval_text(*ends, n_digits=METRICS[metric][1])


def headline(scores: pd.DataFrame, comparisons: pd.DataFrame, systems: pd.DataFrame) -> str:
    """The one sentence that sums the project up, with the numbers of this run; the README opens with it."""
    split, student, metrics = "test-voices", "on-device", {"lip_gap_r": "lip-gap correlation", "pbm": "PBM accuracy"}
    values = scores[scores["split"] == split].set_index(["system", "metric"])["value"]
    ratios = comparisons.set_index(["split", "question", "metric", "kind"])[[*INTERVAL]]
    kept = []
    for metric, name in metrics.items():
        value, low, high = 100 * ratios.loc[split, f"{student}-against-teacher", metric, "ratio"]
        share = interval_text(value, low, high, n_digits=0)
        kept.append(f"{share} % of its {name} ({values[student, metric]:.2f} of {values['teacher', metric]:.2f})")
    parameters = systems.set_index("system").loc[student, "parameters"]
    return (
        f"A student of {parameters:,.0f} parameters follows a HuBERT teacher on voices that neither has heard: "
        f"it keeps {kept[0]} and {kept[1]}."
    )


def verdict_of(holds: bool, judged: float) -> str:
    """ "holds", "FAILS" or, where this run could not measure it, "not measured"."""
    return "not measured" if np.isnan(judged) else "holds" if holds else "FAILS"


def apart(better: Sequence[float], worse: Sequence[float], *, n_digits: int, more: bool = True) -> dict[str, str]:
    """Whether one is better than another, which it is where their intervals do not overlap.

    Args:
        better, worse: value, low and high of each.
        n_digits: of the numbers told.
        more: whether more is better.

    Returns:
        Measured, both in words, and Verdict.
    """
    distance = better[1] - worse[2] if more else worse[1] - better[2]
    told = " against ".join(interval_text(*ends, n_digits=n_digits) for ends in (better, worse))
    return {"Measured": told, "Verdict": verdict_of(distance > 0, distance)}


def tally(verdict: pd.DataFrame, what: str = "Claim") -> str:
    """How a table of verdicts came out, in a sentence for readers: "3 of 5 verdicts hold. Not: ...".

    Args:
        verdict: with a column Verdict.
        what: the column that tells what is judged; by which measure, where there is a column Measure, stands behind it.
    """
    holds = verdict["Verdict"] == "holds"
    others = [
        f"{row[what]} ({row['Measure']}: {row['Verdict']})" if "Measure" in row else f"{row[what]} ({row['Verdict']})"
        for _, row in verdict[~holds].iterrows()
    ]
    return f"{holds.sum()} of {len(verdict)} verdicts hold" + (f". Not: {'; '.join(others)}." if others else ".")


def verdicts(scores: pd.DataFrame, comparisons: pd.DataFrame) -> pd.DataFrame:
    """Whether each of `CLAIMS` holds: columns Claim, Test, Measure, Measured (95 % interval), Needed, Verdict.

    The verdict is "holds", "FAILS" or, where this run could not measure it, "not measured".
    """
    keys = ["split", "subject", "metric", "kind"]
    found = pd.concat(
        [scores.assign(kind="value").rename(columns={"system": "subject"}), comparisons.rename(columns={"question": "subject"})]
    ).set_index(keys)[[*INTERVAL]]
    rows = []
    for claim in CLAIMS:
        key = (claim.split, claim.subject, claim.metric, claim.kind)
        ends = found.loc[key] if key in found.index else pd.Series(np.nan, INTERVAL)
        judged = ends[claim.judged]
        sign, holds = ("≥", judged >= claim.bound) if claim.at_least else ("≤", judged <= claim.bound)
        needed = f"{sign} {claim.bound}"
        if claim.judged == "low":
            needed, holds = "interval above 0", judged > claim.bound
        rows.append({
            "Claim": claim.text, "Test": SPLIT_NAMES[claim.split], "Measure": f"{METRICS[claim.metric][0]}, {claim.kind}",
            "Measured": interval_text(*ends, n_digits=3), "Needed": needed,
            "Verdict": verdict_of(holds, judged),
        })  # fmt: skip
    return pd.DataFrame(rows)


def loudness_verdicts(scores: pd.DataFrame, systems: Sequence[str], split: str) -> pd.DataFrame:
    """Whether systems follow the lips better than loudness does: columns Claim, Measured, Verdict; see `apart`."""
    shown = scores[(scores["split"] == split) & (scores["metric"] == "lip_gap_r")].set_index("system")
    ends = {name: shown.loc[name, [*INTERVAL]].to_list() for name in (*systems, LOUDNESS)}
    return pd.DataFrame([
        {"Claim": f"{name} follows the lips better than loudness does"} | apart(ends[name], ends[LOUDNESS], n_digits=3)
        for name in systems
    ])  # fmt: skip


def inheritance_verdicts(comparisons: pd.DataFrame, first_split: str, *, margin: float) -> pd.DataFrame:
    """Whether `on-device` keeps as much of its teacher's lip-gap correlation on other tests as on the first.

    What it keeps is the ratio of the two on the same speech; its whole interval must lie above the first test's less `margin`.

    Returns:
        Columns Claim, Measured, Verdict.
    """
    chosen = (comparisons["question"] == "on-device-against-teacher") & (comparisons["metric"] == "lip_gap_r")
    ratios = comparisons[chosen & (comparisons["kind"] == "ratio")].set_index("split")[[*INTERVAL]]
    bound, rows = ratios.loc[first_split, "value"] - margin, []
    for split in ratios.index.drop(first_split):
        ends = ratios.loc[split]
        rows.append({
            "Claim": f"on-device keeps its share of the teacher's correlation ({SPLIT_NAMES.get(split, split)})",
            "Measured": f"{interval_text(*ends, n_digits=3)}, needed at least {bound:.3f}",
            "Verdict": verdict_of(ends["low"] >= bound, ends["low"]),
        })  # fmt: skip
    return pd.DataFrame(rows)
