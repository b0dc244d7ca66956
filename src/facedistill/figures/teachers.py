"""What `evaluate` measured of the other teachers and their students, as a table, verdicts and a figure."""

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from facedistill.figures.claims import Claim, intervals_of, judge
from facedistill.figures.style import error_bars
from facedistill.figures.tables import ENDS, METRICS, add_interval, interval_texts

SHOWN = ("lip_gap_r", "pbm_1mm", "pbm", "lve_mm")
MEASURES = {"correlation": "Follows its teacher: correlation", "explained": "Follows its teacher: variance explained"}
TEACHER, STUDENT = "teacher", "student"
VARIANCE, WANTED_VARIANCE = "Variance kept (%)", 99.9  # of meshes, in so many components as the paper's students have
CLAIMS = (
    Claim("HuBERT features beat MFCC", ("hubert", TEACHER), "lip_gap_r", ">", ("mfcc", TEACHER)),
    Claim("A student of HuBERT beats one of MFCC", ("hubert", STUDENT), "lip_gap_r", ">", ("mfcc", STUDENT)),
    Claim("A teacher that is trained longer is better", ("hubert", TEACHER), "lip_gap_r", ">", ("brief", TEACHER)),
    Claim("Its student is better too", ("hubert", STUDENT), "lip_gap_r", ">", ("brief", STUDENT)),
)


def teachers_table(taught: pd.DataFrame, agreement: pd.DataFrame, metadata: pd.DataFrame, split: str) -> pd.DataFrame:
    """A row a teacher: what it is, value, low and high of each metric of it and of its student, and how that follows it."""
    table, here = metadata.copy(), taught[taught["split"] == split]
    for role in (TEACHER, STUDENT):
        for metric in SHOWN:
            found = here[(here["role"] == role) & (here["metric"] == metric)]
            add_interval(table, f"{role}_{metric}", found, ["teacher"])
    for measure in MEASURES:
        add_interval(table, measure, agreement[agreement["metric"] == measure], ["teacher"])
    return table


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
            shown[f"{role.capitalize()}: {heading}"] = interval_texts(table, f"{role}_{metric}", n_digits)
    for measure, heading in MEASURES.items():
        shown[heading] = interval_texts(table, measure, 3)
    return shown


def judge_teachers(taught: pd.DataFrame, metadata: pd.DataFrame, split: str) -> pd.DataFrame:
    """Judges `CLAIMS` and that components keep the variance of meshes; see `claims.judge`."""
    claims, measured = [*CLAIMS], intervals_of(taught, "teacher", "role")
    for row in metadata[metadata["variance_kept"].notna()].itertuples():
        text = f"{row.controls:.0f} components keep {WANTED_VARIANCE:g} % of the meshes of {row.teacher}"
        claims.append(Claim(text, row.teacher, VARIANCE, "≥", WANTED_VARIANCE))
        measured[split, row.teacher, VARIANCE, "value"] = 100 * row.variance_kept, np.nan, np.nan
    return judge(claims, measured, split)


def teachers_figure(table: pd.DataFrame, taught: pd.DataFrame, split: str) -> Figure:
    """What a student makes of its teacher: quality of the one against that of the other; on the diagonal nothing is lost."""
    rows = table[table["student_lip_gap_r"].notna()]
    counts = taught.loc[(taught["split"] == split) & (taught["metric"] == "pbm"), "n"]
    fig, axes = plt.subplots(1, len(SHOWN), figsize=(4.6 * len(SHOWN), 4.8), layout="constrained")
    colours = dict(zip(rows["teacher"], plt.get_cmap("tab10").colors, strict=False))
    for ax, metric in zip(axes, SHOWN, strict=True):
        for row in rows.to_dict("records"):
            x, y = ([row[f"{role}_{metric}{end}"] for end in ENDS] for role in (TEACHER, STUDENT))
            bars = {"xerr": error_bars(*x), "yerr": error_bars(*y)}
            ax.errorbar(x[0], y[0], **bars, fmt="o", color=colours[row["teacher"]], capsize=3, label=row["teacher"])
        ends = [*ax.get_xlim(), *ax.get_ylim()]
        ax.axline((min(ends), min(ends)), slope=1, color="0.6", linestyle="--", linewidth=1)
        ax.locator_params(axis="x", nbins=5)
        ax.set(xlabel=f"Teacher: {METRICS[metric][0]}", ylabel=f"Its student: {METRICS[metric][0]}")
    fig.legend(*axes[0].get_legend_handles_labels(), loc="outside upper center", ncols=max(len(rows), 1), frameon=False)
    n = counts.max() if len(counts) else 0
    fig.supxlabel(f"Bars: 95 % bootstrap intervals over voices; {n} /p b m/; dashed: nothing is lost", fontsize=10)
    return fig
