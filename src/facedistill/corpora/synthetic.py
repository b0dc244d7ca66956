"""The embedded corpus: speech synthesised by espeak-ng, with exact phone times and ground-truth rig curves.

No espeak variant speaks in two splits, but for the copies of the test, and no unseen language in any but its own.
"""

import unicodedata
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import cycle
from pathlib import Path

import numpy as np
from tqdm import tqdm

from facedistill.core import SAMPLE_RATE_HZ
from facedistill.core.errors import InputError
from facedistill.core.manifest import SYNTHETIC, Utterance
from facedistill.core.paths import SENTENCES
from facedistill.core.sections import SyntheticParams
from facedistill.corpora.truth import truth_curves
from facedistill.rig.curves import write_shard
from facedistill.speech.audio import write_flac
from facedistill.speech.augment import add_noise, add_room, telephone
from facedistill.speech.espeak import VARIANTS, Voice, synthesize
from facedistill.speech.phones import Phone, write_phones

HELD_OUT = SENTENCES / "held-out"  # what the test voices say, in the languages of training: no training text has these
MIN_WORDS, MAX_WORDS = 4, 16
SHARD_UTTERANCES = 500
DEGRADATIONS: dict[str, Callable[[np.ndarray, np.random.Generator], np.ndarray]] = {
    "noise": lambda audio, rng: add_noise(audio, snr_db=10.0, tilt=1.0, rng=rng),
    "room": lambda audio, rng: add_room(audio, rt60_s=0.4, wet_db=-3.0, rng=rng),
    "telephone": lambda audio, rng: telephone(audio),
}


@dataclass(frozen=True)
class Plan:
    """What one split holds."""

    split: str
    languages: Sequence[str]
    variants: Sequence[str]
    hours: float
    sentences: Path = SENTENCES


def plans(params: SyntheticParams, seed: int) -> list[Plan]:
    """Deals voice variants to splits by a seeded shuffle; no sentence of training is spoken in a test."""
    shuffled, counts = np.random.default_rng([seed, 0]).permutation(VARIANTS), params.voices.model_dump()
    paired, unlabelled, validation, test, _ = np.split(shuffled, np.cumsum(list(counts.values())))
    seen, hours = params.languages, params.hours
    return [
        Plan("paired", seen, paired, hours.paired),
        Plan("unlabelled", seen, unlabelled, hours.unlabelled),
        Plan("validation", seen, validation, hours.validation, HELD_OUT),
        Plan("test-voices", seen, test, hours.test, HELD_OUT),
        Plan("test-languages", params.unseen_languages, test, hours.test),
    ]


def synthetic_corpus(folder: Path, params: SyntheticParams, *, articulation: float, seed: int) -> list[Utterance]:
    """Writes audio, phones and curves of all synthetic splits below `folder`; returns the manifest's rows."""
    splits = [_write_split(folder, plan, params, articulation=articulation, seed=seed) for plan in plans(params, seed)]
    return sum(splits, [])


def _write_split(folder: Path, plan: Plan, params: SyntheticParams, *, articulation: float, seed: int) -> list[Utterance]:
    rows: list[Utterance] = []
    shards: dict[str, dict[str, np.ndarray]] = {}
    with tqdm(total=round(plan.hours * 3600), desc=f"prepare {plan.split}", unit="s", mininterval=5) as progress:
        for number, (row, audio, phones) in enumerate(_spoken(plan, params, seed)):
            rows.append(row)
            write_flac(folder / row.audio, audio)
            if row.phones is not None:
                write_phones(folder / row.phones, phones)
                curves = truth_curves(audio, phones, seed=seed + number, strength=articulation)
                shards.setdefault(row.curves, {})[row.id] = curves
            if plan.split == "test-voices":
                copy = _degraded(folder, row, audio, number, seed)
                rows.append(copy)
                shards.setdefault(copy.curves, {})[copy.id] = curves  # it moves like the clean one
            progress.update(min(round(row.duration_s), progress.total - progress.n))
    for shard, curves in shards.items():
        write_shard(folder / shard, curves)
    return rows


def _spoken(plan: Plan, params: SyntheticParams, seed: int) -> Iterator[tuple[Utterance, np.ndarray, list[Phone]]]:
    """Speaks a split, languages and voices in turn, until its hours are full."""
    rng = np.random.default_rng([seed, *plan.split.encode()])
    rngs = zip(plan.languages, rng.spawn(len(plan.languages)), strict=True)
    texts = {language: utterance_texts(language, own, plan.sentences) for language, own in rngs}
    n_spoken = 0
    for number, language in enumerate(cycle(plan.languages)):
        if n_spoken >= plan.hours * 3600 * SAMPLE_RATE_HZ:
            return
        variant = str(plan.variants[rng.integers(len(plan.variants))])
        rate_wpm, pitch, pitch_range = (int(rng.uniform(*ends)) for ends in (params.rate_wpm, params.pitch, params.pitch_range))
        text = next(texts[language])
        audio, phones = synthesize(text, Voice(language, variant, rate_wpm, pitch, pitch_range))
        n_spoken += len(audio)
        key = f"{plan.split}-{number:05d}-{language}-{variant.lower()}"
        row = Utterance(
            id=key, source=SYNTHETIC, speaker=variant, language=language, split=plan.split, transcript=text, licence="generated",
            audio=f"audio/{plan.split}/{key}.flac", duration_s=round(len(audio) / SAMPLE_RATE_HZ, 6),
        )  # fmt: skip
        shard = f"curves/{plan.split}-{number // SHARD_UTTERANCES:05d}.npz"
        truth = {"phones": f"phones/{plan.split}/{key}.tsv", "phoneset": "ipa", "label_kind": "exact", "curves": shard}
        yield replace(row, **truth) if plan.split != "unlabelled" else row, audio, phones


def _degraded(folder: Path, clean: Utterance, audio: np.ndarray, number: int, seed: int) -> Utterance:
    """Writes the utterance with noise, in a room or through a telephone, in turn."""
    kind = list(DEGRADATIONS)[number % len(DEGRADATIONS)]
    key = f"{clean.id}-{kind}"
    path = f"audio/test-noisy/{key}.flac"
    write_flac(folder / path, DEGRADATIONS[kind](audio, np.random.default_rng([seed, number])))
    return replace(clean, id=key, split="test-noisy", audio=path, curves="curves/test-noisy-00000.npz")


def read_sentences(language: str, folder: Path = SENTENCES) -> list[str]:
    """Reads the sentences of a language (espeak-ng's name of it), one a line, blank lines left out."""
    path = folder / f"{language}.txt"
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except FileNotFoundError:
        allowed = " ".join(sorted(file.stem for file in folder.glob("*.txt")))
        raise InputError(f"{path}: no sentences for language {language!r}; expected {allowed}") from None
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: cannot be read as sentences ({error})") from None
    sentences = [line.strip() for line in lines if line.strip()]
    if not sentences:
        raise InputError(f"{path}: no sentence in it; expected one a line")
    return sentences


def utterance_texts(language: str, rng: np.random.Generator, folder: Path = SENTENCES) -> Iterator[str]:
    """Draws texts without end: first every sentence once in random order, so that all phonemes occur, then recombinations.

    These are words of the language, as many as in its sentences: sounds meet in ever new contexts, whatever the number of hours.
    """
    sentences = read_sentences(language, folder)
    yield from rng.permutation(sentences).tolist()
    words = [word for sentence in sentences for word in _words(sentence)]
    mean_letters = sum(map(len, words)) / len(sentences)
    while True:
        drawn = [words[index] for index in rng.integers(len(words), size=MAX_WORDS)]
        n_letters = rng.uniform(0.9, 1.6) * mean_letters  # 2 to 5 s of speech
        n_words = int(np.searchsorted(np.cumsum([len(word) for word in drawn]), n_letters)) + 1
        drawn = drawn[: max(n_words, MIN_WORDS)]
        if rng.random() < 0.3:  # a comma, with two words or more around it
            drawn[rng.integers(1, len(drawn) - 2)] += ","
        yield " ".join(drawn) + ("?" if rng.random() < 0.2 else ".")


def _words(sentence: str) -> Iterator[str]:
    """The words of a sentence: split at spaces, punctuation around them taken away, apostrophes and hyphens inside kept."""
    for token in sentence.split():
        if letters := [index for index, character in enumerate(token) if unicodedata.category(character)[0] in "LMN"]:
            yield token[letters[0] : letters[-1] + 1]
