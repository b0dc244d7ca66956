"""How figures and tables look and are saved: one style, one colour a model, the same bytes on every run."""

import base64
from collections.abc import Callable
from pathlib import Path

import matplotlib
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import PIL.Image
from IPython.display import HTML
from matplotlib.figure import Figure

from facedistill.core.files import atomic_path, write_text
from facedistill.core.paths import FIGURES
from facedistill.figures.provenance import provenance

DPI = 150
GREY, LIGHT_GREY = ".15", ".8"
UNKNOWN = "not made by a stage"
TRUTH_COLOUR = "#000000"
# Okabe & Ito (2008), "Color Universal Design", which colour-blind readers tell apart; darker for a student's ensemble, greys for
# the ablations and baselines.
MODEL_COLOURS = {
    "teacher": "#0072B2",
    "small": "#009E73",
    "on-device": "#D55E00",
    "real-time": "#CC79A7",
    "tiny-real-time": "#E69F00",
    "real-time-ensemble": "#9B3F73",
    "tiny-real-time-ensemble": "#A86F00",
    "paired-only": "#888888",
    "small-paired-only": "#A3B8AC",
    "amplitude-envelope": "#777777",
    "amplitude-envelope-whole-band": "#BBBBBB",
}


TICKS = {"color": GREY, "labelsize": 11, "major.size": 6, "major.width": 1.25, "minor.size": 4, "minor.width": 1}
STYLE = {  # seaborn's `whitegrid` in the context `notebook`, without the second that its import takes
    "axes.axisbelow": True, "axes.edgecolor": LIGHT_GREY, "axes.grid": True, "axes.labelcolor": GREY, "axes.labelsize": 12,
    "axes.linewidth": 1.25, "axes.prop_cycle": matplotlib.cycler(color=list(MODEL_COLOURS.values())[:5]),
    "axes.spines.right": False, "axes.spines.top": False, "axes.titlesize": 12, "figure.dpi": DPI, "figure.figsize": (8.0, 4.5),
    "font.sans-serif": ["Arial", "DejaVu Sans", "Liberation Sans", "Bitstream Vera Sans", "sans-serif"], "font.size": 12,
    "grid.color": LIGHT_GREY, "grid.linewidth": 1, "legend.fontsize": 11, "legend.title_fontsize": 12,
    "lines.solid_capstyle": "round", "patch.edgecolor": "w", "patch.force_edgecolor": True, "text.color": GREY,
    "xtick.bottom": False, "ytick.left": False, **{f"{axis}tick.{name}": value for axis in "xy" for name, value in TICKS.items()},
}  # fmt: skip


def set_style() -> None:
    """Sets the style of every figure: readable at half a page, colour-blind palette."""
    plt.rcParams.update(STYLE)


def save_figure(fig: Figure, stem: str, *, folder: Path = FIGURES) -> Path:
    """Saves a figure as `<stem>.png` and `<stem>.svg`, byte for byte the same on every run, and closes it.

    Args:
        fig: the figure.
        stem: the name shared by the figure, its notebook and its stage.
        folder: where to save.

    Returns:
        The PNG, for `show`; its metadata say what made it.
    """
    png, made_by = folder / f"{stem}.png", provenance(stem)
    # Neither format may name the date or the version; SVG ids are hashes with a salt that is random by default.
    metadata = {"Software": None, "Title": stem, "Source": str(made_by or UNKNOWN)}
    with matplotlib.rc_context({"svg.hashsalt": stem, "svg.fonttype": "path", "savefig.bbox": "tight"}):
        _save(png, lambda path: fig.savefig(path, format="png", dpi=DPI, metadata=metadata))
        svg = {"Date": None, "Creator": None}
        _save(png.with_suffix(".svg"), lambda path: fig.savefig(path, format="svg", metadata=svg))
    plt.close(fig)
    return png


def show(png: Path, *, width: int = 1100) -> HTML:
    """A saved figure for a notebook, with a caption that says what made it.

    Args:
        png: see `save_figure`.
        width: in pixels.
    """
    with PIL.Image.open(png) as image:
        source = image.text["Source"]
    content = base64.b64encode(png.read_bytes()).decode()
    caption = f"<figcaption><small>{png.stem}: {source}</small></figcaption>"
    return HTML(f'<figure><img width="{width}" src="data:image/png;base64,{content}">{caption}</figure>')


def error_bars(value: np.ndarray, low: np.ndarray, high: np.ndarray) -> np.ndarray:
    """(2, N) lengths for `errorbar`, below and above (N,) values; 0 where an end is not known."""
    value, low, high = (np.atleast_1d(np.asarray(ends, float)) for ends in (value, low, high))
    return np.nan_to_num([np.maximum(value - low, 0), np.maximum(high - value, 0)])


def save_table(
    frame: pd.DataFrame,
    stem: str,
    *,
    folder: Path = FIGURES,
    readable: pd.DataFrame | None = None,
    above: str = "",
    below: str = "",
) -> Path:
    """Saves a table as `<stem>.csv` (six significant digits) and `<stem>.md` (for readers, three decimals), without the index.

    Args:
        frame: the table; column names carry their units.
        stem: the name shared by the table, its notebook and its stage.
        folder: where to save.
        readable: what the Markdown shows instead of `frame`, where readers want it in another form than programs.
        above, below: Markdown around the table.

    Returns:
        The CSV.
    """
    csv = folder / f"{stem}.csv"
    write_text(csv, frame.to_csv(index=False, float_format="%.6g", lineterminator="\n"))
    shown = frame.copy() if readable is None else readable.copy()
    numeric = [pd.api.types.is_numeric_dtype(shown[name]) for name in shown]
    for name in shown.select_dtypes("floating"):
        shown[name] = [f"{value:.3f}" if pd.notna(value) else "" for value in shown[name]]
    align = ["right" if is_numeric else "left" for is_numeric in numeric]
    # Numbers that are text stay as they are: the caller has formatted them.
    text = shown.to_markdown(index=False, disable_numparse=True, colalign=align)
    write_text(csv.with_suffix(".md"), "\n\n".join(filter(None, (above, text, below))) + "\n")
    return csv


def _save(path: Path, save: Callable[[Path], None]) -> None:
    with atomic_path(path) as temporary:
        save(temporary)
