"""What `evaluate` measured of the other teachers and their students, as a table and a figure."""

from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from facedistill.drawing.figures import error_bars
from facedistill.drawing.results import EVALUATED, INTERVAL, METRICS, apart, interval_text, tidy, verdict_of

SHOWN = ("lip_gap_r", "pbm", "lve_mm")
MEASURES = {"correlation": "Follows its teacher: correlation", "explained": "Follows its teacher: variance explained"}
TEACHER, STUDENT = "teacher", "student"
WANTED_VARIANCE = 0.999  # of meshes, in so many components as the paper's students have
# (statement, teacher that is better, teacher that is worse, role)
CLAIMS = (
    ("HuBERT features beat MFCC", "hubert", "mfcc", TEACHER),
    ("A student of HuBERT beats one of MFCC", "hubert", "mfcc", STUDENT),
    ("A teacher that is trained longer is better", "hubert", "brief", TEACHER),
    ("Its student is better too", "hubert", "brief", STUDENT),
)


def read_taught(folder: Path = EVALUATED) -> pd.DataFrame:
    """Reads taught.json: columns split, teacher, role (teacher or student), metric, value, low, high, n.

    Raises:
        InputError: missing, not JSON, or of another form; so do the other readers.
    """
    return tidy(folder / "taught.json", ["split", "teacher", "role", "metric"], [*INTERVAL, "n"])


def read_agreement(folder: Path = EVALUATED) -> pd.DataFrame:
    """Reads agreement.json: columns teacher, measure (one of MEASURES), value, low, high, n (blocks of 10 s)."""
    return tidy(folder / "agreement.json", ["teacher", "measure"], [*INTERVAL, "n"])


def read_teachers(folder: Path = EVALUATED) -> pd.DataFrame:
    """Reads teachers.json: columns teacher, kind, parameters, controls, variance_kept, hours, held_out_hours; NaN for null."""
    columns = ["kind", "parameters", "controls", "variance_kept", "hours", "held_out_hours"]
    return tidy(folder / "teachers.json", ["teacher"], columns)


def teachers_table(taught: pd.DataFrame, agreement: pd.DataFrame, facts: pd.DataFrame, split: str) -> pd.DataFrame:
    """A row a teacher: what it is, value, low and high of each metric of it and of its student, and how that follows it."""
    table = facts.copy()
    here = taught[taught["split"] == split]
    for role in (TEACHER, STUDENT):
        for metric in SHOWN:
            found = here[(here["role"] == role) & (here["metric"] == metric)].set_index("teacher")
            _add(table, f"{role}_{metric}", found)
    for measure in MEASURES:
        _add(table, measure, agreement[agreement["measure"] == measure].set_index("teacher"))
    return table


def _add(table: pd.DataFrame, name: str, found: pd.DataFrame) -> None:
    for end in INTERVAL:
        table[name if end == "value" else f"{name}_{end}"] = found[end].reindex(table["teacher"]).to_numpy()


def readable_teachers(table: pd.DataFrame) -> pd.DataFrame:
    """`teachers_table` for readers: intervals as "value [low, high]", a dash where nothing can be measured."""
    shown = pd.DataFrame({"Teacher": table["teacher"]})
    shown["Parameters"] = ["–" if np.isnan(count) else f"{count:,.0f}" for count in table["parameters"]]
    shown["Controls"] = [f"{count:.0f}" for count in table["controls"]]
    shown["Variance kept"] = ["–" if np.isnan(kept) else f"{100 * kept:.3f} %" for kept in table["variance_kept"]]
    shown["Hours labelled"] = [f"{hours:.2f}" for hours in table["hours"]]
    for role in (TEACHER, STUDENT):
        for metric in SHOWN:
            heading, n_digits = METRICS[metric]
            shown[f"{role.capitalize()}: {heading}"] = _texts(table, f"{role}_{metric}", n_digits)
    for measure, heading in MEASURES.items():
        shown[heading] = _texts(table, measure, 3)
    return shown


def _texts(table: pd.DataFrame, name: str, n_digits: int) -> list[str]:
    ends = table[[name, f"{name}_low", f"{name}_high"]].to_numpy(float)
    return [interval_text(*row, n_digits=n_digits) for row in ends]


def teacher_verdicts(table: pd.DataFrame) -> pd.DataFrame:
    """Whether each of `CLAIMS` (see `results.apart`), and the claim on variance, holds: Claim, Measure, Measured, Verdict."""
    rows, named = [], table.set_index("teacher")
    for text, better, worse, role in CLAIMS:
        ends = [_ends(named, name, f"{role}_lip_gap_r") for name in (better, worse)]
        rows.append({"Claim": text, "Measure": METRICS["lip_gap_r"][0]} | apart(*ends, n_digits=3))
    for row in table[table["variance_kept"].notna()].itertuples():
        text = f"{row.controls:.0f} components keep {100 * WANTED_VARIANCE:g} % of the meshes of {row.teacher}"
        told, kept = f"{100 * row.variance_kept:.3f} %", row.variance_kept
        verdict = verdict_of(kept >= WANTED_VARIANCE, kept)
        rows.append({"Claim": text, "Measure": "Variance kept", "Measured": told, "Verdict": verdict})
    return pd.DataFrame(rows)


def _ends(named: pd.DataFrame, teacher: str, column: str) -> tuple[float, float, float]:
    if teacher not in named.index:
        return (np.nan,) * 3
    return tuple(named.loc[teacher, [column, f"{column}_low", f"{column}_high"]].astype(float))


def teachers_figure(table: pd.DataFrame, taught: pd.DataFrame, split: str) -> Figure:
    """What a student makes of its teacher: quality of the one against that of the other; on the diagonal nothing is lost."""
    rows = table[table["student_lip_gap_r"].notna()]
    counts = taught.loc[(taught["split"] == split) & (taught["metric"] == "pbm"), "n"]
    fig, axes = plt.subplots(1, len(SHOWN), figsize=(4.6 * len(SHOWN), 4.8), layout="constrained")
    colours = dict(zip(rows["teacher"], plt.get_cmap("tab10").colors, strict=False))
    for ax, metric in zip(axes, SHOWN, strict=True):
        for row in rows.to_dict("records"):
            x, y = ([row[f"{role}_{metric}{end}"] for end in ("", "_low", "_high")] for role in (TEACHER, STUDENT))
            bars = {f"{axis}err": error_bars(*(np.array([end]) for end in ends)) for axis, ends in (("x", x), ("y", y))}
            ax.errorbar(x[0], y[0], **bars, fmt="o", color=colours[row["teacher"]], capsize=3, label=row["teacher"])
        ends = [*ax.get_xlim(), *ax.get_ylim()]
        ax.axline((min(ends), min(ends)), slope=1, color="0.6", linestyle="--", linewidth=1)
        ax.locator_params(axis="x", nbins=5)
        ax.set(xlabel=f"Teacher: {METRICS[metric][0]}", ylabel=f"Its student: {METRICS[metric][0]}")
    fig.legend(*axes[0].get_legend_handles_labels(), loc="outside upper center", ncols=max(len(rows), 1), frameon=False)
    n = counts.max() if len(counts) else 0
    fig.supxlabel(f"Bars: 95 % bootstrap intervals over voices; {n} /p b m/; dashed: nothing is lost", fontsize=10)
    return fig
