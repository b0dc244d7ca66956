"""What `evaluate` measured of the ways to smooth a student, as a table, verdicts and a figure."""

from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from facedistill.drawing.figures import error_bars
from facedistill.drawing.results import EVALUATED, INTERVAL, METRICS, interval_text, tidy, verdict_of

SMOOTHER_FACTS = ["kind", "strength", "reference", "lookahead_ms"]
SHOWN = ("jitter", "lip_gap_r", "pbm")
ENSEMBLE, LEFT_JITTER = "average-3", 0.5  # the paper's, and what of the jitter it may leave
SAME_LAG_MS = 4.0  # a quarter of a frame
BESIDE_MS = 1.5
SMOOTHER_COLOURS = {"none": "#000000", "average": "#0072B2", "Savitzky-Golay": "#D55E00", "One-Euro": "#009E73"}


def read_smoothing(folder: Path = EVALUATED) -> pd.DataFrame:
    """Reads smoothing.json and smoothers.json: columns split, smoother, metric, value, low, high, n and `SMOOTHER_FACTS`."""
    scores = tidy(folder / "smoothing.json", ["split", "smoother", "metric"], [*INTERVAL, "n"])
    return scores.merge(tidy(folder / "smoothers.json", ["smoother"], SMOOTHER_FACTS), on="smoother")


def read_smoothing_differences(folder: Path = EVALUATED) -> pd.DataFrame:
    """Reads smoothing_differences.json, of all from their references: split, smoother, metric, kind, value, low, high."""
    return tidy(folder / "smoothing_differences.json", ["split", "smoother", "metric", "kind"], [*INTERVAL])


def smoothing_table(smoothing: pd.DataFrame, split: str) -> pd.DataFrame:
    """A row a way to smooth: what it is, how late it is, what jitter it leaves and what that costs."""
    wide = smoothing[smoothing["split"] == split].pivot(index="smoother", columns="metric", values="value")
    facts = smoothing.drop_duplicates("smoother").set_index("smoother")[SMOOTHER_FACTS]
    return facts.join(wide[["lag_ms", "jitter", "lip_gap_r", "pbm", "closure_auc"]])


def smoothing_verdicts(table: pd.DataFrame, differences: pd.DataFrame, split: str) -> pd.DataFrame:
    """Whether the ensemble is the best smoothing for its delay, and other averages for theirs: Claim, Measure, Measured, Verdict.

    Args:
        table: see `smoothing_table`.
        differences: see `read_smoothing_differences`; they are judged by their intervals.
    """
    found = differences[differences["split"] == split].set_index(["smoother", "metric", "kind"])[[*INTERVAL]]
    left = found.loc[ENSEMBLE, "jitter", "ratio"]
    rows = [_smoothing_row(f"{ENSEMBLE} halves the jitter", "jitter", "ratio", left, left["high"] <= LEFT_JITTER)]
    for name, facts in table[table["reference"] != "none"].iterrows():
        for text, metric, judge in (("shakes less than", "jitter", "low"), ("follows the lips better than", "lip_gap_r", "high")):
            ends = found.loc[name, metric, "difference"]
            holds = ends["low"] > 0 if judge == "low" else ends["high"] < 0
            claim = f"{facts['reference']} {text} {name}, which is as late"
            rows.append(_smoothing_row(claim, metric, f"of {name} minus it", ends, holds))
    spread_ms = table["lag_ms"].max() - table["lag_ms"].min()
    rows.append({
        "Claim": "All are as late as their look-ahead says", "Measure": f"spread of lags ≤ {SAME_LAG_MS:g} ms",
        "Measured": f"{spread_ms:.1f} ms", "Verdict": verdict_of(spread_ms <= SAME_LAG_MS, spread_ms),
    })  # fmt: skip
    return pd.DataFrame(rows)


def _smoothing_row(claim: str, metric: str, kind: str, ends: pd.Series, holds: bool) -> dict[str, str]:
    heading, n_digits = METRICS[metric]
    measured = interval_text(*ends, n_digits=2 if kind == "ratio" else n_digits)
    return {
        "Claim": claim, "Measure": f"{heading}, {kind}", "Measured": measured, "Verdict": verdict_of(holds, ends["value"]),
    }  # fmt: skip


def smoothing_figure(smoothing: pd.DataFrame, split: str) -> Figure:
    """Jitter and what it costs against the look-ahead of each way to smooth; the line is the front that none beats in both.

    Args:
        smoothing: see `read_smoothing`.
    """
    shown = smoothing[smoothing["split"] == split]
    ends = {end: shown.pivot(index="smoother", columns="metric", values=end) for end in INTERVAL}
    facts, n = smoothing_table(smoothing, split), int(shown.loc[shown["metric"] == "pbm", "n"].max())
    fig, axes = plt.subplots(1, len(SHOWN), figsize=(4.8 * len(SHOWN), 4.6), layout="constrained", squeeze=False)
    for ax, metric in zip(axes[0], SHOWN, strict=True):
        for place, (kind, colour) in enumerate(SMOOTHER_COLOURS.items()):
            names = facts.index[facts["kind"] == kind]
            values = [ends[end].loc[names, metric].to_numpy() for end in INTERVAL]
            beside_ms = facts.loc[names, "lookahead_ms"] + BESIDE_MS * (place - 2) * (kind != "none")  # equals, side by side
            ax.errorbar(
                beside_ms, values[0], yerr=error_bars(*values), fmt="o", color=colour, ecolor=(colour, 0.5), label=kind,
                markersize=7, capsize=3,
            )  # fmt: skip
            for x, y, strength in zip(beside_ms, values[0], facts.loc[names, "strength"], strict=True):
                if kind != "none" and ax is axes[0, 0]:
                    ax.annotate(strength, (x, y), fontsize=8, color=colour, xytext=(6, 4), textcoords="offset points")
        ax.margins(0.15)
        ax.set(xlabel="Look-ahead, the filter's wait in it (ms)", ylabel=METRICS[metric][0])
        ax.set_xticks(sorted(facts["lookahead_ms"].unique()), [f"{ms:.0f}" for ms in sorted(facts["lookahead_ms"].unique())])
    front = front_of(facts["lookahead_ms"], facts["jitter"])
    axes[0, 0].plot(facts.loc[front, "lookahead_ms"], facts.loc[front, "jitter"], color="black", linewidth=1, zorder=0)
    axes[0, 0].legend(fontsize=9)
    fig.supxlabel(f"Bars: 95 % bootstrap intervals over voices, which all ways share; {n} /p b m/", fontsize=10)
    return fig


def front_of(cost: pd.Series, harm: pd.Series) -> list[str]:
    """The names that no other beats in both, by ascending cost."""
    order = pd.DataFrame({"cost": cost, "harm": harm}).sort_values(["cost", "harm"], kind="stable")
    return list(order.index[order["harm"] < order["harm"].cummin().shift(fill_value=np.inf)])
