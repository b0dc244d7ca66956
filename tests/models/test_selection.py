"""Which utterances students learn from."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from facedistill.core.errors import InputError
from facedistill.core.manifest import SYNTHETIC, Utterance
from facedistill.core.sections import DataParams
from facedistill.models.dataset import subsample

LANGUAGES, VOICES = ("de", "en", "fi"), ("ann", "bob", "cid", "dan")
ROWS = [
    Utterance(
        id=f"u{number}", source=SYNTHETIC if number % 3 else "lab", speaker=VOICES[number % 4], language=LANGUAGES[number % 3],
        split="paired", audio=f"u{number}.flac", duration_s=1.0 + number % 5,
    )
    for number in range(60)
]  # fmt: skip
ALL = {"labels": "teacher", "sources": "all", "hours_ratio": 1.0, "voices": None, "languages": None}


def pick(seed: int = 1, **wanted) -> list[Utterance]:
    return subsample(ROWS, DataParams(**(ALL | wanted)), seed)


def test_everything_in_the_order_of_the_manifest():
    assert pick() == ROWS
    assert pick(voices=1000, languages=1000) == ROWS


def test_sources_split_the_whole():
    synthetic, recorded = pick(sources="synthetic"), pick(sources="recordings")
    assert {row.source for row in synthetic} == {SYNTHETIC} and {row.source for row in recorded} == {"lab"}
    assert sorted([*synthetic, *recorded], key=ROWS.index) == ROWS


def test_languages_and_voices_are_counted():
    assert len({row.language for row in pick(languages=2)}) == 2
    assert len({(row.source, row.speaker) for row in pick(voices=3)}) == 3


@given(st.floats(0.01, 1), st.floats(0.01, 1), st.integers(0, 5))
def test_a_smaller_share_is_part_of_a_larger_one_and_lasts_what_it_should(one, other, seed):
    small, large = (pick(seed, hours_ratio=ratio) for ratio in sorted((one, other)))
    assert set(small) <= set(large)
    wanted_s, got_s = max(one, other) * sum(row.duration_s for row in ROWS), sum(row.duration_s for row in large)
    assert got_s <= wanted_s + 1e-6 or len(large) == 1
    assert got_s > wanted_s - max(row.duration_s for row in ROWS)
    assert large == sorted(large, key=ROWS.index)


def test_another_seed_draws_others():
    assert pick(1, hours_ratio=0.3) == pick(1, hours_ratio=0.3) != pick(2, hours_ratio=0.3)


def test_nothing_left_is_an_error_that_says_so():
    with pytest.raises(InputError, match="distill.data: no utterances with .*'sources': 'recordings'"):
        subsample([row for row in ROWS if row.source == SYNTHETIC], DataParams(**(ALL | {"sources": "recordings"})), 1)
