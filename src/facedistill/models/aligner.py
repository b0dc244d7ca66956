"""Phone models and forced alignment: where in a recording the phones of its transcript are.

A model gives log-probabilities of tokens frame by frame. It is our own, trained frame by frame on exact phone times, with a token
a letter of IPA and silence as the blank of CTC; or a CTC model of the hub whose vocabulary is espeak-ng's phones (Xu, Baevski &
Auli, 2021, "Simple and effective zero-shot cross-lingual phoneme recognition").
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby, pairwise
from pathlib import Path
from typing import Protocol

import numpy as np
import torch
from torch import Tensor, nn
from torchaudio.functional import TokenSpan, forced_align, merge_tokens
from transformers import Wav2Vec2ForCTC

from facedistill.core import SAMPLE_RATE_HZ
from facedistill.core.files import read_json
from facedistill.models.dataset import N_PHONE_CLASSES, PHONE_CLASS, SILENCE
from facedistill.models.encoder import SCRATCH, load_pretrained, normalise_level, place_of, receptive_field_samples
from facedistill.models.filterbank import HOP_SAMPLES, KERNEL_SAMPLES, Filterbank, blocks
from facedistill.models.workers import device
from facedistill.speech.espeak import PLOSIVE_STARTS, STRESS_MARKS
from facedistill.speech.phones import Phone, sounds

FILTERS = 80
DILATIONS = (1, 2, 4, 8, 16)
MAX_PAUSE_S = 0.05  # shorter silences between phones are closures or doubt: they belong to the phones beside them
SPIKE_REACH_S = 0.08  # how far beyond its spike a phone of a CTC model may last
MIN_SAMPLES = KERNEL_SAMPLES + 4 * HOP_SAMPLES


class PhoneModel(Protocol):
    """What `align_phones` needs of a model."""

    blank: int
    states: int  # frames that a phone takes at least
    spikes: bool  # whether blank is not silence but all that lies between the frames in which phones are told (CTC)
    hop_samples: int
    offset_samples: int  # of the border before frame 0

    def log_probabilities(self, audio: np.ndarray) -> Tensor:
        """(S,) at 16 kHz, brought to one loudness -> (L, N) on the CPU."""

    def tokens(self, label: str) -> list[int]:
        """The tokens of an IPA label, in order; none for what the model does not know."""


class Aligner(nn.Module):
    """Our own phone model: a learnable filterbank and dilated convolutions on its 16 ms grid; a token is a letter of IPA."""

    blank = PHONE_CLASS[SILENCE]
    states = 3  # 48 ms: else what the model does not recognise is squeezed into single frames
    spikes = False
    hop_samples = HOP_SAMPLES
    offset_samples = HOP_SAMPLES // 2  # frame l is centred on sample 256 l + 256

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.front = Filterbank(FILTERS)
        self.blocks = nn.Sequential(*blocks([FILTERS] + [channels] * len(DILATIONS), DILATIONS, same=True))
        self.out = nn.Conv1d(channels, N_PHONE_CLASSES, 1)

    def forward(self, audio: Tensor) -> Tensor:  # (B, S) -> (B, L, N) scores, L = (S - 512) // 256 + 1
        return self.out(self.blocks(self.front(audio))).transpose(1, 2)

    @torch.inference_mode()
    def log_probabilities(self, audio: np.ndarray) -> Tensor:
        where = next(self.parameters()).device
        return self(_levelled(audio).to(where))[0].log_softmax(dim=1).cpu()

    def tokens(self, label: str) -> list[int]:
        return [PHONE_CLASS[sound.letter] for sound in sounds(label)]


class HubAligner:
    """A CTC model of `transformers` with espeak-ng's phones as its vocabulary; a token is a whole label, or else a letter."""

    states = 1
    spikes = True

    def __init__(self, source: str) -> None:
        """Loads a hub id or a local folder with a Wav2Vec2 CTC checkpoint and its vocab.json.

        Raises:
            InputError: it cannot be loaded, or has no vocabulary.
        """
        network = load_pretrained("align.aligner.source", source, (SCRATCH,), Wav2Vec2ForCTC.from_pretrained)
        self.network, config = network.eval().to(device()), network.config
        self.vocabulary: dict[str, int] = read_json(_vocabulary(place_of(source)))
        self.blank = config.pad_token_id
        self.hop_samples = math.prod(config.conv_stride)
        self.offset_samples = (receptive_field_samples(config) - self.hop_samples) // 2

    @torch.inference_mode()
    def log_probabilities(self, audio: np.ndarray) -> Tensor:
        return self.network(_levelled(audio).to(device())).logits[0].log_softmax(dim=1).cpu()

    def tokens(self, label: str) -> list[int]:
        plain = label.strip(STRESS_MARKS)
        names = [plain] if plain in self.vocabulary else [sound.letter for sound in sounds(label)]
        return [self.vocabulary[name] for name in names if name in self.vocabulary]


def _vocabulary(place: str) -> Path:
    """vocab.json of a local folder, or of the hub's cache, to which the model's loading has just gone."""
    if Path(place).is_dir():
        return Path(place, "vocab.json")
    from huggingface_hub import hf_hub_download

    return Path(hf_hub_download(place, "vocab.json"))


def _levelled(audio: np.ndarray) -> Tensor:
    """(S,) -> (1, S') at one loudness, long enough for a frame."""
    return normalise_level(torch.from_numpy(np.pad(audio, (0, max(0, MIN_SAMPLES - len(audio)))))[None])


@dataclass(frozen=True)
class Alignment:
    """The timed phones of a recording, and how sure the model is: the geometric mean of its phones' probabilities."""

    phones: list[Phone]
    confidence: float


def align_phones(model: PhoneModel, audio: np.ndarray, labels: Sequence[str]) -> Alignment | None:
    """Finds when each phone of a transcript is spoken (forced alignment of CTC, Viterbi).

    Args:
        audio: (S,) at 16 kHz.
        labels: IPA labels in order, without silences.

    Returns:
        The alignment, its phones labelled as given; None where there is nothing to align or the recording is too short for it.
    """
    owned = [(label, token) for label in enumerate(labels) for token in model.tokens(label[1])]
    tokens = [token for _, token in owned]
    scores = model.log_probabilities(audio)
    states = next((n for n in range(model.states, 0, -1) if _n_frames(tokens, n) <= len(scores)), 0)
    if not tokens or not states:
        return None
    path, path_scores = _viterbi(scores, tokens, model.blank, states)
    spans = merge_tokens(path, path_scores, blank=model.blank)
    longest = MAX_PAUSE_S * SAMPLE_RATE_HZ / model.hop_samples
    extents = [_extent(spans[first : first + states], longest) for first in range(0, len(spans), states)]
    phones = []
    for (_, label), parts in groupby(zip(owned, extents, strict=True), key=lambda part: part[0][0]):
        frames = [frame for _, extent in parts for frame in extent]
        start_s, end_s = ((frames[at] * model.hop_samples + model.offset_samples) / SAMPLE_RATE_HZ for at in (0, -1))
        phones.append(Phone(start_s, end_s, label))
    confidence = float(path_scores[path != model.blank].mean().exp())
    spread = _spread_spikes if model.spikes else _without_short_pauses
    return Alignment(spread(phones, len(audio) / SAMPLE_RATE_HZ), confidence)


def _extent(spans: Sequence[TokenSpan], max_pause_frames: float) -> tuple[int, int]:
    """(first, end) frame of a phone: of its states those that no pause parts, and of several such runs the longest."""
    runs = [[spans[0]]]
    for span in spans[1:]:
        if span.start - runs[-1][-1].end > max_pause_frames:
            runs.append([])
        runs[-1].append(span)
    best = max(runs, key=lambda run: sum(span.end - span.start for span in run))
    return best[0].start, best[-1].end


def _n_frames(tokens: Sequence[int], states: int) -> int:
    """The fewest frames that an alignment takes: CTC parts equal neighbours by a blank, and several states are never equal."""
    repeats = sum(one == other for one, other in pairwise(tokens)) if states == 1 else 0
    return states * len(tokens) + repeats


def _viterbi(scores: Tensor, tokens: Sequence[int], blank: int, states: int) -> tuple[Tensor, Tensor]:
    """The best path (L,) through (L, N) scores, each token a row of `states` tokens that score alike, and the scores along it."""
    n_tokens = scores.shape[1]
    copies = scores.repeat(1, states)
    chain = [token + n_tokens * state for token in tokens for state in range(states)]
    path, path_scores = forced_align(copies[None], torch.tensor([chain], dtype=torch.int32), blank=blank)
    return path[0], path_scores[0]


def _without_short_pauses(phones: list[Phone], duration_s: float) -> list[Phone]:
    """Gives short silences to the plosive they lead to, whose closure they are, or else to the phone before."""
    edges = [[phone.start_s, min(phone.end_s, duration_s)] for phone in phones]
    for before, after, phone in zip(edges, edges[1:], phones[1:], strict=False):
        if 0 < after[0] - before[1] <= MAX_PAUSE_S:
            if phone.label.lstrip(STRESS_MARKS).startswith(PLOSIVE_STARTS):
                after[0] = before[1]
            else:
                before[1] = after[0]
    return [Phone(start, end, phone.label) for (start, end), phone in zip(edges, phones, strict=True) if end > start]


def _spread_spikes(phones: list[Phone], duration_s: float) -> list[Phone]:
    """Lets each phone last to the middle between its spike and the next, at most `SPIKE_REACH_S` before and after its own."""
    gaps_s = [after.start_s - before.end_s for before, after in pairwise(phones)]
    before_s = [phones[0].start_s, *(gap / 2 for gap in gaps_s)]
    after_s = [*(gap / 2 for gap in gaps_s), duration_s - phones[-1].end_s]
    reaching = [
        Phone(phone.start_s - min(before, SPIKE_REACH_S), min(phone.end_s + min(after, SPIKE_REACH_S), duration_s), phone.label)
        for phone, before, after in zip(phones, before_s, after_s, strict=True)
    ]
    return [phone for phone in reaching if phone.end_s > phone.start_s]
