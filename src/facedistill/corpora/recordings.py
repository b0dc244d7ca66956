"""Real recordings as unlabelled or test data: any folder or manifest of audio, and LibriSpeech by its published layout."""

import os
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from fnmatch import fnmatchcase
from functools import partial
from inspect import Parameter, signature
from pathlib import Path
from typing import Literal, get_args

import soundfile as sf
from pydantic import create_model
from torchaudio.datasets import LIBRISPEECH
from tqdm import tqdm

from facedistill.core import SAMPLE_RATE_HZ
from facedistill.core.errors import InputError
from facedistill.core.manifest import Utterance, read_manifest
from facedistill.core.params import validated
from facedistill.core.paths import ROOT
from facedistill.core.sections import Section
from facedistill.speech.audio import AUDIO_SUFFIXES, list_recordings, read_audio, write_flac
from facedistill.speech.phones import read_ipa, write_phones

UNDETERMINED = "und"  # the language of a recording that nothing says it of (BCP 47)
HELD_OUT = "held-out"  # training recordings that no model learns from, to choose between models by


Training = Literal["train-clean-100", "train-clean-360", "train-other-500"]  # subsets of LibriSpeech
Test = Literal["test-clean", "test-other"]


def import_recordings(folder: Path, path: str, held_out: tuple[str, ...] = ()) -> list[Utterance]:
    """Converts recordings to 16 kHz mono FLAC below `folder`, and their phone labels to IPA.

    A path is a folder with audio: test data where phones lie beside it (`.tsv`: start_s, end_s, phone; IPA), else unlabelled,
    perhaps with a transcript (`.txt`); or a manifest, whose `train` split is unlabelled data and whose `test` split is test data
    where it has phones. Patterns of "source/speaker" and "source/id" tell which unlabelled ones are held out.
    """
    source = ROOT / path
    is_folder = source.is_dir()
    rows = [_beside(source, path) for path in list_recordings(source)] if is_folder else read_manifest(source)
    splits = [(row, _split_of(row, held_out)) for row in rows]
    utterances = [replace(row, split=split) for row, split in splits if split is not None]
    if not utterances:
        raise InputError(f"{source}: no recordings; expected a folder with {' '.join(AUDIO_SUFFIXES)} files, or a manifest")
    root = source if is_folder else source.parent
    return [_import_one(folder, root, row) for row in tqdm(utterances, desc="prepare recordings", mininterval=5)]


def _split_of(row: Utterance, held_out: Sequence[str]) -> str | None:
    """The split that a recording comes into; None: it is left out."""
    if row.split in ("test", "test-recordings"):
        return None if row.phones is None else "test-recordings"
    names = (f"{row.source}/{row.speaker}", f"{row.source}/{row.id}")
    is_held_out = any(fnmatchcase(name, pattern) for name in names for pattern in held_out)
    return (HELD_OUT if is_held_out else "unlabelled") if row.split in ("train", "unlabelled") else None


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


def librispeech(
    folder: Path, path: str, unlabelled: tuple[Training, ...] = get_args(Training), test: tuple[Test, ...] = get_args(Test)
) -> list[Utterance]:
    """The utterances of subsets of LibriSpeech/ below a path, whose FLAC is used where it lies; their paths are from `folder`."""
    splits = {"unlabelled": unlabelled, "test-librispeech": test}
    return [row for split, subsets in splits.items() for subset in subsets for row in _subset(folder, ROOT / path, subset, split)]


def _subset(folder: Path, root: Path, subset: str, split: str) -> list[Utterance]:
    archive = root / "LibriSpeech"
    try:
        dataset = LIBRISPEECH(root, url=subset, folder_in_archive=archive.name, download=False)
    except RuntimeError:
        raise InputError(f"prepare.corpora: {archive / subset} is not there; expected the published layout") from None
    if len(dataset) == 0:
        raise InputError(f"{archive / subset}: holds no .flac files; expected the published layout")
    return [_librispeech_row(folder, archive, dataset.get_metadata(index), split) for index in range(len(dataset))]


def _librispeech_row(folder: Path, archive: Path, metadata: tuple, split: str) -> Utterance:
    relative, _, transcript, speaker, chapter, number = metadata
    path = archive / relative
    try:
        info = sf.info(path)
    except sf.SoundFileError as error:
        raise InputError(f"{path}: not readable as audio ({error})") from None
    if info.samplerate != SAMPLE_RATE_HZ or info.channels != 1:
        raise InputError(f"{path}: {info.samplerate} Hz, {info.channels} channels; expected 16000 Hz, 1 channel")
    return Utterance(
        id=f"{speaker}-{chapter}-{number:04d}", source="librispeech", speaker=str(speaker), language="en", split=split,
        audio=Path(os.path.relpath(path, folder)).as_posix(), duration_s=info.duration, transcript=transcript,
        licence="CC BY 4.0",
    )  # fmt: skip


# Functions of a folder to write to, and of what an entry of prepare.corpora tells beside their name, `path` among it.
READERS = {"recordings": import_recordings, "librispeech": librispeech}


def reader_of(corpus: Mapping[str, object]) -> Callable[[Path], list[Utterance]]:
    """What reads a corpus into a folder, by its entry of prepare.corpora.

    Raises:
        InputError: no such reader, or keys and values that it does not take.
    """
    values = dict(corpus)
    reader = READERS.get(name := values.pop("reader", None))
    if reader is None:
        raise InputError(f"reader: {name!r}; expected {', '.join(READERS)}")
    taken = [parameter for parameter in signature(reader).parameters.values() if parameter.name != "folder"]
    fields = {one.name: (one.annotation, ... if one.default is Parameter.empty else one.default) for one in taken}
    return partial(reader, **dict(validated(create_model(name, __base__=Section, **fields), values)))
