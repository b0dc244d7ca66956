"""What `evaluate` measured, as tidy tables for programs and for readers."""

from collections.abc import Iterable
from pathlib import Path

import numpy as np
import pandas as pd

from facedistill.core.errors import InputError
from facedistill.core.files import read_json
from facedistill.core.paths import DATA

EVALUATED = DATA / "evaluate"
INTERVAL = ("value", "low", "high")
ENDS = ("", "_low", "_high")  # what columns of one number end on, in that order
# metric -> (heading with its unit, decimals), in the order of the tables
METRICS = {
    "lip_gap_r": ("Lip-gap correlation", 3),
    "width_r": ("Mouth-width correlation", 3),
    "lag_ms": ("Lag (ms)", 1),
    "pbm_1mm": ("PBM at 1 mm", 3),
    "false_closures_1mm": ("False closures at 1 mm", 3),
    "pbm": ("PBM at 5 % false closures", 3),
    "false_closures": ("False closures", 3),
    "closure_auc": ("Closure AUC", 3),
    "lve_mm": ("LVE (mm)", 2),
    "mse": ("MSE", 4),
    "jitter": ("Jitter (1/s³)", 0),
}
SCORED = (*INTERVAL, "n")
# file of `evaluate` -> (its levels, columns of its leaves); kind: difference or ratio
FILES = {
    "scores": (("split", "system", "metric"), SCORED),
    "comparisons": (("split", "question", "metric", "kind"), INTERVAL),
    "systems": (("system",), ("parameters", "weights_bytes", "lookahead_ms")),  # look-ahead NaN: needs the whole utterance
    "ablations": (("split", "variant", "metric"), SCORED),
    "ablation_differences": (("split", "variant", "metric", "kind"), INTERVAL),  # from the variant's reference
    "ablation_seeds": (("split", "variant", "seed"), tuple(METRICS)),
    "variants": (
        ("variant",),
        ("set", "why", "reference", "guided", "channels", "window_ms", "future_ms", "parameters", "hours", "voices", "languages"),
    ),
    "taught": (("split", "teacher", "role", "metric"), SCORED),  # role: teacher or student
    "agreement": (("teacher", "metric"), SCORED),  # n: blocks of 10 s
    "teachers": (("teacher",), ("kind", "parameters", "controls", "variance_kept", "hours", "held_out_hours")),
    "smoothing": (("split", "smoother", "metric"), SCORED),
    "smoothing_differences": (("split", "smoother", "metric", "kind"), INTERVAL),  # from the smoother's reference
    "smoothers": (("smoother",), ("kind", "strength", "reference", "lookahead_ms")),
}
SPLIT_NAMES = {
    "test-voices": "unseen voices",
    "test-languages": "unseen languages",
    "test-noisy": "noise, room, telephone",
    "test-recordings": "recordings",
}
HEADLINE = {"lip_gap_r": "lip-gap correlation", "pbm_1mm": "PBM at 1 mm", "pbm": "PBM at 5 % false closures"}
DASH = "–"  # where nothing is known
ENVELOPE = "amplitude-envelope"  # the baseline that needs no learning


def read_evaluated(stem: str, folder: Path = EVALUATED) -> pd.DataFrame:
    """One of `FILES`, nested JSON objects, as a table with a row a leaf, NaN for null; `InputError` where it is anything else."""
    path, (levels, columns) = folder / f"{stem}.json", FILES[stem]
    rows = [((), read_json(path))]
    try:
        for _ in levels:
            rows = [((*names, name), value) for names, values in rows for name, value in values.items()]
        leaves = [(*names, *(np.nan if value[name] is None else value[name] for name in columns)) for names, value in rows]
    except (AttributeError, KeyError, TypeError) as error:
        raise InputError(f"{path}: not what the evaluate stage writes ({error!r})") from None
    return pd.DataFrame(leaves, columns=[*levels, *columns])


def count(scores: pd.DataFrame, metric: str = "pbm") -> int:
    """How many a metric is measured on at most: /p b m/ or, of most metrics, utterances."""
    return int(scores.loc[scores["metric"] == metric, "n"].to_numpy().max(initial=0))


def results_table(scores: pd.DataFrame, systems: pd.DataFrame) -> pd.DataFrame:
    """The numbers of the main table: one row for each split and system, three columns (value, low, high) for each metric."""
    keys = ["split", "system"]
    table = scores[keys].drop_duplicates().merge(systems, on="system", validate="many_to_one")
    for metric, word in (("pbm", "bilabials"), ("lip_gap_r", "utterances")):
        counts = scores.loc[scores["metric"] == metric, [*keys, "n"]]
        table = table.merge(counts.rename(columns={"n": f"n_{word}"}), on=keys, how="left")
    add_intervals(table, METRICS, scores, keys)
    return table


def add_intervals(table: pd.DataFrame, names: Iterable[str], found: pd.DataFrame, keys: list[str], column: str = "{}") -> None:
    """Adds three columns (`ENDS`) for each of some metrics of a tidy table, NaN where it has none; `keys` name rows of both."""
    for name in names:
        ends = table[keys].merge(found.loc[found["metric"] == name, [*keys, *INTERVAL]], on=keys, how="left")
        for end, suffix in zip(INTERVAL, ENDS, strict=True):
            table[column.format(name) + suffix] = ends[end].to_numpy()


def interval_texts(table: pd.DataFrame, column: str, n_digits: int) -> list[str]:
    """What `add_intervals` added, for readers: see `interval_text`."""
    return [interval_text(*ends, n_digits=n_digits) for ends in table[[column + suffix for suffix in ENDS]].to_numpy(float)]


def texts(table: pd.DataFrame, text: str, *columns: str) -> list[str]:
    """The numbers of each row in a text such as "{:.2f} MB"; a dash for what is not known, or for all without the first."""
    rows = zip(*(table[column] for column in columns), strict=True)
    return [DASH if pd.isna(row[0]) else text.format(*row).replace("nan", DASH) for row in rows]


def interval_text(value: float, low: float = np.nan, high: float = np.nan, *, n_digits: int) -> str:
    """ "0.912 [0.901, 0.923]"; without brackets where there is no interval, a dash where there is no value."""
    if np.isnan(value):
        return DASH
    shown, least, most = (f"{round(float(end), n_digits) + 0.0:.{n_digits}f}" for end in (value, low, high))  # no "-0.000"
    return shown if np.isnan(low) else f"{shown} [{least}, {most}]"


def readable(table: pd.DataFrame) -> pd.DataFrame:
    """`results_table` for readers: intervals as "value [low, high]", units in the headings, a dash where nothing is known."""
    columns = {
        "Test": table["split"].replace(SPLIT_NAMES),
        "System": table["system"],
        "Parameters": texts(table, "{:,}", "parameters"),
        "Weights (MB)": (table["weights_bytes"] / 1e6).map("{:.2f}".format),
        "Look-ahead (ms)": table["lookahead_ms"].map("{:.0f}".format).replace("nan", "all"),
        "n /p b m/": texts(table, "{}", "n_bilabials"),
    }
    return pd.DataFrame(columns | {heading: interval_texts(table, metric, n) for metric, (heading, n) in METRICS.items()})


def described(scores: pd.DataFrame, split: str, system: str, metrics: Iterable[str]) -> str:
    """Some numbers of a system, each behind its name: "PBM at 1 mm 0.912 [0.901, 0.923], Closure AUC …"."""
    found = scores[(scores["split"] == split) & (scores["system"] == system)].set_index("metric")
    rows = found[[*INTERVAL]].reindex(metrics).itertuples()
    return ", ".join(f"{METRICS[name][0]} {interval_text(*ends, n_digits=METRICS[name][1])}" for name, *ends in rows)


def headline(scores: pd.DataFrame, comparisons: pd.DataFrame, systems: pd.DataFrame) -> str:
    """The one sentence that sums the project up, with the numbers of this run; the README opens with it."""
    split, student = "test-voices", "on-device"
    values = scores[scores["split"] == split].set_index(["system", "metric"])["value"]
    ratios = comparisons.set_index(["split", "question", "metric", "kind"])[[*INTERVAL]]
    kept = []
    for metric, name in HEADLINE.items():
        share = interval_text(*(100 * ratios.loc[split, f"{student}-against-teacher", metric, "ratio"]), n_digits=0)
        kept.append(f"{share} % of its {name} ({values[student, metric]:.2f} of {values['teacher', metric]:.2f})")
    parameters = systems.set_index("system").loc[student, "parameters"]
    return (
        f"A student of {parameters:,.0f} parameters follows a HuBERT teacher on synthetic voices that neither has heard: "
        f"it keeps {', '.join(kept[:-1])} and {kept[-1]}."
    )
