"""The study kit: balanced plans, a page with everything in it, and an analysis that finds what simulated raters prefer."""

import json
import re
import shutil
from collections import Counter
from itertools import combinations, permutations

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from facedistill.core.errors import InputError
from facedistill.drawing.study import preference_figure
from facedistill.study.analysis import COLUMNS, attentive, bradley_terry, preferences, ranking, read_answers
from facedistill.study.command import app
from facedistill.study.page import build
from facedistill.study.plan import make_sheets

SYSTEMS = ("truth", "teacher", "on-device", "tiny")
STRENGTH = {"truth": 1.2, "teacher": 0.4, "on-device": -0.3, "tiny": -1.3}


def answers_of(sheets, rng, *, careless: float = 0.0) -> pd.DataFrame:
    """What raters with the preferences of `STRENGTH` answer; a share of them chooses blindly."""
    rows = []
    for number, sheet in enumerate(sheets):
        blind = rng.random() < careless
        for trial_number, trial in enumerate(sheet):
            odds = 0.5 if blind else 1 / (1 + np.exp(STRENGTH[trial.right] - STRENGTH[trial.left]))
            chosen = trial.check if trial.check and not blind else ("left" if rng.random() < odds else "right")
            rows.append((f"r{number}", number, trial_number, trial.sentence, trial.left, trial.right, trial.check, chosen, 3.0))
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
        heard = Counter(trial.sentence for trial in trials if {trial.left, trial.right} == pair)
        assert max(heard.values()) - min(heard[sentence] for sentence in sentences) <= 1
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
    with pytest.raises(InputError, match="1 systems, 1 sentences; allowed: at least two"):
        make_sheets(["x"], ["a"], n_sheets=1, n_trials=1, n_checks=0, seed=0)


@pytest.mark.parametrize(
    "text, told",
    [
        ("", "not a file of answers"),
        ("a,b\n1,2\n", "its columns are a, b"),
        (",".join(COLUMNS) + "\nr,1,1,x,a,b,,both,2\n", "a choice that is none"),
    ],
)
def test_files_that_are_no_answers_are_told(tmp_path, text, told):
    (tmp_path / "answers.csv").write_text(text)
    with pytest.raises(InputError, match=f"answers.csv: {told}"):
        read_answers([tmp_path / "answers.csv"])


def test_a_rater_counts_once(tmp_path):
    for name in ("one.csv", "two.csv"):
        (tmp_path / name).write_text(",".join(COLUMNS) + "\nr,1,1,x,a,b,,left,2\n")
    with pytest.raises(InputError, match="once more"):
        read_answers([tmp_path / "one.csv", tmp_path / "two.csv"])
    assert len(read_answers([tmp_path / "one.csv"])) == 1 and len(read_answers([])) == 0


def test_the_commands_build_a_study_and_analyse_its_answers(tmp_path, capsys):
    for system in ("truth", "tiny"):
        (tmp_path / system).mkdir()
        for clip in ("one", "two"):
            (tmp_path / system / f"{clip}.mp4").write_bytes(f"{system}{clip}".encode())
    folders = [f"{system}={tmp_path / system}" for system in ("truth", "tiny")]
    app(["build", *folders, "-o", str(tmp_path / "study.html"), "--sheets", "3", "--trials", "4"], standalone_mode=False)
    assert "2 systems, 2 sentences, 3 sheets of 4 comparisons" in capsys.readouterr().err
    with pytest.raises(InputError, match="allowed: NAME=FOLDER, each name once"):
        app(["build", folders[0], folders[0], "-o", str(tmp_path / "x.html")], standalone_mode=False)
    sheets = make_sheets(["one", "two"], SYSTEMS, n_sheets=20, n_trials=24, n_checks=2, seed=1)
    answers_of(sheets, np.random.default_rng(0)).to_csv(tmp_path / "answers.csv", index=False)
    app(["analyse", str(tmp_path / "answers.csv")], standalone_mode=False)
    told = capsys.readouterr().out
    assert [told.index(f"| {system} ") for system in SYSTEMS] == sorted(told.index(f"| {system} ") for system in SYSTEMS)


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
    film = pytest.importorskip("facedistill.drawing.film", reason="no renderer: install the extra `train`")
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
