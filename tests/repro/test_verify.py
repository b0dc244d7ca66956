"""`make verify` must be able to fail."""

import json
import shutil
import subprocess
from pathlib import Path

import pytest
import yaml
from dvc.repo import Repo

from facedistill import cli
from facedistill.core.errors import InputError
from facedistill.core.files import read_json, write_json
from facedistill.repro import verify as module

NUMBERS = {"test-voices": {"teacher": {"lip_gap_r": 0.9, "lve_mm": None}, "on-device": {"lip_gap_r": 0.8, "lve_mm": 1.0}}}
# Beside the committed run: of three runs whose middle one is in the middle, the standard deviation is half the span.
SPREAD = {
    f"seed-{sign}": {
        "test-voices": {
            "teacher": {"lip_gap_r": 0.9 + sign * 0.01, "lve_mm": None},
            "on-device": {"lip_gap_r": 0.8 + sign * 0.002, "lve_mm": 1.0 + sign * 0.04},
        }
    }
    for sign in (-1, 1)
}


PIPELINE = """stages:
  make:
    cmd: x
    outs: [folder, one.txt: {cache: false}]
"""


@pytest.fixture(scope="module")
def pipeline(tmp_path_factory) -> Path:
    """A pipeline with two outputs, which git holds as it has run."""
    folder = tmp_path_factory.mktemp("pipeline")
    (folder / "dvc.yaml").write_text(PIPELINE)
    (folder / "params.yaml").write_text("seed: 5\nablate:\n  seeds: [1, 2]\n")
    (folder / "folder" / "deep").mkdir(parents=True)
    for name in ("one.txt", "folder/b.txt", "folder/deep/a.txt"):
        (folder / name).write_text(name)
    git = ["git", "-c", "user.name=x", "-c", "user.email=x@y"]
    subprocess.run([*git, "init", "--quiet"], cwd=folder, check=True)
    Repo.init(str(folder)).commit(force=True)
    for command in (["add", ".dvc", "dvc.yaml", "dvc.lock"], ["commit", "--quiet", "-m", "x"]):
        subprocess.run([*git, *command], cwd=folder, check=True)
    return folder


@pytest.fixture
def run(pipeline, tmp_path, monkeypatch) -> Path:
    """A copy of the pipeline, with the numbers that are expected of it."""
    shutil.copytree(pipeline, tmp_path, dirs_exist_ok=True)
    for name, value in {
        "ROOT": tmp_path, "EXPECTED": tmp_path / "expected", "MEASURED": tmp_path / "metrics.json",
        "REPORT": tmp_path / "verify.json",
    }.items():  # fmt: skip
        monkeypatch.setattr(module, name, value)
    for one in (cli, module):
        monkeypatch.setattr(one, "DURATION_NOTES", tmp_path / "durations.jsonl")
    write_json(tmp_path / "expected" / "metrics.json", NUMBERS)
    write_json(tmp_path / "expected" / "seed_spread.json", SPREAD)
    write_json(tmp_path / "metrics.json", NUMBERS)
    return tmp_path


def test_the_same_run_passes_and_is_recorded(run, capsys):
    cli.record_duration("distill small", 12.34)
    cli.record_duration("evaluate", 2.0)
    assert module.verify()
    message = capsys.readouterr().out
    assert "FAIL" not in message and "2 of 2 outputs" in message and "byte for byte" in message
    report = read_json(run / "verify.json")
    assert report["seeds"] == {"seed": 5, "ablate.seeds": [1, 2]}
    assert report["durations_s"] == {"distill small": 12.3, "evaluate": 2.0}
    assert report["versions"]["torch"] and report["machine"]["cores"]
    assert [row["verdict"] for row in report["numbers"]] == ["PASS"] * 4


@pytest.mark.parametrize(
    "system, metric, value, passes",
    [
        ("teacher", "lip_gap_r", 0.9 + 0.049, True), ("teacher", "lip_gap_r", 0.9 - 0.051, False),
        ("teacher", "lve_mm", 1.0, False),
        ("on-device", "lip_gap_r", 0.8 + 0.009, True), ("on-device", "lip_gap_r", 0.8 + 0.011, False),
        ("on-device", "lve_mm", None, False), ("on-device", "lve_mm", 1.19, True), ("on-device", "lve_mm", 1.21, False),
    ],
)  # fmt: skip
def test_a_number_further_off_than_seeds_are_apart_fails_and_says_what_that_means(run, system, metric, value, passes, capsys):
    numbers = json.loads(json.dumps(NUMBERS))
    numbers["test-voices"][system][metric] = value
    write_json(run / "metrics.json", numbers)
    assert module.verify() is passes
    assert ("A FAIL is a number further from" in capsys.readouterr().out) is not passes


def test_what_no_seed_changes_may_be_rounded_otherwise():
    runs = [{"a": {"loudness": {"lip_gap_r": 0.5, "pbm": 0.9}}}] * 3
    assert module.tolerances(runs) == {"loudness": {metric: module.ROUNDING[metric] for metric in ("lip_gap_r", "pbm")}}


def test_the_widest_test_counts():
    runs = [{test: {"x": {"lve_mm": sign * scale}} for test, scale in (("a", 1), ("b", 7))} for sign in (-1, 0, 1)]
    assert module.tolerances(runs)["x"]["lve_mm"] == pytest.approx(5 * 7)


def test_every_number_that_is_expected_has_a_spread_over_three_seeds_or_more():
    runs, expected = (read_json(module.EXPECTED / name) for name in ("seed_spread.json", "metrics.json"))
    allowed = module.tolerances([expected, *runs.values()])
    assert len(runs) >= 3
    for test, systems in expected.items():
        for system, metrics in systems.items():
            assert metrics.keys() <= allowed[system].keys(), (test, system)
    table = module.compared(runs["seed-1"], expected, allowed)  # a whole run on another processor than the committed one's
    assert set(table["verdict"]) == {"PASS"}, table[table["verdict"] == "FAIL"]


def test_a_system_that_was_not_measured_fails(run):
    write_json(run / "metrics.json", {"test-voices": {"teacher": NUMBERS["test-voices"]["teacher"]}})
    assert not module.verify()


@pytest.mark.parametrize("name", ["one.txt", "folder/deep/a.txt"])
def test_a_changed_byte_fails(run, name, capsys):
    (run / name).write_text("other")
    assert not module.verify()
    assert f"differs: {name.split('/')[0]}" in capsys.readouterr().out


def test_a_clone_that_has_not_run_is_told_what_to_run(run, capsys):
    (run / "one.txt").unlink()
    with pytest.raises(InputError, match="1 of 2 outputs are missing, such as one.txt; hint: `make repro` makes them") as caught:
        module.verify()
    assert "\n" not in str(caught.value) and capsys.readouterr().out == ""
    (run / "dvc.lock").unlink()
    with pytest.raises(InputError, match="0 of 0 outputs are missing, such as dvc.lock;"):
        module.verify()


def test_outputs_made_anew_are_told_apart_from_broken_ones(run, capsys):
    (run / "one.txt").write_text("made again")
    Repo(str(run)).commit(force=True)
    assert module.verify()
    assert "1 outputs were made anew" in capsys.readouterr().out


def test_outputs_of_removed_stages_are_not_asked_for(run, capsys):
    lock = yaml.safe_load((run / "dvc.lock").read_text())
    lock["stages"]["gone"] = json.loads(json.dumps(lock["stages"]["make"]).replace("one.txt", "gone.txt"))
    (run / "dvc.lock").write_text(yaml.safe_dump(lock))
    assert module.verify()
    assert "2 of 2 outputs" in capsys.readouterr().out


@pytest.mark.parametrize("what", [".git", ".dvc"])
def test_without_a_clone_it_is_one_line(run, what):
    shutil.rmtree(run / what)
    with pytest.raises(InputError, match="verify: .*repository.*; expected a clone that DVC can read") as caught:
        module.verify()
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", ["dvc.yaml", "dvc.lock"])
def test_a_pipeline_that_dvc_cannot_read_is_one_line(run, name):
    (run / name).write_text("stages: [\n")
    with pytest.raises(InputError, match=f"verify: .*{name}") as caught:
        module.verify()
    assert "\n" not in str(caught.value)


def test_before_the_first_commit_all_is_as_committed(run, capsys):
    shutil.rmtree(run / ".git")
    subprocess.run(["git", "init", "--quiet"], cwd=run, check=True)
    assert module.verify() and "2 of 2 outputs" in capsys.readouterr().out


def test_accepting_makes_the_numbers_the_expected_ones(run):
    write_json(run / "metrics.json", {"test-voices": {"teacher": {"lip_gap_r": 0.1}}})
    cli.record_duration("prepare", 61.0)
    module.accept()
    assert module.verify()
    assert read_json(run / "expected" / "durations.json") == {"prepare": 61.0}


@pytest.mark.parametrize("spread", [{"seed-1": 5}, {"seed-1": {"test-voices": {"teacher": {"unheard-of": 1.0}}}}], ids=str)
def test_what_cannot_be_compared_is_one_line(run, spread):
    write_json(run / "expected" / "seed_spread.json", spread)
    with pytest.raises(InputError, match="not what `verify` compares"):
        module.verify()
    (run / "metrics.json").unlink()
    with pytest.raises(InputError, match="metrics.json"):
        module.verify()


def test_what_is_expected_is_what_is_committed():
    assert read_json(module.EXPECTED / "metrics.json") == read_json(module.MEASURED)
