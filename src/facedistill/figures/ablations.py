"""What `evaluate` measured of the ablation's variants, as tables, verdicts and figures."""

from collections.abc import Sequence
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from facedistill.core.sections import BASELINE
from facedistill.figures.claims import better, judge, pairs_of
from facedistill.figures.style import error_bars
from facedistill.figures.tables import (
    ENDS,
    EVALUATED,
    INTERVAL,
    METRICS,
    SPLIT_NAMES,
    add_interval,
    interval_texts,
    read_evaluated,
    value_texts,
)

FEATURE, FUTURE, WINDOW = "distill.losses.feature", "ablate.student.future_ms", "ablate.student.window_ms"
GUIDED = {True: ("with the feature loss", "#D55E00", "o"), False: ("without the feature loss", "#555555", "s")}
# how the axis of one kind of change is told: {name: (keys that change, column of the facts, label, logarithmic)}
AXES = {
    "width": ({"ablate.student.channels"}, "channels", "Channels", True),
    "future": ({FUTURE}, "future_ms", "Future in the window (ms)", False),
    "window": ({WINDOW, FUTURE}, "window_ms", "Window, half of it future (ms)", True),
    "hours": ({"distill.data.hours_ratio"}, "hours", "Pseudo-labelled speech (hours)", True),
    "voices": ({"distill.data.voices"}, "voices", "Voices", True),
    "languages": ({"distill.data.languages"}, "languages", "Languages", True),
}
SHOWN = ("lip_gap_r", "lve_mm", "pbm_1mm", "pbm", "closure_auc", "jitter")
GAINED = ("lip_gap_r", "pbm_1mm", "pbm", "jitter")  # metrics of the figures
FLAT = 1e-6  # of an axis: what varies less is one number
ALONG = ("lip_gap_r", "pbm_1mm", "pbm", "closure_auc")
CLAIMS = (
    *better("The feature loss helps", (BASELINE, "no-feature-loss"), "lip_gap_r", "pbm"),
    *better("The velocity loss calms the face", (BASELINE, "no-velocity-loss"), "jitter", sign="<"),
    *better("The lip-vertex loss brings the lips nearer the truth", (BASELINE, "no-lip-vertex-loss"), "lve_mm", sign="<"),
    *better("More channels help", ("channels-512", BASELINE), "lip_gap_r"),
    *better("Fewer channels hurt", (BASELINE, "channels-64"), "lip_gap_r"),
    *better("64 ms of future are worse than 256", (BASELINE, "future-64ms"), "lip_gap_r"),
    *better("No future is worse than 256 ms", (BASELINE, "future-0ms"), "lip_gap_r", "pbm"),
    *better("A window of 128 ms is too short", ("future-64ms", "window-128ms"), "lip_gap_r"),
    *better("A hundredth of the pseudo-labels is too little", ("no-feature-loss", "labels-1pct"), "lip_gap_r"),
    *better("Five voices are too few", ("no-feature-loss", "voices-5"), "lip_gap_r"),
    *better("One language is too few", ("no-feature-loss", "languages-1"), "lip_gap_r"),
    *better("Weighted frames of closed lips close them more often", ("closed-frames-x4", BASELINE), "pbm_1mm"),
    *better("Weighted frames of closed lips tell them better", ("closed-frames-x4", BASELINE), "pbm", "closure_auc"),
    *better("Pseudo-labels of more audio beat the paired data's own labels", ("no-feature-loss", "paired-labels"), "lip_gap_r"),
)


def read_variants(folder: Path = EVALUATED) -> pd.DataFrame:
    """Reads variants.json; instead of set, columns keys (set of the changed keys) and change (text). See `tables.FILES`."""
    table = read_evaluated("variants", folder)
    changes = table.pop("set")
    texts = [", ".join(f"{key} = {'null' if value is None else value}" for key, value in change.items()) for change in changes]
    return table.assign(keys=changes.map(frozenset), change=[text or "nothing" for text in texts])


def read_seeds(folder: Path = EVALUATED) -> pd.DataFrame:
    """Reads ablation_seeds.json: columns split, variant, seed, metric, value."""
    return read_evaluated("ablation_seeds", folder).melt(["split", "variant", "seed"], var_name="metric")


def ablation_table(scores: pd.DataFrame, differences: pd.DataFrame, variants: pd.DataFrame, split: str) -> pd.DataFrame:
    """A row a variant: its change, parameters and hours, and value, low and high of each metric and of its difference."""
    table = variants[["variant", "change", "why", "reference", "parameters", "hours"]].copy()
    gained = differences[differences["kind"] == "difference"]
    for metric in SHOWN:
        for frame, suffix in ((scores, ""), (gained, "_gain")):
            found = frame[(frame["split"] == split) & (frame["metric"] == metric)]
            add_interval(table, metric + suffix, found, ["variant"])
    return table


def readable_ablations(table: pd.DataFrame) -> pd.DataFrame:
    """`ablation_table` for readers: a value, and its difference from the reference as "value [low, high]"."""
    is_baseline = table["variant"] == BASELINE
    shown = pd.DataFrame({"Variant": table["variant"], "Change": table["change"].str.replace(", ", "<br>")})
    shown["Against"] = table["reference"].mask(is_baseline, "")
    shown["Parameters"] = [f"{count:,}" for count in table["parameters"]]
    shown["Hours"] = [f"{hours:.2f}" for hours in table["hours"]]
    for metric in SHOWN:
        heading, n_digits = METRICS[metric]
        shown[heading] = value_texts(table[metric], n_digits)
        shown[f"{heading}: gain"] = interval_texts(table, f"{metric}_gain", n_digits)
        shown.loc[is_baseline, f"{heading}: gain"] = ""
    return shown


def judge_ablations(differences: pd.DataFrame, variants: pd.DataFrame, split: str, axes: Sequence[str] = ()) -> pd.DataFrame:
    """Judges `CLAIMS` by the intervals of differences on a test; see `claims.judge`.

    Args:
        differences: ablation_differences of `tables.FILES`.
        variants: see `read_variants`.
        axes: only claims about changes along these of `AXES`; none: all claims.
    """
    changes = {name: keys - {FEATURE} for name, keys in zip(variants["variant"], variants["keys"], strict=True)}
    asked = [AXES[axis][0] for axis in axes]
    claims = [claim for claim in CLAIMS if not axes or any(changes.get(name) in asked for name in claim.subject)]
    references = dict(zip(variants["variant"], variants["reference"], strict=True))
    return judge(claims, pairs_of(differences, "variant", references), split)


def sample(scores: pd.DataFrame, split: str) -> str:
    """What the scores of a split are measured on."""
    n = scores[scores["split"] == split].groupby("metric")["n"].max()
    return f"Measured on {n['lip_gap_r']} utterances ({SPLIT_NAMES.get(split, split)}) with {n['pbm']} /p b m/."


def caution(seeds: pd.DataFrame) -> str:
    """What the intervals do not hold, for readers of the verdicts."""
    n_runs = seeds["seed"].nunique()
    runs = "one training run" if n_runs == 1 else f"{n_runs} training runs"
    return (
        f"Each variant is {runs}. Intervals and verdicts are over voices: that another run of the same variant would come out "
        f"otherwise is not in them{', so take small differences for chance' if n_runs == 1 else ''}."
    )


def gains_figure(table: pd.DataFrame, seeds: pd.DataFrame) -> Figure:
    """Every variant's difference from its reference with its interval, a panel a metric; crosses are single seeds' differences.

    Args:
        table: see `ablation_table`.
        seeds: see `read_seeds`, of one split.
    """
    rows = table[table["variant"] != BASELINE].reset_index(drop=True)
    fig, axes = plt.subplots(
        1, len(GAINED), figsize=(14, 1.4 + 0.27 * len(rows)), sharey=True, layout="constrained", squeeze=False
    )
    for ax, metric in zip(axes[0], GAINED, strict=True):
        value, low, high = (rows[f"{metric}_gain{end}"].to_numpy(float) for end in ENDS)
        error = error_bars(value, low, high)
        clear = (low > 0) | (high < 0)
        for selected, colour in ((clear, "#0072B2"), (~clear, "#999999")):
            ax.errorbar(
                value[selected], np.flatnonzero(selected), xerr=error[:, selected], fmt="o", color=colour, capsize=3, markersize=5
            )
        _seed_marks(ax, seeds[seeds["metric"] == metric], rows)
        ax.axvline(0, color="black", linewidth=1)
        ax.set(xlabel=f"{METRICS[metric][0]}: difference")
        ax.xaxis.set_major_locator(MaxNLocator(5))
    named = [
        name if other == BASELINE else f"{name} – {other}" for name, other in zip(rows["variant"], rows["reference"], strict=True)
    ]
    axes[0, 0].set_yticks(range(len(rows)), named, fontsize=9)
    axes[0, 0].invert_yaxis()
    n_runs = seeds["seed"].nunique()
    runs = "crosses: single training runs" if n_runs > 1 else "one training run each, whose chance they do not hold"
    about = "Differences from the baseline, or where another variant is named from that"
    fig.supxlabel(f"{about}. Bars: 95 % bootstrap intervals over voices, blue where they do not hold 0; {runs}", fontsize=10)
    return fig


def _seed_marks(ax: Axes, seeds: pd.DataFrame, rows: pd.DataFrame) -> None:
    """Each seed's difference from the reference of the same seed, where there are several."""
    if seeds["seed"].nunique() < 2:
        return
    wide = seeds.pivot(index="variant", columns="seed", values="value")
    for place, row in enumerate(rows.itertuples()):
        gains = wide.loc[row.variant] - wide.loc[row.reference]
        ax.plot(gains, np.full(len(gains), place), "x", color="black", markersize=4, linestyle="none")


def axis_points(scores: pd.DataFrame, variants: pd.DataFrame, axis: str) -> pd.DataFrame:
    """The scores of the variants that one of `AXES` compares, the baseline among them, with column x, ascending.

    With the feature loss as it is, and without it, each where that was trained for more than one point.
    """
    keys, column, _, _ = AXES[axis]
    guided = np.array([found in (set(), keys) for found in variants["keys"]])
    unguided = np.array([FEATURE in found and found - {FEATURE} in (set(), keys) for found in variants["keys"]])
    unguided &= ~variants["guided"].to_numpy()
    curves = [selected for selected in (guided, unguided) if selected.sum() > 1] or [guided]
    along = variants[np.logical_or.reduce(curves)]
    along = along.assign(x=along[column])[["variant", "x", "guided"]]
    return scores.merge(along, on="variant").sort_values(["guided", "x"], kind="stable")


def axes_figure(scores: pd.DataFrame, variants: pd.DataFrame, axes: Sequence[str]) -> Figure:
    """Metrics (rows) along some of `AXES` (columns), with and without the feature loss where both were trained.

    Args:
        scores: ablations of `tables.FILES`, of one split.
        variants: see `read_variants`.
    """
    fig, panels = plt.subplots(
        len(ALONG), len(axes), figsize=(1 + 4.3 * len(axes), 0.8 + 2.6 * len(ALONG)), sharex="col", sharey="row",
        squeeze=False, layout="constrained",
    )  # fmt: skip
    for column, axis in enumerate(axes):
        points = axis_points(scores, variants, axis)
        for row, metric in enumerate(ALONG):
            _along(panels[row, column], points[points["metric"] == metric], logarithmic=AXES[axis][3])
        panels[-1, column].set_xlabel(AXES[axis][2])
    for row, metric in enumerate(ALONG):
        panels[row, 0].set_ylabel(METRICS[metric][0])
    handles = {label: handle for ax in panels[0] for handle, label in zip(*ax.get_legend_handles_labels(), strict=True)}
    fig.legend(handles.values(), handles.keys(), loc="outside upper center", ncols=2, frameon=False)
    n = int(scores[scores["metric"] == "pbm"]["n"].max())
    fig.supxlabel(f"Bars: 95 % bootstrap intervals over voices; {n} /p b m/; equal training steps everywhere", fontsize=10)
    return fig


def _along(ax: Axes, points: pd.DataFrame, *, logarithmic: bool) -> None:
    for guided, rows in points.groupby("guided", sort=False):
        label, colour, marker = GUIDED[bool(guided)]
        value, low, high = (rows[end].to_numpy(float) for end in INTERVAL)
        error = error_bars(value, low, high)
        shift = 1.03 if logarithmic and not guided else 1.0
        ax.errorbar(rows["x"] * shift, value, yerr=error, color=colour, marker=marker, capsize=3, label=label)
    if np.ptp(ax.dataLim.intervaly) < FLAT:
        ax.set_ylim(ax.dataLim.y0 - 0.5, ax.dataLim.y0 + 0.5)
    if logarithmic:
        ax.set_xscale("log", base=2)
    places = sorted(points["x"].unique())
    ax.set_xticks(places, [f"{place:.0f}" if place >= 10 else f"{place:.2g}" for place in places], fontsize=9)
    ax.minorticks_off()
