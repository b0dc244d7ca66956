"""Sentences: every phoneme of every language is spoken, and texts never run out."""

from collections import Counter
from itertools import islice
from unicodedata import normalize

import numpy as np
import pytest
import yaml

from facedistill.core.errors import InputError
from facedistill.core.paths import SENTENCES
from facedistill.corpora.synthetic import HELD_OUT, MIN_WORDS, read_sentences, utterance_texts
from facedistill.speech.espeak import STRESS_MARKS, Voice, synthesize

INVENTORY = yaml.safe_load((SENTENCES / "inventory.yaml").read_text(encoding="utf-8"))
FAST_WPM = 350  # labels do not depend on the rate
WITHOUT_LABIODENTALS = {"ja", "id"}  # Japanese has none, Indonesian only in loan words
MAX_FOREIGN_RATIO = 0.02  # labels outside the inventory: allophones; more would mean words read by another language's rules


@pytest.mark.parametrize("language", sorted(INVENTORY))
def test_sentences_speak_every_phoneme_of_the_language(language):
    counts = Counter()
    for sentence in read_sentences(language):
        _, phones = synthesize(sentence, Voice(language, "m3", rate_wpm=FAST_WPM))
        counts.update(normalize("NFC", phone.label.lstrip(STRESS_MARKS)) for phone in phones if phone.label)
    inventory = set(normalize("NFC", INVENTORY[language]).split())
    assert inventory - set(counts) == set()
    share = {first: sum(n for label, n in counts.items() if label[0] in first) / counts.total() for first in ("pbm", "fv")}
    assert share["pbm"] > 0.06
    assert share["fv"] > 0.01 or language in WITHOUT_LABIODENTALS
    assert sum(n for label, n in counts.items() if label not in inventory) < MAX_FOREIGN_RATIO * counts.total()


def test_every_language_has_an_inventory_and_distinct_sentences():
    assert sorted(path.stem for path in SENTENCES.glob("*.txt")) == sorted(INVENTORY)
    assert len(INVENTORY) >= 16
    for language in INVENTORY:
        sentences, held_out = read_sentences(language), read_sentences(language, HELD_OUT)
        assert len(set(sentences)) == len(sentences) >= 20
        assert len(set(held_out)) == len(held_out) >= 8 and not set(held_out) & set(sentences)


def test_texts_start_with_all_sentences_and_go_on_with_new_ones():
    sentences = read_sentences("tr")
    texts = list(islice(utterance_texts("tr", np.random.default_rng(0)), 500))
    assert len(texts) == 500
    assert sorted(texts[: len(sentences)]) == sorted(sentences) and texts[: len(sentences)] != sentences
    new = texts[len(sentences) :]
    assert len(set(new)) == len(new)
    assert min(len(text.split()) for text in new) >= MIN_WORDS
    known = {word.strip(",.!?") for sentence in sentences for word in sentence.split()}
    assert {word.strip(",.?") for text in new for word in text.split()} <= known


def test_texts_are_a_function_of_the_seed():
    drawn = [list(islice(utterance_texts("el", np.random.default_rng(seed)), 60)) for seed in (1, 1, 2)]
    assert drawn[0] == drawn[1] != drawn[2]


@pytest.mark.parametrize("language", ["cmn", "ja", "fr-fr"])
def test_recombinations_last_two_to_six_seconds(language):
    texts = list(islice(utterance_texts(language, np.random.default_rng(3)), 40, 60))
    durations_s = [synthesize(text, Voice(language, "m3"))[1][-1].end_s for text in texts]
    assert min(durations_s) > 1.7 and max(durations_s) < 6.5 and 2.5 < np.mean(durations_s) < 4.5


def test_words_keep_inner_marks_and_lose_outer_ones(tmp_path):
    (tmp_path / "xx.txt").write_text("¿L'alba, «dal-la» 你好 。\n\n", encoding="utf-8")
    text = list(islice(utterance_texts("xx", np.random.default_rng(0), folder=tmp_path), 50))
    assert {word.strip(",.?") for line in text[1:] for word in line.split()} == {"L'alba", "dal-la", "你好"}


def test_missing_empty_and_broken_files_are_refused(tmp_path):
    (tmp_path / "aa.txt").write_text("\n \n")
    (tmp_path / "bb.txt").write_bytes(b"\xff\xfe\x00")
    for language, message in {"zz": "expected aa bb", "aa": "no sentence", "bb": "cannot be read"}.items():
        with pytest.raises(InputError, match=message):
            read_sentences(language, tmp_path)
