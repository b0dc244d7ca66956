"""Any number of systems on the utterances of a split: what `evaluate` and `export` share."""

import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np
from tqdm import tqdm

from facedistill.core.manifest import Utterance
from facedistill.face.curves import FPS, read_curves
from facedistill.face.head import head
from facedistill.face.phones import read_phones
from facedistill.measure.scores import Face, Truth, UtteranceScores, score_utterance
from facedistill.models.workers import workers
from facedistill.speech.audio import read_audio

DIGITS = 5
Animate = Callable[[np.ndarray], np.ndarray]  # (S,) audio at 16 kHz -> (T, K) curves at 60 fps


def score_split(
    root: Path, rows: Sequence[Utterance], systems: Mapping[str, Animate], split: str
) -> dict[str, list[UtteranceScores]]:
    """The raw scores of every system, by name, utterance by utterance.

    Args:
        root: the folder that the utterances' paths are relative to.
        rows: utterances with phones.
        systems: {name: what animates}.
        split: what the progress bar says.

    Raises:
        InputError: audio, phones or curves are missing or broken.
    """
    known, face = read_curves(root, rows), Face.of(head())

    def score(row: Utterance) -> list[UtteranceScores]:
        audio, phones = read_audio(root / row.audio), read_phones(root / row.phones)
        truth = Truth.of(known[row.id], face) if row.id in known else None
        return [score_utterance(animate(audio), phones, fps=FPS, face=face, truth=truth) for animate in systems.values()]

    with workers() as pool:
        scored = list(tqdm(pool.map(score, rows), total=len(rows), desc=f"measure {split}", unit="utterance", mininterval=5))
    return {name: [scores[number] for scores in scored] for number, name in enumerate(systems)}


def rounded(value: object) -> object:
    """Rounds every float, and turns NaN (not measurable) into null: JSON has no NaN."""
    if isinstance(value, dict):
        return {key: rounded(item) for key, item in value.items()}
    if isinstance(value, float):
        return None if math.isnan(value) else round(value, DIGITS)
    return value
