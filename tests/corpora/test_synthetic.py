from itertools import combinations
from pathlib import Path

import numpy as np
import pytest
from configurations import params_of

from facedistill.core.manifest import Utterance, select
from facedistill.corpora.synthetic import DEGRADATIONS, synthetic_corpus
from facedistill.rig.curves import n_frames, read_curves
from facedistill.speech.audio import read_audio
from facedistill.speech.phones import read_phones

SYNTHETIC = params_of("smoke").prepare.synthetic
TESTS = ("test-voices", "test-noisy", "test-languages")
SPLITS = ("paired", "unlabelled", "validation", *TESTS)


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    return tmp_path_factory.mktemp("corpus")


@pytest.fixture(scope="module")
def rows(folder) -> list[Utterance]:
    return synthetic_corpus(folder, SYNTHETIC, articulation=1.0, seed=1)


def with_truth(rows: list[Utterance]) -> list[Utterance]:
    return [row for row in rows if row.split != "unlabelled"]


def test_every_split_is_as_long_as_asked(rows):
    hours = {split: sum(row.duration_s for row in select(rows, split)) / 3600 for split in SPLITS}
    wanted = {**SYNTHETIC.hours.model_dump(), **dict.fromkeys(TESTS, SYNTHETIC.hours.test)}
    for split in SPLITS:
        last_h = select(rows, split)[-1].duration_s / 3600
        assert hours[split] - last_h < wanted[split] <= hours[split], split
    assert {row.split for row in rows} == set(SPLITS)


def test_no_voice_is_in_two_splits_but_for_the_tests(rows):
    voices = {split: {row.speaker for row in select(rows, split)} for split in SPLITS}
    for one, other in combinations(SPLITS, 2):
        if not {one, other} <= set(TESTS):
            assert not voices[one] & voices[other], (one, other)
    assert len(set.union(*(voices[split] for split in TESTS))) <= SYNTHETIC.voices.test


def test_no_text_of_training_is_spoken_in_a_test(rows):
    trained = {row.transcript for row in rows if row.split in ("paired", "unlabelled")}
    tested = [row.transcript for row in rows if row.split in ("validation", *TESTS)]
    assert tested and not trained & set(tested)


def test_unseen_languages_are_unseen(rows):
    assert {row.language for row in select(rows, "test-languages")} == set(SYNTHETIC.unseen_languages)
    assert {row.language for row in rows if row.split != "test-languages"} == set(SYNTHETIC.languages)


def test_ids_are_unique_and_files_exist(rows, folder):
    assert len({row.id for row in rows}) == len(rows)
    for row in rows:
        assert len(read_audio(folder / row.audio)) / 16_000 == pytest.approx(row.duration_s, abs=1e-6)


def test_unlabelled_speech_has_no_truth(rows, folder):
    for row in select(rows, "unlabelled"):
        assert (row.phones, row.curves, row.label_kind) == (None, None, None)
    assert not (folder / "phones" / "unlabelled").exists()
    assert not list((folder / "curves").glob("unlabelled*"))


def test_phones_cover_the_audio(rows, folder):
    for row in with_truth(rows):
        phones = read_phones(folder / row.phones)
        assert phones[0].start_s == 0 and phones[-1].end_s == pytest.approx(row.duration_s, abs=2e-6)
        assert all(one.end_s == other.start_s for one, other in zip(phones, phones[1:], strict=False))
        assert sum(phone.label != "" for phone in phones) > 3


def test_curves_have_the_frames_of_the_audio_and_move(rows, folder):
    curves = read_curves(folder, rows)
    assert set(curves) == {row.id for row in with_truth(rows)}
    for row in with_truth(rows):
        assert curves[row.id].shape == (n_frames(round(row.duration_s * 16_000)), 52)
        assert 0 <= curves[row.id].min() and curves[row.id].max() <= 1
        assert curves[row.id].std(axis=0).max() > 0.05


def test_noisy_copies_sound_different_and_move_alike(rows, folder):
    clean = {row.id: row for row in select(rows, "test-voices")}
    noisy = select(rows, "test-noisy")
    curves = read_curves(folder, rows)
    assert len(noisy) == len(clean)
    for number, row in enumerate(noisy):
        key, kind = row.id.rsplit("-", 1)
        assert kind == list(DEGRADATIONS)[number % len(DEGRADATIONS)]
        original = clean.pop(key)
        np.testing.assert_array_equal(curves[row.id], curves[key])
        assert (row.phones, row.speaker, row.transcript) == (original.phones, original.speaker, original.transcript)
        audio, dry = read_audio(folder / row.audio), read_audio(folder / original.audio)
        assert audio.shape == dry.shape
        assert 0.02 < np.sqrt(np.square(audio - dry).mean() / np.square(dry).mean()) < 2
    assert not clean


def test_two_runs_write_the_same_bytes(rows, folder, tmp_path):
    assert synthetic_corpus(tmp_path, SYNTHETIC, articulation=1.0, seed=1) == rows
    files = sorted(path.relative_to(folder) for path in folder.rglob("*") if path.is_file())
    assert files == sorted(path.relative_to(tmp_path) for path in tmp_path.rglob("*") if path.is_file())
    assert all((folder / name).read_bytes() == (tmp_path / name).read_bytes() for name in files)
