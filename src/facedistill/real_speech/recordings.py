"""Recordings with timed phones, of any manifest, and what a lip reader sees of their phones.

Phones are sorted into five classes by their labels alone, whatever the alphabet, so that labels of a phoneset that this project
does not know serve too, and so that an independent scorer can do the same.
"""

import re
from collections import Counter
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np

from facedistill.core.errors import InputError
from facedistill.core.manifest import Utterance, read_manifest
from facedistill.face.phones import read_phones
from facedistill.measure.closures import PHONE_OPENING
from facedistill.speech.espeak import STRESS_MARKS

SILENCE, BILABIAL, LABIODENTAL, OTHER, VOWEL = CLASSES = ("silence", "bilabial", "labiodental", "other", "vowel")
OPENING = np.array([PHONE_OPENING[name] for name in CLASSES])  # of each class, 0 closed to 1 open
SILENT_LABELS = frozenset(("sil", "#", "", "pau", "sp", "<p:>", "[sil]", "&p:", "breath", "noise", "laugh", "fp", "spn"))
BILABIAL_LABELS = frozenset(("p", "b", "m", "pʰ", "bʱ", "p:", "b:", "m:", "pː", "bː", "mː"))
ARPABET_VOWELS = frozenset("aa ae ah ao aw ay eh er ey ih iy ow oy uh uw ax".split())
VOWEL_LETTERS = frozenset("aeiouyæɐɑɒɔəɚɛɜɝɪɨɵøœʉʊʌɯ@{}")
SAMPA_VOWELS = frozenset("AEIOUVQ{2936@")  # capitals and digits, which are other things in IPA


@dataclass(frozen=True, eq=False)
class Recording:
    """One recording with its phones.

    Attributes:
        row: as in the manifest.
        audio: its file.
        starts_s, ends_s: (P,) float64 seconds, ascending.
        classes: (P,) int, indices of `CLASSES`.
        labels: (P,) labels as they are in the file.
    """

    row: Utterance
    audio: Path
    starts_s: np.ndarray
    ends_s: np.ndarray
    classes: np.ndarray
    labels: tuple[str, ...]

    @property
    def name(self) -> str:
        """The last part of the id, which names files of curves."""
        return self.row.id.rsplit("/", 1)[-1]


def read_recordings(manifest: Path, split: str, *, max_per_source: int | None = None) -> list[Recording]:
    """The recordings of a split that have phones.

    Args:
        manifest: JSON Lines of `core.manifest.Utterance`.
        split: that of the recordings.
        max_per_source: keeps so many of every source, evenly spread in the order of the manifest.

    Raises:
        InputError: no such manifest, phones that cannot be read, or two recordings whose files of curves would be one.
    """
    rows = [row for row in read_manifest(manifest) if row.split == split and row.phones]
    if max_per_source is not None:
        rows = spread(rows, max_per_source)
    found = [_recording(manifest.parent, row) for row in rows]
    name, times = Counter(recording.name for recording in found).most_common(1)[0] if found else ("", 0)
    if times > 1:
        raise InputError(f"{manifest}: {times} recordings of {split} are called {name!r}; allowed: names without a double")
    return found


def spread(rows: list[Utterance], most: int) -> list[Utterance]:
    """At most so many rows of every source, evenly spread."""
    kept = []
    for source in dict.fromkeys(row.source for row in rows):
        members = [row for row in rows if row.source == source]
        kept += [members[index] for index in np.linspace(0, len(members) - 1, min(len(members), most)).round().astype(int)]
    return kept


def _recording(root: Path, row: Utterance) -> Recording:
    phones = read_phones(root / row.phones)
    return Recording(
        row,
        root / row.audio,
        np.array([phone.start_s for phone in phones], np.float64),
        np.array([phone.end_s for phone in phones], np.float64),
        np.array([CLASSES.index(phone_class(phone.label, row.phoneset or "")) for phone in phones], int),
        tuple(phone.label for phone in phones),
    )


@cache
def phone_class(label: str, phoneset: str) -> str:
    """What is seen of a phone, one of `CLASSES`.

    Args:
        label: of any alphabet: IPA, SAMPA, MRPA or ARPAbet, with or without stress.
        phoneset: the manifest's words for the alphabet: with "arpabet" or "cmu" in it vowels are ARPAbet's; with "IPA" in it V, Q
            and digits are no vowels.
    """
    label = label.strip().lstrip(STRESS_MARKS)
    lower = label.lower()
    if lower in SILENT_LABELS:
        return SILENCE
    bare = re.sub(r"[0-9ˈˌ]+$", "", lower)
    if bare in BILABIAL_LABELS:
        return BILABIAL
    if bare in ("f", "v"):
        return LABIODENTAL
    if "arpabet" in phoneset or "cmu" in phoneset:
        return VOWEL if bare in ARPABET_VOWELS else OTHER
    if bare[:1] in VOWEL_LETTERS or ("IPA" not in phoneset and label[:1] in SAMPA_VOWELS):
        return VOWEL
    return OTHER
