import json
from itertools import groupby

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torchaudio.functional import forced_align
from transformers import Wav2Vec2Config, Wav2Vec2ForCTC

from facedistill.core import SAMPLE_RATE_HZ
from facedistill.core.errors import InputError
from facedistill.models.aligner import Aligner, HubAligner, align_phones
from facedistill.models.dataset import N_PHONE_CLASSES, PHONE_CLASS, SILENCE
from facedistill.models.filterbank import HOP_SAMPLES
from facedistill.speech.phones import Phone, sounds


class Oracle:
    """A phone model that knows: the log-probabilities it was given, whatever the audio."""

    blank, hop_samples, offset_samples = PHONE_CLASS[SILENCE], HOP_SAMPLES, 0

    def __init__(self, scores: torch.Tensor, states: int = 1) -> None:
        self.scores, self.states, self.spikes = scores.log_softmax(dim=1), states, False

    def log_probabilities(self, audio: np.ndarray) -> torch.Tensor:
        return self.scores

    def tokens(self, label: str) -> list[int]:
        return [PHONE_CLASS[sound.letter] for sound in sounds(label)]


def audio_of(n_frames: int) -> np.ndarray:
    return np.zeros(n_frames * HOP_SAMPLES, np.float32)


def certain(classes: list[str]) -> Oracle:
    scores = torch.zeros(len(classes), N_PHONE_CLASSES)
    scores[torch.arange(len(classes)), [PHONE_CLASS[name] for name in classes]] = 20.0
    return Oracle(scores)


def test_a_certain_model_gives_its_own_times():
    frames = [""] * 10 + ["h"] * 4 + ["a"] * 6 + ["ɪ"] * 3 + [""] * 8 + ["m"] * 5 + ["i"] * 7 + [""] * 3
    found = align_phones(certain(frames), audio_of(len(frames)), ["h", "aɪ", "m", "i"])
    hop_s = HOP_SAMPLES / SAMPLE_RATE_HZ
    expected = [("h", 10, 14), ("aɪ", 14, 23), ("m", 31, 36), ("i", 36, 43)]
    assert [phone.label for phone in found.phones] == [label for label, _, _ in expected]
    for phone, (_, first, last) in zip(found.phones, expected, strict=True):
        assert (phone.start_s, phone.end_s) == pytest.approx((first * hop_s, last * hop_s))
    assert found.confidence == pytest.approx(1, abs=1e-3)


def test_a_short_silence_is_the_closure_of_the_plosive_after_it_or_else_of_the_phone_before():
    frames = ["a"] * 5 + [""] * 3 + ["p"] * 2 + ["s"] * 4 + [""] * 2 + ["m"] * 4
    a, p, s, m = align_phones(certain(frames), audio_of(len(frames)), ["a", "p", "s", "m"]).phones
    assert a.end_s == p.start_s == pytest.approx(5 * 0.016)
    assert s.end_s == m.start_s == pytest.approx(16 * 0.016)


def best_path(scores: np.ndarray, tokens: list[int], blank: int) -> float:
    """The naive reference: the best score of any way to say the tokens in order, blanks between them where they repeat or not."""
    states = [blank]
    for token in tokens:
        states += [token, blank]
    best = np.full(len(states), -np.inf)
    best[:2] = scores[0, states[:2]]
    for frame in scores[1:]:
        before, best = best, np.empty(len(states))
        for state, token in enumerate(states):
            skip = state > 1 and token != blank and token != states[state - 2]
            ways = [before[state]] + [before[state - 1]] * (state > 0) + [before[state - 2]] * skip
            best[state] = max(ways) + frame[token]
    return max(best[-1], best[-2])


@given(st.integers(0, 2**31), st.lists(st.sampled_from("pamisu"), min_size=1, max_size=6), st.integers(0, 20))
def test_the_path_is_the_best_one(seed, labels, spare):
    n_frames = 2 * len(labels) + spare
    oracle = Oracle(torch.from_numpy(np.random.default_rng(seed).normal(0, 3, (n_frames, N_PHONE_CLASSES)).astype(np.float32)))
    found = align_phones(oracle, audio_of(n_frames), labels)
    assert [phone.label for phone in found.phones] == labels
    starts = [phone.start_s for phone in found.phones]
    assert starts == sorted(starts) and all(phone.start_s < phone.end_s for phone in found.phones)
    # confidence is over the frames of phones alone, so the whole path is scored here by its own frames
    tokens = [PHONE_CLASS[label] for label in labels]
    path, scores = forced_align(oracle.scores[None], torch.tensor([tokens], dtype=torch.int32), blank=oracle.blank)
    assert [token for token, _ in groupby(path[0].tolist()) if token != oracle.blank] == tokens
    assert scores.sum().item() == pytest.approx(best_path(oracle.scores.numpy(), tokens, oracle.blank), rel=1e-4)
    voiced = path[0] != oracle.blank
    assert found.confidence == pytest.approx(scores[0][voiced].mean().exp().item(), rel=1e-5)


@given(st.integers(0, 2**31), st.lists(st.sampled_from("pam"), min_size=1, max_size=4), st.integers(0, 3))
def test_no_phone_is_shorter_than_its_states_and_the_path_is_the_best_of_those(seed, labels, spare):
    n_frames = 3 * len(labels) + spare
    noise = np.random.default_rng(seed).normal(0, 3, (n_frames, N_PHONE_CLASSES)).astype(np.float32)
    oracle = Oracle(torch.from_numpy(noise), states=3)
    found = align_phones(oracle, audio_of(n_frames), labels)
    assert [phone.label for phone in found.phones] == labels
    lengths = [round((phone.end_s - phone.start_s) * SAMPLE_RATE_HZ / HOP_SAMPLES) for phone in found.phones]
    assert min(lengths) >= 3
    # three tokens that score alike stand for each phone, none equal to the next, so that no blank has to part them
    scores = oracle.scores.numpy()
    chain = [PHONE_CLASS[label] + state * scores.shape[1] for label in labels for state in range(3)]
    path, path_scores = forced_align(
        torch.from_numpy(np.tile(scores, 3))[None], torch.tensor([chain], dtype=torch.int32), blank=oracle.blank
    )
    assert path_scores.sum().item() == pytest.approx(best_path(np.tile(scores, 3), chain, oracle.blank), rel=1e-4)
    assert found.confidence == pytest.approx(path_scores[path != oracle.blank].mean().exp().item(), rel=1e-5)


def test_a_phone_does_not_span_a_pause_that_a_stray_frame_lies_behind():
    frames = ["a"] * 5 + ["n"] * 4 + [""] * 40 + ["n"] + ["a"] * 6
    oracle = certain(frames)
    oracle.states = 3
    _, n, a = align_phones(oracle, audio_of(len(frames)), ["a", "n", "a"]).phones
    hop_s = HOP_SAMPLES / SAMPLE_RATE_HZ
    assert (n.start_s, n.end_s) == pytest.approx((5 * hop_s, 9 * hop_s)) and a.start_s >= 49 * hop_s


def test_a_recording_too_short_for_all_states_is_aligned_with_fewer():
    frames = ["a", "m", "i"]
    oracle = certain(frames)
    oracle.states = 3
    assert [phone.label for phone in align_phones(oracle, audio_of(3), frames).phones] == frames


def test_the_phones_of_a_ctc_model_last_to_the_middle_between_spikes_and_leave_long_pauses():
    frames = [""] * 2 + ["a"] + [""] * 6 + ["m"] + [""] * 40 + ["i"] + [""] * 20
    oracle = certain(frames)
    oracle.spikes = True
    a, m, i = align_phones(oracle, audio_of(len(frames)), ["a", "m", "i"]).phones
    hop_s = HOP_SAMPLES / SAMPLE_RATE_HZ
    assert (a.start_s, a.end_s, m.start_s) == pytest.approx((0, 6 * hop_s, 6 * hop_s))
    assert (m.end_s, i.start_s, i.end_s) == pytest.approx((10 * hop_s + 0.08, 50 * hop_s - 0.08, 51 * hop_s + 0.08))


def test_a_spike_in_the_padding_of_a_tiny_recording_is_no_phone():
    oracle = certain(["a", "", "", "m"])
    oracle.spikes = True
    assert [phone.label for phone in align_phones(oracle, audio_of(2), ["a", "m"]).phones] == ["a"]


@pytest.mark.parametrize("labels, n_frames", [([], 10), (["a"] * 6, 10), (["m", "a"], 1)])
def test_what_cannot_be_aligned_is_not(labels, n_frames):
    assert align_phones(certain([""] * n_frames), audio_of(n_frames), labels) is None


def test_our_model_hears_every_level_alike_and_shorter_recordings_than_a_frame():
    torch.manual_seed(0)
    model = Aligner(16).eval()
    audio = np.random.default_rng(0).normal(0, 0.05, SAMPLE_RATE_HZ).astype(np.float32)
    torch.testing.assert_close(model.log_probabilities(audio), model.log_probabilities(0.1 * audio), atol=1e-3, rtol=1e-3)
    assert model.log_probabilities(audio).shape == ((SAMPLE_RATE_HZ - 512) // 256 + 1, N_PHONE_CLASSES)
    assert len(model.log_probabilities(audio[:100])) > 0


@pytest.fixture
def hub_model(tmp_path):
    """A tiny stand-in for facebook/wav2vec2-lv-60-espeak-cv-ft."""
    config = Wav2Vec2Config(
        vocab_size=6, hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=16, conv_dim=(8, 8),
        conv_kernel=(10, 5), conv_stride=(5, 64), num_feat_extract_layers=2, num_conv_pos_embeddings=8,
        num_conv_pos_embedding_groups=2, pad_token_id=0,
    )  # fmt: skip
    torch.manual_seed(0)
    Wav2Vec2ForCTC(config).save_pretrained(tmp_path)
    (tmp_path / "vocab.json").write_text(json.dumps({"<pad>": 0, "<unk>": 1, "aɪ": 2, "m": 3, "a": 4, "i": 5}))
    return tmp_path


def test_a_hub_model_aligns_with_its_own_phones(hub_model):
    model = HubAligner(str(hub_model))
    assert (model.tokens("ˈaɪ"), model.tokens("ai"), model.tokens("ʒ")) == ([2], [4, 5], [])
    assert (model.blank, model.hop_samples, model.offset_samples) == (0, 320, (10 + 4 * 5 - 320) // 2)
    audio = np.random.default_rng(0).normal(0, 0.1, SAMPLE_RATE_HZ).astype(np.float32)
    found = align_phones(model, audio, ["ˈaɪ", "ʒ", "m"])
    assert [phone.label for phone in found.phones] == ["ˈaɪ", "m"]
    assert all(isinstance(phone, Phone) and 0 <= phone.start_s < phone.end_s <= 1 for phone in found.phones)


def test_a_hub_model_that_is_not_there_is_named(tmp_path):
    with pytest.raises(InputError, match="align.aligner.source: .* cannot be loaded .*; expected 'scratch', a hub id"):
        HubAligner(str(tmp_path))


def test_a_hub_model_without_its_vocabulary_is_named(hub_model):
    (hub_model / "vocab.json").unlink()
    with pytest.raises(InputError, match=r"align.aligner.source: .* cannot be loaded \(.*vocab.json") as error:
        HubAligner(str(hub_model))
    assert "\n" not in str(error.value)
