"""What `score` measured, as tables: numbers for programs, and Markdown for readers."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pandas as pd

from facedistill.core.errors import InputError
from facedistill.core.files import read_json
from facedistill.drawing.results import interval_text
from facedistill.real_speech.names import AT_LAG, DETAILS, LAGGED, MEAN, RESULTS, WEIGHTED

ENDS = ("value", "low", "high")
# metric -> (heading with its unit, decimals)
METRICS = {
    "auc": ("AUC of closed lips", 3),
    "r": ("Correlation of opening", 3),
    "pbm": ("PBM at 5 % false closures", 3),
    "closure_lag_ms": ("Closures late by (ms)", 0),
    "jitter": ("Jitter (1/s³)", 0),
    "jitter_silence": ("Jitter in silence (1/s³)", 0),
}
DASH = "–"


def read_results(folder: Path) -> tuple[dict[str, Mapping], Mapping]:
    """(results.json, details.json) of a folder.

    Raises:
        InputError: missing, not JSON, or of another form.
    """
    results, details = read_json(folder / RESULTS), read_json(folder / DETAILS)
    try:
        for system in results:
            for group in groups_of(results[system]):
                results[system][group]["auc"]["value"], results[system][group]["n"]
            details["systems"][system]["kind"]
        details["recordings"], details["skipped"]
    except (AttributeError, KeyError, TypeError) as error:
        raise InputError(f"{folder / RESULTS}: not what `facedistill benchmark score` writes ({error!r})") from None
    return results, details


def groups_of(result: Mapping) -> list[str]:
    """Sources, then "mean" and "weighted", of one system's results."""
    return [name for name, row in result.items() if isinstance(row, Mapping)]


def numbers(results: Mapping[str, Mapping], details: Mapping) -> pd.DataFrame:
    """One row for each system and group: three columns (value, _low, _high) a metric, the fitted lag, counts."""
    rows = []
    for system, result in results.items():
        facts = details["systems"][system]
        for group in groups_of(result):
            row = {"system": system, "kind": facts["kind"], "recordings": group, "n_bilabials": result[group]["n"]}
            row |= {unit: result[group][unit] for unit in ("n_vowels", "n_recordings")} | {"lag_ms": result["lag_ms"]}
            for metric in (*METRICS, *(f"{name}{AT_LAG}" for name in LAGGED)):
                row |= {_column(metric, end): _number(result[group][metric][end]) for end in ENDS}
            rows.append(row)
    return pd.DataFrame(rows)


def readable(results: Mapping[str, Mapping], details: Mapping) -> pd.DataFrame:
    """The main table: one row a system, all sources together."""
    rows = []
    for system, result in results.items():
        size = details["systems"][system]["bytes"]
        row = {"System": system, "MB": f"{size / 1e6:.2f}" if size else DASH, "Lag (ms)": _whole(result["lag_ms"])}
        for group, word in ((MEAN, "mean"), (WEIGHTED, "weighted")):
            for metric in LAGGED:
                row[f"{METRICS[metric][0]}, {word}"] = text(result, group, metric)
        row["n /p b m/"] = str(result[WEIGHTED]["n"]) if WEIGHTED in result else DASH
        row["AUC at that lag, weighted"] = text(result, WEIGHTED, f"auc{AT_LAG}")
        row["PBM at that lag, weighted"] = text(result, WEIGHTED, f"pbm{AT_LAG}")
        for metric in ("jitter", "jitter_silence"):
            row[f"{METRICS[metric][0]}, weighted"] = text(result, WEIGHTED, metric)
        rows.append(row)
    return pd.DataFrame(rows)


def by_source(results: Mapping[str, Mapping], metric: str) -> pd.DataFrame:
    """One row a system, one column a source, with its number of /p b m/."""
    rows = []
    for system, result in results.items():
        sources = [group for group in groups_of(result) if group not in (MEAN, WEIGHTED)]
        rows.append({"System": system} | {f"{name} (n = {result[name]['n']})": text(result, name, metric) for name in sources})
    return pd.DataFrame(rows)


def by_language(details: Mapping, metric: str) -> pd.DataFrame:
    """One row a system, one column a language, its sources weighted by /p b m/."""
    rows = []
    for system, facts in details["systems"].items():
        known = {name: row for name, row in facts["languages"].items() if row}
        rows.append({"System": system} | {f"{name} (n = {row['n']})": text(known, name, metric) for name, row in known.items()})
    return pd.DataFrame(rows)


def by_condition(details: Mapping, metric: str = "auc") -> pd.DataFrame:
    """One row a system whose degraded recordings were measured, one column a condition; weighted by /p b m/."""
    rows = []
    for system, facts in details["systems"].items():
        found = {name: groups for name, groups in facts.get("conditions", {}).items() if WEIGHTED in groups}
        if found:
            rows.append({"System": system} | {name: text(groups, WEIGHTED, metric) for name, groups in found.items()})
    return pd.DataFrame(rows)


def by_quiet(details: Mapping) -> pd.DataFrame:
    """One row a system, one column a sound in which nobody speaks: how far the lips are from rest, and the share of jitter."""
    rows = []
    for system, facts in details["systems"].items():
        cells = {
            name: f"{_fixed(quiet['gap_mm'], 2)} mm, {_fixed(quiet['jitter_ratio'], 3)}" for name, quiet in facts["quiet"].items()
        }
        rows.append({"System": system} | cells)
    return pd.DataFrame(rows)


def text(result: Mapping, group: str, metric: str) -> str:
    """ "0.912 [0.901, 0.923]" of a metric, a dash where there is nothing."""
    if group not in result:
        return DASH
    ends = (_number(result[group][metric][end]) for end in ENDS)
    return interval_text(*ends, n_digits=METRICS[metric.removesuffix(AT_LAG)][1])


def _column(metric: str, end: str) -> str:
    return metric if end == "value" else f"{metric}_{end}"


def _number(value: float | None) -> float:
    return np.nan if value is None else float(value)


def _whole(value: int | None) -> str:
    return DASH if value is None else f"{value:d}"


def _fixed(value: float | None, n_digits: int) -> str:
    return DASH if value is None else f"{value:.{n_digits}f}"
