"""Figure 11: every system on recorded speech, one row each: three measures with intervals, and AUC by source and condition."""

from collections.abc import Mapping, Sequence

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import LinearSegmentedColormap, TwoSlopeNorm
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from facedistill.drawing.figures import MODEL_COLOURS
from facedistill.real_speech.names import AT_LAG, ENVELOPE, MEAN, PEER, STUDENT, TEACHER, TORCH, TORCH_SUFFIX, WEIGHTED
from facedistill.real_speech.tables import METRICS, groups_of

PEER_COLOUR, OTHER_COLOUR = "#56606B", "#000000"
MARKERS = {TEACHER: "D", STUDENT: "o", TORCH: "s", ENVELOPE: "P", PEER: "^"}
PANELS = ("auc", "r", "pbm")
CHANCE = {"auc": 0.5, "r": 0.0, "pbm": 0.05}
AUC_COLOURS = LinearSegmentedColormap.from_list("auc", ["#B2533E", "#FBF7F0", "#1F6E9C"])
AUC_RANGE = TwoSlopeNorm(vmin=0.2, vcenter=0.5, vmax=1.0)
WORDS = {"noise-snr": "noise ", "level": "level ", "db": " dB"}


def benchmark_figure(results: Mapping[str, Mapping], details: Mapping) -> Figure:
    """The figure; students in torch, which are the exported ones, are left out.

    Args:
        results, details: see `tables.read_results`.
    """
    kinds = {system: details["systems"][system]["kind"] for system in results}
    systems = [
        name for name in results if not (kinds[name] == TORCH and name.endswith(TORCH_SUFFIX)) and WEIGHTED in results[name]
    ]
    sources = [group for group in groups_of(results[systems[0]]) if group not in (MEAN, WEIGHTED)]
    found = (details["systems"][name].get("conditions", {}) for name in systems)
    conditions = list(dict.fromkeys(condition for one in found for condition in one))
    widths = [2.6, 2.6, 2.6, 0.52 * len(sources), 0.52 * max(len(conditions), 1)]
    size = (sum(widths) + 3.2, 0.36 * len(systems) + 2.9)
    fig, axes = plt.subplots(1, 5, figsize=size, width_ratios=widths, sharey=True, layout="constrained")
    for ax, metric in zip(axes, PANELS, strict=False):
        _dots(ax, results, systems, kinds, metric)
    by_source = [[results[name][source]["auc"]["value"] for source in sources] for name in systems]
    _heat(axes[3], by_source, [f"{source}\n({results[systems[0]][source]['n']})" for source in sources])
    axes[3].set_title("AUC by source\n(n of /p b m/)", fontsize=11)
    by_condition = [[_auc_in(details["systems"][name], condition) for condition in conditions] for name in systems]
    if conditions:
        _heat(axes[4], by_condition, [_words(condition) for condition in conditions])
        axes[4].set_title("AUC by condition\n(weighted)", fontsize=11)
    else:
        axes[4].set_visible(False)
    for ax in axes:
        _separate(ax, [kinds[name] for name in systems])
    axes[0].set_yticks(range(len(systems)), systems, fontsize=10)
    axes[0].set_ylim(len(systems) - 0.5, -0.5)
    _legend(fig, results[systems[0]][WEIGHTED]["n"])
    return fig


def _dots(ax: Axes, results: Mapping, systems: Sequence[str], kinds: Mapping[str, str], metric: str) -> None:
    ax.axvline(CHANCE[metric], color="#777777", linewidth=1.2, linestyle=(0, (2, 2)), zorder=1)
    for place, name in enumerate(systems):
        row, colour = results[name][WEIGHTED], _colour(name, kinds[name])
        look = {"color": colour, "marker": MARKERS[kinds[name]], "markersize": 7, "linestyle": "none"}
        late, now = row[f"{metric}{AT_LAG}"]["value"], row[metric]
        if late is not None and results[name]["lag_ms"]:
            ax.plot([now["value"], late], [place, place], color=colour, linewidth=1, alpha=0.45, zorder=1)
            ax.plot(late, place, **(look | {"markerfacecolor": "white", "zorder": 2}))
        if now["value"] is not None:
            ends = [[now["value"] - (now["low"] or now["value"])], [(now["high"] or now["value"]) - now["value"]]]
            ax.errorbar(now["value"], place, xerr=np.maximum(ends, 0), capsize=2.5, zorder=3, **look)
        if results[name][MEAN][metric]["value"] is not None:
            ax.plot(results[name][MEAN][metric]["value"], place, marker="|", markersize=11, color=colour, alpha=0.7, zorder=2)
    heading = METRICS[metric][0]
    ax.set_title(heading.replace(" at ", "\nat ") if len(heading) > 22 else heading, fontsize=11)
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


def _separate(ax: Axes, kinds: Sequence[str]) -> None:
    """A line between kinds of systems."""
    for place in range(1, len(kinds)):
        if kinds[place] != kinds[place - 1]:
            ax.axhline(place - 0.5, color="#BBBBBB", linewidth=0.8, zorder=0)


def _legend(fig: Figure, n: int) -> None:
    def mark(label: str, **look) -> Line2D:
        return Line2D([], [], **({"color": "#444444", "linestyle": "none", "markersize": 7} | look), label=label)

    handles = [
        mark(f"as it comes, weighted by {n} /p b m/, 95 % interval", marker="o"),
        mark("lag, fitted on training recordings, taken out", marker="o", markerfacecolor="white"),
        mark("mean over sources", marker="|", markersize=11),
        mark("chance", marker="", linestyle=(0, (2, 2)), color="#777777"),
    ]
    fig.legend(handles=handles, loc="outside lower center", ncols=4, frameon=False, fontsize=9.5)


def _auc_in(facts: Mapping, condition: str) -> float | None:
    groups = facts.get("conditions", {}).get(condition, {})
    return groups[WEIGHTED]["auc"]["value"] if WEIGHTED in groups else None


def _colour(name: str, kind: str) -> str:
    if kind == PEER:
        return PEER_COLOUR
    bare = name.removesuffix("-int8").removesuffix("-float16")
    return "#8A8A8A" if kind == ENVELOPE else MODEL_COLOURS.get(bare, OTHER_COLOUR)


def _words(condition: str) -> str:
    for found, shown in WORDS.items():
        condition = condition.replace(found, shown)
    return condition.replace("level -", "level −")
