"""What `evaluate` measured of variants of a student, other teachers and ways to smooth, as tables, verdicts and figures."""

from collections.abc import Sequence
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from facedistill.core.sections import BASELINE
from facedistill.figures import tables
from facedistill.figures.claims import Claim, better, intervals_of, judge, pairs_of
from facedistill.figures.style import draw_intervals, error_bars
from facedistill.figures.tables import ENDS, INTERVAL, METRICS, add_intervals, interval_texts, read_evaluated, texts

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

TEACHER, STUDENT = "teacher", "student"  # roles
TEACHERS_SHOWN = ("lip_gap_r", "pbm_1mm", "pbm", "lve_mm")
MEASURES = {"correlation": "Follows its teacher: correlation", "explained": "Follows its teacher: variance explained"}
VARIANCE, WANTED_VARIANCE = "Variance kept (%)", 99.9  # of meshes, in so many components as the paper's students have
TEACHER_CLAIMS = (
    Claim("HuBERT features beat MFCC", ("hubert", TEACHER), "lip_gap_r", ">", ("mfcc", TEACHER)),
    Claim("A student of HuBERT beats one of MFCC", ("hubert", STUDENT), "lip_gap_r", ">", ("mfcc", STUDENT)),
    Claim("A teacher that is trained longer is better", ("hubert", TEACHER), "lip_gap_r", ">", ("brief", TEACHER)),
    Claim("Its student is better too", ("hubert", STUDENT), "lip_gap_r", ">", ("brief", STUDENT)),
)

SMOOTHING_SHOWN = ("jitter", "lip_gap_r", "pbm_1mm", "pbm")
ENSEMBLE, LEFT_JITTER = "average-3", 0.5  # the paper's, and what of the jitter it may leave
LAGS, SAME_LAG_MS = "Spread of lags (ms)", 4.0  # a quarter of a frame
BESIDE_MS = 1.5
SMOOTHER_COLOURS = {"none": "#000000", "average": "#0072B2", "Savitzky-Golay": "#D55E00", "One-Euro": "#009E73"}


def read_variants(folder: Path = tables.EVALUATED) -> pd.DataFrame:
    """Reads variants.json; instead of set, columns keys (set of the changed keys) and change (text). See `tables.FILES`."""
    table = read_evaluated("variants", folder)
    changes = table.pop("set")
    texts = [", ".join(f"{key} = {'null' if value is None else value}" for key, value in change.items()) for change in changes]
    return table.assign(keys=changes.map(frozenset), change=[text or "nothing" for text in texts])


def read_seeds(folder: Path = tables.EVALUATED) -> pd.DataFrame:
    """Reads ablation_seeds.json: columns split, variant, seed, metric, value."""
    return read_evaluated("ablation_seeds", folder).melt(["split", "variant", "seed"], var_name="metric")


def ablation_table(scores: pd.DataFrame, differences: pd.DataFrame, variants: pd.DataFrame, split: str) -> pd.DataFrame:
    """A row a variant: its change, parameters and hours, and value, low and high of each metric and of its difference."""
    table = variants[["variant", "change", "why", "reference", "parameters", "hours"]].copy()
    gained = differences[(differences["split"] == split) & (differences["kind"] == "difference")]
    for metric in SHOWN:
        add_intervals(table, [metric], scores[scores["split"] == split], ["variant"])
        add_intervals(table, [metric], gained, ["variant"], "{}_gain")
    return table


def readable_ablations(table: pd.DataFrame) -> pd.DataFrame:
    """`ablation_table` for readers: a value, and its difference from the reference as "value [low, high]"."""
    columns = {
        "Variant": table["variant"],
        "Change": table["change"].str.replace(", ", "<br>"),
        "Against": table["reference"],
        "Parameters": texts(table, "{:,}", "parameters"),
        "Hours": texts(table, "{:.2f}", "hours"),
    }
    for metric in SHOWN:
        heading, n_digits = METRICS[metric]
        columns[heading] = [tables.interval_text(value, n_digits=n_digits) for value in table[metric]]
        columns[f"{heading}: gain"] = interval_texts(table, f"{metric}_gain", n_digits)
    shown = pd.DataFrame(columns)
    shown.loc[table["variant"] == BASELINE, ["Against", *(name for name in columns if name.endswith(": gain"))]] = ""
    return shown


def judge_ablations(differences: pd.DataFrame, variants: pd.DataFrame, split: str, axes: Sequence[str] = ()) -> pd.DataFrame:
    """Judges `CLAIMS`, or those about changes along some of `AXES`, by intervals of differences on a test; see `claims.judge`."""
    changes = {name: keys - {FEATURE} for name, keys in zip(variants["variant"], variants["keys"], strict=True)}
    asked = [AXES[axis][0] for axis in axes]
    claims = [claim for claim in CLAIMS if not axes or any(changes.get(name) in asked for name in claim.subject)]
    return judge(claims, pairs_of(differences, "variant", variants.set_index("variant")["reference"]), split)


def sample(scores: pd.DataFrame, split: str) -> str:
    """What the scores of a split are measured on."""
    found = scores[scores["split"] == split]
    n, name = tables.count(found, "lip_gap_r"), tables.SPLIT_NAMES.get(split, split)
    return f"Measured on {n} utterances ({name}) with {tables.count(found)} /p b m/."


def caution(seeds: pd.DataFrame) -> str:
    """What the intervals do not hold, for readers of the verdicts."""
    n_runs = seeds["seed"].nunique()
    runs = f"{n_runs} training runs" if n_runs > 1 else "one training run"
    doubt = "that another run of the same variant would come out otherwise is not in them"
    advice = "" if n_runs > 1 else ", so take small differences for chance"
    return f"Each variant is {runs}. Intervals and verdicts are over voices: {doubt}{advice}."


def gains_figure(table: pd.DataFrame, seeds: pd.DataFrame) -> Figure:
    """Every variant's gain in `ablation_table` with its interval, a panel a metric; crosses are single seeds."""
    rows, n_runs = table[table["variant"] != BASELINE].reset_index(drop=True), seeds["seed"].nunique()
    size = (14, 1.4 + 0.27 * len(rows))
    fig, axes = plt.subplots(1, len(GAINED), figsize=size, sharey=True, layout="constrained")
    for ax, metric in zip(axes, GAINED, strict=True):
        ends = rows[[f"{metric}_gain{end}" for end in ENDS]].to_numpy(float).T
        is_clear = (ends[1] > 0) | (ends[2] < 0)
        for selected, colour in ((is_clear, "#0072B2"), (~is_clear, "#999999")):
            look = {"fmt": "o", "color": colour, "capsize": 3, "markersize": 5}
            draw_intervals(ax, np.flatnonzero(selected), ends[:, selected], along="x", **look)
        wide = seeds[seeds["metric"] == metric].pivot(index="variant", columns="seed", values="value")
        for place, row in enumerate(rows.itertuples() if n_runs > 1 else ()):
            gains = wide.loc[row.variant] - wide.loc[row.reference]
            ax.plot(gains, np.full(n_runs, place), "x", color="black", markersize=4, linestyle="none")
        ax.axvline(0, color="black", linewidth=1)
        ax.set(xlabel=f"{METRICS[metric][0]}: difference")
        ax.xaxis.set_major_locator(MaxNLocator(5))
    names = rows["variant"].where(rows["reference"] == BASELINE, rows["variant"] + " – " + rows["reference"])
    axes[0].set_yticks(range(len(rows)), names, fontsize=9)
    axes[0].invert_yaxis()
    runs = "crosses: single training runs" if n_runs > 1 else "one training run each, whose chance they do not hold"
    about = "Differences from the baseline, or where another variant is named from that"
    fig.supxlabel(f"{about}. Bars: 95 % bootstrap intervals over voices, blue where they do not hold 0; {runs}", fontsize=10)
    return fig


def axis_points(scores: pd.DataFrame, variants: pd.DataFrame, axis: str) -> pd.DataFrame:
    """The scores of the variants that one of `AXES` compares, with the baseline and without the feature loss, by column x."""
    keys, column, _, _ = AXES[axis]
    on_axis = variants["keys"].map(lambda found: found - {FEATURE} in (set(), keys))
    is_off = variants["keys"].map(lambda found: FEATURE in found)
    curves = on_axis & ~is_off, on_axis & is_off & ~variants["guided"]
    selected = np.logical_or.reduce([curve for curve in curves if curve.sum() > 1] or curves[:1])
    along = variants[selected].assign(x=variants[column])[["variant", "x", "guided"]]
    return scores.merge(along, on="variant").sort_values(["guided", "x"], kind="stable")


def axes_figure(scores: pd.DataFrame, variants: pd.DataFrame, axes: Sequence[str]) -> Figure:
    """Metrics on one split (rows) along some of `AXES` (columns), with and without the feature loss where both were trained."""
    size = (1 + 4.3 * len(axes), 0.8 + 2.6 * len(ALONG))
    grid = {"sharex": "col", "sharey": "row", "squeeze": False, "layout": "constrained"}
    fig, panels = plt.subplots(len(ALONG), len(axes), figsize=size, **grid)
    for column, axis in zip(panels.T, axes, strict=True):
        points = axis_points(scores, variants, axis)
        for ax, metric in zip(column, ALONG, strict=True):
            _draw_along(ax, points[points["metric"] == metric], is_logarithmic=AXES[axis][3])
        column[-1].set_xlabel(AXES[axis][2])
    for ax, metric in zip(panels[:, 0], ALONG, strict=True):
        ax.set_ylabel(METRICS[metric][0])
    handles = {label: handle for ax in panels[0] for handle, label in zip(*ax.get_legend_handles_labels(), strict=True)}
    fig.legend(handles.values(), handles.keys(), loc="outside upper center", ncols=2, frameon=False)
    n = tables.count(scores)
    fig.supxlabel(f"Bars: 95 % bootstrap intervals over voices; {n} /p b m/; equal training steps everywhere", fontsize=10)
    return fig


def _draw_along(ax: Axes, points: pd.DataFrame, *, is_logarithmic: bool) -> None:
    for guided, rows in points.groupby("guided", sort=False):
        label, colour, marker = GUIDED[bool(guided)]
        shift = 1.03 if is_logarithmic and not guided else 1.0
        draw_intervals(ax, rows["x"] * shift, rows[[*INTERVAL]].T, color=colour, marker=marker, capsize=3, label=label)
    if np.ptp(ax.dataLim.intervaly) < FLAT:
        ax.set_ylim(ax.dataLim.y0 - 0.5, ax.dataLim.y0 + 0.5)
    if is_logarithmic:
        ax.set_xscale("log", base=2)
    places = sorted(points["x"].unique())
    ax.set_xticks(places, [f"{place:.0f}" if place >= 10 else f"{place:.2g}" for place in places], fontsize=9)
    ax.minorticks_off()


def teachers_table(taught: pd.DataFrame, agreement: pd.DataFrame, metadata: pd.DataFrame, split: str) -> pd.DataFrame:
    """A row a teacher: what it is, value, low and high of each metric of it and of its student, and how that follows it."""
    table, here = metadata.copy(), taught[taught["split"] == split]
    for role in (TEACHER, STUDENT):
        add_intervals(table, TEACHERS_SHOWN, here[here["role"] == role], ["teacher"], f"{role}_{{}}")
    add_intervals(table, MEASURES, agreement, ["teacher"])
    return table


def readable_teachers(table: pd.DataFrame) -> pd.DataFrame:
    """`teachers_table` for readers: intervals as "value [low, high]", a dash where nothing can be measured."""
    columns = {
        "Teacher": table["teacher"],
        "Parameters": texts(table, "{:,.0f}", "parameters"),
        "Controls": texts(table, "{:.0f}", "controls"),
        "Variance kept": texts(table.assign(kept=100 * table["variance_kept"]), "{:.3f} %", "kept"),
        "Hours labelled": texts(table, "{:.2f}", "hours"),
    }
    for role in (TEACHER, STUDENT):
        for metric in TEACHERS_SHOWN:
            heading, n_digits = METRICS[metric]
            columns[f"{role.capitalize()}: {heading}"] = interval_texts(table, f"{role}_{metric}", n_digits)
    return pd.DataFrame(columns | {heading: interval_texts(table, measure, 3) for measure, heading in MEASURES.items()})


def judge_teachers(taught: pd.DataFrame, metadata: pd.DataFrame, split: str) -> pd.DataFrame:
    """Judges `TEACHER_CLAIMS` and that components keep the variance of meshes; see `claims.judge`."""
    claims, measured = [*TEACHER_CLAIMS], intervals_of(taught, "teacher", "role")
    for row in metadata[metadata["variance_kept"].notna()].itertuples():
        text = f"{row.controls:.0f} components keep {WANTED_VARIANCE:g} % of the meshes of {row.teacher}"
        claims.append(Claim(text, row.teacher, VARIANCE, "≥", WANTED_VARIANCE))
        measured[split, row.teacher, VARIANCE, "value"] = 100 * row.variance_kept, np.nan, np.nan
    return judge(claims, measured, split)


def teachers_figure(table: pd.DataFrame, taught: pd.DataFrame, split: str) -> Figure:
    """What a student makes of its teacher: quality of the one against that of the other; on the diagonal nothing is lost."""
    rows = table[table["student_lip_gap_r"].notna()]
    fig, axes = plt.subplots(1, len(TEACHERS_SHOWN), figsize=(4.6 * len(TEACHERS_SHOWN), 4.8), layout="constrained")
    colours = dict(zip(rows["teacher"], plt.get_cmap("tab10").colors, strict=False))
    for ax, metric in zip(axes, TEACHERS_SHOWN, strict=True):
        for row in rows.to_dict("records"):
            x, y = ([row[f"{role}_{metric}{end}"] for end in ENDS] for role in (TEACHER, STUDENT))
            bars = {"xerr": error_bars(*x), "yerr": error_bars(*y)}
            ax.errorbar(x[0], y[0], **bars, fmt="o", color=colours[row["teacher"]], capsize=3, label=row["teacher"])
        ends = [*ax.get_xlim(), *ax.get_ylim()]
        ax.axline((min(ends), min(ends)), slope=1, color="0.6", linestyle="--", linewidth=1)
        ax.locator_params(axis="x", nbins=5)
        ax.set(xlabel=f"Teacher: {METRICS[metric][0]}", ylabel=f"Its student: {METRICS[metric][0]}")
    fig.legend(*axes[0].get_legend_handles_labels(), loc="outside upper center", ncols=max(len(rows), 1), frameon=False)
    n = tables.count(taught[taught["split"] == split])
    fig.supxlabel(f"Bars: 95 % bootstrap intervals over voices; {n} /p b m/; dashed: nothing is lost", fontsize=10)
    return fig


def read_smoothing(folder: Path = tables.EVALUATED) -> pd.DataFrame:
    """Reads smoothing.json and smoothers.json as one table; see `tables.FILES`."""
    return read_evaluated("smoothing", folder).merge(read_evaluated("smoothers", folder), on="smoother")


def smoothing_table(smoothing: pd.DataFrame, split: str) -> pd.DataFrame:
    """A row a way to smooth: what it is, how late it is, what jitter it leaves and what that costs."""
    wide = smoothing[smoothing["split"] == split].pivot(index="smoother", columns="metric", values="value")
    metadata = smoothing.drop_duplicates("smoother").set_index("smoother")[[*tables.FILES["smoothers"][1]]]
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
    fig, axes = plt.subplots(1, len(SMOOTHING_SHOWN), figsize=(4.8 * len(SMOOTHING_SHOWN), 4.6), layout="constrained")
    for ax, metric in zip(axes, SMOOTHING_SHOWN, strict=True):
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
    n = tables.count(shown)
    fig.supxlabel(f"Bars: 95 % bootstrap intervals over voices, which all ways share; {n} /p b m/", fontsize=10)
    return fig


def front_of(cost: pd.Series, harm: pd.Series) -> list[str]:
    """The names that no other beats in both, by ascending cost."""
    order = pd.DataFrame({"cost": cost, "harm": harm}).sort_values(["cost", "harm"], kind="stable")
    return list(order.index[order["harm"] < order["harm"].cummin().shift(fill_value=np.inf)])
