"""Test sets: utterances with what is known of them, as they are or degraded, and the scores of systems on them."""

import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from scipy.ndimage import uniform_filter1d
from tqdm import tqdm

from facedistill.core import SAMPLE_RATE_HZ
from facedistill.core.errors import InputError
from facedistill.core.manifest import Utterance
from facedistill.core.params import Params
from facedistill.measure.scores import Face, MeasuredLips, Truth, UtteranceScores, score_utterance
from facedistill.measure.systems import System
from facedistill.models.networks import parallel_map
from facedistill.rig.curves import read_curves
from facedistill.rig.head import head
from facedistill.speech.audio import read_audio
from facedistill.speech.augment import add_noise, coloured_noise, telephone, with_gain
from facedistill.speech.phones import Phone, read_ipa

TILT = 1.0  # of all noise here: power falls with frequency, as in rooms
SPEECH_BELOW_DB = 20.0  # frames of measured lips count where the sound is at most so much below its loud ones
LOUD_PERCENTILE, POWER_S, SPEECH_FRAMES = 95, 0.05, 7
Audio = np.ndarray  # (S,) float32 at 16 kHz
Condition = Callable[[Audio, np.random.Generator], Audio]


@dataclass(frozen=True, eq=False)
class Example:
    """One utterance of a test set; its phones are in IPA."""

    row: Utterance
    audio: Audio
    phones: list[Phone]
    truth: Truth | None = None
    lips: MeasuredLips | None = None


def load_examples(root: Path, rows: Sequence[Utterance]) -> list[Example]:
    """Reads the utterances of a test set, whose paths are relative to `root`; InputError where a file is missing or broken."""
    known, face = read_curves(root, rows), Face(head())

    def load(row: Utterance) -> Example:
        audio = read_audio(root / row.audio)
        phones = read_ipa(root / row.phones, row.phoneset) if row.phones else []
        truth = Truth(known[row.id], face) if row.id in known else None
        lips = _measured_lips(root / row.measured, audio, row.offset_s or 0.0) if row.measured else None
        return Example(row, audio, phones, truth, lips)

    return parallel_map(load, rows)


def measure(
    systems: Iterable[System], test_sets: Mapping[str, Sequence[Example]]
) -> Iterator[tuple[str, dict[str, list[UtteranceScores]]]]:
    """(system, {test set: the raw scores of its examples}) of systems, which are loaded one at a time."""
    for system in tqdm(list(systems), desc="evaluate", unit="system", mininterval=5):
        animate = system.load()
        audios = {name: [example.audio for example in examples] for name, examples in test_sets.items()}
        yield system.name, {name: score(examples, animate(audios[name])) for name, examples in test_sets.items()}


def score(examples: Sequence[Example], curves: Sequence[np.ndarray], *, lag_s: float = 0.0) -> list[UtteranceScores]:
    """The raw scores of finite (T, K) curves at 60 fps, one an example; closure scores compensate that they are `lag_s` late."""
    face = Face(head())

    def one(example: Example, pred: np.ndarray) -> UtteranceScores:
        if not np.isfinite(pred).all():
            raise InputError(f"{example.row.id}: curves that are not finite; expected numbers")
        return score_utterance(pred, example.phones, face, truth=example.truth, lips=example.lips, lag_s=lag_s)

    return parallel_map(one, examples, curves)


def interval_options(params: Params, examples: Sequence[Example]) -> dict[str, object]:
    """How `bootstrap.aggregate` and `compare` draw intervals over examples: by voice, and by the same draws at every call."""
    voices = [(example.row.source, example.row.speaker) for example in examples]
    return {"n_boot": params.evaluate.bootstrap, "groups": voices, "rng": np.random.default_rng(params.seed)}


def conditions(levels_db: Sequence[float], snrs_db: Sequence[float]) -> dict[str, Condition]:
    """{name: what recordings are put through}: levels, stationary noise, the telephone band."""
    found: dict[str, Condition] = {f"level{db:+g}db": lambda audio, rng, db=db: with_gain(audio, db) for db in levels_db}
    found |= {f"noise-snr{db:g}db": lambda audio, rng, db=db: add_noise(audio, snr_db=db, tilt=TILT, rng=rng) for db in snrs_db}
    return found | {"telephone": lambda audio, rng: telephone(audio)}


def degraded(examples: Sequence[Example], condition: Condition, *, seed: int) -> list[Example]:
    """Examples in a condition; what is random depends on the seed and on the id alone, what is too loud is clipped."""
    rngs = [np.random.default_rng([seed, zlib.crc32(example.row.id.encode())]) for example in examples]
    audios = [np.clip(condition(example.audio, rng), -1, 1) for example, rng in zip(examples, rngs, strict=True)]
    return [replace(example, audio=audio.astype(np.float32)) for example, audio in zip(examples, audios, strict=True)]


def non_speech(duration_s: float, levels_db: Sequence[float], *, seed: int) -> dict[str, list[Example]]:
    """{name: one example without phones}: digital silence, and noise at each level in dB full scale."""
    n_samples = round(duration_s * SAMPLE_RATE_HZ)
    sounds = {"silence": np.zeros(n_samples, np.float32)}
    for level_db in levels_db:
        noise = coloured_noise(n_samples, tilt=TILT, rng=np.random.default_rng(seed))
        sounds[f"room{level_db:+g}dbfs"] = with_gain(noise, level_db)
    row = Utterance("", "non-speech", "", "und", "test", "", duration_s)
    return {name: [Example(replace(row, id=name), audio, [])] for name, audio in sounds.items()}


def _measured_lips(path: Path, audio: Audio, offset_s: float) -> MeasuredLips:
    """Reads what a camera measured, in frames of speech: times_s, valid, inner_gap and width, (T,) each."""
    try:
        with np.load(path, allow_pickle=False) as file:
            times_s, valid, gap, width = (file[name] for name in ("times_s", "valid", "inner_gap", "width"))
        times_s = times_s.astype(np.float64)
        kept = valid.astype(bool) & _is_speech(audio, times_s)
        return MeasuredLips(times_s[kept] + offset_s, gap[kept].astype(np.float64), width[kept].astype(np.float64))
    except Exception as error:  # zipfile, zlib and NumPy have one for every fault, without a common base
        raise InputError(f"{path}: not measured lips ({error}); expected times_s, valid, inner_gap and width") from None


def _is_speech(audio: Audio, times_s: np.ndarray) -> np.ndarray:
    """(T,) bool, and a few frames around."""
    power = uniform_filter1d(np.square(audio, dtype=np.float64), int(POWER_S * SAMPLE_RATE_HZ))
    level_db = 10 * np.log10(power[np.minimum((times_s * SAMPLE_RATE_HZ).astype(int), len(power) - 1)] + 1e-9)
    loud = level_db > np.percentile(level_db, LOUD_PERCENTILE) - SPEECH_BELOW_DB
    return uniform_filter1d(loud.astype(np.float64), SPEECH_FRAMES) > 0
