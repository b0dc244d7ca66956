"""Training data: which utterances are used, and batches of their random crops, degraded, with the curves at wanted times."""

from collections.abc import Sequence
from itertools import pairwise
from operator import attrgetter
from pathlib import Path

import numpy as np
import soundfile as sf
import torch
from torch import Tensor

from facedistill.core import SAMPLE_RATE_HZ
from facedistill.core.errors import InputError
from facedistill.core.manifest import SYNTHETIC, Utterance
from facedistill.core.sections import AugmentParams, DataParams
from facedistill.corpora.coarticulation import MIN_GAP_S
from facedistill.rig.controls import Controls, arkit
from facedistill.rig.curves import FPS, at_times, read_curves
from facedistill.speech.augment import augment, non_speech
from facedistill.speech.phones import LETTERS, Phone, read_phones, sounds

SILENCE = ""
LABELS = (SILENCE, *LETTERS)
PHONE_CLASS = {letter: number for number, letter in enumerate(LABELS)}
N_PHONE_CLASSES = len(LABELS)
UNKNOWN = -100  # what cross-entropy leaves out
TO_REST_S = 0.1  # after which the face rests where a recording ends
BELOW_REST = -0.05  # the target on non-speech audio: curves in use stop at 0, so noise below it is not seen
LEAST_SPREAD, LEAST_RATIO = 0.05, 0.05  # of ARKit's weights, about what can be seen; of the widest of other controls
NO_CURVES = np.zeros((1, 0), np.float32)


class Corpus:
    """Utterances of one folder with their rig curves; audio stays on disk, curves in memory."""

    def __init__(
        self, root: Path, utterances: Sequence[Utterance], *, with_curves: bool = True, controls: Controls | None = None
    ) -> None:
        """Reads the curves of utterances whose paths are relative to `root`, of ARKit's controls if None; without, for phones."""
        if not utterances:
            raise InputError(f"{root / 'manifest.jsonl'}: no utterances to train on")
        self.root, self.controls, self.utterances = root, controls or arkit(), list(utterances)
        self.rest, curves = NO_CURVES[0], dict.fromkeys((row.id for row in utterances), NO_CURVES)
        if with_curves:
            self.rest, curves = self.controls.rest, read_curves(root, utterances, len(self.controls.names))
        self.rest_target = self.rest + (BELOW_REST if self.controls.are_arkit else 0)
        missing = [row.id for row in utterances if row.id not in curves]
        if missing:
            raise InputError(f"{root}: no curves for {len(missing)} utterances, the first is {missing[0]}")
        self.curves = {key: frames.astype(np.float16) for key, frames in curves.items()}
        self.phones = {row.id: phone_classes(read_phones(root / row.phones)) for row in utterances if row.phones}
        durations_s = np.array([row.duration_s for row in utterances])
        self.odds = durations_s / durations_s.sum()

    @property
    def files(self) -> list[Path]:
        """The manifest and the shards of curves."""
        return [self.root / "manifest.jsonl", *sorted({self.root / row.curves for row in self.utterances})]

    def crop(self, index: int, start: int, n_samples: int) -> np.ndarray:
        """(n_samples,) float32 of an utterance from sample `start`; outside the recording is silence."""
        path, audio, before = self.root / self.utterances[index].audio, np.zeros(n_samples, np.float32), max(-start, 0)
        found, _ = sf.read(path, start=max(start, 0), stop=max(start + n_samples, 0), dtype="float32")
        audio[before : before + len(found)] = found
        return audio

    def curve_scale(self) -> Tensor:
        """(K,) the unit of the losses: each curve's standard deviation over all frames, not below a floor."""
        spread = np.concatenate(list(self.curves.values())).astype(np.float32).std(axis=0)
        floor = LEAST_SPREAD if self.controls.are_arkit else max(LEAST_RATIO * spread.max(), np.finfo(np.float32).tiny)
        return torch.from_numpy(np.maximum(spread, np.float32(floor)))


def phone_classes(phones: Sequence[Phone]) -> tuple[np.ndarray, np.ndarray]:
    """(N,) ascending starts in s, the first -inf, and (N,) classes of sounds and silences; labels of several are split evenly."""
    starts_s, classes, clock_s = [], [], -np.inf
    for phone in phones:
        if phone.start_s - clock_s > MIN_GAP_S:
            starts_s.append(clock_s)
            classes.append(PHONE_CLASS[SILENCE])
        letters = [sound.letter for sound in sounds(phone.label)] or [SILENCE]
        starts_s += [phone.start_s + (phone.end_s - phone.start_s) * part / len(letters) for part in range(len(letters))]
        classes += [PHONE_CLASS[letter] for letter in letters]
        clock_s = phone.end_s
    return np.array([*starts_s, clock_s]), np.array([*classes, PHONE_CLASS[SILENCE]], np.int64)


def phones_of(classes: np.ndarray) -> list[Phone]:
    """The timed phones of (T,) classes frame by frame at `FPS`: a run of one class is one phone."""
    edges = np.concatenate([[0], np.flatnonzero(np.diff(classes)) + 1, [len(classes)]])
    return [Phone(first / FPS, last / FPS, LABELS[classes[first]]) for first, last in pairwise(edges.tolist())]


def at_rest_outside(frames: np.ndarray, times_s: np.ndarray, duration_s: float, rest: np.ndarray) -> np.ndarray:
    """(T, K) curves at (T,) times that come to (K,) rest within `TO_REST_S` of a recording's ends."""
    outside_s = np.maximum(np.maximum(-times_s, times_s - duration_s), 0)
    return rest + (frames - rest) * np.clip(1 - outside_s / TO_REST_S, 0, 1)[:, None].astype(np.float32)


def batch(
    corpus: Corpus,
    *,
    size: int,
    n_samples: int,
    times_s: np.ndarray,
    params: AugmentParams,
    rng: np.random.Generator,
    views: int = 1,
) -> tuple[Tensor, Tensor, Tensor]:
    """Draws B random crops of S samples, by duration; they may hang over both ends by up to a quarter of their length.

    Returns:
        (V B, S) augmented audio, of which crop b is in rows b, B + b, ... in V views; (V B, T, K) curves at (T,) `times_s` of the
        crops; and (V B, T) int64 phone classes, UNKNOWN where there are no labels.
    """
    audio = np.empty((views, size, n_samples), np.float32)
    targets, classes = [], np.full((size, len(times_s)), UNKNOWN)
    for row, index in enumerate(rng.choice(len(corpus.utterances), size, p=corpus.odds)):
        key, duration_s = corpus.utterances[index].id, corpus.utterances[index].duration_s
        speed = rng.uniform(*params.speed)  # > 1: faster, higher, and shorter vocal tract
        n_source = round(n_samples * speed)
        overhang = min(n_source, n_samples) // 4
        last_start = round(duration_s * SAMPLE_RATE_HZ) - n_source + overhang
        start = int(rng.integers(-overhang, max(last_start, -overhang + 1)))
        source = corpus.crop(index, start, n_source)
        resampled = np.interp(np.linspace(0, n_source - 1, n_samples), np.arange(n_source), source).astype(np.float32)
        for view in audio:
            view[row] = augment(resampled, params, rng)
        source_times_s = start / SAMPLE_RATE_HZ + times_s * speed
        frames = at_times(corpus.curves[key].astype(np.float32), source_times_s)
        targets.append(at_rest_outside(frames, source_times_s, duration_s, corpus.rest))
        if key in corpus.phones:
            starts_s, known = corpus.phones[key]
            classes[row] = known[np.searchsorted(starts_s, source_times_s, side="right") - 1]
        if rng.random() < params.non_speech:
            for view in audio:
                view[row] = non_speech(n_samples, params.non_speech_db, rng)
            targets[-1], classes[row] = np.broadcast_to(corpus.rest_target, frames.shape), PHONE_CLASS[SILENCE]
    tiled = np.tile(np.stack(targets), (views, 1, 1)), np.tile(classes, (views, 1))
    return tuple(map(torch.from_numpy, (audio.reshape(-1, n_samples), *tiled)))


def subsample(rows: Sequence[Utterance], data: DataParams, seed: int) -> list[Utterance]:
    """The utterances of the wanted sources, languages, voices and share of the hours (at least one), in the manifest's order.

    They are drawn at random; what a smaller number draws is part of what a larger one does. InputError where nothing is left.
    """
    kept = [row for row in rows if data.sources == "all" or (row.source == SYNTHETIC) == (data.sources == "synthetic")]
    drawn = ((data.languages, attrgetter("language")), (data.voices, attrgetter("source", "speaker")))
    for number, (n_wanted, group) in enumerate(drawn):
        groups = list(dict.fromkeys(map(group, kept)))
        order = np.random.default_rng([seed, number]).permutation(len(groups))
        wanted = {groups[index] for index in order[:n_wanted]}
        kept = [row for row in kept if group(row) in wanted]
    if not kept:
        raise InputError(f"distill.data: no utterances with {data.model_dump()}; expected what the labels hold")
    order = np.random.default_rng([seed, len(drawn)]).permutation(len(kept))
    ends_s = np.cumsum([kept[index].duration_s for index in order])
    n_kept = np.count_nonzero(ends_s <= data.hours_ratio * ends_s[-1] * (1 + 1e-9))  # all but the one that would be too much
    return [kept[index] for index in sorted(order[: max(1, n_kept)])]
