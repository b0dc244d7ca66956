"""The embedded corpus: speech synthesised by espeak-ng, with exact phone times and ground-truth rig curves.

Splits differ in voice: no espeak variant speaks in two of them, but for the degraded copy of the test split. The languages of
the unseen-languages test speak in no other split.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from tqdm import tqdm

from facedistill.core.manifest import SYNTHETIC, Utterance
from facedistill.core.sections import SyntheticParams
from facedistill.core.sound import SAMPLE_RATE_HZ
from facedistill.corpora.sentences import HELD_OUT, SENTENCES, utterance_texts
from facedistill.corpora.truth import truth_curves
from facedistill.rig.curves import write_shard
from facedistill.speech.audio import write_flac
from facedistill.speech.augment import add_noise, add_room, telephone
from facedistill.speech.espeak import VARIANTS, Voice, synthesize
from facedistill.speech.phones import Phone, write_phones

SHARD_UTTERANCES = 500
NOISE_SNR_DB, ROOM_RT60_S, ROOM_WET_DB = 10.0, 0.4, -3.0

Degrade = Callable[[np.ndarray, np.random.Generator], np.ndarray]
DEGRADATIONS: dict[str, Degrade] = {
    "noise": lambda audio, rng: add_noise(audio, snr_db=NOISE_SNR_DB, tilt=1.0, rng=rng),
    "room": lambda audio, rng: add_room(audio, rt60_s=ROOM_RT60_S, wet_db=ROOM_WET_DB, rng=rng),
    "telephone": lambda audio, rng: telephone(audio),
}


@dataclass(frozen=True)
class Plan:
    """What one split holds."""

    split: str
    languages: Sequence[str]
    variants: Sequence[str]
    hours: float
    with_truth: bool
    sentences: Path = SENTENCES


def plans(params: SyntheticParams, seed: int) -> list[Plan]:
    """Deals voice variants to splits by a seeded shuffle; no sentence of training is spoken in a test."""
    shuffled = np.random.default_rng([seed, 0]).permutation(VARIANTS).tolist()
    voices: dict[str, list[str]] = {}
    for split, count in params.voices.model_dump().items():
        voices[split], shuffled = shuffled[:count], shuffled[count:]
    seen, unseen, hours = params.languages, params.unseen_languages, params.hours
    return [
        Plan("paired", seen, voices["paired"], hours.paired, True),
        Plan("unlabelled", seen, voices["unlabelled"], hours.unlabelled, False),
        Plan("validation", seen, voices["validation"], hours.validation, True, HELD_OUT),
        Plan("test-voices", seen, voices["test"], hours.test, True, HELD_OUT),
        Plan("test-languages", unseen, voices["test"], hours.test, True),
    ]


def spoken(plan: Plan, params: SyntheticParams, seed: int) -> Iterator[tuple[str, Voice, str, np.ndarray, list[Phone]]]:
    """Speaks a split: (text, voice, id, audio, phones) until its hours are full, languages and voices in turn."""
    rng = np.random.default_rng([seed, *plan.split.encode()])
    rngs = zip(plan.languages, rng.spawn(len(plan.languages)), strict=True)
    texts = {language: utterance_texts(language, own, plan.sentences) for language, own in rngs}
    spoken_samples, number = 0, 0
    while spoken_samples < plan.hours * 3600 * SAMPLE_RATE_HZ:
        language = plan.languages[number % len(plan.languages)]
        voice = Voice(
            language=language,
            variant=plan.variants[int(rng.integers(len(plan.variants)))],
            rate_wpm=int(rng.uniform(*params.rate_wpm)),
            pitch=int(rng.uniform(*params.pitch)),
            pitch_range=int(rng.uniform(*params.pitch_range)),
        )
        text = next(texts[language])
        audio, phones = synthesize(text, voice)
        yield text, voice, f"{plan.split}-{number:05d}-{language}-{voice.variant.lower()}", audio, phones
        spoken_samples += len(audio)
        number += 1


def synthetic_corpus(folder: Path, params: SyntheticParams, *, articulation: float, seed: int) -> list[Utterance]:
    """Writes audio, phones and curves of all synthetic splits below `folder`; returns the manifest's rows.

    Args:
        articulation: how far the mouth moves; 1 is clear speech.
    """
    splits = [_write_split(folder, plan, params, articulation=articulation, seed=seed) for plan in plans(params, seed)]
    return sum(splits, [])


def _write_split(folder: Path, plan: Plan, params: SyntheticParams, *, articulation: float, seed: int) -> list[Utterance]:
    rows: list[Utterance] = []
    shards: dict[str, dict[str, np.ndarray]] = {}
    with tqdm(total=round(plan.hours * 3600), desc=f"prepare {plan.split}", unit="s", mininterval=5) as progress:
        for number, (text, voice, key, audio, phones) in enumerate(spoken(plan, params, seed)):
            row = _row(plan, number, key, voice, text, audio)
            rows.append(row)
            write_flac(folder / row.audio, audio)
            if plan.with_truth:
                write_phones(folder / row.phones, phones)
                curves = truth_curves(audio, phones, seed=seed + number, strength=articulation)
                shards.setdefault(row.curves, {})[key] = curves
            if plan.split == "test-voices":
                copy = _degraded(folder, row, audio, number, seed)
                rows.append(copy)
                shards.setdefault(copy.curves, {})[copy.id] = curves  # it moves like the clean one
            progress.update(min(round(row.duration_s), progress.total - progress.n))
    for shard, curves in shards.items():
        write_shard(folder / shard, curves)
    return rows


def _row(plan: Plan, number: int, key: str, voice: Voice, text: str, audio: np.ndarray) -> Utterance:
    split = plan.split
    row = Utterance(
        id=key, source=SYNTHETIC, speaker=voice.variant, language=voice.language, split=split, audio=f"audio/{split}/{key}.flac",
        duration_s=round(len(audio) / SAMPLE_RATE_HZ, 6), transcript=text, licence="generated",
    )  # fmt: skip
    shard = f"curves/{split}-{number // SHARD_UTTERANCES:05d}.npz"
    truth = {"phones": f"phones/{split}/{key}.tsv", "phoneset": "ipa", "label_kind": "exact", "curves": shard}
    return replace(row, **truth) if plan.with_truth else row


def _degraded(folder: Path, clean: Utterance, audio: np.ndarray, number: int, seed: int) -> Utterance:
    """Writes the utterance with noise, in a room or through a telephone, in turn."""
    kind = list(DEGRADATIONS)[number % len(DEGRADATIONS)]
    key = f"{clean.id}-{kind}"
    path = f"audio/test-noisy/{key}.flac"
    write_flac(folder / path, DEGRADATIONS[kind](audio, np.random.default_rng([seed, number])))
    return replace(clean, id=key, split="test-noisy", audio=path, curves="curves/test-noisy-00000.npz")
