"""Text of curves that is written row by row: what the standard library makes of the whole, in little memory."""

import csv
import io
import json
import tracemalloc

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from facedistill.formats import registry
from facedistill.formats.animation import regular
from facedistill.formats.json_csv import write_object, write_table
from facedistill.rig.arkit import CURVES

VALUES = st.one_of(st.none(), st.booleans(), st.integers(), st.floats(allow_nan=False), st.text())


@settings(max_examples=50, deadline=None)
@given(
    content=st.dictionaries(st.text(), st.one_of(VALUES, st.lists(st.lists(VALUES, max_size=3))), max_size=5),
    iterated=st.booleans(),
)
def test_an_object_is_written_as_json_writes_it(tmp_path_factory, content, iterated):
    path = tmp_path_factory.mktemp("writing") / "a.json"
    streamed = {key: iter(value) if iterated and isinstance(value, list) else value for key, value in content.items()}
    if any("\ud800" <= letter <= "\udfff" for letter in json.dumps(content, ensure_ascii=False)):
        return  # no file can hold it
    write_object(path, streamed)
    assert path.read_bytes() == (json.dumps(content, ensure_ascii=False) + "\n").encode()


@settings(max_examples=50, deadline=None)
@given(rows=st.lists(st.lists(st.one_of(st.floats(), st.integers(), st.sampled_from(['a,"b"', "c\nd", "é", ""])), max_size=4)))
def test_a_table_is_written_as_csv_writes_it(tmp_path_factory, rows):
    path, text = tmp_path_factory.mktemp("writing") / "a.csv", io.StringIO()
    write_table(path, ["one", "two"], iter(rows))
    csv.writer(text, lineterminator="\n").writerows([["one", "two"], *rows])
    assert path.read_bytes() == text.getvalue().encode()


def test_what_fails_on_the_way_leaves_the_file_that_was_there(tmp_path):
    def failing():
        yield [1.0]
        raise MemoryError

    (tmp_path / "a").write_text("before")
    for write, content in ((write_table, ["one"]), (write_object, None)):
        with pytest.raises(MemoryError):
            write(tmp_path / "a", *([content, failing()] if content else [{"one": failing()}]))
    assert [path.name for path in tmp_path.iterdir()] == ["a"] and (tmp_path / "a").read_text() == "before"


@pytest.mark.parametrize("kind", ["csv", "json", "a2f", "a2f-csv"])
def test_the_text_of_a_take_is_never_there_whole(tmp_path, kind):
    weights = np.random.default_rng(0).uniform(size=(3000, len(CURVES))).round(6)
    path = tmp_path / f"a{registry.KINDS[kind].suffix}"
    animation = regular(CURVES, weights, 60)
    registry.write(path, animation, kind=kind)
    tracemalloc.start()
    try:
        registry.write(path, animation, kind=kind)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < weights.nbytes / 2


@pytest.mark.parametrize("is_shared", [True, False])
def test_curves_that_nobody_can_change_are_not_copied(is_shared):
    """A view may change with what it is a view of."""
    weights = np.zeros((3, 2))
    fixed = weights[:] if is_shared else weights
    fixed.flags.writeable = False
    found = regular(["one", "two"], fixed, 30).weights
    assert np.shares_memory(found, weights) != is_shared and not found.flags.writeable
