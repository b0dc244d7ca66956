"""The figures of one utterance: curves over time under its phones, and faces at its key moments."""

from collections.abc import Mapping, Sequence

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure, SubFigure

from facedistill.core.manifest import evenly_spaced
from facedistill.figures.style import MODEL_COLOURS, TRUTH_COLOUR
from facedistill.render.portrait import draw_picture, show_image
from facedistill.rig.arkit import INDEX
from facedistill.rig.curves import FPS
from facedistill.rig.head import head
from facedistill.speech.phones import Phone, classify

TRUTH = "truth"
SHADES = {"bilabial": "#F2B8A0", "labiodental": "#BFE3D0"}
FACE_PIXELS = 300
PANEL_LABELS = {"lip gap": "Lip gap (mm)"}  # every other panel is a curve of the rig, 0 to 1


def pose_at(curves: np.ndarray, phone: Phone) -> np.ndarray:
    """The row of (T, K) curves at 60 fps in the middle of a phone."""
    return curves[min(round((phone.start_s + phone.end_s) / 2 * FPS), len(curves) - 1)]


def key_phones(phones: Sequence[Phone], *, n: int, first_s: float, last_s: float) -> list[Phone]:
    """Up to `n` phones within a stretch of time, in order: the lips' own ones first, then the longest vowels."""
    inside = [phone for phone in phones if phone.label and phone.start_s >= first_s and phone.end_s <= last_s]
    lips = [phone for phone in inside if classify(phone.label) in SHADES]
    selected = evenly_spaced(lips, (n + 1) // 2)
    others = sorted((phone for phone in inside if phone not in selected), key=lambda phone: phone.start_s - phone.end_s)
    vowels = [phone for phone in others if classify(phone.label) == "vowel"]
    rest = [phone for phone in others if phone not in vowels]
    return sorted((selected + vowels + rest)[:n], key=lambda phone: phone.start_s)


def sentence_figure(
    curves: Mapping[str, np.ndarray],
    phones: Sequence[Phone],
    *,
    first_s: float,
    last_s: float,
    faces: Sequence[str] = (),
    panels: Sequence[str] = ("lip gap", "jawOpen", "mouthPucker"),
    n_faces: int = 8,
    title: str = "",
) -> Figure:
    """Curves of several systems over a stretch of one utterance, with its phones, and rows of faces at key phones.

    Args:
        curves: {system: (T, K) at 60 fps}; "truth" is drawn black.
        phones: the timed phones of the utterance (IPA).
        first_s, last_s: the stretch.
        faces: the systems whose face is drawn, one row each.
        panels: "lip gap" or names of rig curves.
        n_faces: key moments; fewer where there are not so many phones.
    """
    fig = plt.figure(figsize=(13, 1.5 * len(faces) + 2.6 + 1.5 * (len(panels) - 1)), layout="constrained")
    heights = [1.5 * len(faces), 2.6 + 1.5 * (len(panels) - 1)]
    top, bottom = fig.subfigures(2, 1, height_ratios=heights) if faces else (None, fig)
    moments = key_phones(phones, n=n_faces, first_s=first_s, last_s=last_s) if faces else []
    if moments:
        _faces(top, {name: curves[name] for name in faces}, moments)
    axes = bottom.subplots(len(panels), 1, sharex=True, squeeze=False, height_ratios=[2.2] + [1.2] * (len(panels) - 1))[:, 0]
    for ax, panel in zip(axes, panels, strict=True):
        _shade(ax, phones)
        _panel(ax, panel, curves)
    _label_phones(axes[0], [phone for phone in phones if phone.end_s > first_s and phone.start_s < last_s], moments)
    axes[-1].set(xlabel="Time (s)", xlim=(first_s, last_s))
    handles, labels = axes[0].get_legend_handles_labels()
    bottom.legend(handles, labels, loc="outside lower center", ncols=len(labels), frameon=False, fontsize=9)
    fig.suptitle(title, fontsize=11)
    return fig


def _faces(fig: SubFigure, curves: Mapping[str, np.ndarray], moments: Sequence[Phone]) -> None:
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


def _panel(ax: Axes, panel: str, curves: Mapping[str, np.ndarray]) -> None:
    for name, frames in curves.items():
        values = head().lip_gap_mm(frames) if panel == "lip gap" else frames[:, INDEX[panel]]
        thick = 2.4 if name == TRUTH else 1.4
        ax.plot(np.arange(len(values)) / FPS, values, color=MODEL_COLOURS.get(name, TRUTH_COLOUR), linewidth=thick, label=name)
    if panel == "lip gap":
        ax.axhline(head().gap_neutral_mm, color="black", linewidth=0.8, linestyle=":", label="at rest")
    ax.set_ylabel(PANEL_LABELS.get(panel, panel))
    ax.grid(axis="x", visible=False)


def _shade(ax: Axes, phones: Sequence[Phone]) -> None:
    """Shades bilabials and labiodentals, which the eye checks first; each class once in the legend."""
    words = {"bilabial": "/p b m/", "labiodental": "/f v/"}
    for phone in phones:
        kind = classify(phone.label)
        if kind in SHADES:
            ax.axvspan(phone.start_s, phone.end_s, color=SHADES[kind], linewidth=0, label=words.pop(kind, None), zorder=0)


def _label_phones(ax: Axes, phones: Sequence[Phone], moments: Sequence[Phone]) -> None:
    """IPA labels along the top, on two levels so that short phones do not collide; those with a face are bold."""
    for number, phone in enumerate(phones):
        ax.text(
            (phone.start_s + phone.end_s) / 2, 1.02 + 0.09 * (number % 2), phone.label, transform=ax.get_xaxis_transform(),
            ha="center", va="bottom", fontsize=9, fontweight="bold" if phone in moments else "normal", clip_on=False,
        )  # fmt: skip
