"""Manifests of strangers: an id is never a way out of the folder that labels are written to."""

import json
from pathlib import Path, PurePosixPath

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from facedistill.core.errors import InputError
from facedistill.core.manifest import Utterance, evenly_spaced, read_manifest, write_manifest

ROW = Utterance("a", "s", "s", "en", "paired", "a.flac", 1.0)


def written(folder: Path, **changes: object) -> Path:
    path = folder / "manifest.jsonl"
    path.write_text(json.dumps(vars(ROW) | changes) + "\n", encoding="utf-8")
    return path


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        *(({"id": id}, "expected the name of a file, since labels are written under it")
          for id in ("../../x", "a/../../x", "..", ".", "", "/etc/x", "//x/y/z", "\\x", "..\\x", "a\\..\\..\\x", "C:\\x", "C:x")),
        *(({"id": id}, "expected no control characters") for id in ("a\0", "a\nb", "\x1b[2J", "\ud800")),
        *(({name: "a\0.x"}, f"{name}: .*expected no control characters") for name in ("audio", "phones", "curves")),
        *(({"duration_s": value}, "duration_s: .*; expected seconds") for value in (float("nan"), float("inf"), -1)),
    ],
)  # fmt: skip
def test_what_is_evil_is_refused_with_its_line(tmp_path, changes, message):
    with pytest.raises(InputError, match=f"manifest.jsonl: line 1 is not an utterance .*{message}") as caught:
        read_manifest(written(tmp_path, **changes))
    assert str(caught.value).isprintable()


@pytest.mark.parametrize("id", ["a", "1988-24833-0028", "speaker/a", "a..b", "...", "été", "نمی‌خواهم", "a b", ".a"])
def test_names_of_files_are_ids(tmp_path, id):
    write_manifest(tmp_path / "manifest.jsonl", [ROW])
    assert read_manifest(tmp_path / "manifest.jsonl") == [ROW]
    assert read_manifest(written(tmp_path, id=id, audio="../x/a.flac"))[0].id == id


@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(id=st.text(st.sampled_from("a./\\:\0 é"), max_size=8) | st.text(max_size=8))
def test_whatever_is_read_stays_in_its_folder(tmp_path, id):
    path = tmp_path / "manifest.jsonl"
    path.write_text(json.dumps(vars(ROW) | {"id": id}) + "\n", encoding="utf-8")
    try:
        (row,) = read_manifest(path)
    except InputError as error:
        assert str(error).isprintable()
        return
    labels = tmp_path / "phones" / f"{row.id}.tsv"
    assert ".." not in PurePosixPath(row.id).parts and labels.resolve().is_relative_to(tmp_path / "phones")


@pytest.mark.parametrize(
    "line",
    ["[" * 100_000, '{"duration_s": ' + "1" * 5000 + "}", json.dumps(vars(ROW) | {"duration_s": 10**400}), "[]", "1", "\ufeff{}"],
)
def test_lines_that_are_no_utterance_are_told(tmp_path, line):
    (tmp_path / "manifest.jsonl").write_text(line, encoding="utf-8")
    with pytest.raises(InputError, match="manifest.jsonl: line 1 is not an utterance") as caught:
        read_manifest(tmp_path / "manifest.jsonl")
    assert "\n" not in str(caught.value) and len(str(caught.value)) < 500


@given(st.integers(0, 60), st.integers(1, 20))
def test_evenly_spaced_members_are_as_many_as_wanted_from_the_first_to_the_last(n, n_wanted):
    found = evenly_spaced(range(n), n_wanted)
    assert len(found) == min(n, n_wanted) and found[:1] == list(range(n))[:1]
    steps = [after - before for before, after in zip(found, found[1:], strict=False)]
    assert not steps or (found[-1] == n - 1 and min(steps) > 0 and max(steps) - min(steps) <= 1)
