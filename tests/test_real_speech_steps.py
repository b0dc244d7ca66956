"""The benchmark on recordings as a whole: what is here is measured, what is not is skipped, and nothing is made twice."""

import json
import os
import sys
from pathlib import Path

import numpy as np
import pytest
import yaml
from dvc.repo import Repo
from exported import export_tree, student
from real_speech_tree import install_rhubarb, make_folder, make_tree, write_labels_as_curves
from test_contract import lookup, subcommand

from facedistill import cli
from facedistill.core.errors import InputError
from facedistill.core.imports import import_closure
from facedistill.core.paths import ROOT
from facedistill.deploy.card import real_speech_section
from facedistill.formats import registry
from facedistill.formats.animation import regular
from facedistill.models.student import save_student
from facedistill.models.teacher import build_teacher, save_teacher
from facedistill.real_speech import animate as animate_module
from facedistill.real_speech import command, peers
from facedistill.real_speech.animate import animate
from facedistill.real_speech.conditions import quiet_sounds
from facedistill.real_speech.draw import draw
from facedistill.real_speech.inventory import System, inventory, read_inventory
from facedistill.real_speech.recordings import read_recordings
from facedistill.real_speech.score import score, score_system
from facedistill.real_speech.settings import FOLDER, load_settings


def stamps(folder: Path) -> dict[str, int]:
    return {str(path.relative_to(folder)): path.stat().st_mtime_ns for path in folder.rglob("*.csv")}


# steps ----------------------------------------------------------------------------------------------------------------


def test_all_steps_on_what_is_here(tmp_path, monkeypatch, capsys):
    install_rhubarb(tmp_path / "bin", monkeypatch)
    folder = make_folder(
        tmp_path, make_tree(tmp_path / "speech"), peers=["headaudio", "rhubarb"], variants=["paired-only/seed-1"]
    )
    export_tree(tmp_path / "data" / "export", ["tiny"])
    settings, places = load_settings(folder), {"data": tmp_path / "data", "released": tmp_path / "models"}
    inventory(settings, folder, **places)
    told = capsys.readouterr().out.splitlines()
    assert told == [
        "skipped: teacher: no data/teach/model.safetensors",
        "skipped: paired-only: no data/ablate/paired-only/seed-1/model.safetensors",
        "skipped: headaudio: no package @met4citizen/headaudio; run `npm ci` in bench",
    ]
    systems = read_inventory(settings, folder, **places)
    assert [system.name for system in systems] == ["tiny", "tiny-float16", "tiny-int8", "amplitude-envelope", "rhubarb"]
    animate(settings, folder, systems)
    score(settings, folder, systems)
    draw(folder)
    results, details = (json.loads((folder / f"{name}.json").read_text()) for name in ("results", "details"))
    assert list(results) == [system.name for system in systems]
    row = results["tiny-int8"]["weighted"]
    assert row["auc"].keys() == {"value", "low", "high"} and row["auc_at_lag"]["value"] is not None and row["n"] > 0
    assert set(details["systems"]["tiny"]["conditions"]) == {"clean", "level-20db", "noise-snr10db", "telephone"}
    assert details["systems"]["amplitude-envelope"]["quiet"]["silence"] == {"gap_mm": 0, "jitter": 0, "jitter_ratio": 0}
    assert details["recordings"]["studio"]["n_speakers"] == 2 and details["recordings"]["lab"]["n_speakers_heard"] == 2
    assert details["lag_recordings"].keys() == {"lab"}
    card = real_speech_section({name: results[name] for name in ("tiny", "tiny-int8")})
    assert "| `tiny-int8` | weighted |" in card and "not measurable" not in card.splitlines()[-1]
    table = (folder / "tab6_real_speech.md").read_text()
    assert "| rhubarb " in table and "Not here: teacher" in table and f"lab (n = {results['tiny']['lab']['n']})" in table
    assert all((folder / f"fig11_real_speech.{kind}").stat().st_size > 10_000 for kind in ("png", "svg"))


def test_curves_are_made_once_and_again_when_something_is_newer(tmp_path, monkeypatch):
    manifest = make_tree(tmp_path / "speech")
    folder = make_folder(tmp_path, manifest)
    export_tree(tmp_path / "data" / "export", ["tiny"])
    settings, places = load_settings(folder), {"data": tmp_path / "data", "released": tmp_path / "models"}
    inventory(settings, folder, **places)
    systems = read_inventory(settings, folder, **places)
    animate(settings, folder, systems)
    before = stamps(folder / "curves")
    assert {"tiny/lab-test-0.csv", "tiny/train/lab-train-0.csv", "tiny/quiet/room-50dbfs.csv"} < set(before)

    def never(*_):
        raise AssertionError("a model was loaded for nothing")

    with monkeypatch.context() as patched:
        patched.setattr(animate_module, "animator", never)
        animate(settings, folder, systems)
    assert stamps(folder / "curves") == before
    (folder / "curves/tiny/lab-test-1.csv").unlink()
    newer = manifest.parent / "audio/studio-test-0.flac"
    os.utime(newer)
    animate(settings, folder, systems)
    after = stamps(folder / "curves")
    again = {name for name in before if after[name] != before[name]}
    assert {"tiny/lab-test-1.csv", "tiny/studio-test-0.csv", "amplitude-envelope/studio-test-0.csv"} <= again
    assert not any("lab-test-0" in name or "quiet" in name for name in again)
    other = systems[0].path
    other.write_bytes(systems[1].path.read_bytes())
    with pytest.raises(InputError, match="tiny is another one by now; run `facedistill benchmark inventory` again"):
        read_inventory(settings, folder, **places)
    inventory(settings, folder, **places)
    animate(settings, folder, read_inventory(settings, folder, **places))
    last = stamps(folder / "curves")
    assert all((last[name] != after[name]) == name.startswith("tiny/") for name in after)


def test_networks_before_their_export_are_measured_too(tmp_path, smoke_params):
    folder = make_folder(tmp_path, make_tree(tmp_path / "speech", n_test=1, n_train=1), variants=["paired-only/seed-1"])
    export_tree(tmp_path / "data" / "export", ["tiny"])
    encoder = smoke_params.teach.encoder.model_copy(update={"source": "scratch"})
    teach = smoke_params.teach.model_copy(update={"encoder": encoder})
    save_teacher(build_teacher(teach).eval(), teach, tmp_path / "data" / "teach")
    for place in ("distill/tiny", "ablate/paired-only/seed-1"):
        save_student(student(channels=8), tmp_path / "data" / place)
    settings, places = load_settings(folder), {"data": tmp_path / "data", "released": tmp_path / "models"}
    inventory(settings, folder, **places)
    systems = read_inventory(settings, folder, **places)
    names = ["teacher", "tiny", "tiny-float16", "tiny-int8", "tiny-torch", "paired-only", "amplitude-envelope"]
    assert [system.name for system in systems] == names
    animate(settings, folder, systems)
    found = {name: registry.read(folder / f"curves/{name}/lab-test-0.csv") for name in names}
    assert len({animation.times_s.tobytes() for animation in found.values()}) == 1
    np.testing.assert_allclose(found["tiny"].weights, found["tiny-torch"].weights, atol=2e-5)
    assert np.abs(found["tiny-int8"].weights - found["tiny-torch"].weights).max() > 1e-4
    assert (found["paired-only"].weights == found["tiny-torch"].weights).all()


def test_files_are_those_of_the_animate_command(tmp_path, monkeypatch):
    manifest = make_tree(tmp_path / "speech")
    folder = make_folder(tmp_path, manifest)
    export_tree(tmp_path / "models", ["tiny"])
    settings, places = load_settings(folder), {"data": tmp_path / "data", "released": tmp_path / "models"}
    inventory(settings, folder, **places)
    animate(settings, folder, read_inventory(settings, folder, **places))
    arguments = ["animate", str(manifest.parent / "audio/lab-test-0.flac"), "-o", str(tmp_path / "one.csv")]
    monkeypatch.setattr(sys, "argv", ["facedistill", *arguments, "--model", str(tmp_path / "models/tiny/tiny-int8.onnx")])
    with pytest.raises(SystemExit):
        cli.main()
    assert (folder / "curves/tiny-int8/lab-test-0.csv").read_bytes() == (tmp_path / "one.csv").read_bytes()


def test_no_manifest_is_one_line(tmp_path):
    folder = make_folder(tmp_path, tmp_path / "speech" / "manifest.jsonl")
    with pytest.raises(InputError) as told:
        command.benchmark(("inventory",), folder=folder)
    assert str(told.value).endswith("no such manifest; name one in " + f"{folder / 'params.yaml'}, manifest")
    assert list(folder.iterdir()) == [folder / "params.yaml"]


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"fps": 0}, "fps: Input should be greater than or equal to 10, got 0"),
        ({"peers": ["siri"]}, "peers.0: Input should be 'headaudio'"),
        ({"speed": 1}, "speed: Extra inputs are not permitted"),
    ],
)
def test_bad_parameters_are_one_line(tmp_path, changes, told):
    folder = make_folder(tmp_path, tmp_path / "manifest.jsonl", **changes)
    with pytest.raises(InputError, match=told):
        load_settings(folder)


def test_lags_are_never_fitted_on_tests(tmp_path):
    manifest = make_tree(tmp_path / "speech")
    lag = load_settings().lag.model_dump() | {"split": "test"}
    folder = make_folder(tmp_path, manifest, lag=lag)
    with pytest.raises(InputError, match=r"lag\.split: 'test'; allowed: not the split of the test"):
        inventory(load_settings(folder), folder, data=tmp_path / "data", released=tmp_path / "models")


@pytest.mark.parametrize(("arguments", "steps"), [([], command.STEPS), (["score"], ("score",))])
def test_the_command_runs_one_step_or_all(monkeypatch, arguments, steps):
    ran = []
    monkeypatch.setattr(command, "benchmark", ran.append)
    monkeypatch.setattr(sys, "argv", ["facedistill", "benchmark", *arguments])
    with pytest.raises(SystemExit):
        cli.main()
    assert ran == [steps]


def test_a_late_system_is_measured_with_and_without_its_lag(tmp_path):
    manifest, out = make_tree(tmp_path / "speech"), tmp_path / "curves"
    settings = load_settings(make_folder(tmp_path, manifest))
    tests, lags = (read_recordings(manifest, split) for split in ("test", "train"))
    write_labels_as_curves(tests, out / "slow", late_s=0.1)
    write_labels_as_curves(lags, out / "slow" / "train", late_s=0.1)
    still = regular(("jawOpen",), np.zeros((30, 1)), 30)
    for name in quiet_sounds(settings):
        registry.write(out / "slow" / "quiet" / f"{name}.csv", still)
    results, details = score_system(settings, out, System("slow", "peer"), tests, lags)
    assert results["lag_ms"] == details["lag_ms"] == 100
    assert results["weighted"]["auc_at_lag"]["value"] == 1.0 > results["weighted"]["auc"]["value"] + 0.2
    assert results["weighted"]["pbm_at_lag"]["value"] == 1.0 and results["weighted"]["r_at_lag"]["value"] > 0.99
    assert details["languages"]["en"]["n"] == results["weighted"]["n"]


# the pipeline ---------------------------------------------------------------------------------------------------------


def stages() -> dict[str, object]:
    index = Repo(str(ROOT), config={"core": {"no_scm": True}}).index
    return {stage.name: stage for stage in index.stages if Path(stage.path).parent == FOLDER}


def test_each_step_is_a_stage_that_depends_on_what_it_imports():
    found = stages()
    assert tuple(found) == command.STEPS
    for name, stage in found.items():
        assert subcommand(stage) == ["benchmark", name] and stage.desc
        deps = [(FOLDER / dep.def_path).resolve() for dep in stage.deps]
        needed = import_closure(f"facedistill.real_speech.{name}")
        uncovered = [path for path in needed if not any(path.is_relative_to(dep) for dep in deps)]
        assert stage.always_changed or not uncovered
        values = yaml.safe_load((FOLDER / "params.yaml").read_text())
        keys = {key for dep in stage.deps if hasattr(dep, "params") for key in dep.params}
        assert sorted(key for key in keys if not lookup(values, key)) == []


def test_the_default_pipeline_does_not_know_the_benchmark():
    assert "real_speech" not in (ROOT / "dvc.yaml").read_text()
    assert "real_speech" not in (ROOT / "params.yaml").read_text()


def test_the_packages_are_locked_and_name_no_host():
    wanted = json.loads((FOLDER / "package.json").read_text())["dependencies"]
    lock = json.loads((FOLDER / "package-lock.json").read_text())["packages"]
    assert {package.package for package in peers.PEERS.values() if package.package} == set(wanted)
    for name, version in wanted.items():
        entry = lock[f"node_modules/{name}"]
        assert entry["version"] == version and entry["integrity"].startswith("sha512-") and "resolved" not in entry


def test_curves_of_the_step_can_be_read_as_any(tmp_path):
    folder = make_folder(tmp_path, make_tree(tmp_path / "speech"))
    settings, places = load_settings(folder), {"data": tmp_path / "data", "released": tmp_path / "models"}
    inventory(settings, folder, **places)
    animate(settings, folder, read_inventory(settings, folder, **places))
    animation = registry.read(folder / "curves/amplitude-envelope/lab-test-0.csv")
    assert animation.fps == settings.fps and "jawOpen" in animation.names
