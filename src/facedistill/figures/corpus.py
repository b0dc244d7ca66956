"""What the prepared corpus holds, as tables for the figure of it."""

from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from facedistill.core.manifest import Utterance
from facedistill.speech.phones import CLASSES, classify, read_phones


def split_table(rows: Sequence[Utterance]) -> pd.DataFrame:
    """One row a split: split, hours, utterances, voices, languages."""
    frame = pd.DataFrame(
        [(row.split, row.duration_s / 3600, f"{row.source}/{row.speaker}", row.language) for row in rows],
        columns=["split", "hours", "voice", "language"],
    )
    groups = frame.groupby("split", sort=False)
    table = groups.agg(hours=("hours", "sum"), utterances=("hours", "size"), voices=("voice", "nunique"))
    return table.assign(languages=groups["language"].nunique()).reset_index()


def phone_table(rows: Sequence[Utterance], folder: Path) -> pd.DataFrame:
    """One row a labelled phone that is heard: split, label, class (one of `phones.CLASSES`), duration_ms.

    Args:
        folder: what the paths in `rows` are relative to.

    Raises:
        InputError: a phone file is missing or broken.
    """
    audio = [
        (row.split, phone.label, classify(phone.label), 1000 * (phone.end_s - phone.start_s))
        for row in rows
        if row.phones is not None
        for phone in read_phones(folder / row.phones)
        if phone.label
    ]
    frame = pd.DataFrame(audio, columns=["split", "label", "class", "duration_ms"])
    return frame.assign(**{"class": pd.Categorical(frame["class"], [name for name in CLASSES if name != "silence"])})


def speakers(rows: Sequence[Utterance], *splits: str) -> set[tuple[str, str]]:
    """(source, speaker) of everyone who speaks in the splits."""
    return {(row.source, row.speaker) for row in rows if row.split in splits}


def languages(rows: Sequence[Utterance], *splits: str) -> set[str]:
    """Languages spoken in the splits."""
    return {row.language for row in rows if row.split in splits}
