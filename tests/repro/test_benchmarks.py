"""The benchmark runs, and compares what is equal; how fast it is, is measured on a quiet machine."""

import importlib.util
import subprocess
import sys

import numpy as np
import pytest
import torch
from configurations import params_of
from recorded_tree import make_tree, read_examples

from facedistill.core.files import read_json
from facedistill.core.manifest import read_manifest
from facedistill.core.params import with_overrides
from facedistill.core.paths import ROOT
from facedistill.corpora.synthetic import plans
from facedistill.measure.systems import each
from facedistill.models.student import Student, StudentConfig

SPEC = importlib.util.spec_from_file_location("what_works", ROOT / "benchmarks" / "what_works.py")
what_works = importlib.util.module_from_spec(SPEC)
sys.modules[SPEC.name] = what_works  # dataclasses look their module up
SPEC.loader.exec_module(what_works)


def test_training_throughput_runs_and_checks_that_both_ways_agree(tmp_path):
    out = tmp_path / "out.json"
    command = [sys.executable, "benchmarks/training_throughput.py", "--seconds", "1", "--repeats", "1", "--out", str(out)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "on-device" in done.stdout and "small" in done.stdout
    assert [row["student"] for row in read_json(out)["rows"]] == ["small", "on-device"]


def test_rendering_is_timed_in_every_way(tmp_path):
    out = tmp_path / "out.json"
    command = [sys.executable, "benchmarks/render_speed.py", "--frames", "16", "--out", str(out)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert len(done.stdout.splitlines()) == 2 + 4
    assert {(row["processes"], row["strip"]) for row in read_json(out)["rows"]} == {(1, "no"), (1, "yes"), (2, "no"), (2, "yes")}


@pytest.mark.parametrize("name", what_works.CHANGES)
def test_a_change_changes_what_it_says_and_nothing_else(name):
    change, params = what_works.CHANGES[name], params_of("release")
    before = params.model_dump()
    differing = set(paths_that_differ(before, with_overrides(params, change.set).model_dump()))
    assert differing == set(change.set)
    assert change.network in (what_works.TEACHER, *before["distill"]["students"])
    assert change.labels is None or what_works.CHANGES[change.labels].network == what_works.TEACHER


def test_rows_leave_out_what_they_say():
    params = params_of("release")
    voices = params.prepare.synthetic.voices.paired
    planned = {
        variant for plan in plans(params.prepare.synthetic, params.seed) if plan.split == "paired" for variant in plan.variants
    }
    assert len(planned) == voices and set(what_works.TEN_VOICES) < planned and len(what_works.TEN_VOICES) == 10


def paths_that_differ(one, other, path=""):
    if isinstance(one, dict):
        for key in one:
            yield from paths_that_differ(one[key], other[key], f"{path}.{key}" if path else key)
    elif one != other:
        yield path


def test_a_student_is_measured_and_shown(tmp_path):
    examples = read_examples(make_tree(tmp_path))
    torch.manual_seed(0)
    student = Student(StudentConfig(channels=8, past_ms=256, future_ms=256)).eval()
    row = what_works.row_of("x", what_works.measure(each(student.animate), examples, params_of("smoke")))
    assert row["change"] == "x" and 0 <= float(row["AUC, mean of sources"]) <= 1
    assert all(value not in ("", "nan") for value in row.values())


def test_without_aligned_recordings_it_is_one_line(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(what_works, "DATA", tmp_path)
    monkeypatch.setattr(sys, "argv", ["what_works.py"])
    with pytest.raises(SystemExit) as ended:
        what_works.main()
    message = capsys.readouterr().err
    assert ended.value.code == 2 and message.startswith("error: ") and "manifest.jsonl" in message and message.count("\n") == 1


def test_results_of_other_settings_are_not_taken(tmp_path, monkeypatch, corpus_folder):
    params, trained = params_of("release"), []
    monkeypatch.setattr(what_works, "DATA", corpus_folder.parent)
    monkeypatch.setattr("facedistill.models.training.WORK", tmp_path / "work")
    shard = corpus_folder.parent / "align" / "../prepare/curves/s.npz"

    def train(change, params, corpus, out) -> None:
        trained.append(out.name)
        (out / "model.safetensors").touch()

    monkeypatch.setattr(what_works, "train", train)
    monkeypatch.setattr(what_works, "measure", lambda *arguments: {"trained": len(trained)})
    results = []
    for steps in (100, 100, 200, 200):
        baseline = with_overrides(params, {"distill.students.on-device.steps": steps})
        if len(results) == 3:  # aligned anew: other curves under the same names
            shard.write_bytes(shard.read_bytes() + b" ")
        results.append(what_works.result_of("baseline", baseline, [])["trained"])
    assert results == [1, 1, 2, 3]


@pytest.mark.parametrize("name", ["a self-trained teacher", "pseudo-labels of a teacher"])
def test_a_row_makes_what_it_needs(tmp_path, monkeypatch, corpus_folder, smoke_params, name):
    data, seen = corpus_folder.parent, []
    for module in ("facedistill.pipeline.distill", "facedistill.pipeline.label", "facedistill.pipeline.teach", "what_works"):
        monkeypatch.setattr(f"{module}.DATA", data)
    monkeypatch.setattr("facedistill.models.training.WORK", tmp_path / "work")
    monkeypatch.setattr(what_works, "ROOT", data.parent)
    monkeypatch.setattr("facedistill.models.encoder.ROOT", data.parent)
    monkeypatch.setattr("facedistill.pipeline.teach.ROOT", data.parent)
    monkeypatch.setattr(
        what_works, "measure", lambda animate, *rest: seen.append(animate([np.zeros(16_000, np.float32)])[0].shape)
    )
    monkeypatch.setattr(what_works, "rounded", lambda scores: {})
    baseline = with_overrides(smoke_params, {"teach.encoder.source": "scratch"})
    what_works.result_of(name, baseline, [])
    what_works.result_of(name, baseline, [])
    labelled = what_works.CHANGES[name].labels is not None
    assert seen == [(60, 52)] * (1 + labelled), "the teacher, and the row itself; once"
    assert what_works.folder_of(name).joinpath("model.safetensors").is_file()
    labels = read_manifest(what_works.folder_of("a teacher") / "labels" / "manifest.jsonl") if labelled else []
    assert [row.label_kind for row in labels] == ["teacher"] * 3 * labelled
