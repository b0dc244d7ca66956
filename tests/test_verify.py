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
TOLERANCES = {"lip_gap_r": 0.05, "lve_mm": 0.2}


@pytest.fixture
def run(tmp_path, monkeypatch) -> Path:
    """A run with two outputs, in a git repository that holds its dvc.lock."""
    for name, value in {
        "ROOT": tmp_path, "EXPECTED": tmp_path / "expected", "MEASURED": tmp_path / "metrics.json", "LOCK": tmp_path / "dvc.lock",
        "REPORT": tmp_path / "verify.json",
    }.items():  # fmt: skip
        monkeypatch.setattr(module, name, value)
    monkeypatch.setattr("facedistill.durations.DURATIONS", tmp_path / "durations.json")
    write_json(tmp_path / "expected" / "metrics.json", NUMBERS)
    write_json(tmp_path / "expected" / "tolerances.json", TOLERANCES)
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
        ("teacher", "lip_gap_r", 0.94, True), ("teacher", "lip_gap_r", 0.84, False), ("teacher", "lve_mm", 1.0, False),
        ("on-device", "lve_mm", None, False), ("on-device", "lve_mm", 1.19, True),
    ],
)  # fmt: skip
def test_a_number_outside_its_tolerance_fails(run, system, metric, value, passes):
    numbers = json.loads(json.dumps(NUMBERS))
    numbers["test-voices"][system][metric] = value
    write_json(run / "metrics.json", numbers)
    assert module.verify() is passes


def test_a_metric_without_a_tolerance_of_its_own_is_not_compared(run):
    write_json(run / "expected" / "tolerances.json", TOLERANCES | {"lip_gap_r": None})
    write_json(
        run / "metrics.json",
        {test: {name: metrics | {"lip_gap_r": 0.0} for name, metrics in systems.items()} for test, systems in NUMBERS.items()},
    )
    assert module.verify() and {row["metric"] for row in read_json(run / "verify.json")["numbers"]} == {"lve_mm"}


def test_a_system_that_was_not_measured_fails(run):
    write_json(run / "metrics.json", {"test-voices": {"teacher": NUMBERS["test-voices"]["teacher"]}})
    assert not module.verify()


@pytest.mark.parametrize("name", ["one.txt", "folder/deep/a.txt"])
def test_a_changed_or_lost_byte_fails(run, name, capsys):
    (run / name).write_text("other")
    assert not module.verify()
    assert f"differs: {name.split('/')[0]}" in capsys.readouterr().out
    (run / name).unlink()
    assert not module.verify()


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


def test_what_cannot_be_compared_is_one_line(run):
    write_json(run / "expected" / "tolerances.json", {})
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
