"""Numbers in texts are those that were measured: filling the committed texts changes nothing."""

import json
import re
import sys

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from markdown_it import MarkdownIt

from facedistill import cli
from facedistill.core.errors import InputError
from facedistill.core.files import read_json
from facedistill.core.paths import FIGURES, ROOT
from facedistill.figures import kept_numbers as kept
from facedistill.figures.numbers import quoted_numbers
from facedistill.measure.bootstrap import WEIGHTED
from facedistill.repro import texts as module

TEXTS = [path for pattern in module.TEXTS for path in sorted(ROOT.glob(pattern))]
COMMENT = re.compile(r"<!--.*?-->")
NUMBERS = {"table-1/pbm": {"text": "0.98 [0.97, 0.99]"}, "table-1/auc": {"text": "0.5"}, "summary": {"text": "All is well."}}
KNOWN = {name: number["text"] for name, number in NUMBERS.items()}
WORDS = st.text(st.sampled_from("ab .|*`-!<>=/0\n"), max_size=20).filter(lambda text: "<!--" not in text)


@pytest.fixture(scope="module")
def known() -> dict[str, str]:
    return module.known_numbers()


@pytest.fixture
def place(tmp_path, monkeypatch):
    """A project of two texts, whose only numbers are NUMBERS."""
    monkeypatch.setattr(module, "ROOT", tmp_path)
    monkeypatch.setattr(module, "NUMBERS", tmp_path / "numbers.json")
    monkeypatch.setattr(module, "kept_numbers", dict)
    (tmp_path / "numbers.json").write_text(json.dumps(NUMBERS))
    (tmp_path / "README.md").write_text("It is <!--=table-1/pbm-->0.1<!--/-->, or <!--=table-1/auc-->0.5<!--/-->.\n")
    (tmp_path / "figures" / "release").mkdir(parents=True)
    (tmp_path / "figures" / "release" / "README.md").write_text("<!--=summary-->\nSome\nwords.\n<!--/-->\n")
    return tmp_path


def run(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> int:
    monkeypatch.setattr(sys, "argv", ["facedistill", *arguments])
    with pytest.raises(SystemExit) as ended:
        cli.main()
    return ended.value.code or 0


# The texts of the project ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", TEXTS, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_filling_changes_nothing(path, known):
    text = path.read_text(encoding="utf-8")
    assert module.filled(text, known, path.name) == (text, []), "run: facedistill fill"


def test_quoted_numbers_are_those_of_the_tables():
    assert read_json(FIGURES / "numbers.json") == quoted_numbers()


def test_any_other_number_would_change_the_texts(known):
    others = {name: f"{text}1" for name, text in known.items()}
    n_changed = [len(module.filled(path.read_text(encoding="utf-8"), others, "")[1]) for path in TEXTS]
    assert n_changed == [path.read_text(encoding="utf-8").count("<!--=") for path in TEXTS]
    assert sum(n_changed) > 90


@pytest.mark.parametrize("path", TEXTS, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_pages_show_nothing_of_markers(path):
    page, text = MarkdownIt("commonmark").enable("table"), path.read_text(encoding="utf-8")
    shown, plain = (COMMENT.sub("", html) for html in (page.render(text), page.render(COMMENT.sub("", text))))
    assert shown.split() == plain.split()
    assert "&lt;!--" not in shown, "a marker in code"


def test_what_is_said_to_be_at_most_so_much_is_just_below_it(known):
    systems = read_json(kept.DETAILS)["systems"]
    released = {path.stem: systems[path.stem] for path in (ROOT / "models").glob("*/*.onnx") if not path.stem.endswith("-window")}
    assert {"on-device", "on-device-int8", "real-time-float16", "tiny-real-time", "tiny-real-time-int8"} <= set(released)
    kept_auc = [
        groups[WEIGHTED]["closure_auc"]["value"] / metadata["conditions"]["clean"][WEIGHTED]["closure_auc"]["value"]
        for metadata in released.values()
        for groups in metadata["conditions"].values()
    ]
    gaps = [quiet["gap_mm"] for metadata in released.values() for quiet in metadata["non-speech"].values()]

    def jitter(word: str, *sounds: str) -> list[float]:
        selected = [metadata["non-speech"] for name, metadata in released.items() if word in name]
        return [100 * metadata[sound]["jitter_ratio"] for metadata in selected for sound in sounds]

    for name, unit, values in (
        ("auc-lost", 1, [100 * (1 - ratio) for ratio in kept_auc]),
        ("gap-in-quiet", 0.1, gaps),
        ("jitter-in-quiet/on-device", 1, jitter("on-device", "silence", "room-60dbfs", "room-50dbfs", "room-40dbfs")),
        ("jitter-in-quiet/real-time/room-50dbfs", 1, jitter("real-time", "room-50dbfs")),
        ("jitter-in-quiet/real-time/room-40dbfs", 1, jitter("real-time", "room-40dbfs")),
    ):
        assert float(known[f"benchmark/{name}"]) - unit < max(values) <= float(known[f"benchmark/{name}"]), name


def test_a_number_of_the_grid_is_told_in_four_ways(known):
    row = pd.read_csv(kept.GRID / "seeds" / "tab2_ablations.csv", index_col=0).loc["channels-64"]
    assert row["lip_gap_r_gain"] < -0.01, "half the width loses"
    message = [known[f"release/seeds/channels-64/lip_gap_r_gain{way}"] for way in ("", "/signed", "/turned", "/interval")]
    value, low, high = (f"{row[f'lip_gap_r_gain{end}']:.3f}" for end in ("", "_low", "_high"))
    assert message == [value, value, value.removeprefix("-"), f"{value} [{low}, {high}]"]
    assert known["release/seeds/no-feature-loss/lip_gap_r_gain/signed"].startswith("+")


def test_what_the_lips_loss_brings_it_brings_in_one_seed():
    seeds = read_json(kept.GRID / "seeds" / "ablation_seeds.json")["test-voices"]
    brings = [seeds["no-lip-vertex-loss"][seed]["lve_mm"] - run["lve_mm"] for seed, run in seeds["baseline"].items()]
    assert len(brings) == 3 and max(brings) > 0.9 * sum(brings) > 0, "nearly all"


@pytest.mark.parametrize(
    ("value", "n_digits", "text"), [(7.000000000000001, 0, "7"), (1.2, 0, "2"), (0.02, 1, "0.1"), (0, 1, "0.0")]
)
def test_at_most_is_rounded_up(value, n_digits, text):
    assert kept._at_most(value, n_digits) == text


# The command ----------------------------------------------------------------------------------------------------------


def test_numbers_that_changed_are_written_and_told(place, monkeypatch, capsys):
    assert run(monkeypatch, "fill") == 0
    assert capsys.readouterr().out.splitlines() == [
        "README.md: table-1/pbm: 0.1 -> 0.98 [0.97, 0.99]",
        "figures/release/README.md: summary: Some words. -> All is well.",
    ]
    text = "It is <!--=table-1/pbm-->0.98 [0.97, 0.99]<!--/-->, or <!--=table-1/auc-->0.5<!--/-->.\n"
    assert (place / "README.md").read_text() == text
    assert (place / "figures" / "release" / "README.md").read_text() == "<!--=summary-->\nAll is well.\n<!--/-->\n"
    assert run(monkeypatch, "fill") == 0
    assert capsys.readouterr().out == "fill: no number changed\n"


@pytest.mark.parametrize(
    ("text", "message"),
    {
        "<!--=table-1/pbn-->0.1<!--/-->": "no number is called table-1/pbn; expected table-1/pbm",
        "one\n\n<!--=table-1/pbm-->0.1 of": "line 3: a marker without its partner",
        "<!--=table-1/pbm-->0.1 of <!--=table-1/auc-->0.5<!--/-->": "line 1: a marker without its partner",
        "<!--=table-1/pbm-->\n0.1\n<!--/-->\n0.2<!--/-->": "line 4: a marker without its partner",
        "<!--=table-1/pbm-->0.1 <!-- or so --><!--/-->": "line 1: a marker without its partner",
        "<!--=-->0.1<!--/-->": "line 1: a marker without its partner",
        "<!--=table-1\n/pbm-->0.1<!--/-->": "line 1: a marker without its partner",
    }.items(),
)
def test_a_wrong_marker_is_one_line_and_nothing_is_written(place, monkeypatch, capsys, text, message):
    last, first = place / "figures" / "release" / "README.md", (place / "README.md").read_text()
    last.write_text(text)
    assert run(monkeypatch, "fill") == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"error: figures/release/README.md: {message}") and "expected" in line
    assert (last.read_text(), (place / "README.md").read_text()) == (text, first)


@pytest.mark.parametrize("content", [b"[1]", b'{"a": 1}', b'{"a": {}}', b"{", None])
def test_numbers_that_cannot_be_read_are_told(place, monkeypatch, capsys, content):
    path = place / "numbers.json"
    path.unlink() if content is None else path.write_bytes(content)
    assert run(monkeypatch, "fill") == 2
    assert capsys.readouterr().err.startswith(f"error: {path}: ")


def test_a_text_that_is_not_utf_8_is_told(place, monkeypatch, capsys):
    (place / "README.md").write_bytes(b"\xff")
    assert run(monkeypatch, "fill") == 2
    assert capsys.readouterr().err.startswith(f"error: {place / 'README.md'}: cannot be read")


@pytest.mark.parametrize("content", ["{}", '{"recordings": {}}', "[]"])
def test_kept_tables_that_are_broken_are_told(tmp_path, monkeypatch, content):
    monkeypatch.setattr(kept, "DETAILS", tmp_path / "details.json")
    (tmp_path / "details.json").write_text(content)
    with pytest.raises(InputError, match=r"details\.json: cannot be read .*; expected"):
        kept.kept_numbers()


@given(st.lists(st.tuples(WORDS, st.sampled_from(sorted(KNOWN)), WORDS)), WORDS)
def test_only_what_stands_between_markers_changes(parts, last):
    def written(texts) -> str:
        pairs = zip(parts, texts, strict=True)
        return "".join(f"{words}<!--={name}-->{text}<!--/-->" for (words, name, _), text in pairs) + last

    def around(old: str, new: str) -> str:
        """A number keeps the blanks around it, which may be lines of their own."""
        return old[: len(old) - len(old.lstrip())] + new + (old[len(old.rstrip()) :] if old.strip() else "")

    given_text = written(old for _, _, old in parts)
    wanted = written(around(old, KNOWN[name]) for _, name, old in parts)
    text, changes = module.filled(given_text, KNOWN, "README.md")
    assert text == wanted
    assert len(changes) == sum(old.strip() != KNOWN[name] for _, name, old in parts)
    assert module.filled(text, KNOWN, "README.md") == (text, [])
