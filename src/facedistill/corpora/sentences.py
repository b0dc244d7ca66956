"""Texts to synthesise: original sentences of every language (data/sentences) and endless recombinations of their words."""

import unicodedata
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from facedistill.core.errors import InputError
from facedistill.core.paths import SENTENCES

HELD_OUT = SENTENCES / "held-out"  # what the test voices say, in the languages of training: no training text has these

LENGTH_RATIO = (0.9, 1.6)  # letters of a recombination, as a share of the language's mean sentence: 2 to 5 s of speech
MIN_WORDS, MAX_WORDS = 4, 16
COMMA_RATIO, QUESTION_RATIO = 0.3, 0.2
MIN_WORDS_AROUND_COMMA = 2


def read_sentences(language: str, folder: Path = SENTENCES) -> list[str]:
    """Reads the sentences of a language (espeak-ng's name of it), one a line, blank lines left out.

    Raises:
        InputError: the file is missing, not UTF-8, or has no sentence.
    """
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

    A recombination is a seeded draw of the language's words, about as long as its sentences, sometimes with a comma or as a
    question: sounds meet in ever new contexts, whatever the number of hours.
    """
    sentences = read_sentences(language, folder)
    yield from rng.permutation(sentences).tolist()
    words = [word for sentence in sentences for word in _words(sentence)]
    mean_letters = sum(map(len, words)) / len(sentences)
    while True:
        yield _recombination(words, mean_letters, rng)


def _words(sentence: str) -> list[str]:
    """The words of a sentence: split at spaces, punctuation around them taken away, apostrophes and hyphens inside kept."""
    words = []
    for token in sentence.split():
        letters = [index for index, character in enumerate(token) if unicodedata.category(character)[0] in "LMN"]
        if letters:
            words.append(token[letters[0] : letters[-1] + 1])
    return words


def _recombination(words: list[str], mean_letters: float, rng: np.random.Generator) -> str:
    drawn = [words[index] for index in rng.integers(len(words), size=MAX_WORDS)]
    n_letters = rng.uniform(*LENGTH_RATIO) * mean_letters
    n_words = int(np.searchsorted(np.cumsum([len(word) for word in drawn]), n_letters)) + 1
    drawn = drawn[: max(n_words, MIN_WORDS)]
    if rng.random() < COMMA_RATIO:
        drawn[rng.integers(MIN_WORDS_AROUND_COMMA - 1, len(drawn) - MIN_WORDS_AROUND_COMMA)] += ","
    return " ".join(drawn) + ("?" if rng.random() < QUESTION_RATIO else ".")
