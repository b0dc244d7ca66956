"""The figure of the user study: how often one system is preferred to another."""

import matplotlib.pyplot as plt
import pandas as pd
from matplotlib.figure import Figure

from facedistill.figures.style import error_bars


def preference_figure(table: pd.DataFrame, said: str) -> Figure:
    """A row for each pair of systems: how often the first is preferred, with its interval; the other way round is the rest.

    Args:
        table: see `study.analysis.preferences`; it may be empty.
        said: what there is of answers, see `study.analysis.summary`.
    """
    pairs = table[table["system"] < table["other"]]
    fig, ax = plt.subplots(figsize=(8, 1.6 + 0.45 * len(pairs)), layout="constrained")
    if pairs.empty:
        ax.text(0.5, 0.5, said, ha="center", va="center", transform=ax.transAxes)
        ax.set_axis_off()
        return fig
    rates, rows = 100 * pairs[["rate", "low", "high"]], range(len(pairs))
    ax.errorbar(rates["rate"], rows, xerr=error_bars(*rates.to_numpy().T), fmt="o", color="C0", capsize=3)
    ax.axvline(50, color="0.5", linestyle="--", linewidth=1)
    names = [f"{row.system} rather than {row.other} (n = {row.n})" for row in pairs.itertuples()]
    ax.set(yticks=list(rows), yticklabels=names, xlim=(0, 100), xlabel="Preferred (%), with 95 % intervals over raters")
    ax.set_title(said, fontsize=10)
    ax.invert_yaxis()
    return fig
