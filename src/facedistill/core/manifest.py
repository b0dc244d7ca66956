"""The one manifest format of every corpus: JSON Lines, one utterance a line, paths relative to the manifest's folder."""

import json
import math
import posixpath
import unicodedata
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, fields, replace
from itertools import product
from pathlib import Path, PureWindowsPath

import numpy as np

from facedistill.core.errors import InputError
from facedistill.core.files import write_text


@dataclass(frozen=True)
class Utterance:
    """One recording or synthetic utterance; `None` means unknown or absent."""

    id: str
    source: str  # corpus name
    speaker: str
    language: str  # BCP 47 or espeak name
    split: str
    audio: str  # path relative to the manifest's folder
    duration_s: float
    transcript: str | None = None
    phones: str | None = None  # TSV: start_s, end_s, phone
    phoneset: str | None = None  # alphabet of the phone labels
    label_kind: str | None = None  # exact, hand, forced, aligned (by this project), teacher or none
    curves: str | None = None  # npz shard that holds the rig curves under the utterance's id
    licence: str | None = None
    measured: str | None = None  # npz of lips that a camera measured, see `measure.test_sets`
    offset_s: float | None = None  # what is measured at t belongs to the sound at t + offset_s


SYNTHETIC = "espeak-ng"  # source of all speech that espeak-ng speaks
OPTIONAL = {field.name for field in fields(Utterance) if field.default is None}
PATHS = ("audio", "phones", "curves", "measured")
NUMBERS = ("duration_s", "offset_s")


def read_manifest(path: Path) -> list[Utterance]:
    """Reads a manifest, see `Utterance`; unknown keys are ignored so that foreign manifests with more columns serve too."""
    if not path.is_file():
        raise InputError(f"{path}: no such manifest; expected JSON Lines with one utterance a line")
    names, utterances = {field.name for field in fields(Utterance)}, []
    try:
        lines = path.read_text(encoding="utf-8").split("\n")
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: cannot be read as a manifest ({error}); expected JSON Lines") from None
    for number, line in enumerate(lines[:-1] if lines[-1] == "" else lines, start=1):
        try:
            row = json.loads(line)
            utterances.append(Utterance(**{key: value for key, value in row.items() if key in names}))
            _check(utterances[-1])
        except (ValueError, OverflowError, RecursionError, AttributeError, TypeError) as error:
            raise InputError(f"{path}: line {number} is not an utterance ({error})") from None
    return utterances


def _check(utterance: Utterance) -> None:
    """Raises TypeError or ValueError for a value of the wrong type, no seconds, or no name of a file."""
    for name, value in asdict(utterance).items():
        if value is None and name in OPTIONAL:
            continue
        allowed = (int, float) if name in NUMBERS else (str,)
        if not isinstance(value, allowed):
            raise TypeError(f"{name}: {value!r} is no {allowed[0].__name__}")
        if name in NUMBERS and not (math.isfinite(value) and (value >= 0 or name == "offset_s")):
            raise ValueError(f"{name}: {value}; expected seconds")
        # No file is named with control characters and halves of letters.
        if name in ("id", *PATHS) and any(unicodedata.category(letter) in ("Cc", "Cs") for letter in value):
            raise ValueError(f"{name}: {ascii(value)}; expected no control characters")
    place = PureWindowsPath(utterance.id)  # which knows what leads out of a folder anywhere
    if place.anchor or ".." in place.parts or not place.parts:
        raise ValueError(f"id: {utterance.id!r}; expected the name of a file, since labels are written under it")


def write_manifest(path: Path, utterances: Iterable[Utterance]) -> None:
    """Writes a manifest atomically."""
    rows = [asdict(utterance) for utterance in utterances]
    for row, name in product(rows, ("measured", "offset_s")):  # rare: not written where absent
        if row[name] is None:
            del row[name]
    write_text(path, "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows))


def select(utterances: Iterable[Utterance], *splits: str) -> list[Utterance]:
    """The utterances of the given splits, in manifest order."""
    return [utterance for utterance in utterances if utterance.split in splits]


def hours(utterances: Iterable[Utterance]) -> float:
    """How long they last together."""
    return sum(utterance.duration_s for utterance in utterances) / 3600


def evenly_spaced(members: Sequence, n_wanted: int) -> list:
    """Up to `n_wanted` of some things, evenly spaced from the first to the last."""
    return [members[index] for index in np.linspace(0, len(members) - 1, min(len(members), n_wanted)).round().astype(int)]


def rebase_paths(utterance: Utterance, folder: str) -> Utterance:
    """An utterance as seen from elsewhere: its paths go through `folder`, which leads from there to its manifest's."""
    paths = {name: getattr(utterance, name) for name in PATHS}
    return replace(utterance, **{name: path and posixpath.normpath(f"{folder}/{path}") for name, path in paths.items()})
