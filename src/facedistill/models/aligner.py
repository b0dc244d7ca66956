"""Phone models and forced alignment: where in a recording the phones of its transcript are, and how far from trusted times."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from difflib import SequenceMatcher
from itertools import groupby, pairwise
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torchaudio.functional import TokenSpan, forced_align, merge_tokens
from transformers import Wav2Vec2ForCTC
from transformers.utils import cached_file

from facedistill.core import SAMPLE_RATE_HZ
from facedistill.core.files import read_json
from facedistill.models.dataset import N_PHONE_CLASSES, PHONE_CLASS, SILENCE
from facedistill.models.encoder import SCRATCH, load_pretrained, normalise_level, receptive_field_samples
from facedistill.models.filterbank import HOP_SAMPLES, KERNEL_SAMPLES, Filterbank, blocks
from facedistill.models.networks import device
from facedistill.speech.espeak import PLOSIVE_STARTS, STRESS_MARKS
from facedistill.speech.phones import Phone, classify, sounds

FILTERS = 80
DILATIONS = (1, 2, 4, 8, 16)
MAX_PAUSE_S = 0.05  # shorter silences between phones are closures or doubt: they belong to the phones beside them
SPIKE_REACH_S = 0.08  # how far beyond its spike a phone of a CTC model may last
MIN_SAMPLES = KERNEL_SAMPLES + 4 * HOP_SAMPLES


class Aligner(nn.Module):
    """Our own phone model: a learnable filterbank and dilated convolutions on its 16 ms grid; a token is a letter of IPA."""

    blank = PHONE_CLASS[SILENCE]
    states = 3  # frames that a phone takes at least, 48 ms: else what the model does not recognise is squeezed into single frames
    spikes = False  # whether blank is not silence but all that lies between the frames in which phones are told (CTC)
    hop_samples = HOP_SAMPLES
    offset_samples = HOP_SAMPLES // 2  # of the border before frame 0: frame l is centred on sample 256 l + 256

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.front = Filterbank(FILTERS)
        self.blocks = nn.Sequential(*blocks([FILTERS] + [channels] * len(DILATIONS), DILATIONS, same=True))
        self.out = nn.Conv1d(channels, N_PHONE_CLASSES, 1)

    def forward(self, audio: Tensor) -> Tensor:  # (B, S) -> (B, L, N) scores, L = (S - 512) // 256 + 1
        return self.out(self.blocks(self.front(audio))).transpose(1, 2)

    @torch.inference_mode()
    def log_probabilities(self, audio: np.ndarray) -> Tensor:
        """(S,) at 16 kHz, brought to one loudness -> (L, N), frame by frame, on the CPU."""
        return self(_levelled(audio).to(self.out.weight.device))[0].log_softmax(dim=1).cpu()

    def tokens(self, label: str) -> list[int]:
        """The tokens of an IPA label, in order; none for what the model does not know."""
        return [PHONE_CLASS[sound.letter] for sound in sounds(label)]


class HubAligner:
    """A CTC model, of a hub or local, that knows espeak-ng's phones (Xu et al. 2021); a token is a label, or else a letter."""

    states = 1
    spikes = True

    def __init__(self, source: str) -> None:
        def load(place: str, **options) -> Wav2Vec2ForCTC:
            self.vocabulary: dict[str, int] = read_json(Path(cached_file(place, "vocab.json")))
            return Wav2Vec2ForCTC.from_pretrained(place, **options)

        self.network = load_pretrained("align.aligner.source", source, (SCRATCH,), load).eval().to(device())
        config = self.network.config
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


PhoneModel = Aligner | HubAligner


def _levelled(audio: np.ndarray) -> Tensor:
    """(S,) -> (1, S') at one loudness, long enough for a frame."""
    return normalise_level(torch.from_numpy(np.pad(audio, (0, max(0, MIN_SAMPLES - len(audio)))))[None])


@dataclass(frozen=True)
class Alignment:
    """The timed phones of an utterance."""

    phones: list[Phone]
    confidence: float  # how sure the model is: the geometric mean of its phones' probabilities


def align_phones(model: PhoneModel, audio: np.ndarray, labels: Sequence[str]) -> Alignment | None:
    """When IPA `labels`, without silences, are spoken in (S,) audio at 16 kHz; None if there are none, or no time for them."""
    owned = [(label, token) for label in enumerate(labels) for token in model.tokens(label[1])]
    tokens, scores = [token for _, token in owned], model.log_probabilities(audio)
    # CTC parts equal neighbours by a blank, and several states are never equal.
    needed = {1: len(tokens) + sum(one == other for one, other in pairwise(tokens))}
    needed |= {n: n * len(tokens) for n in range(2, model.states + 1)}
    states = max((n for n, n_frames in needed.items() if n_frames <= len(scores)), default=0)
    if not tokens or not states:
        return None
    chain = [token + scores.shape[1] * state for token in tokens for state in range(states)]  # states of a token score alike
    chains = torch.tensor([chain], dtype=torch.int32)
    path, path_scores = (found[0] for found in forced_align(scores.repeat(1, states)[None], chains, blank=model.blank))
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
    borders = [at for at in range(1, len(spans)) if spans[at].start - spans[at - 1].end > max_pause_frames]
    runs = [spans[first:last] for first, last in pairwise([0, *borders, len(spans)])]
    best = max(runs, key=lambda run: sum(span.end - span.start for span in run))
    return best[0].start, best[-1].end


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


def boundary_errors_ms(found: list[Phone], trusted: list[Phone]) -> np.ndarray:
    """How far timed phones are from trusted ones: the starts of matching runs of one class, found minus trusted.

    Alphabets differ, and so does what counts as one phone: boundaries are compared where both sides change between the same
    classes of `phones.classify`, found by aligning the two sequences of classes. (N,) float64 ms, positive where found late.
    """
    ours, theirs = _runs(found), _runs(trusted)
    matcher = SequenceMatcher(None, [kind for kind, _ in ours], [kind for kind, _ in theirs], autojunk=False)
    pairs = [(block.a + step, block.b + step) for block in matcher.get_matching_blocks() for step in range(block.size)]
    # the start of a run is the border of two runs: both must match
    borders = [pair for before, pair in pairwise(pairs) if (before[0] + 1, before[1] + 1) == pair]
    return np.array([1000 * (ours[one][1] - theirs[other][1]) for one, other in borders], np.float64)


def _runs(phones: list[Phone]) -> list[tuple[str, float]]:
    """(class, start in s) of every run of phones of one class; time between phones is silence."""
    runs: list[tuple[str, float]] = [("silence", 0.0)]
    clock_s = 0.0
    for phone in phones:
        if phone.start_s - clock_s > 1e-3 and runs[-1][0] != "silence":
            runs.append(("silence", clock_s))
        kind = classify(phone.label)
        if kind != runs[-1][0]:
            runs.append((kind, phone.start_s))
        clock_s = phone.end_s
    return runs
