"""Training batches: random crops of utterances, sped up or slowed down, degraded, with curves at the times the model asks for."""

from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path

import numpy as np
import soundfile as sf
import torch
from torch import Tensor

from facedistill.core.errors import InputError
from facedistill.core.manifest import Utterance
from facedistill.core.sections import AugmentParams
from facedistill.core.sound import SAMPLE_RATE_HZ
from facedistill.face.coarticulation import MIN_GAP_S
from facedistill.face.controls import Controls, arkit
from facedistill.face.curves import FPS, at_times, read_curves
from facedistill.face.phones import LETTERS, Phone, read_phones, sounds
from facedistill.speech.augment import augment, quiet_noise

SILENCE = ""
LABELS = (SILENCE, *LETTERS)
PHONE_CLASS = {letter: number for number, letter in enumerate(LABELS)}
N_PHONE_CLASSES = len(LABELS)
UNKNOWN = -100  # what cross-entropy leaves out
TO_REST_S = 0.1  # after which the face rests where a recording ends
# What is aimed at where nobody speaks: curves in use stop at 0, so how noise moves them below it is not seen.
BELOW_REST = -0.05
LEAST_SPREAD, LEAST_RATIO = 0.05, 0.05
NO_CURVES = np.zeros((1, 0), np.float32)


class Corpus:
    """Utterances of one folder with their rig curves; audio stays on disk, curves in memory."""

    def __init__(
        self, root: Path, utterances: Sequence[Utterance], *, with_curves: bool = True, controls: Controls | None = None
    ) -> None:
        """Reads the curves of utterances whose paths are relative to `root`; or, for what learns phones alone, does not.

        Args:
            controls: what the curves move; ARKit's, if None.

        Raises:
            InputError: no utterances, or curves missing or not matching.
        """
        if not utterances:
            raise InputError(f"{root / 'manifest.jsonl'}: no utterances to train on")
        self.root, self.controls = root, controls or arkit()
        self.utterances = list(utterances)
        curves = dict.fromkeys((row.id for row in utterances), NO_CURVES)
        if with_curves:
            curves = read_curves(root, utterances, len(self.controls.names))
        self.rest = self.controls.rest if with_curves else NO_CURVES[0]
        self.aim_at_rest = self.rest + (BELOW_REST if self.controls.are_arkit else 0)
        missing = [utterance.id for utterance in utterances if utterance.id not in curves]
        if missing:
            raise InputError(f"{root}: no curves for {len(missing)} utterances, the first is {missing[0]}")
        self.curves = {key: frames.astype(np.float16) for key, frames in curves.items()}
        self.phones = {row.id: phone_classes(read_phones(root / row.phones)) for row in utterances if row.phones}
        duration_s = np.array([utterance.duration_s for utterance in self.utterances])
        self.odds = duration_s / duration_s.sum()

    def crop(self, index: int, start: int, n_samples: int) -> np.ndarray:
        """(n_samples,) float32 of an utterance from sample `start`; outside the recording is silence."""
        audio = np.zeros(n_samples, np.float32)
        with sf.SoundFile(self.root / self.utterances[index].audio) as file:
            first, last = max(start, 0), min(start + n_samples, file.frames)
            if first < last:
                file.seek(first)
                audio[first - start : last - start] = file.read(last - first, dtype="float32")
        return audio

    def curve_scale(self) -> Tensor:
        """(K,) the unit of the losses: each curve's standard deviation over all frames, not below a floor.

        A weight of ARKit's is seen from about `LEAST_SPREAD`; of other controls nothing is known but how far others go.
        """
        spread = np.concatenate(list(self.curves.values())).astype(np.float32).std(axis=0)
        floor = LEAST_SPREAD if self.controls.are_arkit else max(LEAST_RATIO * spread.max(), np.finfo(np.float32).tiny)
        return torch.from_numpy(np.maximum(spread, np.float32(floor)))


def phone_classes(phones: Sequence[Phone]) -> tuple[np.ndarray, np.ndarray]:
    """(N,) ascending start times in s of all sounds and silences of an utterance, the first -inf, and (N,) their classes.

    Time that no phone takes is silence; a label of several sounds is split evenly.
    """
    starts_s, classes, clock_s = [], [], -np.inf
    for phone in phones:
        if phone.start_s - clock_s > MIN_GAP_S:
            starts_s.append(clock_s)
            classes.append(PHONE_CLASS[SILENCE])
        letters = [sound.letter for sound in sounds(phone.label)] or [SILENCE]
        for part, letter in enumerate(letters):
            starts_s.append(phone.start_s + (phone.end_s - phone.start_s) * part / len(letters))
            classes.append(PHONE_CLASS[letter])
        clock_s = phone.end_s
    return np.array([*starts_s, clock_s]), np.array([*classes, PHONE_CLASS[SILENCE]], np.int64)


def at_rest_outside(frames: np.ndarray, times_s: np.ndarray, duration_s: float, rest: np.ndarray) -> np.ndarray:
    """(T, K) curves at (T,) times that come to (K,) rest within `TO_REST_S` of a recording's ends, as nobody speaks there."""
    outside_s = np.maximum(np.maximum(-times_s, times_s - duration_s), 0)
    return rest + (frames - rest) * np.clip(1 - outside_s / TO_REST_S, 0, 1)[:, None].astype(np.float32)


def phones_of(classes: np.ndarray) -> list[Phone]:
    """The timed phones of (T,) classes frame by frame at `FPS`: a run of one class is one phone."""
    edges = np.concatenate([[0], np.flatnonzero(np.diff(classes)) + 1, [len(classes)]])
    return [Phone(first / FPS, last / FPS, LABELS[classes[first]]) for first, last in pairwise(edges.tolist())]


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
    """Draws random crops; utterances are drawn by duration, crops may hang over both ends by up to a quarter of their length.

    Args:
        n_samples: S, length of each crop.
        times_s: (T,) the times within the crop at which curves are wanted, in seconds.
        views: V, how many degradations of each crop there are: crop b is in rows b, size + b, ...

    Returns:
        (V B, S) augmented audio, (V B, T, K) curves, and (V B, T) int64 phone classes, UNKNOWN where there are no labels.
    """
    audio = np.empty((views, size, n_samples), np.float32)
    frames, spoken = [], np.full((size, len(times_s)), UNKNOWN)
    for row, index in enumerate(rng.choice(len(corpus.utterances), size, p=corpus.odds)):
        speed = rng.uniform(*params.speed)  # > 1: faster, higher, and shorter vocal tract
        n_source = round(n_samples * speed)
        overhang = min(n_source, n_samples) // 4
        free = round(corpus.utterances[index].duration_s * SAMPLE_RATE_HZ) - n_source + overhang
        start = int(rng.integers(-overhang, max(free, -overhang + 1)))
        source = corpus.crop(index, start, n_source)
        resampled = np.interp(np.linspace(0, n_source - 1, n_samples), np.arange(n_source), source).astype(np.float32)
        for view in audio:
            view[row] = augment(resampled, params, rng)
        key, source_times_s = corpus.utterances[index].id, start / SAMPLE_RATE_HZ + times_s * speed
        curves = at_times(corpus.curves[key].astype(np.float32), source_times_s)
        frames.append(at_rest_outside(curves, source_times_s, corpus.utterances[index].duration_s, corpus.rest))
        if key in corpus.phones:
            starts_s, classes = corpus.phones[key]
            spoken[row] = classes[np.searchsorted(starts_s, source_times_s, side="right") - 1]
        if rng.random() < params.quiet:  # nobody speaks, and the face rests
            for view in audio:
                view[row] = quiet_noise(n_samples, params.quiet_db, rng)
            frames[-1], spoken[row] = np.broadcast_to(corpus.aim_at_rest, frames[-1].shape), PHONE_CLASS[SILENCE]
    curves, classes = np.tile(np.stack(frames), (views, 1, 1)), np.tile(spoken, (views, 1))
    return torch.from_numpy(audio.reshape(-1, n_samples)), torch.from_numpy(curves), torch.from_numpy(classes)
