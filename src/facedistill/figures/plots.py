"""The figures of systems: tidy results of `evaluate` and of the user study in, a matplotlib figure out."""

from collections.abc import Sequence

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.ticker import EngFormatter, LogLocator

from facedistill.figures.style import MODEL_COLOURS, draw_intervals
from facedistill.figures.tables import ENVELOPE, INTERVAL, METRICS, SPLIT_NAMES, count

SMOOTHED = ("real-time-ensemble", "tiny-real-time-ensemble")
VARIANTS = ("paired-only", "small-paired-only")
OF_SIZE, OF_SPLITS = ("lip_gap_r", "pbm_1mm", "pbm"), ("lip_gap_r", "pbm_1mm", "pbm", "closure_auc")  # metrics
DODGE = 1.13  # systems of equal size are drawn this factor apart
INTERVALS = "Bars: 95 % bootstrap intervals over the voices of the test; one trained model each"


def intervals_figure(scores: pd.DataFrame, metrics: Sequence[str] = ("lip_gap_r", "pbm_1mm", "pbm", "lve_mm")) -> Figure:
    """Every system's value with its 95 % interval: a column of panels for each split, a row for each metric."""
    splits, systems = scores["split"].unique(), list(scores["system"].unique())
    size = (2.2 + 3.4 * len(splits), 0.6 + 0.28 * len(systems) * len(metrics) + 0.5 * len(metrics))
    grid = {"sharex": "row", "sharey": True, "squeeze": False, "layout": "constrained"}
    fig, axes = plt.subplots(len(metrics), len(splits), figsize=size, **grid)
    for column, split in zip(axes.T, splits, strict=True):
        found = scores[scores["split"] == split]
        n = f"{count(found, 'lip_gap_r')} utterances, {count(found)} /p b m/"
        column[0].set_title(f"{SPLIT_NAMES.get(split, split)}\n{n}", fontsize=11)
        for ax, metric in zip(column, metrics, strict=True):
            for row in found[found["metric"] == metric].dropna(subset=["value"]).itertuples():
                place, ends = systems.index(row.system), (row.value, row.low, row.high)
                draw_intervals(ax, place, ends, along="x", **_marker(row.system))
            ax.set_yticks(range(len(systems)), systems, fontsize=9)
            ax.set_xlabel(METRICS[metric][0])
    axes[0, 0].invert_yaxis()
    fig.supxlabel(INTERVALS, fontsize=10)
    fig.get_layout_engine().set(h_pad=0.12)
    return fig


def _marker(system: str) -> dict[str, object]:
    """How a system is drawn everywhere: its colour; rings for smoothed students, squares for ablations."""
    colour = MODEL_COLOURS.get(system, "#000000")
    shape = {"marker": "s" if system in VARIANTS else "D" if system == "teacher" else "o"}
    face = {"markerfacecolor": "white"} if system in SMOOTHED else {}
    return {"color": colour, "markeredgecolor": colour, "markersize": 7, "capsize": 3, "linestyle": "none"} | shape | face


def size_figure(scores: pd.DataFrame, systems: pd.DataFrame) -> Figure:
    """Quality against the number of parameters, with 95 % intervals; the amplitude envelope, which has none, is a line."""
    splits = scores["split"].unique()
    places = dodged(systems[(systems["parameters"] > 0) & ~systems["system"].isin(SMOOTHED)])
    size = (1.6 + 3.9 * len(splits), 0.8 + 3.0 * len(OF_SIZE))
    grid = {"sharex": True, "sharey": "row", "squeeze": False, "layout": "constrained"}
    fig, axes = plt.subplots(len(OF_SIZE), len(splits), figsize=size, **grid)
    for column, split in zip(axes.T, splits, strict=True):
        found = scores[scores["split"] == split]
        for ax, metric in zip(column, OF_SIZE, strict=True):
            _draw_against_size(ax, found[found["metric"] == metric].set_index("system")[[*INTERVAL]].astype(float), places)
        column[0].set_title(f"{SPLIT_NAMES.get(split, split)}\n{count(found)} /p b m/", fontsize=11)
        column[-1].set_xlabel("Parameters")
    for ax, metric in zip(axes[:, 0], OF_SIZE, strict=True):
        ax.set_ylabel(METRICS[metric][0])
    fig.legend(
        *axes[0, 0].get_legend_handles_labels(), loc="outside lower center", ncols=5, frameon=False, fontsize=9,
        title=f"{INTERVALS}. Systems of one size stand side by side.",
    )  # fmt: skip
    return fig


def _draw_against_size(ax: plt.Axes, ends: pd.DataFrame, places: dict[str, float]) -> None:
    for system, place in places.items():
        draw_intervals(ax, place, ends.loc[system], label=system, **_marker(system))
    value, low, high = ends.loc[ENVELOPE]
    ax.axhline(value, color=MODEL_COLOURS[ENVELOPE], linestyle="--", label=ENVELOPE)
    ax.axhspan(low, high, color=MODEL_COLOURS[ENVELOPE], alpha=0.3, linewidth=0)
    ax.set_xscale("log")
    ax.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    ax.xaxis.set_major_formatter(EngFormatter(sep=""))
    ax.minorticks_off()


def dodged(systems: pd.DataFrame) -> dict[str, float]:
    """{system: where it is drawn on the axis of parameters}: those of about equal size stand side by side."""
    by_size = systems.sort_values("parameters", kind="stable").set_index("system")["parameters"]
    groups = by_size.groupby((by_size.pct_change().fillna(np.inf) > 0.1).cumsum().to_numpy())
    steps = groups.cumcount() - (groups.transform("size") - 1) / 2
    return (by_size * DODGE**steps)[systems["system"]].to_dict()


def splits_figure(scores: pd.DataFrame, systems: Sequence[str]) -> Figure:
    """What becomes of some systems from one test to the next: a panel a metric, with 95 % intervals."""
    splits = scores["split"].unique()
    names = [f"{SPLIT_NAMES.get(split, split)}\n{count(scores[scores['split'] == split])} /p b m/" for split in splits]
    fig, axes = plt.subplots(1, len(OF_SPLITS), figsize=(5 * len(OF_SPLITS), 4.6), layout="constrained")
    for ax, metric in zip(axes, OF_SPLITS, strict=True):
        for number, system in enumerate(systems):
            rows = scores[(scores["system"] == system) & (scores["metric"] == metric)].set_index("split").reindex(splits)
            places = np.arange(len(splits)) + 0.12 * (number - (len(systems) - 1) / 2)
            look = _marker(system) | {"linestyle": ":", "linewidth": 1}
            draw_intervals(ax, places, rows[[*INTERVAL]].T, label=system, **look)
        ax.set_xticks(range(len(splits)), names, fontsize=9)
        ax.set_ylabel(METRICS[metric][0])
    handles = axes[0].get_legend_handles_labels()
    fig.legend(*handles, loc="outside lower center", ncols=len(systems), frameon=False, title=INTERVALS)
    return fig


def preference_figure(table: pd.DataFrame, said: str) -> Figure:
    """A row for each pair of `study.analysis.preferences`: how often the first is preferred; `said` is its `summary`."""
    pairs = table[table["system"] < table["other"]]
    fig, ax = plt.subplots(figsize=(8, 1.6 + 0.45 * len(pairs)), layout="constrained")
    if pairs.empty:
        ax.text(0.5, 0.5, said, ha="center", va="center", transform=ax.transAxes)
        ax.set_axis_off()
        return fig
    rows = range(len(pairs))
    draw_intervals(ax, rows, 100 * pairs[["rate", "low", "high"]].T, along="x", fmt="o", color="C0", capsize=3)
    ax.axvline(50, color="0.5", linestyle="--", linewidth=1)
    names = [f"{row.system} rather than {row.other} (n = {row.n})" for row in pairs.itertuples()]
    ax.set(yticks=list(rows), yticklabels=names, xlim=(0, 100), xlabel="Preferred (%), with 95 % intervals over raters")
    ax.set_title(said, fontsize=10)
    ax.invert_yaxis()
    return fig
