from dataclasses import replace

import numpy as np
import pytest
import torch
from damage import DAMAGES
from hypothesis import given, settings
from hypothesis import strategies as st

from facedistill.core.errors import InputError
from facedistill.core.manifest import Utterance, read_manifest, select
from facedistill.core.sections import AugmentParams
from facedistill.models.dataset import (
    BELOW_REST,
    N_PHONE_CLASSES,
    PHONE_CLASS,
    SILENCE,
    UNKNOWN,
    Corpus,
    at_rest_outside,
    batch,
    phone_classes,
    phones_of,
)
from facedistill.rig.controls import Controls
from facedistill.rig.curves import FPS, at_times, read_curves, write_shard
from facedistill.speech.phones import Phone, write_phones

STILL = AugmentParams(
    speed=(1, 1), gain_db=(0, 0), equalise=0, equaliser_db=0, room=0, rt60_s=0.5, noise=0, snr_db=(5, 40), telephone=0, clip=0,
    non_speech=0, non_speech_db=(-60, -40)
)  # fmt: skip


NOISY = STILL.model_copy(update={"noise": 1.0, "non_speech": 0.2})


@pytest.fixture
def corpus(corpus_folder) -> Corpus:
    return Corpus(corpus_folder, select(read_manifest(corpus_folder / "manifest.jsonl"), "paired"))


def envelope(audio: np.ndarray) -> np.ndarray:
    return np.sqrt(np.convolve(np.square(audio), np.ones(400) / 400, mode="same"))


@pytest.mark.parametrize("speed", [(1, 1), (0.7, 0.7), (1.4, 1.4)])
def test_curves_stay_with_the_audio_at_any_speed(corpus, speed):
    """The corpus' curves follow the loudness of its tones, so they still must after cropping and speeding up."""
    times_s = np.arange(60) / FPS
    params = STILL.model_copy(update={"speed": speed})
    audio, curves, _ = batch(corpus, size=6, n_samples=16_000, times_s=times_s, params=params, rng=np.random.default_rng(0))
    assert audio.shape == (6, 16_000) and curves.shape == (6, 60, 52)
    for row in range(6):
        loudness = envelope(audio[row].numpy())[(times_s * 16_000).astype(int)]
        inside = loudness > 0.02
        assert np.corrcoef(loudness[inside], curves[row, inside, 0])[0, 1] > 0.9


def test_batches_repeat_and_differ(corpus):
    def draw(seed: int) -> np.ndarray:
        return batch(corpus, size=2, n_samples=800, times_s=np.zeros(1), params=STILL, rng=np.random.default_rng(seed))[0].numpy()

    np.testing.assert_array_equal(draw(1), draw(1))
    assert not np.array_equal(draw(1), draw(2))


def test_views_are_degradations_of_the_same_crops(corpus):
    common = {"size": 8, "n_samples": 4000, "times_s": np.arange(10) / FPS}
    audio, curves, classes = batch(corpus, views=2, params=NOISY, rng=np.random.default_rng(0), **common)
    assert torch.equal(curves[:8], curves[8:]) and torch.equal(classes[:8], classes[8:])
    clean, *_ = batch(corpus, views=2, params=STILL, rng=np.random.default_rng(0), **common)
    assert torch.equal(clean[:8], clean[8:])
    silent = (curves[:8] == BELOW_REST).all(dim=2).all(dim=1)
    assert 0 < silent.sum() < 8
    assert all(not torch.equal(one, other) for one, other in zip(audio[:8][~silent], audio[8:][~silent], strict=True))


def test_phone_classes_stay_with_the_curves_at_any_speed(corpus_folder):
    """Utterance 0 is silent but for an a while the curves, given the same times, are up."""
    row = replace(read_manifest(corpus_folder / "manifest.jsonl")[0], phones="u0.tsv")
    write_phones(corpus_folder / "u0.tsv", [Phone(0, 0.4, ""), Phone(0.4, 0.9, "a"), Phone(0.9, row.duration_s, "")])
    times_s = np.arange(90) / FPS
    up = ((times_s >= 0.4) & (times_s < 0.9)).astype(np.float32)
    write_shard(corpus_folder / "curves/s.npz", {"u0": np.repeat(up[:, None], 52, axis=1)})
    params = STILL.model_copy(update={"speed": (0.8, 1.25)})
    crop = {"n_samples": 16_000, "times_s": times_s[:60], "params": params, "rng": np.random.default_rng(0)}
    _, curves, spoken = batch(Corpus(corpus_folder, [row]), size=8, **crop)
    height = curves[..., 0]
    assert (spoken[height == 1] == PHONE_CLASS["a"]).all() and (spoken[height == 0] == PHONE_CLASS[SILENCE]).all()
    assert (height == 1).sum() > 60 and (height == 0).sum() > 60


def test_without_phones_no_class_is_known(corpus):
    crop = {"n_samples": 800, "times_s": np.zeros(3), "params": STILL, "rng": np.random.default_rng(0)}
    assert (batch(corpus, size=2, **crop)[2] == UNKNOWN).all()


def test_a_label_of_two_sounds_is_split_evenly():
    starts_s, classes = phone_classes([Phone(0, 0.2, ""), Phone(0.2, 0.6, "aɪ")])
    np.testing.assert_allclose(starts_s, [-np.inf, 0, 0.2, 0.4, 0.6])
    assert classes.tolist() == [PHONE_CLASS[letter] for letter in (SILENCE, SILENCE, "a", "ɪ", SILENCE)]


def test_time_without_phones_is_silence():
    starts_s, classes = phone_classes([Phone(0.1, 0.2, "m"), Phone(0.2, 0.3, "a"), Phone(0.5, 0.6, "p")])
    np.testing.assert_allclose(starts_s, [-np.inf, 0.1, 0.2, 0.3, 0.5, 0.6])
    assert classes.tolist() == [PHONE_CLASS[letter] for letter in (SILENCE, "m", "a", SILENCE, "p", SILENCE)]


def test_where_nobody_speaks_the_face_aims_below_rest(corpus):
    params = STILL.model_copy(update={"non_speech": 0.5})
    crop = {"n_samples": 16_000, "times_s": np.arange(60) / FPS, "params": params, "rng": np.random.default_rng(0)}
    audio, curves, spoken = batch(corpus, size=40, **crop)
    quiet = (curves == BELOW_REST).flatten(1).all(dim=1)
    assert 5 < quiet.sum() < 35 and (spoken[quiet] == PHONE_CLASS[SILENCE]).all()
    assert audio[quiet].square().mean(dim=1).sqrt().max() <= 10 ** (-40 / 20) * 1.01  # no louder than it may be
    assert (curves[~quiet] >= 0).all()


def test_outside_a_recording_the_face_comes_to_rest():
    times_s = np.array([-1, -0.1, -0.05, 0, 0.5, 1, 1.025, 1.1, 3])
    found = at_rest_outside(np.ones((9, 52), np.float32), times_s, 1.0, np.zeros(52, np.float32))
    np.testing.assert_allclose(found[:, 7], [0, 0, 0.5, 1, 1, 1, 0.75, 0, 0], atol=1e-6)
    assert found.dtype == np.float32


def test_a_face_that_rests_elsewhere_comes_to_rest_there(corpus_folder):
    rows = select(read_manifest(corpus_folder / "manifest.jsonl"), "paired")
    controls = Controls(tuple(f"c{k}" for k in range(52)), np.full(52, 0.25, np.float32))
    crop = {"n_samples": 16_000, "times_s": np.arange(60) / FPS, "rng": np.random.default_rng(0)}
    params = STILL.model_copy(update={"non_speech": 1.0})
    _, curves, _ = batch(Corpus(corpus_folder, rows, controls=controls), size=2, params=params, **crop)
    assert (curves == 0.25).all()
    outside = at_rest_outside(np.ones((2, 52), np.float32), np.array([-1, 0.5]), 1.0, controls.rest)
    np.testing.assert_allclose(outside[:, 0], [0.25, 1])


def test_crops_outside_a_recording_are_silent(corpus):
    whole = corpus.crop(0, 0, 24_000)
    padded = corpus.crop(0, -500, 25_000)
    assert not padded[:500].any() and not padded[24_500:].any()
    np.testing.assert_array_equal(padded[500:24_500], whole)
    assert not corpus.crop(0, 99_999, 100).any()


def test_labels_must_match(corpus_folder):
    rows = read_manifest(corpus_folder / "manifest.jsonl")
    with pytest.raises(InputError, match="no curves for 2 utterances, the first is u3"):
        Corpus(corpus_folder, rows)
    with pytest.raises(InputError, match="no utterances"):
        Corpus(corpus_folder, [])
    write_shard(corpus_folder / "curves/s.npz", {"u0": np.zeros((4, 51)), "u1": np.zeros((4, 52)), "u2": np.zeros((4, 52))})
    with pytest.raises(InputError, match=r"shape \(4, 51\); expected \(T, 52\)"):
        Corpus(corpus_folder, rows[:3])
    write_shard(corpus_folder / "curves/s.npz", {"u0": np.zeros((4, 52))})
    with pytest.raises(InputError, match="not a curve shard that matches its manifest"):
        Corpus(corpus_folder, rows[:3])
    (corpus_folder / "curves/s.npz").write_bytes(b"junk")
    with pytest.raises(InputError, match="not a curve shard"):
        read_curves(corpus_folder, rows[:3])


@settings(max_examples=300, deadline=None)
@given(damage=DAMAGES)
def test_a_broken_shard_gives_the_same_curves_or_is_refused(tmp_path_factory, damage):
    folder = tmp_path_factory.mktemp("label")
    rng = np.random.default_rng(0)
    curves = {key: rng.random((20, 52)).astype(np.float16).astype(np.float32) for key in ("u0", "u1")}
    write_shard(folder / "s.npz", curves)
    (folder / "s.npz").write_bytes(damage((folder / "s.npz").read_bytes()))
    rows = [Utterance(key, "s", "s", "en", "paired", "a.flac", 1.0, curves="s.npz") for key in curves]
    try:
        found = read_curves(folder, rows)
    except InputError as error:
        assert str(error).startswith(f"{folder / 's.npz'}: not a curve shard") and "\n" not in str(error)
    else:
        assert all(np.array_equal(found[key], frames) for key, frames in curves.items())


@pytest.mark.parametrize(
    ("place", "command"),
    [("prepare", "prepare"), ("align", "align"), ("label", "label"), ("teachers/mfcc/label", "teachers mfcc")],
)
def test_a_broken_shard_of_a_stage_names_what_makes_it_anew(tmp_path, monkeypatch, place, command):
    monkeypatch.setattr("facedistill.rig.curves.DATA", tmp_path)
    (tmp_path / place).mkdir(parents=True)
    (tmp_path / place / "s.npz").write_bytes(b"")
    row = Utterance("u", "s", "s", "en", "paired", "a.flac", 1.0, curves=f"../{place.split('/')[-1]}/s.npz")
    with pytest.raises(InputError, match=f"s.npz: .*; expected what `facedistill {command}` writes, so run it again$"):
        read_curves(tmp_path / place, [row])


def test_interpolation_is_exact_on_lines_and_holds_the_ends():
    curves = np.arange(10, dtype=np.float32)[:, None] * np.ones((1, 52), np.float32)
    times_s = np.array([-1, 0, 0.05, 0.075, 9 / 60, 5])
    np.testing.assert_allclose(at_times(curves, times_s)[:, 3], [0, 0, 3, 4.5, 9, 9], rtol=1e-6)


def test_shards_are_the_same_bytes(tmp_path):
    curves = {"a": np.random.default_rng(0).random((5, 52))}
    write_shard(tmp_path / "1.npz", curves)
    write_shard(tmp_path / "2.npz", curves)
    assert (tmp_path / "1.npz").read_bytes() == (tmp_path / "2.npz").read_bytes()


@given(st.lists(st.integers(0, N_PHONE_CLASSES - 1), min_size=1, max_size=200))
def test_classes_survive_as_timed_phones(classes):
    starts_s, found = phone_classes(phones_of(np.array(classes)))
    times_s = (np.arange(len(classes)) + 0.5) / FPS
    np.testing.assert_array_equal(found[np.searchsorted(starts_s, times_s, side="right") - 1], classes)
