"""LibriSpeech by its published folder layout; its FLAC is 16 kHz mono already and is used where it lies."""

import os
from pathlib import Path

import soundfile as sf
from torchaudio.datasets import LIBRISPEECH

from facedistill.core.errors import InputError
from facedistill.core.manifest import Utterance
from facedistill.core.sound import SAMPLE_RATE_HZ

FOLDER = "LibriSpeech"
LICENCE = "CC BY 4.0"


def librispeech_subset(folder: Path, root: Path, *, subset: str, split: str) -> list[Utterance]:
    """The utterances of one subset.

    Args:
        folder: the folder that audio paths are made relative to.
        root: the folder that holds LibriSpeech/train-clean-100/19/198/19-198.trans.txt and the like.
        subset: train-clean-100, test-other, ...

    Raises:
        InputError: the subset is not there, is empty, or holds a file that is not 16 kHz FLAC.
    """
    try:
        dataset = LIBRISPEECH(root, url=subset, folder_in_archive=FOLDER, download=False)
    except RuntimeError:
        raise InputError(
            f"prepare.librispeech.root: {root / FOLDER / subset} is not there; allowed: the published layout"
        ) from None
    if len(dataset) == 0:
        raise InputError(f"{root / FOLDER / subset}: holds no .flac files; allowed: the published layout")
    return [_utterance(folder, root / FOLDER, dataset.get_metadata(index), split) for index in range(len(dataset))]


def _utterance(folder: Path, archive: Path, metadata: tuple, split: str) -> Utterance:
    relative, _, transcript, speaker, chapter, number = metadata
    path = archive / relative
    try:
        info = sf.info(path)
    except sf.SoundFileError as error:
        raise InputError(f"{path}: not readable as audio ({error})") from None
    if info.samplerate != SAMPLE_RATE_HZ or info.channels != 1:
        raise InputError(f"{path}: {info.samplerate} Hz, {info.channels} channels; allowed: 16000 Hz, 1 channel")
    return Utterance(
        id=f"{speaker}-{chapter}-{number:04d}", source="librispeech", speaker=str(speaker), language="en", split=split,
        audio=Path(os.path.relpath(path, folder)).as_posix(), duration_s=info.duration, transcript=transcript, licence=LICENCE,
    )  # fmt: skip
