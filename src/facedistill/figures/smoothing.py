"""What `evaluate` measured of the ways to smooth a student, as a table, verdicts and a figure."""

from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from facedistill.figures.claims import Claim, better, judge, pairs_of
from facedistill.figures.style import draw_intervals
from facedistill.figures.tables import EVALUATED, FILES, INTERVAL, METRICS, count, read_evaluated

SHOWN = ("jitter", "lip_gap_r", "pbm_1mm", "pbm")
ENSEMBLE, LEFT_JITTER = "average-3", 0.5  # the paper's, and what of the jitter it may leave
LAGS, SAME_LAG_MS = "Spread of lags (ms)", 4.0  # a quarter of a frame
BESIDE_MS = 1.5
SMOOTHER_COLOURS = {"none": "#000000", "average": "#0072B2", "Savitzky-Golay": "#D55E00", "One-Euro": "#009E73"}


def read_smoothing(folder: Path = EVALUATED) -> pd.DataFrame:
    """Reads smoothing.json and smoothers.json as one table; see `tables.FILES`."""
    return read_evaluated("smoothing", folder).merge(read_evaluated("smoothers", folder), on="smoother")


def smoothing_table(smoothing: pd.DataFrame, split: str) -> pd.DataFrame:
    """A row a way to smooth: what it is, how late it is, what jitter it leaves and what that costs."""
    wide = smoothing[smoothing["split"] == split].pivot(index="smoother", columns="metric", values="value")
    metadata = smoothing.drop_duplicates("smoother").set_index("smoother")[[*FILES["smoothers"][1]]]
    return metadata.join(wide[["lag_ms", "jitter", "lip_gap_r", "pbm_1mm", "pbm", "closure_auc"]])


def judge_smoothing(table: pd.DataFrame, differences: pd.DataFrame, split: str) -> pd.DataFrame:
    """Judges whether the ensemble is the best smoothing for its delay, and other averages for theirs; see `claims.judge`."""
    measured = pairs_of(differences, "smoother", table["reference"])
    measured[split, "all", LAGS, "value"] = table["lag_ms"].max() - table["lag_ms"].min(), np.nan, np.nan
    claims = [Claim(f"{ENSEMBLE} halves the jitter", (ENSEMBLE, "none"), "jitter", "≤", LEFT_JITTER, "ratio", whole=True)]
    for name, average in table.loc[table["reference"] != "none", "reference"].items():
        claims += better(f"{average} shakes less than {name}, which is as late", (average, name), "jitter", sign="<")
        claims += better(f"{average} follows the lips better than {name}, which is as late", (average, name), "lip_gap_r")
    claims.append(Claim("All are as late as their look-ahead says", "all", LAGS, "≤", SAME_LAG_MS))
    return judge(claims, measured, split)


def smoothing_figure(smoothing: pd.DataFrame, split: str) -> Figure:
    """Jitter and what it costs against the look-ahead of each way to smooth; the line is the front that none beats in both."""
    shown, table = smoothing[smoothing["split"] == split], smoothing_table(smoothing, split)
    lookaheads_ms = sorted(table["lookahead_ms"].unique())
    fig, axes = plt.subplots(1, len(SHOWN), figsize=(4.8 * len(SHOWN), 4.6), layout="constrained")
    for ax, metric in zip(axes, SHOWN, strict=True):
        rows = shown[shown["metric"] == metric].set_index("smoother").loc[table.index]
        for place, (kind, colour) in enumerate(SMOOTHER_COLOURS.items()):
            found = rows[rows["kind"] == kind]
            beside_ms = found["lookahead_ms"] + BESIDE_MS * (place - 2) * (kind != "none")  # equals, side by side
            look = {"color": colour, "ecolor": (colour, 0.5), "markersize": 7, "capsize": 3}
            draw_intervals(ax, beside_ms, found[[*INTERVAL]].T, fmt="o", label=kind, **look)
            for x, y, strength in zip(beside_ms, found["value"], found["strength"], strict=True):
                if kind != "none" and ax is axes[0]:
                    ax.annotate(strength, (x, y), fontsize=8, color=colour, xytext=(6, 4), textcoords="offset points")
        ax.margins(0.15)
        ax.set(xlabel="Look-ahead, the filter's wait in it (ms)", ylabel=METRICS[metric][0])
        ax.set_xticks(lookaheads_ms, [f"{ms:.0f}" for ms in lookaheads_ms])
    front = table.loc[front_of(table["lookahead_ms"], table["jitter"])]
    axes[0].plot(front["lookahead_ms"], front["jitter"], color="black", linewidth=1, zorder=0)
    axes[0].legend(fontsize=9)
    n = count(shown)
    fig.supxlabel(f"Bars: 95 % bootstrap intervals over voices, which all ways share; {n} /p b m/", fontsize=10)
    return fig


def front_of(cost: pd.Series, harm: pd.Series) -> list[str]:
    """The names that no other beats in both, by ascending cost."""
    order = pd.DataFrame({"cost": cost, "harm": harm}).sort_values(["cost", "harm"], kind="stable")
    return list(order.index[order["harm"] < order["harm"].cummin().shift(fill_value=np.inf)])
