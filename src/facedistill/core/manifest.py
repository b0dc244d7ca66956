"""The one manifest format of every corpus: JSON Lines, one utterance a line, paths relative to the manifest's folder."""

import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass, fields
from pathlib import Path

from facedistill.core.errors import InputError
from facedistill.core.files import write_jsonl


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
    label_kind: str | None = None  # exact, hand, forced or none
    curves: str | None = None  # npz shard that holds the rig curves under the utterance's id
    licence: str | None = None


def read_manifest(path: Path) -> list[Utterance]:
    """Reads a manifest; unknown keys are ignored so that foreign manifests with more columns serve too.

    Raises:
        InputError: the file is missing, a line is not a JSON object, or a key is missing.
    """
    if not path.is_file():
        raise InputError(f"{path}: no such manifest; expected JSON Lines with one utterance a line")
    names = {field.name for field in fields(Utterance)}
    utterances = []
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), start=1):
        try:
            row = json.loads(line)
            utterances.append(Utterance(**{key: value for key, value in row.items() if key in names}))
        except (json.JSONDecodeError, AttributeError, TypeError) as error:
            raise InputError(f"{path}: line {number} is not an utterance ({error})") from None
    return utterances


def write_manifest(path: Path, utterances: Iterable[Utterance]) -> None:
    """Writes a manifest atomically."""
    write_jsonl(path, (asdict(utterance) for utterance in utterances))


def select(utterances: Iterable[Utterance], *splits: str) -> list[Utterance]:
    """The utterances of the given splits, in manifest order."""
    return [utterance for utterance in utterances if utterance.split in splits]
