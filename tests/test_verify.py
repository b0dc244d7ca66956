"""`make verify` must be able to fail."""

import json
import shutil
import subprocess
from pathlib import Path

import pytest
import yaml

from facedistill import verify as module
from facedistill.core.errors import InputError
from facedistill.core.files import read_json, write_json
from facedistill.core.params import load_params
from facedistill.core.paths import DATA
from facedistill.durations import record_duration

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


@pytest.fixture
def run(tmp_path, monkeypatch) -> Path:
    """A run with two outputs, in a git repository that holds its dvc.lock."""
    for name, value in {
        "ROOT": tmp_path, "EXPECTED": tmp_path / "expected", "MEASURED": tmp_path / "metrics.json", "LOCK": tmp_path / "dvc.lock",
        "REPORT": tmp_path / "verify.json",
    }.items():  # fmt: skip
        monkeypatch.setattr(module, name, value)
    monkeypatch.setattr("facedistill.durations.DURATIONS", tmp_path / "durations.jsonl")
    write_json(tmp_path / "expected" / "metrics.json", NUMBERS)
    write_json(tmp_path / "expected" / "seed_spread.json", SPREAD)
    write_json(tmp_path / "metrics.json", NUMBERS)
    monkeypatch.setattr(module, "stage_names", lambda: {"make"})
    (tmp_path / "params.yaml").write_text("seed: 5\nablate:\n  seeds: [1, 2]\n")
    (tmp_path / "folder" / "deep").mkdir(parents=True)
    for name in ("one.txt", "folder/b.txt", "folder/deep/a.txt"):
        (tmp_path / name).write_text(name)
    outs = [{"path": name, "md5": module.hash_of(tmp_path / name)} for name in ("one.txt", "folder")]
    (tmp_path / "dvc.lock").write_text(yaml.safe_dump({"stages": {"make": {"cmd": "x", "outs": outs}}}))
    git = ["git", "-c", "user.name=x", "-c", "user.email=x@y"]
    for command in (["init", "--quiet"], ["add", "dvc.lock"], ["commit", "--quiet", "-m", "x"]):
        subprocess.run([*git, *command], cwd=tmp_path, check=True)
    return tmp_path


def test_the_same_run_passes_and_is_recorded(run, capsys):
    record_duration("distill small", 12.34)
    record_duration("evaluate", 2.0)
    assert module.verify()
    told = capsys.readouterr().out
    assert "FAIL" not in told and "2 of 2 outputs" in told and "byte for byte" in told
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
    with pytest.raises(InputError, match="0 of 0 outputs are missing, such as .*dvc.lock"):
        module.verify()


def test_outputs_made_anew_are_told_apart_from_broken_ones(run, capsys):
    (run / "one.txt").write_text("made again")
    lock = yaml.safe_load((run / "dvc.lock").read_text())
    lock["stages"]["make"]["outs"][0]["md5"] = module.hash_of(run / "one.txt")
    (run / "dvc.lock").write_text(yaml.safe_dump(lock))
    assert module.verify()
    assert "1 outputs were made anew" in capsys.readouterr().out


def test_outputs_of_removed_stages_are_not_asked_for(run, capsys):
    lock = yaml.safe_load((run / "dvc.lock").read_text())
    lock["stages"]["gone"] = {"cmd": "x", "outs": [{"path": "gone.txt", "md5": "00"}]}
    (run / "dvc.lock").write_text(yaml.safe_dump(lock))
    assert module.verify()
    assert "2 of 2 outputs" in capsys.readouterr().out


def test_variants_and_teachers_are_stages():
    params = load_params()
    names = {f"ablate@{name}" for name in params.ablate.variants} | {f"teachers@{name}" for name in params.teachers}
    assert names | {"prepare", "evaluate", "tab4_teachers"} <= module.stage_names()


def test_accepting_makes_the_numbers_the_expected_ones(run):
    write_json(run / "metrics.json", {"test-voices": {"teacher": {"lip_gap_r": 0.1}}})
    record_duration("prepare", 61.0)
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


def test_folders_are_hashed_as_dvc_does(tmp_path):
    from dvc.repo import Repo

    shutil.copytree(DATA / "sentences", tmp_path / "data")
    repo = Repo.init(str(tmp_path), no_scm=True)
    (stage,) = repo.add(str(tmp_path / "data"))
    assert module.hash_of(tmp_path / "data") == stage.outs[0].hash_info.value


def test_what_is_expected_is_what_is_committed():
    assert read_json(module.EXPECTED / "metrics.json") == read_json(module.MEASURED)
