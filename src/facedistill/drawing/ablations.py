"""What `evaluate` measured of the ablation's variants, as tables and figures."""

from collections.abc import Sequence
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from facedistill.core.errors import InputError
from facedistill.core.files import read_json
from facedistill.core.sections import BASELINE
from facedistill.drawing.figures import error_bars
from facedistill.drawing.results import EVALUATED, INTERVAL, METRICS, SPLIT_NAMES, interval_text, tidy, verdict_of

SCORES, DIFFERENCES, SEEDS = "ablations.json", "ablation_differences.json", "ablation_seeds.json"
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
SHOWN = ("lip_gap_r", "lve_mm", "pbm", "pbm_1mm", "closure_auc", "jitter")
GAINED, ALONG = ("lip_gap_r", "pbm", "jitter"), ("lip_gap_r", "pbm", "closure_auc")  # metrics of the figures
# (statement, better variant, worse variant, metric, whether more is better): judged by the interval of the difference
CLAIMS = (
    ("The feature loss helps", BASELINE, "no-feature-loss", "lip_gap_r", True),
    ("The feature loss helps", BASELINE, "no-feature-loss", "pbm", True),
    ("The velocity loss calms the face", BASELINE, "no-velocity-loss", "jitter", False),
    ("The loss of the points of the lips brings them nearer the truth", BASELINE, "no-lips-loss", "lve_mm", False),
    ("More channels help", "channels-512", BASELINE, "lip_gap_r", True),
    ("Fewer channels hurt", BASELINE, "channels-64", "lip_gap_r", True),
    ("64 ms of future are worse than 256", BASELINE, "future-64ms", "lip_gap_r", True),
    ("No future is worse than 256 ms", BASELINE, "future-0ms", "lip_gap_r", True),
    ("No future is worse than 256 ms", BASELINE, "future-0ms", "pbm", True),
    ("A window of 128 ms is too short", "future-64ms", "window-128ms", "lip_gap_r", True),
    ("A hundredth of the pseudo-labels is too little", "no-feature-loss", "labels-1pct", "lip_gap_r", True),
    ("Five voices are too few", "no-feature-loss", "voices-5", "lip_gap_r", True),
    ("One language is too few", "no-feature-loss", "languages-1", "lip_gap_r", True),
    ("Weighted frames of closed lips close them more often", "closed-frames-x4", BASELINE, "pbm", True),
    ("Weighted frames of closed lips close them more often", "closed-frames-x4", BASELINE, "pbm_1mm", True),
    ("Weighted frames of closed lips tell them better", "closed-frames-x4", BASELINE, "closure_auc", True),
    ("Pseudo-labels of more audio beat the paired data's own labels", "no-feature-loss", "paired-labels", "lip_gap_r", True),
)


def read_variants(folder: Path = EVALUATED) -> pd.DataFrame:
    """Reads variants.json: a row a variant, with columns variant, keys (set of the changed keys), change (text) and its facts.

    Raises:
        InputError: missing, not JSON, or of another form; so do the other readers.
    """
    facts = read_json(folder / "variants.json")
    try:
        rows = [
            {"variant": name, "keys": frozenset(values["set"]), "change": _text_of(values["set"])} | values
            for name, values in facts.items()
        ]
        return pd.DataFrame(rows).drop(columns="set")
    except (AttributeError, KeyError, TypeError) as error:
        raise InputError(f"{folder / 'variants.json'}: not what the evaluate stage writes ({error!r})") from None


def read_ablations(folder: Path = EVALUATED) -> pd.DataFrame:
    """Reads ablations.json: columns split, variant, metric, value, low, high, n."""
    return tidy(folder / SCORES, ["split", "variant", "metric"], [*INTERVAL, "n"])


def read_differences(folder: Path = EVALUATED) -> pd.DataFrame:
    """Reads ablation_differences.json, of all variants from their references: split, variant, metric, kind, value, low, high."""
    return tidy(folder / DIFFERENCES, ["split", "variant", "metric", "kind"], [*INTERVAL])


def read_seeds(folder: Path = EVALUATED) -> pd.DataFrame:
    """Reads ablation_seeds.json: columns split, variant, seed, metric, value."""
    found = read_json(folder / SEEDS)
    rows = [
        (split, variant, seed, metric, np.nan if value is None else value)
        for split, variants in found.items() for variant, seeds in variants.items()
        for seed, metrics in seeds.items() for metric, value in metrics.items()
    ]  # fmt: skip
    return pd.DataFrame(rows, columns=["split", "variant", "seed", "metric", "value"])


def _text_of(change: dict) -> str:
    return ", ".join(f"{key} = {'null' if value is None else value}" for key, value in change.items()) or "nothing"


def ablation_table(scores: pd.DataFrame, differences: pd.DataFrame, variants: pd.DataFrame, split: str) -> pd.DataFrame:
    """A row a variant: its change, parameters and hours, and value, low and high of each metric and of its difference."""
    table = variants[["variant", "change", "why", "reference", "parameters", "hours"]].copy()
    gained = differences[differences["kind"] == "difference"]
    for metric in SHOWN:
        for frame, suffix in ((scores, ""), (gained, "_gain")):
            found = frame[(frame["split"] == split) & (frame["metric"] == metric)].set_index("variant")
            for end in INTERVAL:
                table[metric + suffix + ("" if end == "value" else f"_{end}")] = found[end].reindex(table["variant"]).to_numpy()
    return table


def readable_ablations(table: pd.DataFrame) -> pd.DataFrame:
    """`ablation_table` for readers: a value, and its difference from the reference as "value [low, high]"."""
    shown = pd.DataFrame({"Variant": table["variant"], "Change": table["change"].str.replace(", ", "<br>")})
    shown["Against"] = table["reference"].where(table["variant"] != BASELINE, "")
    shown["Parameters"] = [f"{count:,}" for count in table["parameters"]]
    shown["Hours"] = [f"{hours:.2f}" for hours in table["hours"]]
    for metric in SHOWN:
        heading, n_digits = METRICS[metric]
        shown[heading] = [interval_text(value, np.nan, np.nan, n_digits=n_digits) for value in table[metric]]
        ends = table[[f"{metric}_gain", f"{metric}_gain_low", f"{metric}_gain_high"]].to_numpy(float)
        shown[f"{heading}: gain"] = [
            "" if name == BASELINE else interval_text(*row, n_digits=n_digits)
            for name, row in zip(table["variant"], ends, strict=True)
        ]
    return shown


def ablation_verdicts(differences: pd.DataFrame, variants: pd.DataFrame, split: str) -> pd.DataFrame:
    """Whether each of `CLAIMS` holds: columns Claim, Better, Worse, Measure, Difference (95 % interval), Verdict.

    A difference is from a variant's reference; where that is the better one, its sign is turned.
    """
    reference = dict(zip(variants["variant"], variants["reference"], strict=True))
    keys = ["split", "variant", "metric", "kind"]
    found = differences.set_index(keys)[[*INTERVAL]]
    rows = []
    for text, better, worse, metric, more in CLAIMS:
        turned = reference.get(worse) == better
        key = (split, worse if turned else better, metric, "difference")
        known = key in found.index and (turned or reference[better] == worse)
        value, low, high = found.loc[key] if known else (np.nan,) * 3
        if turned:
            value, low, high = -value, -high, -low
        holds, judged = (low > 0, low) if more else (high < 0, high)
        rows.append({
            "Claim": text, "Better": better, "Worse": worse, "Measure": METRICS[metric][0],
            "Difference": interval_text(value, low, high, n_digits=METRICS[metric][1]), "Verdict": verdict_of(holds, judged),
        })  # fmt: skip
    return pd.DataFrame(rows)


def verdicts_along(verdict: pd.DataFrame, variants: pd.DataFrame, axes: Sequence[str]) -> pd.DataFrame:
    """Those of `ablation_verdicts` that are about changes along some of `AXES`."""
    changed = variants["keys"].map(lambda keys: keys - {FEATURE} in [AXES[axis][0] for axis in axes])
    names = set(variants.loc[changed, "variant"])
    return verdict[verdict["Better"].isin(names) | verdict["Worse"].isin(names)]


def told(verdict: pd.DataFrame) -> str:
    """`ablation_verdicts` as lines to print."""
    return "\n".join(
        f"{row.Verdict:12} {row.Claim} ({row.Better} against {row.Worse}; {row.Measure}): {row.Difference}"
        for row in verdict.itertuples()
    )


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
        value, low, high = (rows[f"{metric}_gain{end}"].to_numpy(float) for end in ("", "_low", "_high"))
        error = error_bars(value, low, high)
        clear = (low > 0) | (high < 0)
        for chosen, colour in ((clear, "#0072B2"), (~clear, "#999999")):
            ax.errorbar(
                value[chosen], np.flatnonzero(chosen), xerr=error[:, chosen], fmt="o", color=colour, capsize=3, markersize=5
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
    told = "Differences from the baseline, or where another variant is named from that"
    fig.supxlabel(f"{told}. Bars: 95 % bootstrap intervals over voices, blue where they do not hold 0; {runs}", fontsize=10)
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
    curves = [chosen for chosen in (guided, unguided) if chosen.sum() > 1] or [guided]
    along = variants[np.logical_or.reduce(curves)]
    along = along.assign(x=along[column])[["variant", "x", "guided"]]
    return scores.merge(along, on="variant").sort_values(["guided", "x"], kind="stable")


def axes_figure(scores: pd.DataFrame, variants: pd.DataFrame, axes: Sequence[str]) -> Figure:
    """Metrics (rows) along some of `AXES` (columns), with and without the feature loss where both were trained.

    Args:
        scores: see `read_ablations`, of one split.
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
    told = {label: handle for ax in panels[0] for handle, label in zip(*ax.get_legend_handles_labels(), strict=True)}
    fig.legend(told.values(), told.keys(), loc="outside upper center", ncols=2, frameon=False)
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
    if logarithmic:
        ax.set_xscale("log", base=2)
    places = sorted(points["x"].unique())
    ax.set_xticks(places, [f"{place:.0f}" if place >= 10 else f"{place:.2g}" for place in places], fontsize=9)
    ax.minorticks_off()
