"""The study kit: balanced plans, a page with everything in it, and an analysis that finds what simulated raters prefer."""

import csv
import json
import logging
import re
import shutil
from collections import Counter
from itertools import combinations, permutations

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from facedistill.cli import study as app
from facedistill.core.errors import InputError
from facedistill.figures.plots import preference_figure
from facedistill.study import analysis
from facedistill.study.analysis import COLUMNS, attentive, bradley_terry, preferences, ranking, read_answers, summary
from facedistill.study.page import build, make_sheets

SYSTEMS = ("truth", "teacher", "on-device", "tiny")
HEADER = ",".join(COLUMNS) + "\n"
HOSTILE = (
    "s<!--<script>1", "</script>", "a-->", "]]>", "<![CDATA[x", "&lt;&amp;", "a\"b", "a'b", "a,b", "a\\b\\n", "STUDY_JSON",
    "%s%20%", "${x}{{y}}<%=z%>", "\u202egnp.exe", "\U0001f600\U0001f1e9", "a\u2028b\u2029c", "__proto__", "constructor",
    "a\nb\r\nc", "a\rb", " a ", "NA", "1.0", "1", "\x1b[2J", "e\u0301", "n" * 230,
)  # fmt: skip
STRENGTH = {"truth": 1.2, "teacher": 0.4, "on-device": -0.3, "tiny": -1.3}


def answers_of(sheets, rng, *, careless: float = 0.0) -> pd.DataFrame:
    """What raters with the preferences of `STRENGTH` answer; a share of them chooses blindly."""
    rows = []
    for number, sheet in enumerate(sheets):
        blind = rng.random() < careless
        for trial_number, trial in enumerate(sheet):
            odds = 0.5 if blind else 1 / (1 + np.exp(STRENGTH[trial.right] - STRENGTH[trial.left]))
            selected = trial.check if trial.check and not blind else ("left" if rng.random() < odds else "right")
            rows.append((f"r{number}", number, trial_number, trial.sentence, trial.left, trial.right, trial.check, selected, 3.0))
    return pd.DataFrame(rows, columns=list(COLUMNS))


@settings(max_examples=25, deadline=None)
@given(
    n_systems=st.integers(2, 5),
    n_sentences=st.integers(1, 7),
    n_sheets=st.integers(1, 9),
    n_trials=st.integers(1, 15),
    seed=st.integers(0, 9),
)
def test_sheets_are_balanced(n_systems, n_sentences, n_sheets, n_trials, seed):
    systems, sentences = [f"s{n}" for n in range(n_systems)], [f"x{n}" for n in range(n_sentences)]
    sheets = make_sheets(sentences, systems, n_sheets=n_sheets, n_trials=n_trials, n_checks=2, seed=seed)
    assert all(len(sheet) == n_trials + 2 and sum(trial.check != "" for trial in sheet) == 2 for sheet in sheets)
    trials = [trial for sheet in sheets for trial in sheet if not trial.check]
    pairs = Counter(frozenset((trial.left, trial.right)) for trial in trials)
    counts = [pairs[frozenset(pair)] for pair in combinations(systems, 2)]
    assert max(counts) - min(counts) <= 1
    sides = Counter((trial.left, trial.right) for trial in trials)
    assert all(abs(sides[pair] - sides[pair[::-1]]) <= 1 for pair in permutations(systems, 2))
    for pair in pairs:
        audio = Counter(trial.sentence for trial in trials if {trial.left, trial.right} == pair)
        assert max(audio.values()) - min(audio[sentence] for sentence in sentences) <= 1
    assert sheets == make_sheets(sentences, systems, n_sheets=n_sheets, n_trials=n_trials, n_checks=2, seed=seed)


def test_the_analysis_finds_what_simulated_raters_prefer():
    rng = np.random.default_rng(0)
    sheets = make_sheets([f"x{n}" for n in range(10)], SYSTEMS, n_sheets=60, n_trials=24, n_checks=2, seed=1)
    answers = attentive(answers_of(sheets, rng, careless=0.3))
    assert 30 <= answers["rater"].nunique() < 55
    found = ranking(answers, n_draws=200, seed=1)
    assert list(found["system"]) == list(SYSTEMS)
    truth = found["system"].map(STRENGTH)
    assert ((found["low"] - 0.15 <= truth) & (truth <= found["high"] + 0.15)).all() and found["strength"].sum() == pytest.approx(
        0
    )
    rates = preferences(answers, n_draws=200, seed=1).set_index(["system", "other"])
    for pair in permutations(SYSTEMS, 2):
        expected = 1 / (1 + np.exp(STRENGTH[pair[1]] - STRENGTH[pair[0]]))
        assert rates.loc[pair, "rate"] == pytest.approx(expected, abs=0.1)
        assert rates.loc[pair, "rate"] + rates.loc[pair[::-1], "rate"] == pytest.approx(1)


def test_strengths_are_the_most_likely_ones():
    rng = np.random.default_rng(3)
    wins = rng.integers(1, 30, (4, 4)) * (1 - np.eye(4))
    skill = bradley_terry(wins)
    odds = 1 / (1 + np.exp(skill - skill[:, None]))
    met = wins + wins.T + 0.2 * (1 - np.eye(4))
    np.testing.assert_allclose((met * odds).sum(1), wins.sum(1) + 0.3, rtol=1e-6)  # the likelihood's gradient is 0
    assert np.isfinite(bradley_terry(np.array([[0, 5], [0, 0]]))).all()


@settings(max_examples=50, deadline=None)
@given(
    st.integers(2, 6).flatmap(lambda n: st.lists(st.lists(st.integers(0, 10**5), min_size=n, max_size=n), min_size=n, max_size=n))
)
def test_strengths_are_the_most_likely_ones_whoever_wins(rows):
    wins = np.array(rows) * (1 - np.eye(len(rows)))
    skill, prior = bradley_terry(wins), 0.1 * (1 - np.eye(len(rows)))
    odds = 1 / (1 + np.exp(skill - skill[:, None]))
    np.testing.assert_allclose(((wins + wins.T + 2 * prior) * odds).sum(1), (wins + prior).sum(1), rtol=1e-7, atol=1e-7)
    np.testing.assert_allclose(bradley_terry(np.stack([wins, wins.T])), [skill, -skill], atol=1e-6)


def test_draws_are_of_raters():
    wins = np.random.default_rng(0).integers(3, size=(7, 3, 3)).astype(float)
    selected = np.random.default_rng(5).integers(7, size=(250, 7))
    np.testing.assert_array_equal(analysis._resampled(wins, 250, 5), [wins.sum(0), *(wins[rows].sum(0) for rows in selected)])


def folders_of(tmp_path, systems, clips) -> dict:
    folders = {system: tmp_path / f"folder{number}" for number, system in enumerate(systems)}
    for folder in folders.values():
        folder.mkdir()
        for clip in clips:
            (folder / f"{clip}.mp4").write_bytes(b"no film")
    return folders


@pytest.mark.parametrize(
    "systems, clips, message",
    [
        (["=1+1", "b"], ["one"], r"=1\+1: cannot name a system or a clip"),
        (["a", "b"], ["@one"], "@one: cannot name"),
        (["a", "b"], ["-one"], "-one: cannot name"),
        (["a", "b"], ["+one"], r"\+one: cannot name"),
        (["a", "\tb"], ["one"], "\tb: cannot name"),
        (["a", "b" * 2000], ["one"], r"b{40}\.\.\.: cannot name"),
        (["a", "b"], ["\udcff"], "is no text"),
    ],
)
def test_names_that_answers_cannot_hold_are_refused(tmp_path, systems, clips, message):
    with pytest.raises(InputError, match=message):
        build(folders_of(tmp_path, systems, clips), tmp_path / "study.html")


def test_clips_that_are_left_out_are_told(tmp_path, caplog):
    folders = folders_of(tmp_path, ["a", "b"], ["one"])
    for number in range(7):
        (folders["a"] / f"more{number}.mp4").write_bytes(b"x")
    assert build(folders, tmp_path / "study.html") == 1
    message = f"{folders['b']}: has no clip of more0, more1, more2, more3, more4 and 2 more, which the study leaves out"
    assert [(record.getMessage(), record.levelno) for record in caplog.records] == [(message, logging.WARNING)]
    (folders["a"] / "one.webm").write_bytes(b"x")
    with pytest.raises(InputError, match="one.webm: a clip of the name of one.mp4; expected each name once"):
        build(folders, tmp_path / "study.html")


@pytest.mark.parametrize("out", ["study/", "study.html/", "folder.html", "study", "study.csv"])
def test_what_is_no_page_is_not_written(tmp_path, monkeypatch, out):
    monkeypatch.chdir(tmp_path)
    folders = folders_of(tmp_path, ["a", "b"], ["one"])
    (tmp_path / "folder.html").mkdir()
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(InputError, match=f"{out}: cannot be a page; expected a file that ends in .html"):
        app(["build", *(f"{name}={folder}" for name, folder in folders.items()), "-o", out], standalone_mode=False)
    assert sorted(tmp_path.rglob("*")) == before


def test_the_page_holds_its_clips_and_no_name_beside_them(tmp_path):
    for system in ("truth", "tiny"):
        (tmp_path / system).mkdir()
        for clip in ("one", "two"):
            (tmp_path / system / f"{clip}.mp4").write_bytes(f"{system}{clip}</script>".encode())
    (tmp_path / "tiny" / "three.mp4").write_bytes(b"x")
    out = tmp_path / "study.html"
    assert build({name: tmp_path / name for name in ("truth", "tiny")}, out, n_sheets=3, n_trials=4, n_checks=1) == 2
    page = out.read_text()
    study = json.loads(re.search(r'<script id="study" type="application/json">(.*?)</script>', page, re.S)[1])
    assert len(study["sheets"]) == 3 and {len(sheet) for sheet in study["sheets"]} == {5}
    assert study["clips"].keys() == study["systems"].keys() == {"s0", "s1"} and study["columns"] == list(COLUMNS)
    assert not re.search(r"""(src|href)=["']?https?:""", page)
    build({name: tmp_path / name for name in ("truth", "tiny")}, tmp_path / "again.html", n_sheets=3, n_trials=4, n_checks=1)
    assert (tmp_path / "again.html").read_bytes() == out.read_bytes()


def test_what_is_no_study_is_told_in_one_line(tmp_path):
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match="no clip that all have"):
        build({"a": tmp_path / "empty", "b": tmp_path / "empty"}, tmp_path / "x.html")
    with pytest.raises(InputError, match="1 systems, 1 sentences; expected at least two"):
        make_sheets(["x"], ["a"], n_sheets=1, n_trials=1, n_checks=0, seed=0)


@pytest.mark.parametrize(
    "text, message",
    [
        ("", "not a file of answers"),
        ("a,b\n1,2\n", "its columns are a, b"),
        (HEADER + "r,1,1,x,a,b,,both,2\n", "a choice that is none in answer 1; expected left or right"),
        (HEADER + "r,1,1,x,a,b,,left,2\nr,1,2,x,a,b,up,left,2\n", "a check that is none in answer 2"),
        (HEADER + "r,1,1,x,a,b,,left\n", "8 cells in answer 1; expected 9"),
        (HEADER + "r,1,1,x,a,b,,left,2,2\n", "10 cells in answer 1; expected 9"),
        (HEADER + "r,1,1,x,,b,,left,2\n", "a name without letters or with too many in answer 1; expected 1 to 1000"),
        (HEADER + f"r,1,1,x,{'a' * 1001},b,,left,2\n", "a name without letters or with too many"),
        (HEADER + f"r,1,1,x,{'a' * 200_000},b,,left,2\n", "not a file of answers .field larger than field limit"),
        (HEADER + "r,1.5,1,x,a,b,,left,2\n", "a sheet or trial that is none in answer 1; expected whole numbers"),
        (HEADER + f"r,1,{'9' * 30},x,a,b,,left,2\n", "a sheet or trial that is none"),
        *((HEADER + f"r,1,1,x,a,b,,left,{s}\n", "seconds that are none") for s in ("", "-1", "nan", "1e999", "soon")),
        (HEADER + "r,1,1,x,a,a,,left,2\n", "a system compared with itself in answer 1"),
        (HEADER + "r,1,1,x,a,b,,left,2\nr,1,1,x,a,b,,left,2\n", "a trial once more in answer 2"),
        (HEADER + 'r,1,1,x,"a"a,b,,left,2\n', "not a file of answers"),
        (
            HEADER + "".join(f"r,1,{n},x,a{n},b{n},,left,2\n" for n in range(1200)),
            "with it, 1 raters and 2400 systems; expected at",
        ),
        (
            HEADER + "".join(f"r{n},1,1,x,a,b,,left,2\n" for n in range(10_001)),
            "with it, 10001 raters and 2 systems; expected at",
        ),
        ("x" * 20_000_001, "too long for answers; expected at most 20 MB"),
    ],
)
def test_files_that_are_no_answers_are_told(tmp_path, text, message):
    (tmp_path / "answers.csv").write_text(text)
    with pytest.raises(InputError, match=f"answers.csv: {message}"):
        read_answers([tmp_path / "answers.csv"])


def test_a_rater_counts_once(tmp_path):
    for name in ("one.csv", "two.csv"):
        (tmp_path / name).write_text(",".join(COLUMNS) + "\nr,1,1,x,a,b,,left,2\n")
    with pytest.raises(InputError, match="once more"):
        read_answers([tmp_path / "one.csv", tmp_path / "two.csv"])
    with pytest.raises(InputError, match="once more"):
        read_answers([tmp_path / "one.csv", tmp_path / "one.csv"])
    assert len(read_answers([tmp_path / "one.csv"])) == 1 and len(read_answers([])) == 0


def test_the_commands_build_a_study_and_analyse_its_answers(tmp_path, capsys):
    for system in ("truth", "tiny"):
        (tmp_path / system).mkdir()
        for clip in ("one", "two"):
            (tmp_path / system / f"{clip}.mp4").write_bytes(f"{system}{clip}".encode())
    folders = [f"{system}={tmp_path / system}" for system in ("truth", "tiny")]
    app(["build", *folders, "-o", str(tmp_path / "study.html"), "--sheets", "3", "--trials", "4"], standalone_mode=False)
    assert "2 systems, 2 sentences, 3 sheets of 4 comparisons" in capsys.readouterr().err
    with pytest.raises(InputError, match="expected NAME=FOLDER, each name once"):
        app(["build", folders[0], folders[0], "-o", str(tmp_path / "x.html")], standalone_mode=False)
    sheets = make_sheets(["one", "two"], SYSTEMS, n_sheets=20, n_trials=24, n_checks=2, seed=1)
    answers_of(sheets, np.random.default_rng(0)).to_csv(tmp_path / "answers.csv", index=False)
    app(["analyse", str(tmp_path / "answers.csv")], standalone_mode=False)
    message = capsys.readouterr().out
    assert [message.index(f"| {system} ") for system in SYSTEMS] == sorted(message.index(f"| {system} ") for system in SYSTEMS)


@pytest.mark.parametrize(
    "names",
    [{"1.0": "1.0", "1": "1", "01": "01", "1e0": "1e0"}, {"1": "1", "\x1b[2J\u202e": r"\x1b[2J\u202e", "a|b": r"a\|b"}],
    ids=["numbers", "terminal"],
)
def test_names_are_texts(tmp_path, capsys, names):
    """Also where they look like numbers, move a terminal's cursor, or would end a cell of the table that is printed."""
    rows = [("007", 1, n, "1e3", *pair, "", "left", 2.0) for n, pair in enumerate(permutations(names, 2))]
    with (tmp_path / "a.csv").open("w", newline="", encoding="utf-8-sig") as file:
        csv.writer(file).writerows([COLUMNS, *rows])
    answers = read_answers([tmp_path / "a.csv"])
    assert set(answers["left"]) == set(names) and set(answers["sentence"]) == {"1e3"} and set(answers["rater"]) == {"007"}
    assert answers["seconds"].dtype == float and answers["trial"].tolist() == list(range(len(rows)))
    app(["analyse", str(tmp_path / "a.csv")], standalone_mode=False)
    message = capsys.readouterr().out
    assert sorted(re.findall(r"^\| (\S+) +\| +-?[\d.]+ \|", message, re.M)) == sorted(names.values())
    assert all(letter.isprintable() or letter == "\n" for letter in message)


def test_raters_without_checks_are_told():
    sheets = make_sheets(["one"], SYSTEMS, n_sheets=3, n_trials=4, n_checks=1, seed=1)
    answers = answers_of(sheets, np.random.default_rng(0))
    assert summary(answers) == "3 of 3 raters passed all attention checks; 12 comparisons."
    answers.loc[(answers["rater"] == "r0") & (answers["check"] != ""), "chosen"] = "neither"
    assert summary(answers) == "2 of 3 raters passed all attention checks; 8 comparisons."
    some = answers[(answers["rater"] != "r1") | (answers["check"] == "")]
    assert summary(some) == "1 of 2 raters passed all attention checks, 1 more without any are counted, unchecked; 8 comparisons."
    none = answers[answers["check"] == ""]
    assert summary(none) == "No attention checks: 3 raters are counted, unchecked; 12 comparisons."


def test_the_figure_has_a_row_for_every_pair():
    sheets = make_sheets(["one", "two"], SYSTEMS, n_sheets=20, n_trials=24, n_checks=2, seed=1)
    table = preferences(answers_of(sheets, np.random.default_rng(0)), n_draws=50, seed=1)
    ax = preference_figure(table, "20 raters").axes[0]
    shown = dict(
        zip([label.get_text().partition(" (")[0] for label in ax.get_yticklabels()], ax.lines[0].get_xdata(), strict=True)
    )
    rates = table.set_index(["system", "other"])["rate"]
    assert len(shown) == len(list(combinations(SYSTEMS, 2)))
    assert shown["teacher rather than tiny"] == pytest.approx(100 * rates["teacher", "tiny"])
    assert preference_figure(table[:0], "No answers yet").axes[0].texts[0].get_text() == "No answers yet"


CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)


@pytest.mark.skipif(CHROMIUM is None, reason="no command `chromium` or `google-chrome`")
@pytest.mark.parametrize("storage", [True, False])
def test_a_rater_with_a_phone_answers_and_is_analysed(tmp_path, storage):
    playwright = pytest.importorskip("playwright.sync_api", reason="no package playwright: install the extra `dev`")
    film = pytest.importorskip("facedistill.render.film", reason="no renderer: install the extra `train`")
    frames = np.zeros((6, 52), np.float32)
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        film.render([film.Panel("", frames)], tmp_path / name / "hello.mp4", film.Look(size_px=64), workers=1, quiet=True)
    build({name: tmp_path / name for name in ("one", "two")}, tmp_path / "study.html", n_sheets=2, n_trials=2, n_checks=1)
    with (
        playwright.sync_playwright() as driver,
        driver.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"]) as browser,
    ):
        page = browser.new_page(viewport={"width": 360, "height": 740}, has_touch=True, is_mobile=True)
        if not storage:
            page.add_init_script("Object.defineProperty(window, 'localStorage', { get() { throw new Error('blocked'); } })")
        errors = []
        page.on("pageerror", lambda error: errors.append(str(error)))
        page.goto(f"{(tmp_path / 'study.html').as_uri()}?sheet=2")
        page.tap("#begin")
        for _ in range(3):
            assert page.evaluate("() => document.documentElement.scrollWidth <= innerWidth"), "nothing hangs over the side"
            question = page.inner_text("#question")
            for side in ("left", "right"):
                page.evaluate(
                    "side => new Promise((done) => { const v = at(side); v.addEventListener('ended', done); v.play(); })", side
                )
            page.tap("#choose-right" if "on the right" in question else "#choose-left")
        with page.expect_download() as download:
            page.tap("#download")
        download.value.save_as(tmp_path / "answers.csv")
        assert not errors
    answers = read_answers([tmp_path / "answers.csv"])
    assert len(answers) == 3 and set(answers["sheet"]) == {2} and len(attentive(answers)) == 2
    assert set(answers[["left", "right"]].to_numpy().ravel()) == {"one", "two"}


@pytest.mark.skipif(CHROMIUM is None, reason="no command `chromium` or `google-chrome`")
def test_any_name_of_a_system_or_a_clip_comes_back_from_the_page(tmp_path):
    playwright = pytest.importorskip("playwright.sync_api", reason="no package playwright: install the extra `dev`")
    folders = folders_of(tmp_path, HOSTILE, [name for name in HOSTILE if "/" not in name])
    n_trials = len(list(combinations(HOSTILE, 2)))
    build(folders, tmp_path / "study.html", n_sheets=1, n_trials=n_trials, n_checks=0, question=HOSTILE[0])
    with (
        playwright.sync_playwright() as driver,
        driver.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"]) as browser,
    ):
        page = browser.new_page()
        errors = []
        page.on("pageerror", lambda error: errors.append(str(error)))
        page.goto((tmp_path / "study.html").as_uri())
        page.click("#begin")
        assert page.inner_text("#question") == HOSTILE[0]
        page.evaluate(
            """() => {
                while (!at("trial").hidden) {
                    for (const side of sides) at(side).dispatchEvent(new Event("ended"));
                    at("choose-left").click();
                }
            }"""
        )
        with page.expect_download() as download:
            page.click("#download")
        download.value.save_as(tmp_path / "answers.csv")
        assert not errors
    answers = read_answers([tmp_path / "answers.csv"])
    assert len(answers) == n_trials and set(answers["left"]) | set(answers["right"]) == set(HOSTILE)
    assert set(answers["sentence"]) == {name for name in HOSTILE if "/" not in name}
    with (tmp_path / "answers.csv").open(newline="", encoding="utf-8") as file:
        assert not any(cell.startswith(("=", "+", "-", "@")) for row in csv.reader(file) for cell in row)
