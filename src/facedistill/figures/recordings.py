"""What the benchmark on recorded speech measured: table 6, for programs and for readers, and figure 11."""

from collections.abc import Iterable, Mapping, Sequence
from functools import reduce
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
from facedistill.figures import tables
from facedistill.figures.style import MODEL_COLOURS, draw_intervals, save_figure, save_table, set_style
from facedistill.figures.tables import DASH, INTERVAL, interval_text
from facedistill.measure.bootstrap import MEAN, WEIGHTED
from facedistill.repro import benchmark
from facedistill.repro.benchmark import AT_LAG, CONDITION, LIPS, NON_SPEECH, TORCH, TORCH_SUFFIX

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
HEADINGS = tables.METRICS | {
    "closure_auc": ("AUC of closed lips", 3),
    "opening_r": ("Correlation of opening", 3),
    "closure_lag_ms": ("Closures late by (ms)", 0),
    "jitter_silence": ("Jitter in silence (1/s³)", 0),
    "measured_gap_r": ("Gap correlation", 3),
    "measured_width_r": ("Width correlation", 3),
    "measured_auc": ("AUC of measured closed lips", 3),
    "measured_spread": ("Spread of the gap", 2),
}
MARKERS = dict(zip(benchmark.KINDS, "DosP^", strict=True))
KIND_COLOURS = {benchmark.PEER: "#56606B", benchmark.ENVELOPE: "#8A8A8A"}  # others have that of their model
IN_TABLE = ("pbm_1mm", "false_closures_1mm", "pbm", "false_closures", "closure_auc", "opening_r")
IN_SOURCES = ("pbm_1mm", "pbm", "closure_auc", "opening_r", "closure_lag_ms")
PANELS = ("pbm_1mm", "pbm", "closure_auc")
AUC_COLOURS = LinearSegmentedColormap.from_list("auc", ["#B2533E", "#FBF7F0", "#1F6E9C"])
AUC_RANGE = TwoSlopeNorm(vmin=0.2, vcenter=0.5, vmax=1.0)
WORDS = (("noise-snr", "noise "), ("level-", "level −"), ("level+", "level +"), ("db", " dB"))  # of conditions


def draw(folder: Path = benchmark.FOLDER) -> None:
    """Writes table 6 as .md and .csv, and figure 11 as .png and .svg; see `read_results`."""
    results, details = read_results(folder)
    recordings, systems = details["recordings"], details["systems"]
    above = ABOVE.format(
        n=sum(source["n_recordings"] for source in recordings.values()),
        minutes=sum(source["duration_s"] for source in recordings.values()) / 60,
        n_sources=len(recordings),
        rest=details["rest_gap_mm"],
    )
    sources = {system: {name: result[name] for name in sources_of(result)} for system, result in results.items()}
    languages = {system: metadata["languages"] for system, metadata in systems.items()}
    conditions = {system: {name: row[WEIGHTED] for name, row in found[CONDITION].items()} for system, found in systems.items()}
    most = details["settings"]["conditions"]["max_recordings"]
    splits = dict.fromkeys(split for metadata in systems.values() for split in metadata[LIPS])
    parts = [
        *((f"{HEADINGS[metric][0]} by source", by_group(sources, metric)) for metric in IN_SOURCES),
        *((f"{HEADINGS[metric][0]} by language, weighted", by_group(languages, metric)) for metric in PANELS),
        (f"AUC by condition, weighted, at most {most} recordings a source", by_group(conditions, "closure_auc")),
        *((f"Measured lips, {split}", measured_lips(systems, split)) for split in splits),
        ("Non-speech audio: mean distance of the lip gap from rest, and jitter over that in speech", still(systems)),
        ("Sources", _sources(recordings)),
    ]
    texts = [(title, frame.fillna(DASH).to_markdown(index=False, disable_numparse=True)) for title, frame in parts if len(frame)]
    below = [f"## {title}\n\n{text}" for title, text in texts] + [note for name, note in NOTES.items() if name in results]
    if details["skipped"]:
        below.append("Not here: " + "; ".join(f"{name} ({why})" for name, why in details["skipped"].items()) + ".")
    table, shown = numbers(results, systems), readable(results, systems)
    save_table(table, "tab6_real_speech", folder=folder, readable=shown, above=above, below="\n\n".join(below))
    set_style()
    save_figure(benchmark_figure(results, systems), "fig11_real_speech", folder=folder)


def read_results(folder: Path = benchmark.FOLDER) -> tuple[dict[str, Mapping], Mapping]:
    """(results.json, details.json) of a folder; `InputError` if they are missing, not JSON, or of another form."""
    results, details = read_json(folder / RESULTS.name), read_json(folder / DETAILS.name)
    try:
        for system, result in results.items():
            for group in (*sources_of(result), MEAN, WEIGHTED):
                result[group]["pbm"]["n"], result[group]["closure_auc"]["value"]
            details["systems"][system]["kind"]
        details["recordings"], details["skipped"], details["rest_gap_mm"]
    except (AttributeError, KeyError, TypeError) as error:
        raise InputError(f"{folder / RESULTS.name}: {error!r} is wrong; expected what `facedistill benchmark` writes") from None
    return results, details


def sources_of(result: Mapping) -> list[str]:
    """The sources of recordings in one system's results."""
    return [name for name, row in result.items() if isinstance(row, Mapping) and name not in (MEAN, WEIGHTED)]


def ends_of(row: Mapping[str, Mapping], metric: str) -> tuple[float, ...]:
    """Value, low and high of a metric; NaN where nothing is known."""
    return tuple(np.nan if row[metric][end] is None else float(row[metric][end]) for end in INTERVAL)


def text(row: Mapping[str, Mapping], metric: str) -> str:
    """ "0.912 [0.901, 0.923]" of a metric, a dash where there is nothing."""
    return interval_text(*ends_of(row, metric), n_digits=HEADINGS[metric.removesuffix(AT_LAG)][1])


def numbers(results: Mapping[str, Mapping], systems: Mapping[str, Mapping]) -> pd.DataFrame:
    """One row for each system and group: three columns (value, _low, _high) a metric, the fitted lag, the number of /p b m/."""
    rows = []
    for system, result in results.items():
        for group in (*sources_of(result), MEAN, WEIGHTED):
            row = {"system": system, "kind": systems[system]["kind"], "recordings": group}
            row |= {"n_bilabials": result[group]["pbm"]["n"], "lag_ms": result["lag_ms"]}
            for metric in (*benchmark.METRICS, *(f"{name}{AT_LAG}" for name in benchmark.LAGGED)):
                row |= {metric + end: result[group][metric][name] for name, end in zip(INTERVAL, tables.ENDS, strict=True)}
            rows.append(row)
    return pd.DataFrame(rows)


def readable(results: Mapping[str, Mapping], systems: Mapping[str, Mapping]) -> pd.DataFrame:
    """The main table: one row a system, all sources together."""
    rows = []
    for system, result in results.items():
        size, weighted = systems[system]["bytes"], result[WEIGHTED]
        row = {"System": system, "MB": f"{size / 1e6:.2f}" if size else DASH, "Lag (ms)": _fixed(result["lag_ms"], 0)}
        row |= {f"{HEADINGS[name][0]}, {group}": text(result[group], name) for group in (MEAN, WEIGHTED) for name in IN_TABLE}
        row["n /p b m/"] = str(weighted["pbm"]["n"])
        row |= {f"{HEADINGS[metric][0]} at that lag, weighted": text(weighted, metric + AT_LAG) for metric in PANELS}
        row |= {f"{HEADINGS[metric][0]}, weighted": text(weighted, metric) for metric in ("jitter", "jitter_silence")}
        rows.append(row)
    return pd.DataFrame(rows)


def by_group(groups: Mapping[str, Mapping[str, Mapping]], metric: str) -> pd.DataFrame:
    """One row a system, one column a source, language or condition, with its number of /p b m/."""
    return pd.DataFrame([
        {"System": system} | {f"{name} (n = {row['pbm']['n']})": text(row, metric) for name, row in rows.items()}
        for system, rows in groups.items() if rows
    ])  # fmt: skip


def measured_lips(systems: Mapping[str, Mapping], split: str) -> pd.DataFrame:
    """One row a system, of the recordings of a split on which a camera measured the lips."""
    found = {system: metadata[LIPS][split] for system, metadata in systems.items()}
    return pd.DataFrame([
        {"System": system} | {HEADINGS[metric][0]: text(row, metric) for metric in benchmark.LIP_METRICS}
        | {"Talkers": str(row["n_talkers"]), "Recordings": str(row["n_recordings"])}
        for system, row in found.items()
    ])  # fmt: skip


def still(systems: Mapping[str, Mapping]) -> pd.DataFrame:
    """One row a system, one column a sound without speech: how far the lips are from rest, and the share of jitter."""
    return pd.DataFrame([
        {"System": system} | {
            name: f"{_fixed(row['gap_mm'], 2)} mm, {_fixed(row['jitter_ratio'], 3)}" for name, row in metadata[NON_SPEECH].items()
        }
        for system, metadata in systems.items()
    ])  # fmt: skip


def _fixed(value: float | None, n_digits: int) -> str:
    return DASH if value is None else f"{value:.{n_digits}f}"


def _sources(recordings: Mapping[str, Mapping]) -> pd.DataFrame:
    return pd.DataFrame([
        {
            "Source": name, "Recordings": str(source["n_recordings"]), "Speakers": str(source["n_speakers"]),
            "of these in another split too": str(source["n_speakers_heard"]),
            "Seconds": f"{source['duration_s']:.0f}", "Languages": ", ".join(source["languages"]),
            "Labels": ", ".join(source["label_kinds"]),
        }
        for name, source in recordings.items()
    ])  # fmt: skip


def benchmark_figure(results: Mapping[str, Mapping], systems: Mapping[str, Mapping]) -> Figure:
    """Figure 11: a row a system but for exported students in torch, three measures, AUC by source and by condition."""
    is_copy = {name: name.endswith(TORCH_SUFFIX) and systems[name]["kind"] == TORCH for name in results}
    kinds = {name: systems[name]["kind"] for name in results if not is_copy[name]}
    first = results[next(iter(kinds))]
    sources, conditions = sources_of(first), list(dict.fromkeys(one for name in kinds for one in systems[name][CONDITION]))
    widths = [2.6, 2.6, 2.6, 0.52 * len(sources), 0.52 * max(len(conditions), 1)]
    size = (sum(widths) + 3.2, 0.36 * len(kinds) + 2.9)
    fig, axes = plt.subplots(1, 5, figsize=size, width_ratios=widths, sharey=True, layout="constrained")
    for ax, metric in zip(axes, PANELS, strict=False):
        _draw_dots(ax, results, kinds, metric)
    by_source = [[results[name][source] for source in sources] for name in kinds]
    _draw_heat(axes[3], by_source, [f"{source}\n({first[source]['pbm']['n']})" for source in sources])
    axes[3].set_title("AUC by source\n(n of /p b m/)", fontsize=11)
    if conditions:
        found = [systems[name][CONDITION] for name in kinds]
        by_condition = [[row[one][WEIGHTED] if one in row else None for one in conditions] for row in found]
        _draw_heat(axes[4], by_condition, [reduce(lambda name, word: name.replace(*word), WORDS, one) for one in conditions])
        axes[4].set_title("AUC by condition\n(weighted)", fontsize=11)
    else:
        axes[4].set_visible(False)
    order = list(kinds.values())
    for ax in axes:
        for place in (place for place in range(1, len(order)) if order[place] != order[place - 1]):
            ax.axhline(place - 0.5, color="#BBBBBB", linewidth=0.8, zorder=0)
    axes[0].set_yticks(range(len(kinds)), kinds, fontsize=10)
    axes[0].set_ylim(len(kinds) - 0.5, -0.5)
    looks = {
        f"as it comes, weighted by {first[WEIGHTED]['pbm']['n']} /p b m/, 95 % interval": {"marker": "o"},
        "lag, fitted on training recordings, taken out": {"marker": "o", "markerfacecolor": "white"},
        "mean over sources": {"marker": "|", "markersize": 11},
        "chance": {"linestyle": (0, (2, 2)), "color": "#777777"},
    }
    plain = {"color": "#444444", "linestyle": "none", "markersize": 7}
    handles = [Line2D([], [], label=label, **(plain | look)) for label, look in looks.items()]
    fig.legend(handles=handles, loc="outside lower center", ncols=len(handles), frameon=False, fontsize=9.5)
    return fig


def _draw_dots(ax: Axes, results: Mapping[str, Mapping], kinds: Mapping[str, str], metric: str) -> None:
    if metric == "closure_auc":  # of which 0.5 is chance
        ax.axvline(0.5, color="#777777", linewidth=1.2, linestyle=(0, (2, 2)), zorder=1)
    for place, (name, kind) in enumerate(kinds.items()):
        result, bare = results[name], name.removesuffix("-int8").removesuffix("-float16")
        colour = KIND_COLOURS.get(kind, MODEL_COLOURS.get(bare, "#000000"))
        look = {"color": colour, "marker": MARKERS[kind], "markersize": 7, "linestyle": "none"}
        ends, mean = ends_of(result[WEIGHTED], metric), ends_of(result[MEAN], metric)[0]
        late = ends_of(result[WEIGHTED], metric + AT_LAG)[0]
        if result["lag_ms"] and not np.isnan([ends[0], late]).any():
            ax.plot([ends[0], late], [place, place], color=colour, linewidth=1, alpha=0.45, zorder=1)
            ax.plot(late, place, **(look | {"markerfacecolor": "white", "zorder": 2}))
        if not np.isnan(ends[0]):
            draw_intervals(ax, place, ends, along="x", capsize=2.5, zorder=3, **look)
        if not np.isnan(mean):
            ax.plot(mean, place, marker="|", markersize=11, color=colour, alpha=0.7, zorder=2)
    ax.set_title(HEADINGS[metric][0].replace(" at ", "\nat "), fontsize=11)
    ax.grid(axis="y", visible=False)
    ax.tick_params(labelsize=9)
    ax.margins(x=0.08)


def _draw_heat(ax: Axes, rows: Iterable[Iterable[Mapping | None]], labels: Sequence[str]) -> None:
    """AUC as colours, of results where there are some."""
    grid = np.array([[ends_of(one, "closure_auc")[0] if one else np.nan for one in row] for row in rows])
    ax.imshow(grid, cmap=AUC_COLOURS, norm=AUC_RANGE, aspect="auto", interpolation="nearest")
    for (row, column), value in np.ndenumerate(grid):
        if not np.isnan(value):
            colour, shown = "white" if value > 0.8 or value < 0.3 else "#222222", f"{value:.2f}".removeprefix("0")
            ax.text(column, row, shown, ha="center", va="center", fontsize=9, color=colour)
    ax.set_xticks(range(len(labels)), labels, fontsize=8.5, rotation=55, ha="right", rotation_mode="anchor")
    ax.grid(visible=False)
    ax.spines[:].set_visible(False)
