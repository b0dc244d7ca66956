"""What the prepared corpus holds, as tables and as a figure."""

from collections.abc import Sequence
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter

from facedistill.core.manifest import Utterance
from facedistill.speech.phones import CLASSES, classify, read_phones

CLASS_COLOURS = {"bilabial": "#D55E00", "labiodental": "#009E73", "vowel": "#0072B2", "other": "#BBBBBB"}
CLASS_NAMES = {"bilabial": "/p b m/", "labiodental": "/f v/", "vowel": "vowels", "other": "other consonants"}
LONGEST_MS, BIN_MS = 200, 10  # of the histogram


def split_table(rows: Sequence[Utterance]) -> pd.DataFrame:
    """One row a split: split, hours, utterances, voices, languages."""
    voices = [(row.split, row.duration_s / 3600, f"{row.source}/{row.speaker}", row.language) for row in rows]
    groups = pd.DataFrame(voices, columns=["split", "hours", "voice", "language"]).groupby("split", sort=False)
    columns = {"utterances": ("hours", "size"), "voices": ("voice", "nunique"), "languages": ("language", "nunique")}
    return groups.agg(hours=("hours", "sum"), **columns).reset_index()


def phone_table(rows: Sequence[Utterance], folder: Path) -> pd.DataFrame:
    """One row a labelled phone that is heard: split, label, class (one of `phones.CLASSES`), duration_ms."""
    audio = [
        (row.split, phone.label, classify(phone.label), 1000 * (phone.end_s - phone.start_s))
        for row in rows if row.phones is not None
        for phone in read_phones(folder / row.phones) if phone.label
    ]  # fmt: skip
    frame = pd.DataFrame(audio, columns=["split", "label", "class", "duration_ms"])
    return frame.assign(**{"class": pd.Categorical(frame["class"], [name for name in CLASSES if name != "silence"])})


def speakers(rows: Sequence[Utterance], *splits: str) -> set[tuple[str, str]]:
    """(source, speaker) of everyone who speaks in the splits."""
    return {(row.source, row.speaker) for row in rows if row.split in splits}


def languages(rows: Sequence[Utterance], *splits: str) -> set[str]:
    """Languages spoken in the splits."""
    return {row.language for row in rows if row.split in splits}


def corpus_figure(splits: pd.DataFrame, phones: pd.DataFrame) -> Figure:
    """Hours, voices and languages of each split; phone classes of each split; durations of /p b m/."""
    fig, (hours, classes, durations) = plt.subplots(1, 3, figsize=(14, 4.2), layout="constrained")
    bars = hours.barh(splits["split"], 60 * splits["hours"], color="#56B4E9")
    words = [f" {row.utterances:,} utterances, voices: {row.voices},\n languages: {row.languages}" for row in splits.itertuples()]
    hours.bar_label(bars, words, fontsize=8)
    hours.invert_yaxis()
    hours.grid(axis="y", visible=False)
    hours.set(xlabel="Speech (minutes)", xlim=(0, 60 * splits["hours"].max() * 2), title="Splits")
    shares = pd.crosstab(phones["split"], phones["class"], normalize="index").reindex(splits["split"]).dropna()
    counts, left = phones.groupby("split").size(), np.zeros(len(shares))
    names = [f"{split}\nn = {counts[split]:,}" for split in shares.index]
    for name in shares:
        classes.barh(names, shares[name], left=left, color=CLASS_COLOURS[name], label=CLASS_NAMES[name])
        left += shares[name].to_numpy()
    classes.invert_yaxis()
    classes.xaxis.set_major_formatter(PercentFormatter(1))
    classes.set(xlabel="Share of phones", xlim=(0, 1), title="Phone classes")
    classes.legend(fontsize=8, ncols=2, loc="upper center", bbox_to_anchor=(0.5, -0.17), frameon=False)
    # The degraded copies say again what the clean test says.
    bilabials = phones.loc[(phones["class"] == "bilabial") & (phones["split"] != "test-noisy"), "duration_ms"]
    bins = np.arange(0, LONGEST_MS + 1, BIN_MS)
    durations.hist(bilabials.clip(upper=LONGEST_MS), bins=bins, color=CLASS_COLOURS["bilabial"])
    durations.axvline(bilabials.median(), color="black", linestyle="--")
    durations.set(
        xlabel=f"Duration of /p b m/ (ms; last bin: {LONGEST_MS - BIN_MS} and more)", ylabel="Phones",
        title=f"Closures: median {bilabials.median():.0f} ms, n = {len(bilabials):,}",
    )  # fmt: skip
    return fig
