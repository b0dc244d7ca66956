"""How figures and tables look and are saved: one style, one colour a model, the same bytes on every run, and what made them."""

import base64
import json
from collections.abc import Mapping
from functools import reduce
from pathlib import Path, PurePath

import matplotlib
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import PIL.Image
import seaborn as sns
import yaml
from IPython.display import HTML
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import ArrayLike

from facedistill.core.files import atomic_path, sha256, write_text
from facedistill.core.paths import FIGURES, ROOT

DPI = 150
UNKNOWN = "not made by a stage"
LETTERS = 12  # of the hashes in a caption
CODE = "data/code/"  # a dep that is no data
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


def set_style() -> None:
    """Sets the seaborn theme of every figure: readable at half a page, colour-blind palette."""
    sns.set_theme(context="notebook", style="whitegrid", palette=list(MODEL_COLOURS.values())[:5], font_scale=1.0)
    plt.rcParams.update({"figure.figsize": (8.0, 4.5), "figure.dpi": DPI, "axes.spines.top": False, "axes.spines.right": False})


def save_figure(fig: Figure, stem: str, *, folder: Path = FIGURES) -> Path:
    """Saves a figure as `<stem>.svg` and the PNG that it returns, the same bytes on every run, and closes it."""
    png = folder / f"{stem}.png"
    # Neither format may name the date or the version; SVG ids are hashes with a salt that is random by default.
    made_by = {"Software": None, "Title": stem, "Source": provenance(stem)}
    for path, metadata in ((png, made_by), (png.with_suffix(".svg"), {"Date": None, "Creator": None})):
        style = {"svg.hashsalt": stem, "svg.fonttype": "path", "savefig.bbox": "tight", "savefig.dpi": DPI}
        with matplotlib.rc_context(style), atomic_path(path) as temporary:
            fig.savefig(temporary, format=path.suffix[1:], metadata=metadata)
    plt.close(fig)
    return png


def show(png: Path, *, width: int = 1100) -> HTML:
    """What `save_figure` saved, for a notebook, so many pixels wide, with a caption that says what made it."""
    with PIL.Image.open(png) as image:
        caption = f"<figcaption><small>{png.stem}: {image.text['Source']}</small></figcaption>"
    content = base64.b64encode(png.read_bytes()).decode()
    return HTML(f'<figure><img width="{width}" src="data:image/png;base64,{content}">{caption}</figure>')


def error_bars(value: ArrayLike, low: ArrayLike, high: ArrayLike) -> np.ndarray:
    """(2, N) lengths for `errorbar`, below and above (N,) values; 0 where an end is not known."""
    value, low, high = (np.atleast_1d(np.asarray(ends, float)) for ends in (value, low, high))
    return np.nan_to_num([np.maximum(value - low, 0), np.maximum(high - value, 0)])


def draw_intervals(ax: Axes, places: ArrayLike, ends: ArrayLike, *, along: str = "y", **look: object) -> None:
    """Draws (3, N) values with the ends of their intervals, along an axis, at (N,) places of the other."""
    value, low, high = np.asarray(ends, float)
    x, y = (places, value) if along == "y" else (value, places)
    ax.errorbar(x, y, **{f"{along}err": error_bars(value, low, high)}, **look)


def save_table(
    frame: pd.DataFrame,
    stem: str,
    *,
    folder: Path = FIGURES,
    readable: pd.DataFrame | None = None,
    above: str = "",
    below: str = "",
) -> Path:
    """Saves `<stem>.csv` (six significant digits) and `<stem>.md` (three decimals; `readable` instead, between two texts)."""
    csv = folder / f"{stem}.csv"
    write_text(csv, frame.to_csv(index=False, float_format="%.6g", lineterminator="\n"))
    shown = (frame if readable is None else readable).copy()
    align = ["right" if pd.api.types.is_numeric_dtype(shown[name]) else "left" for name in shown]
    for name in shown.select_dtypes("floating"):
        shown[name] = [f"{value:.3f}" if pd.notna(value) else "" for value in shown[name]]
    # Numbers that are text stay as they are: the caller has formatted them.
    text = shown.to_markdown(index=False, disable_numparse=True, colalign=align)
    write_text(csv.with_suffix(".md"), "\n\n".join(filter(None, (above, text, below))) + "\n")
    return csv


def provenance(figure: str, root: Path = ROOT) -> str:
    """The stage that makes figures/FIGURE.png and what it reads; `UNKNOWN` for what no stage makes, or where nothing was run yet.

    One hash is of the parameters that the stage reads, one of the files that it reads, which show all that was done before it:
    they change when DVC would make the figure anew for something else than code, and only then.
    """
    declared, locked = _declared(root), _read(root / "dvc.lock").get("stages", {})
    outs = [(name, out) for name, entry in declared.items() for out in (*entry.get("outs", []), *entry.get("plots", []))]
    stages = {path: name for name, out in outs for path in ([out] if isinstance(out, str) else out)}
    stage = stages.get(f"figures/{figure}.png")
    if stage is None or not locked:
        return UNKNOWN
    made = {out["path"]: out["md5"] for entry in locked.values() for out in entry.get("outs", [])}
    deps = [dep for dep in declared[stage].get("deps", []) if not dep.startswith(CODE)]
    read = [f"{path} {md5}" for dep in deps for path, md5 in _files(dep, made, root)]
    values, keys = _read(root / "params.yaml"), declared[stage].get("params", [])
    params = {key: reduce(lambda found, name: (found or {}).get(name), key.split("."), values) for key in keys}
    data = sha256(*read)[:LETTERS] if read else "none"
    return f"stage {stage}, params {sha256(json.dumps(params, sort_keys=True))[:LETTERS]}, data {data}"


def _declared(root: Path) -> dict[str, dict]:
    """The stages of dvc.yaml, those that are made for each of several names under their whole names."""
    stages = {}
    for name, entry in _read(root / "dvc.yaml").get("stages", {}).items():
        names = entry.get("foreach", [""])
        for key in () if isinstance(names, str) else names:  # students, variants and teachers of params.yaml, which draw nothing
            stages[f"{name}@{key}" if key else name] = json.loads(json.dumps(entry.get("do", entry)).replace("${key}", key))
    return stages


def _files(dep: str, made: Mapping, root: Path) -> list[tuple[str, str]]:
    """(path, hash) of what a dependency is: outputs of stages by dvc.lock, files of the repository by their content."""
    outs = [path for path in sorted(made) if PurePath(path).is_relative_to(dep) or PurePath(dep).is_relative_to(path)]
    if outs:
        return [(path, made[path]) for path in outs]
    return [(dep, sha256(*sorted(file for file in (root / dep, *(root / dep).rglob("*")) if file.is_file())))]


def _read(path: Path) -> dict:
    return yaml.load(path.read_text(encoding="utf-8"), yaml.CSafeLoader) or {} if path.is_file() else {}
