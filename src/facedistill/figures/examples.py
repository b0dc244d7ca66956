"""Examples of the corpus to hear and to watch in a notebook."""

import base64
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from IPython.display import HTML

from facedistill.core import SAMPLE_RATE_HZ
from facedistill.core.manifest import Utterance, read_manifest, select
from facedistill.core.paths import DATA
from facedistill.render.clip import Look, Panel, Strip
from facedistill.render.film import FILM, rendered
from facedistill.rig.curves import FPS, read_curves
from facedistill.speech.audio import read_audio
from facedistill.speech.phones import Phone, read_phones

LOOK = Look(fps=30.0, size_px=320)


@dataclass(frozen=True, eq=False)
class Example:
    """One utterance.

    Attributes:
        row: its line of the manifest.
        samples: (S,) mono at 16 kHz.
        phones: its timed phones (IPA).
        truth: (T, K) curves at 60 fps.
    """

    row: Utterance
    samples: np.ndarray
    phones: Sequence[Phone]
    truth: np.ndarray


def load_example(split: str, number: int = 0) -> Example:
    """Loads an utterance of a split of data/prepare by its number, modulo how many there are."""
    folder = DATA / "prepare"
    rows = select(read_manifest(folder / "manifest.jsonl"), split)
    row = rows[number % len(rows)]
    return Example(row, read_audio(folder / row.audio), read_phones(folder / row.phones), read_curves(folder, [row])[row.id])


def show_clip(curves: Mapping[str, np.ndarray], example: Example) -> HTML:
    """A film with its sound: faces side by side, below them the sound and its phones.

    Args:
        curves: {name: (T, K) at 60 fps, in arkit.CURVES order}.
        example: what is said.

    Raises:
        InputError: see `film.render`.
    """
    step = round(FPS / LOOK.fps)
    panels = [Panel(name, frames[::step]) for name, frames in curves.items()]
    sound = Strip(example.samples, SAMPLE_RATE_HZ, example.phones)
    with rendered(panels, Path(tempfile.gettempdir(), f"clip{FILM}"), LOOK, sound=sound, strip=True, quiet=True) as film:
        content = base64.b64encode(film.read()).decode()
    return HTML(f'<video controls width="{len(panels) * LOOK.size_px}" src="data:video/mp4;base64,{content}"></video>')
