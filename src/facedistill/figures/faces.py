"""Sheets of faces: every shape and viseme of a head, and what systems make of single sounds, with their errors as heat."""

from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib import colormaps
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from matplotlib.figure import Figure

from facedistill.corpora.viseme_targets import targets
from facedistill.figures.claims import Claim, judge
from facedistill.figures.sentence import TRUTH, label_row
from facedistill.render.portrait import HEAT, draw_difference, draw_picture, show_image
from facedistill.rig.arkit import CURVES, N_CURVES
from facedistill.rig.head import head
from facedistill.speech.phones import Phone, classify, sounds

# The 15 visemes of Oculus, each by a sound that has it.
VISEMES = {
    "sil": "", "PP": "p", "FF": "f", "TH": "θ", "DD": "d", "kk": "k", "CH": "ʃ", "SS": "s", "nn": "n", "RR": "ɹ",
    "aa": "a", "E": "ɛ", "ih": "i", "oh": "o", "ou": "u",
}  # fmt: skip
SHEET_COLUMNS, SHEET_PIXELS = 10, 260
FACE_PIXELS, LOWER_FACE = 560, np.s_[280:530, 60:375]  # and the part of a picture that holds nose, mouth and chin
LIMIT_MM = 6.0  # of the heat
CLOSED_MM, NEAR_MM = 1.0, 3.0  # what counts as closed lips, and as near to the truth
LARGEST = {"gap_mm": "Largest lip gap", "error_mm": "Largest error of a point"}


def shapes_figure(face: Path | None = None) -> Figure:
    """The 52 shapes of a glTF head, or the built-in one, at full weight, and the 15 visemes."""
    poses = dict(zip(CURVES, np.eye(N_CURVES, dtype=np.float32), strict=True))
    poses |= {f"viseme {name} /{ipa}/" if ipa else f"viseme {name}": targets(ipa)[0].weights for name, ipa in VISEMES.items()}
    n_rows = -(-len(poses) // SHEET_COLUMNS)
    fig, axes = plt.subplots(n_rows, SHEET_COLUMNS, figsize=(1.55 * SHEET_COLUMNS, 2.2 * n_rows), layout="constrained")
    for ax in axes.flat:
        ax.set_axis_off()
    for ax, (name, weights) in zip(axes.flat, poses.items(), strict=False):
        show_image(ax, draw_picture(weights, face=face, pixels=SHEET_PIXELS))
        ax.set_title(name, fontsize=8)
    return fig


def longest_instances(phones: Mapping[str, Sequence[Phone]], letters: Sequence[str]) -> dict[str, tuple[str, Phone]]:
    """The longest of each sound, an IPA letter, in the phones of utterances: {letter: (utterance, phone)}, where there is one."""
    spoken = ((utterance, phone) for utterance, found in phones.items() for phone in found)
    longest: dict[str, tuple[str, Phone]] = {}
    for utterance, phone in sorted(spoken, key=lambda one: one[1].start_s - one[1].end_s):
        found = [sound.letter for sound in sounds(phone.label)]
        if len(found) == 1:
            longest.setdefault(found[0], (utterance, phone))
    return {letter: longest[letter] for letter in letters if letter in longest}


def lips_table(poses: Mapping[str, Mapping[str, np.ndarray]]) -> pd.DataFrame:
    """{system: {sound: (K,) weights}}, "truth" among them -> columns system, sound, gap_mm, and error_mm, of the lips at most."""
    lips, truth = head().regions["lips"], {letter: head().vertices(weights) for letter, weights in poses[TRUTH].items()}
    rows = [
        (system, letter, float(head().lip_gap_mm(weights)),
         np.linalg.norm(head().vertices(weights)[lips] - truth[letter][lips], axis=-1).max())
        for system, found in poses.items() for letter, weights in found.items()
    ]  # fmt: skip
    return pd.DataFrame(rows, columns=["system", "sound", "gap_mm", "error_mm"])


def judge_lips(table: pd.DataFrame, split: str) -> pd.DataFrame:
    """Judges whether each model of `lips_table` closes its lips and has them where the truth has; see `claims.judge`."""
    claims, measured = [], {}
    for system, found in table[table["system"] != TRUTH].groupby("system", sort=False):
        closing = found[found["sound"].map(classify) == "bilabial"]
        for text, column, seen, limit_mm in (
            (f"The lips of `{system}` close", "gap_mm", closing, CLOSED_MM),
            (f"Every point of the lips of `{system}` is near", "error_mm", found, NEAR_MM),
        ):
            measure = f"{LARGEST[column]} on /{' '.join(seen['sound'])}/ (mm)"
            claims.append(Claim(text, system, measure, "≤", limit_mm))
            measured[split, system, measure, "value"] = seen[column].max(), np.nan, np.nan
    return judge(claims, measured, split)


def sounds_figure(poses: Mapping[str, Mapping[str, np.ndarray]]) -> Figure:
    """The lower face of every system in poses of `lips_table`, and below each how far its points are from those of the truth."""
    letters = list(poses[TRUTH])
    rows = [(name, is_heat) for name in poses for is_heat in (False, True) if name != TRUTH or not is_heat]
    size = (1.75 * len(letters), 1.42 * len(rows) + 0.6)
    fig, axes = plt.subplots(len(rows), len(letters), figsize=size, squeeze=False, layout="constrained")
    draws = {False: draw_picture, True: partial(draw_difference, limit_mm=LIMIT_MM)}
    for row, (name, is_heat) in zip(axes, rows, strict=True):
        for ax, letter in zip(row, letters, strict=True):
            weights = (poses[name][letter], poses[TRUTH][letter])[: 1 + is_heat]
            show_image(ax, draws[is_heat](*weights, pixels=FACE_PIXELS)[LOWER_FACE])
        label_row(row[0], f"{name}\nerror" if is_heat else name, name, x=-0.05, fontsize=10)
    for ax, letter in zip(axes[0], letters, strict=True):
        ax.set_title(f"/{letter}/")
    scale = ScalarMappable(Normalize(0, LIMIT_MM), colormaps[HEAT])
    meaning = "Distance of a point from the truth (mm); darker where the head turns away"
    fig.colorbar(scale, ax=axes, location="bottom", shrink=0.4, aspect=40, label=meaning)
    return fig
