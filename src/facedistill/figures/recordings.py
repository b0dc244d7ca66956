"""What the benchmark on recorded speech measured: table 6, for programs and for readers, and figure 11."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.colors import LinearSegmentedColormap, TwoSlopeNorm
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from facedistill.core.errors import InputError
from facedistill.core.files import read_json
from facedistill.core.paths import DETAILS, RESULTS
from facedistill.figures.style import MODEL_COLOURS, error_bars, save_figure, save_table, set_style
from facedistill.figures.tables import INTERVAL, interval_text
from facedistill.figures.tables import METRICS as RESULT_METRICS
from facedistill.measure.bootstrap import MEAN, WEIGHTED
from facedistill.repro.benchmark import (  # fmt: skip
    AT_LAG,
    CONDITION,
    ENVELOPE,
    FOLDER,
    LAGGED,
    LIP_METRICS,
    LIPS,
    METRICS,
    NON_SPEECH,
    PEER,
    STUDENT,
    TEACHER,
    TORCH,
    TORCH_SUFFIX,
)

TABLE, FIGURE = "tab6_real_speech", "fig11_real_speech"
ABOVE = """# Table 6: recorded speech

{n} test recordings ({minutes:.0f} min) of {n_sources} sources, on which nothing was trained or fitted but the threshold of the
relative PBM. Mean: over sources, each alike; weighted: by their /p b m/. In brackets: 95 % bootstrap intervals over speakers, or
over recordings where a source has one speaker; a source of one recording adds none. Curves have 60 frames a second, and no lag is
taken out where nothing is said of it.

- PBM at 1 mm: the share of /p b m/ whose lip gap is at most 1 mm within 20 ms of the label. The gap at rest is {rest:.2f} mm.
  False closures: the share of vowels whose interior is at most 1 mm.
- PBM at 5 % false closures: the same at the 5 % quantile of the vowels' smallest gaps, a threshold a source. It ranks systems:
  lips at that threshold need not look closed. In a source of few vowels more than 5 % close, since one does at the least: the
  share is given beside it.
- AUC: the chance that the lips are closer in a frame of /p b m/ than in a frame of a vowel. Correlation: of the lip gap with a
  coarse opening of the phones. Lag: the shift of the curves that gives the best AUC on labelled training recordings."""
NOTES = {
    "headaudio": "headaudio as it is shipped never shows its viseme aa, which keeps the mouth at the sound before.",
    "rhubarb": "rhubarb uses its phone recogniser, which needs no language.",
    "wlipsync": "wlipsync comes uncalibrated: it was given vowels and silences of the labelled training recordings.",
}
# metric -> (heading with its unit, decimals)
HEADINGS = RESULT_METRICS | {
    "closure_auc": ("AUC of closed lips", 3),
    "opening_r": ("Correlation of opening", 3),
    "closure_lag_ms": ("Closures late by (ms)", 0),
    "jitter_silence": ("Jitter in silence (1/s³)", 0),
    "measured_gap_r": ("Gap correlation", 3),
    "measured_width_r": ("Width correlation", 3),
    "measured_auc": ("AUC of measured closed lips", 3),
    "measured_spread": ("Spread of the gap", 2),
}
DASH = "–"
PEER_COLOUR, OTHER_COLOUR = "#56606B", "#000000"
MARKERS = {TEACHER: "D", STUDENT: "o", TORCH: "s", ENVELOPE: "P", PEER: "^"}
PANELS = ("pbm_1mm", "pbm", "closure_auc")
CHANCE = {"closure_auc": 0.5}
AUC_COLOURS = LinearSegmentedColormap.from_list("auc", ["#B2533E", "#FBF7F0", "#1F6E9C"])
AUC_RANGE = TwoSlopeNorm(vmin=0.2, vcenter=0.5, vmax=1.0)
WORDS = {"noise-snr": "noise ", "level": "level ", "db": " dB"}


def draw(folder: Path = FOLDER) -> None:
    """Writes table 6 as .md and .csv, and figure 11 as .png and .svg.

    Raises:
        InputError: nothing has been measured.
    """
    results, details = read_results(folder)
    sources = details["recordings"]
    above = ABOVE.format(
        n=sum(source["n_recordings"] for source in sources.values()),
        minutes=sum(source["duration_s"] for source in sources.values()) / 60,
        n_sources=len(sources),
        rest=details["rest_gap_mm"],
    )
    in_sources = ("pbm_1mm", "pbm", "closure_auc", "opening_r", "closure_lag_ms")
    parts = [(f"{HEADINGS[metric][0]} by source", by_source(results, metric)) for metric in in_sources]
    parts += [(f"{HEADINGS[metric][0]} by language, weighted", by_group(details, "languages", metric)) for metric in PANELS]
    most = details["settings"]["conditions"]["max_recordings"]
    conditions = by_group(details, CONDITION, "closure_auc", WEIGHTED)
    parts.append((f"AUC by condition, weighted, at most {most} recordings a source", conditions))
    parts += [(f"Measured lips, {split}", lips) for split, lips in measured_lips(details).items()]
    parts.append(("Non-speech audio: mean distance of the lip gap from rest, and jitter over that in speech", still(details)))
    parts.append(("Sources", _sources(sources)))
    below = "\n\n".join(f"## {title}\n\n{_markdown(frame)}" for title, frame in parts if len(frame))
    below += "".join(f"\n\n{note}" for name, note in NOTES.items() if name in results)
    if details["skipped"]:
        below += "\n\nNot here: " + "; ".join(f"{name} ({why})" for name, why in details["skipped"].items()) + "."
    save_table(numbers(results, details), TABLE, folder=folder, readable=readable(results, details), above=above, below=below)
    set_style()
    save_figure(benchmark_figure(results, details), FIGURE, folder=folder)


def read_results(folder: Path = FOLDER) -> tuple[dict[str, Mapping], Mapping]:
    """(results.json, details.json) of a folder.

    Raises:
        InputError: missing, not JSON, or of another form.
    """
    results, details = read_json(folder / RESULTS.name), read_json(folder / DETAILS.name)
    try:
        for system in results:
            for group in groups_of(results[system]):
                results[system][group]["pbm"]["n"], results[system][group]["closure_auc"]["value"]
            details["systems"][system]["kind"]
        details["recordings"], details["skipped"], details["rest_gap_mm"]
    except (AttributeError, KeyError, TypeError) as error:
        raise InputError(f"{folder / RESULTS.name}: {error!r} is wrong; expected what `facedistill benchmark` writes") from None
    return results, details


def groups_of(result: Mapping) -> list[str]:
    """Sources, then "mean" and "weighted", of one system's results."""
    return [name for name, row in result.items() if isinstance(row, Mapping)]


def numbers(results: Mapping[str, Mapping], details: Mapping) -> pd.DataFrame:
    """One row for each system and group: three columns (value, _low, _high) a metric, the fitted lag, the number of /p b m/."""
    rows = []
    for system, result in results.items():
        for group in groups_of(result):
            row = {"system": system, "kind": details["systems"][system]["kind"], "recordings": group}
            row |= {"n_bilabials": result[group]["pbm"]["n"], "lag_ms": result["lag_ms"]}
            for metric in (*METRICS, *(f"{name}{AT_LAG}" for name in LAGGED)):
                row |= {f"{metric}_{end}".removesuffix("_value"): result[group][metric][end] for end in INTERVAL}
            rows.append(row)
    return pd.DataFrame(rows)


def readable(results: Mapping[str, Mapping], details: Mapping) -> pd.DataFrame:
    """The main table: one row a system, all sources together."""
    rows = []
    for system, result in results.items():
        size = details["systems"][system]["bytes"]
        row = {"System": system, "MB": f"{size / 1e6:.2f}" if size else DASH, "Lag (ms)": _fixed(result["lag_ms"], 0)}
        for group in (MEAN, WEIGHTED):
            for metric in ("pbm_1mm", "false_closures_1mm", "pbm", "false_closures", "closure_auc", "opening_r"):
                row[f"{HEADINGS[metric][0]}, {group}"] = text(result[group], metric)
        row["n /p b m/"] = str(result[WEIGHTED]["pbm"]["n"])
        for metric in ("pbm_1mm", "pbm", "closure_auc"):
            row[f"{HEADINGS[metric][0]} at that lag, weighted"] = text(result[WEIGHTED], metric, AT_LAG)
        for metric in ("jitter", "jitter_silence"):
            row[f"{HEADINGS[metric][0]}, weighted"] = text(result[WEIGHTED], metric)
        rows.append(row)
    return pd.DataFrame(rows)


def by_source(results: Mapping[str, Mapping], metric: str) -> pd.DataFrame:
    """One row a system, one column a source, with its number of /p b m/."""
    rows = []
    for system, result in results.items():
        sources = [group for group in groups_of(result) if group not in (MEAN, WEIGHTED)]
        cells = {f"{name} (n = {result[name]['pbm']['n']})": text(result[name], metric) for name in sources}
        rows.append({"System": system} | cells)
    return pd.DataFrame(rows)


def by_group(details: Mapping, group: str, metric: str, part: str | None = None) -> pd.DataFrame:
    """One row a system, one column a language or a condition: all sources, weighted by /p b m/."""
    rows = []
    for system, metadata in details["systems"].items():
        found = {name: row[part] if part else row for name, row in metadata[group].items()}
        if found:
            cells = {f"{name} (n = {row['pbm']['n']})": text(row, metric) for name, row in found.items()}
            rows.append({"System": system} | cells)
    return pd.DataFrame(rows)


def measured_lips(details: Mapping) -> dict[str, pd.DataFrame]:
    """{split: one row a system} of recordings on which a camera measured the lips."""
    splits = dict.fromkeys(split for metadata in details["systems"].values() for split in metadata[LIPS])
    return {
        split: pd.DataFrame([
            {"System": system} | {HEADINGS[metric][0]: text(metadata[LIPS][split], metric) for metric in LIP_METRICS}
            | {"Talkers": str(metadata[LIPS][split]["n_talkers"]), "Recordings": str(metadata[LIPS][split]["n_recordings"])}
            for system, metadata in details["systems"].items()
        ])
        for split in splits
    }  # fmt: skip


def still(details: Mapping) -> pd.DataFrame:
    """One row a system, one column a sound without speech: how far the lips are from rest, and the share of jitter."""
    return pd.DataFrame([
        {"System": system} | {
            name: f"{_fixed(row['gap_mm'], 2)} mm, {_fixed(row['jitter_ratio'], 3)}" for name, row in metadata[NON_SPEECH].items()
        }
        for system, metadata in details["systems"].items()
    ])  # fmt: skip


def text(row: Mapping[str, Mapping], metric: str, suffix: str = "") -> str:
    """ "0.912 [0.901, 0.923]" of a metric, a dash where there is nothing."""
    ends = (np.nan if row[metric + suffix][end] is None else float(row[metric + suffix][end]) for end in INTERVAL)
    return interval_text(*ends, n_digits=HEADINGS[metric][1])


def benchmark_figure(results: Mapping[str, Mapping], details: Mapping) -> Figure:
    """Figure 11: a row a system, three measures with intervals, AUC by source and by condition.

    Students in torch, which are the exported ones, are left out.

    Args:
        results, details: see `read_results`.
    """
    kinds = {system: details["systems"][system]["kind"] for system in results}
    systems = [name for name in results if not (kinds[name] == TORCH and name.endswith(TORCH_SUFFIX))]
    sources = [group for group in groups_of(results[systems[0]]) if group not in (MEAN, WEIGHTED)]
    conditions = list(dict.fromkeys(one for name in systems for one in details["systems"][name][CONDITION]))
    widths = [2.6, 2.6, 2.6, 0.52 * len(sources), 0.52 * max(len(conditions), 1)]
    size = (sum(widths) + 3.2, 0.36 * len(systems) + 2.9)
    fig, axes = plt.subplots(1, 5, figsize=size, width_ratios=widths, sharey=True, layout="constrained")
    for ax, metric in zip(axes, PANELS, strict=False):
        _dots(ax, results, systems, kinds, metric)
    by_source = [[results[name][source]["closure_auc"]["value"] for source in sources] for name in systems]
    _heat(axes[3], by_source, [f"{source}\n({results[systems[0]][source]['pbm']['n']})" for source in sources])
    axes[3].set_title("AUC by source\n(n of /p b m/)", fontsize=11)
    by_condition = [[_auc_in(details["systems"][name], condition) for condition in conditions] for name in systems]
    if conditions:
        _heat(axes[4], by_condition, [_words(condition) for condition in conditions])
        axes[4].set_title("AUC by condition\n(weighted)", fontsize=11)
    else:
        axes[4].set_visible(False)
    for ax in axes:
        for place in range(1, len(systems)):
            if kinds[systems[place]] != kinds[systems[place - 1]]:
                ax.axhline(place - 0.5, color="#BBBBBB", linewidth=0.8, zorder=0)
    axes[0].set_yticks(range(len(systems)), systems, fontsize=10)
    axes[0].set_ylim(len(systems) - 0.5, -0.5)
    _legend(fig, results[systems[0]][WEIGHTED]["pbm"]["n"])
    return fig


def _dots(ax: Axes, results: Mapping, systems: Sequence[str], kinds: Mapping[str, str], metric: str) -> None:
    if metric in CHANCE:
        ax.axvline(CHANCE[metric], color="#777777", linewidth=1.2, linestyle=(0, (2, 2)), zorder=1)
    for place, name in enumerate(systems):
        row, colour = results[name][WEIGHTED], _colour(name, kinds[name])
        look = {"color": colour, "marker": MARKERS[kinds[name]], "markersize": 7, "linestyle": "none"}
        late, now = row[f"{metric}{AT_LAG}"]["value"], row[metric]
        if None not in (late, now["value"]) and results[name]["lag_ms"]:
            ax.plot([now["value"], late], [place, place], color=colour, linewidth=1, alpha=0.45, zorder=1)
            ax.plot(late, place, **(look | {"markerfacecolor": "white", "zorder": 2}))
        if now["value"] is not None:
            ends = (np.nan if now[end] is None else now[end] for end in INTERVAL)
            ax.errorbar(now["value"], place, xerr=error_bars(*ends), capsize=2.5, zorder=3, **look)
        if results[name][MEAN][metric]["value"] is not None:
            ax.plot(results[name][MEAN][metric]["value"], place, marker="|", markersize=11, color=colour, alpha=0.7, zorder=2)
    heading = HEADINGS[metric][0]
    ax.set_title(heading.replace(" at ", "\nat "), fontsize=11)
    ax.grid(axis="y", visible=False)
    ax.tick_params(labelsize=9)
    ax.margins(x=0.08)


def _heat(ax: Axes, values: Sequence[Sequence[float | None]], labels: Sequence[str]) -> None:
    grid = np.array([[np.nan if value is None else value for value in row] for row in values], float)
    ax.imshow(grid, cmap=AUC_COLOURS, norm=AUC_RANGE, aspect="auto", interpolation="nearest")
    for (row, column), value in np.ndenumerate(grid):
        if not np.isnan(value):
            dark = value > 0.8 or value < 0.3
            shown = f"{value:.2f}".removeprefix("0")
            ax.text(column, row, shown, ha="center", va="center", fontsize=9, color="white" if dark else "#222222")
    ax.set_xticks(range(len(labels)), labels, fontsize=8.5, rotation=55, ha="right", rotation_mode="anchor")
    ax.grid(visible=False)
    for side in ax.spines.values():
        side.set_visible(False)


def _legend(fig: Figure, n: int) -> None:
    def mark(label: str, **look: object) -> Line2D:
        return Line2D([], [], **({"color": "#444444", "linestyle": "none", "markersize": 7} | look), label=label)

    handles = [
        mark(f"as it comes, weighted by {n} /p b m/, 95 % interval", marker="o"),
        mark("lag, fitted on training recordings, taken out", marker="o", markerfacecolor="white"),
        mark("mean over sources", marker="|", markersize=11),
        mark("chance", marker="", linestyle=(0, (2, 2)), color="#777777"),
    ]
    fig.legend(handles=handles, loc="outside lower center", ncols=4, frameon=False, fontsize=9.5)


def _auc_in(metadata: Mapping, condition: str) -> float | None:
    return metadata[CONDITION][condition][WEIGHTED]["closure_auc"]["value"] if condition in metadata[CONDITION] else None


def _colour(name: str, kind: str) -> str:
    if kind == PEER:
        return PEER_COLOUR
    bare = name.removesuffix("-int8").removesuffix("-float16")
    return "#8A8A8A" if kind == ENVELOPE else MODEL_COLOURS.get(bare, OTHER_COLOUR)


def _words(condition: str) -> str:
    for found, shown in WORDS.items():
        condition = condition.replace(found, shown)
    return condition.replace("level -", "level −")


def _fixed(value: float | None, n_digits: int) -> str:
    return DASH if value is None else f"{value:.{n_digits}f}"


def _sources(sources: Mapping[str, Mapping]) -> pd.DataFrame:
    return pd.DataFrame([
        {
            "Source": name, "Recordings": str(source["n_recordings"]), "Speakers": str(source["n_speakers"]),
            "of these in another split too": str(source["n_speakers_heard"]),
            "Seconds": f"{source['duration_s']:.0f}", "Languages": ", ".join(source["languages"]),
            "Labels": ", ".join(source["label_kinds"]),
        }
        for name, source in sources.items()
    ])  # fmt: skip


def _markdown(frame: pd.DataFrame) -> str:
    return frame.fillna(DASH).to_markdown(index=False, disable_numparse=True)
