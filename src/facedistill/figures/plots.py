"""The figures of corpora and results: tidy data in, a matplotlib figure out."""

from collections.abc import Sequence

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import EngFormatter, LogLocator, PercentFormatter

from facedistill.figures.style import MODEL_COLOURS, error_bars
from facedistill.figures.tables import ENVELOPE, METRICS, SPLIT_NAMES

CLASS_COLOURS = {"bilabial": "#D55E00", "labiodental": "#009E73", "vowel": "#0072B2", "other": "#BBBBBB"}
CLASS_NAMES = {"bilabial": "/p b m/", "labiodental": "/f v/", "vowel": "vowels", "other": "other consonants"}
SMOOTHED = ("real-time-ensemble", "tiny-real-time-ensemble")
VARIANTS = ("paired-only", "small-paired-only")
OF_SIZE, OF_SPLITS = ("lip_gap_r", "pbm_1mm", "pbm"), ("lip_gap_r", "pbm_1mm", "pbm", "closure_auc")  # metrics
DODGE = 1.13  # systems of equal size are drawn this factor apart
LONGEST_MS = 200.0
INTERVALS = "Bars: 95 % bootstrap intervals over the voices of the test; one trained model each"


def corpus_figure(splits: pd.DataFrame, phones: pd.DataFrame) -> Figure:
    """Hours, voices and languages of each split; phone classes of each split; durations of /p b m/.

    Args:
        splits: see `corpus.split_table`.
        phones: see `corpus.phone_table`.
    """
    fig, (hours, classes, durations) = plt.subplots(1, 3, figsize=(14, 4.2), layout="constrained")
    bars = hours.barh(splits["split"], 60 * splits["hours"], color="#56B4E9")
    words = [f" {row.utterances:,} utterances, voices: {row.voices},\n languages: {row.languages}" for row in splits.itertuples()]
    hours.bar_label(bars, words, fontsize=8)
    hours.invert_yaxis()
    hours.grid(axis="y", visible=False)
    hours.set(xlabel="Speech (minutes)", xlim=(0, 60 * splits["hours"].max() * 2), title="Splits")
    shares = pd.crosstab(phones["split"], phones["class"], normalize="index").reindex(splits["split"]).dropna()
    counts = phones.groupby("split").size()
    left = np.zeros(len(shares))
    names = [f"{split}\nn = {counts[split]:,}" for split in shares.index]
    for name in shares:
        classes.barh(names, shares[name], left=left, color=CLASS_COLOURS[name], label=CLASS_NAMES[name])
        left += shares[name].to_numpy()
    classes.invert_yaxis()
    classes.xaxis.set_major_formatter(PercentFormatter(1))
    classes.set(xlabel="Share of phones", xlim=(0, 1), title="Phone classes")
    classes.legend(fontsize=8, ncols=2, loc="upper center", bbox_to_anchor=(0.5, -0.17), frameon=False)
    # The degraded copies say again what the clean test says.
    bilabials = phones.loc[(phones["class"] == "bilabial") & (phones["split"] != "test-noisy"), "duration_ms"]
    durations.hist(bilabials.clip(upper=LONGEST_MS), bins=np.arange(0, LONGEST_MS + 1, 10), color=CLASS_COLOURS["bilabial"])
    durations.axvline(bilabials.median(), color="black", linestyle="--")
    durations.set(
        xlabel=f"Duration of /p b m/ (ms; last bin: {LONGEST_MS - 10:.0f} and more)", ylabel="Phones",
        title=f"Closures: median {bilabials.median():.0f} ms, n = {len(bilabials):,}",
    )  # fmt: skip
    return fig


def intervals_figure(scores: pd.DataFrame, metrics: Sequence[str] = ("lip_gap_r", "pbm_1mm", "pbm", "lve_mm")) -> Figure:
    """Every system's value with its 95 % interval: a column of panels for each split, a row for each metric.

    Args:
        scores: see scores of `tables.FILES`.
    """
    splits, systems = list(dict.fromkeys(scores["split"])), list(dict.fromkeys(scores["system"]))
    size = (2.2 + 3.4 * len(splits), 0.6 + 0.28 * len(systems) * len(metrics) + 0.5 * len(metrics))
    fig, axes = plt.subplots(
        len(metrics), len(splits), figsize=size, sharex="row", sharey=True, squeeze=False, layout="constrained"
    )
    for row, metric in zip(axes, metrics, strict=True):
        for ax, split in zip(row, splits, strict=True):
            _dots(ax, scores[(scores["split"] == split) & (scores["metric"] == metric)], systems)
            ax.set_xlabel(METRICS[metric][0])
    for ax, split in zip(axes[0], splits, strict=True):
        n = _n(scores, split, "pbm")
        ax.set_title(f"{SPLIT_NAMES.get(split, split)}\n{_n(scores, split, 'lip_gap_r')} utterances, {n} /p b m/", fontsize=11)
    axes[0, 0].invert_yaxis()
    fig.supxlabel(INTERVALS, fontsize=10)
    fig.get_layout_engine().set(h_pad=0.12)
    return fig


def _dots(ax: Axes, rows: pd.DataFrame, systems: Sequence[str]) -> None:
    for row in rows.dropna(subset=["value"]).itertuples():
        error = error_bars(row.value, row.low, row.high)
        ax.errorbar(row.value, systems.index(row.system), xerr=error, **_marker(row.system))
    ax.set_yticks(range(len(systems)), systems, fontsize=9)


def _n(scores: pd.DataFrame, split: str, metric: str) -> int:
    return int(scores[(scores["split"] == split) & (scores["metric"] == metric)]["n"].max())


def _marker(system: str) -> dict[str, object]:
    """How a system is drawn everywhere: its colour; rings for smoothed students, squares for ablations."""
    colour = MODEL_COLOURS.get(system, "#000000")
    shape = {"marker": "s" if system in VARIANTS else "D" if system == "teacher" else "o"}
    face = {"markerfacecolor": "white"} if system in SMOOTHED else {}
    return {"color": colour, "markeredgecolor": colour, "markersize": 7, "capsize": 3, "linestyle": "none"} | shape | face


def size_figure(scores: pd.DataFrame, systems: pd.DataFrame) -> Figure:
    """Quality against the number of parameters, with 95 % intervals; the amplitude envelope, which has none, is a line.

    Args:
        scores: see scores of `tables.FILES`.
        systems: see systems of `tables.FILES`.
    """
    splits = list(dict.fromkeys(scores["split"]))
    places = dodged(systems[(systems["parameters"] > 0) & ~systems["system"].isin(SMOOTHED)])
    fig, axes = plt.subplots(
        len(OF_SIZE), len(splits), figsize=(1.6 + 3.9 * len(splits), 0.8 + 3.0 * len(OF_SIZE)), sharex=True, sharey="row",
        squeeze=False, layout="constrained",
    )  # fmt: skip
    for row, metric in zip(axes, OF_SIZE, strict=True):
        for ax, split in zip(row, splits, strict=True):
            shown = scores[(scores["split"] == split) & (scores["metric"] == metric)].set_index("system")
            _against_size(ax, shown, places)
        row[0].set_ylabel(METRICS[metric][0])
    for ax, split in zip(axes[0], splits, strict=True):
        ax.set_title(f"{SPLIT_NAMES.get(split, split)}\n{_n(scores, split, 'pbm')} /p b m/", fontsize=11)
    for ax in axes[-1]:
        ax.set_xlabel("Parameters")
    fig.legend(
        *axes[0, 0].get_legend_handles_labels(), loc="outside lower center", ncols=5, frameon=False, fontsize=9,
        title=f"{INTERVALS}. Systems of one size stand side by side.",
    )  # fmt: skip
    return fig


def splits_figure(scores: pd.DataFrame, systems: Sequence[str]) -> Figure:
    """What becomes of some systems from one test to the next: a panel a metric, with 95 % intervals.

    Args:
        scores: see scores of `tables.FILES`.
    """
    splits = list(dict.fromkeys(scores["split"]))
    names = [f"{SPLIT_NAMES.get(split, split)}\n{_n(scores, split, 'pbm')} /p b m/" for split in splits]
    fig, axes = plt.subplots(1, len(OF_SPLITS), figsize=(5 * len(OF_SPLITS), 4.6), layout="constrained", squeeze=False)
    for ax, metric in zip(axes[0], OF_SPLITS, strict=True):
        for number, system in enumerate(systems):
            rows = scores[(scores["system"] == system) & (scores["metric"] == metric)].set_index("split").reindex(splits)
            value, low, high = (rows[end].to_numpy(float) for end in ("value", "low", "high"))
            error = error_bars(value, low, high)
            places = np.arange(len(splits)) + 0.12 * (number - (len(systems) - 1) / 2)
            ax.errorbar(places, value, yerr=error, label=system, **_marker(system) | {"linestyle": ":", "linewidth": 1})
        ax.set_xticks(range(len(splits)), names, fontsize=9)
        ax.set_ylabel(METRICS[metric][0])
    fig.legend(
        *axes[0, 0].get_legend_handles_labels(), loc="outside lower center", ncols=len(systems), frameon=False, title=INTERVALS
    )
    return fig


def dodged(systems: pd.DataFrame) -> dict[str, float]:
    """{system: where it is drawn on the axis of parameters}: those of about equal size stand side by side."""
    places: dict[str, float] = {}
    by_size = systems.sort_values("parameters", kind="stable")
    group = (by_size["parameters"].pct_change().fillna(np.inf) > 0.1).cumsum()
    for _, rows in by_size.groupby(group):
        steps = np.arange(len(rows)) - (len(rows) - 1) / 2
        places |= dict(zip(rows["system"], rows["parameters"] * DODGE**steps, strict=True))
    return {name: places[name] for name in systems["system"]}


def _against_size(ax: Axes, shown: pd.DataFrame, places: dict[str, float]) -> None:
    for system, place in places.items():
        value, low, high = shown.loc[system, ["value", "low", "high"]].astype(float)
        ax.errorbar(place, value, yerr=error_bars(value, low, high), label=system, **_marker(system))
    value, low, high = shown.loc[ENVELOPE, ["value", "low", "high"]].astype(float)
    ax.axhline(value, color=MODEL_COLOURS[ENVELOPE], linestyle="--", label=ENVELOPE)
    ax.axhspan(low, high, color=MODEL_COLOURS[ENVELOPE], alpha=0.3, linewidth=0)
    ax.set_xscale("log")
    ax.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    ax.xaxis.set_major_formatter(EngFormatter(sep=""))
    ax.minorticks_off()
