"""Real recordings: any folder or manifest of audio becomes unlabelled or test data."""

import re
from collections.abc import Sequence
from dataclasses import replace
from fnmatch import fnmatchcase
from pathlib import Path

from tqdm import tqdm

from facedistill.core.errors import InputError
from facedistill.core.manifest import Utterance, read_manifest
from facedistill.core.sound import SAMPLE_RATE_HZ
from facedistill.face.phones import read_ipa, write_phones
from facedistill.speech.audio import AUDIO_SUFFIXES, list_recordings, read_audio, write_flac

SPLITS = {"train": "unlabelled", "unlabelled": "unlabelled", "test": "test-recordings", "test-recordings": "test-recordings"}


UNDETERMINED = "und"  # the language of a recording that nothing says it of (BCP 47)
HELD_OUT = "held-out"  # training recordings that no model learns from, to choose between models by


def import_recordings(folder: Path, source: Path, held_out: Sequence[str] = ()) -> list[Utterance]:
    """Converts recordings to 16 kHz mono FLAC below `folder`, and their phone labels to IPA.

    Args:
        source: a folder that is searched for audio: test data where phone labels lie beside a recording (`.tsv`: start_s, end_s,
            phone; IPA), unlabelled otherwise, with the transcript beside it (`.txt`), if any; or a manifest, whose `train` split
            is unlabelled data and whose `test` split, where it has phones, is test data.
        held_out: patterns of "source/speaker" and "source/id"; the unlabelled recordings that match one are split "held-out".

    Raises:
        InputError: nothing there, or a recording or label file that cannot be read.
    """
    utterances = [replace(row, split=SPLITS[row.split]) for row in found(source) if row.split in SPLITS]
    utterances = [row for row in utterances if row.split == "unlabelled" or row.phones is not None]
    utterances = [replace(row, split=HELD_OUT) if _is_held_out(row, held_out) else row for row in utterances]
    if not utterances:
        raise InputError(f"{source}: no recordings; allowed: a folder with {' '.join(AUDIO_SUFFIXES)} files, or a manifest")
    root = source if source.is_dir() else source.parent
    return [_import_one(folder, root, row) for row in tqdm(utterances, desc="prepare recordings", mininterval=5)]


def _is_held_out(row: Utterance, patterns: Sequence[str]) -> bool:
    names = (f"{row.source}/{row.speaker}", f"{row.source}/{row.id}")
    return row.split == "unlabelled" and any(fnmatchcase(name, pattern) for name in names for pattern in patterns)


def found(source: Path) -> list[Utterance]:
    """The rows of a manifest, or one row for each audio file below a folder, in path order."""
    if not source.is_dir():
        return read_manifest(source)
    return [_beside(source, path) for path in list_recordings(source)]


def _beside(source: Path, path: Path) -> Utterance:
    """The row of an audio file, with what lies beside it under the same name."""
    audio, transcript, phones = (path.with_suffix(suffix) for suffix in (path.suffix, ".txt", ".tsv"))
    return Utterance(
        id=path.relative_to(source).with_suffix("").as_posix(), source=source.name, speaker="unknown", language=UNDETERMINED,
        split="test" if phones.is_file() else "unlabelled", audio=audio.relative_to(source).as_posix(), duration_s=0.0,
        transcript=" ".join(transcript.read_text("utf-8", "replace").split()) if transcript.is_file() else None,
        phones=phones.relative_to(source).as_posix() if phones.is_file() else None,
    )  # fmt: skip


def _import_one(folder: Path, root: Path, row: Utterance) -> Utterance:
    audio = read_audio(root / row.audio)
    key = re.sub(r"[^\w.-]+", "_", f"{row.source}-{row.id}")
    changes = {"id": key, "audio": f"audio/{row.split}/{key}.flac", "duration_s": len(audio) / SAMPLE_RATE_HZ, "curves": None}
    write_flac(folder / changes["audio"], audio)
    if row.phones is not None:
        changes |= {"phones": f"phones/{row.split}/{key}.tsv", "phoneset": "ipa"}
        write_phones(folder / changes["phones"], read_ipa(root / row.phones, row.phoneset))
    return replace(row, **changes)
