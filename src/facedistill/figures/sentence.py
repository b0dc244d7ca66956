"""One utterance of the corpus: a film of it, its curves over time under its phones, and faces at its key moments."""

import base64
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
from IPython.display import HTML
from matplotlib.axes import Axes
from matplotlib.figure import Figure, SubFigure

from facedistill.core import SAMPLE_RATE_HZ
from facedistill.core.manifest import Utterance, evenly_spaced, read_manifest, select
from facedistill.core.paths import DATA
from facedistill.figures.style import MODEL_COLOURS, TRUTH_COLOUR
from facedistill.render.film import FILM, Look, Panel, Strip, rendered
from facedistill.render.portrait import draw_picture, show_image
from facedistill.rig.arkit import INDEX
from facedistill.rig.curves import FPS, read_curves
from facedistill.rig.head import head
from facedistill.speech.audio import read_audio
from facedistill.speech.phones import Phone, classify, read_phones

TRUTH, GAP = "truth", "lip gap"  # a system, and a panel that is no curve of the rig
SHADES = {"bilabial": "#F2B8A0", "labiodental": "#BFE3D0"}  # of phone classes that the eye checks first
FACE_PIXELS = 300
LOOK = Look(fps=30.0, size_px=320)


@dataclass(frozen=True, eq=False)
class Example:
    """One utterance."""

    row: Utterance
    samples: np.ndarray  # (S,) mono at 16 kHz
    phones: Sequence[Phone]  # timed, IPA
    truth: np.ndarray  # (T, K) curves at 60 fps


def load_example(split: str, number: int = 0) -> Example:
    """Loads an utterance of a split of data/prepare by its number, modulo how many there are."""
    folder = DATA / "prepare"
    rows = select(read_manifest(folder / "manifest.jsonl"), split)
    row = rows[number % len(rows)]
    return Example(row, read_audio(folder / row.audio), read_phones(folder / row.phones), read_curves(folder, [row])[row.id])


def show_clip(curves: Mapping[str, np.ndarray], example: Example) -> HTML:
    """A film with its sound: the faces of some (T, K) curves at 60 fps side by side, below them the sound and its phones."""
    panels = [Panel(name, frames[:: round(FPS / LOOK.fps)]) for name, frames in curves.items()]
    sound = Strip(example.samples, SAMPLE_RATE_HZ, example.phones)
    with rendered(panels, Path(tempfile.gettempdir(), f"clip{FILM}"), LOOK, sound=sound, strip=True, quiet=True) as film:
        content = base64.b64encode(film.read()).decode()
    return HTML(f'<video controls width="{len(panels) * LOOK.size_px}" src="data:video/mp4;base64,{content}"></video>')


def pose_at(curves: np.ndarray, phone: Phone) -> np.ndarray:
    """The row of (T, K) curves at 60 fps in the middle of a phone."""
    return curves[min(round((phone.start_s + phone.end_s) / 2 * FPS), len(curves) - 1)]


def key_phones(phones: Sequence[Phone], *, n: int, first_s: float, last_s: float) -> list[Phone]:
    """Up to `n` phones within a stretch of time, in order: the lips' own ones first, then the longest vowels."""
    inside = [phone for phone in phones if phone.label and phone.start_s >= first_s and phone.end_s <= last_s]
    lips = [phone for phone in inside if classify(phone.label) in SHADES]
    selected = evenly_spaced(lips, (n + 1) // 2)
    others = [phone for phone in inside if phone not in selected]
    others.sort(key=lambda phone: (classify(phone.label) != "vowel", phone.start_s - phone.end_s))
    return sorted((selected + others)[:n], key=lambda phone: phone.start_s)


def sentence_figure(
    curves: Mapping[str, np.ndarray],
    phones: Sequence[Phone],
    *,
    first_s: float,
    last_s: float,
    faces: Sequence[str] = (),
    panels: Sequence[str] = (GAP, "jawOpen", "mouthPucker"),
    n_faces: int = 8,
    title: str = "",
) -> Figure:
    """Panels (`GAP` or rig curves) of {system: (T, K) curves at 60 fps} in one utterance, its phones, and faces at key phones."""
    heights = [1.5 * len(faces), 2.6 + 1.5 * (len(panels) - 1)]
    fig = plt.figure(figsize=(13, sum(heights)), layout="constrained")
    top, bottom = fig.subfigures(2, 1, height_ratios=heights) if faces else (None, fig)
    moments = key_phones(phones, n=n_faces, first_s=first_s, last_s=last_s) if faces else []
    if moments:
        _draw_faces(top, {name: curves[name] for name in faces}, moments)
    axes = bottom.subplots(len(panels), 1, sharex=True, squeeze=False, height_ratios=[2.2] + [1.2] * (len(panels) - 1))[:, 0]
    for ax, panel in zip(axes, panels, strict=True):
        _draw_panel(ax, panel, curves, phones)
    # IPA labels stand on two levels, so that short phones do not collide; those with a face are bold.
    for number, phone in enumerate(phone for phone in phones if phone.end_s > first_s and phone.start_s < last_s):
        axes[0].text(
            (phone.start_s + phone.end_s) / 2, 1.02 + 0.09 * (number % 2), phone.label, ha="center", va="bottom", fontsize=9,
            transform=axes[0].get_xaxis_transform(), fontweight="bold" if phone in moments else "normal", clip_on=False,
        )  # fmt: skip
    axes[-1].set(xlabel="Time (s)", xlim=(first_s, last_s))
    handles, labels = axes[0].get_legend_handles_labels()
    bottom.legend(handles, labels, loc="outside lower center", ncols=len(labels), frameon=False, fontsize=9)
    fig.suptitle(title, fontsize=11)
    return fig


def _draw_faces(fig: SubFigure, curves: Mapping[str, np.ndarray], moments: Sequence[Phone]) -> None:
    """A row of faces a system, a column a moment: the middle of the phone that stands above it."""
    axes = fig.subplots(len(curves), len(moments), squeeze=False)
    for row, (name, frames) in zip(axes, curves.items(), strict=True):
        for ax, phone in zip(row, moments, strict=True):
            show_image(ax, draw_picture(pose_at(frames, phone), pixels=FACE_PIXELS))
        label_row(row[0], name, name, x=-0.12)
    for ax, phone in zip(axes[0], moments, strict=True):
        ax.set_title(f"/{phone.label}/ {(phone.start_s + phone.end_s) / 2:.2f} s", fontsize=10)


def label_row(ax: Axes, text: str, system: str, *, x: float, **style: object) -> None:
    """Writes a name beside a face in the colour of its system: the axes of a face have no frame and so no label of their own."""
    colour = MODEL_COLOURS.get(system, TRUTH_COLOUR)
    ax.text(x, 0.5, text, transform=ax.transAxes, rotation=90, va="center", ha="right", color=colour, **style)


def _draw_panel(ax: Axes, panel: str, curves: Mapping[str, np.ndarray], phones: Sequence[Phone]) -> None:
    """Curves over the shades of phones, of which each class stands once in the legend."""
    labels = {"bilabial": "/p b m/", "labiodental": "/f v/"}
    for phone, kind in ((phone, classify(phone.label)) for phone in phones):
        if kind in SHADES:
            ax.axvspan(phone.start_s, phone.end_s, color=SHADES[kind], linewidth=0, label=labels.pop(kind, None), zorder=0)
    for name, frames in curves.items():
        values = head().lip_gap_mm(frames) if panel == GAP else frames[:, INDEX[panel]]
        look = {"color": MODEL_COLOURS.get(name, TRUTH_COLOUR), "linewidth": 2.4 if name == TRUTH else 1.4}
        ax.plot(np.arange(len(values)) / FPS, values, label=name, **look)
    if panel == GAP:
        ax.axhline(head().gap_neutral_mm, color="black", linewidth=0.8, linestyle=":", label="at rest")
    ax.set_ylabel("Lip gap (mm)" if panel == GAP else panel)
    ax.grid(axis="x", visible=False)
