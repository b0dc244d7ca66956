import json
from dataclasses import replace

import numpy as np
import pytest
import torch

from facedistill.core.files import write_json
from facedistill.core.manifest import Utterance, write_manifest
from facedistill.core.params import with_overrides
from facedistill.models.student import Student, save_student
from facedistill.models.teacher import build_teacher, mesh_basis, save_teacher
from facedistill.pipeline import evaluate as stage
from facedistill.pipeline.distill import student_config
from facedistill.rig.controls import Controls, arkit, fit, write_basis, write_controls
from facedistill.rig.curves import n_frames, write_shard
from facedistill.speech.audio import write_flac
from facedistill.speech.phones import Phone, write_phones

SYSTEMS = [
    "teacher", "small", "on-device", "real-time", "tiny-real-time", "real-time-ensemble", "tiny-real-time-ensemble",
    "paired-only", "small-paired-only", "amplitude-envelope", "amplitude-envelope-whole-band",
]  # fmt: skip


@pytest.fixture(scope="module")
def params(smoke_params):
    return smoke_params.model_copy(update={"evaluate": smoke_params.evaluate.model_copy(update={"max_utterances": 2})})


def utterance(folder, number: int, split: str, *, phones: bool = True, curves: bool = True) -> Utterance:
    """A second of noise, labelled as papapa, and its shard of one."""
    key, rng = f"{split}-{number}", np.random.default_rng(number)
    audio = (0.1 * rng.standard_normal(16_000)).astype(np.float32)
    write_flac(folder / f"{key}.flac", audio)
    if phones:
        labels = ["", "p", "a", "p", "a", "p", "a", ""]
        write_phones(folder / f"{key}.tsv", [Phone(i / 8, (i + 1) / 8, label) for i, label in enumerate(labels)])
    if curves:
        write_shard(folder / f"{key}.npz", {key: rng.random((n_frames(len(audio)), 52), dtype=np.float32)})
    return Utterance(
        id=key, source="noise", speaker=f"s{number}", language="und", split=split, audio=f"{key}.flac", duration_s=1.0,
        phones=f"{key}.tsv" if phones else None, curves=f"{key}.npz" if curves else None,
    )  # fmt: skip


def save_taught(params, data) -> None:
    """data/teachers with untrained networks, and labels of one held-out second of noise each."""
    basis = fit(np.random.default_rng(0).standard_normal((20, mesh_basis().shape[1])), 4)
    for name, choice in params.teachers.items():
        out, is_mesh = data / "teachers" / name, choice.components is not None
        controls = Controls(basis.names(), np.zeros(4, np.float32)) if is_mesh else arkit()
        write_controls(out / "label", controls)
        if is_mesh:
            write_basis(out / "mesh.safetensors", basis)
        row = utterance(out / "label", 9, "held-out", curves=False)
        frames = np.random.default_rng(1).random((60, len(controls.names)), dtype=np.float32)
        write_shard(out / "label" / "s.npz", {row.id: frames})
        write_manifest(out / "label" / "manifest.jsonl", [replace(row, curves="s.npz")])
        save_student(Student(student_config(params.distill, params.ablate.student, controls.names)), out / "student")
        if choice.set:
            varied = with_overrides(params, choice.set).teach
            save_teacher(build_teacher(varied), varied, out / "teacher")
        write_json(out / "summary.json", {"kind": "ours", "controls": len(controls.names)})


@pytest.fixture(scope="module")
def data(tmp_path_factory, params):
    """data/ with untrained models of the right sizes, and a corpus of every kind of split; evaluated."""
    folder = tmp_path_factory.mktemp("data")
    with pytest.MonkeyPatch.context() as patched:
        for module in ("pipeline.evaluate", "measure.systems", "models.teacher"):
            patched.setattr(f"facedistill.{module}.DATA", folder)
        make_data(params, folder)
        stage.evaluate(params)
        yield folder


def make_data(params, folder) -> None:
    torch.manual_seed(0)
    save_teacher(build_teacher(params.teach), params.teach, folder / "teach")
    for name, student in params.distill.students.items():
        save_student(Student(student_config(params.distill, student)), folder / "distill" / name)
    for name, variant in params.ablate.variants.items():
        for seed in params.ablate.seeds:
            varied, out = with_overrides(params, variant.set), folder / "ablate" / name / f"seed-{seed}"
            save_student(Student(student_config(varied.distill, varied.ablate.student)), out)
            write_json(out / "summary.json", {"parameters": 1000, "hours": 0.5, "voices": 3, "languages": 2})
    save_taught(params, folder)
    corpus = folder / "prepare"
    rows = [utterance(corpus, number, "test-voices") for number in range(3)]
    rows += [utterance(corpus, 3, "test-recordings", curves=False), utterance(corpus, 4, "test-recordings", curves=False)]
    rows += [utterance(corpus, 5, "paired"), utterance(corpus, 6, "test-librispeech", phones=False, curves=False)]
    write_manifest(corpus / "manifest.jsonl", rows)


def read_strictly(path):
    def refuse(constant):
        raise AssertionError(f"{path}: {constant} is no JSON")

    return json.loads(path.read_text(), parse_constant=refuse)


def test_every_system_on_every_test_set(params, data):
    scores, comparisons, systems, metrics = (
        read_strictly(data / "evaluate" / f"{stem}.json") for stem in ("scores", "comparisons", "systems", "metrics")
    )
    assert list(systems) == SYSTEMS
    assert list(scores) == list(comparisons) == list(metrics) == ["test-voices", "test-recordings"]
    for split in scores:
        assert list(scores[split]) == list(metrics[split]) == SYSTEMS
        assert set(comparisons[split]) == set(stage.COMPARISONS)
    voices, recordings = scores["test-voices"], scores["test-recordings"]
    for name in SYSTEMS:
        assert voices[name]["lve_mm"]["n"] == 2 * 60  # max_utterances of a second each
        assert voices[name]["lve_mm"]["low"] <= voices[name]["lve_mm"]["value"] <= voices[name]["lve_mm"]["high"]
        assert voices[name]["pbm"]["n"] == 2 * 3
        assert recordings[name]["lve_mm"]["value"] is None  # no true curves
        assert recordings[name]["pbm"]["value"] is not None
        assert metrics["test-voices"][name]["lve_mm"] == voices[name]["lve_mm"]["value"]
    difference = comparisons["test-voices"]["on-device-against-teacher"]["lve_mm"]["difference"]["value"]
    assert difference == pytest.approx(voices["on-device"]["lve_mm"]["value"] - voices["teacher"]["lve_mm"]["value"], abs=2e-5)


def test_facts_of_the_systems(params, data):
    metadata = {system.name: system for system in stage.systems(params)}
    lookahead_ms = {name: metadata[name].lookahead_ms for name in SYSTEMS}
    assert lookahead_ms["teacher"] is None
    assert lookahead_ms["small"] == lookahead_ms["paired-only"] == 256 + 16
    assert lookahead_ms["real-time"] == 64 + 16
    assert lookahead_ms["real-time-ensemble"] == pytest.approx(64 + 16 + 1000 / 60)
    assert lookahead_ms["amplitude-envelope"] is None
    assert metadata["small"].weights_bytes > metadata["on-device"].weights_bytes > 4 * metadata["on-device"].parameters
    audio = np.random.default_rng(0).standard_normal(9000).astype(np.float32) * 0.1
    assert {system.load()([audio])[0].shape for system in metadata.values()} == {(n_frames(9000), 52)}


def test_sets_are_cut_evenly(params, data):
    """By module, as pytest would take `test_sets` for a test."""
    sets = stage.test_sets(params)
    assert {name: [example.row.id for example in examples] for name, examples in sets.items()} == {
        "test-voices": ["test-voices-0", "test-voices-2"],
        "test-recordings": ["test-recordings-3", "test-recordings-4"],
    }


def test_scoring_repeats(params, data):
    files = ("scores", "comparisons", "ablations", "ablation_differences", "ablation_seeds", "smoothing")
    first = [(data / "evaluate" / f"{stem}.json").read_bytes() for stem in files]
    stage.evaluate(params)
    assert [(data / "evaluate" / f"{stem}.json").read_bytes() for stem in files] == first


def test_variants_are_compared_with_the_baseline_over_all_seeds(params, data):
    scores, differences, seeds, metadata = (
        read_strictly(data / "evaluate" / f"{stem}.json")
        for stem in ("ablations", "ablation_differences", "ablation_seeds", "variants")
    )
    names = [name for name in params.ablate.variants if name not in params.evaluate.baselines]
    for table in (scores["test-voices"], differences["test-voices"], seeds["test-voices"], metadata):
        assert list(table) == names
    assert differences["test-voices"]["baseline"]["lip_gap_r"]["difference"] == {"value": 0.0, "low": 0.0, "high": 0.0}
    for name in names:
        for metric in ("lip_gap_r", "pbm", "closure_auc", "jitter"):
            found = scores["test-voices"][name][metric]
            each = [seeds["test-voices"][name][f"seed-{seed}"][metric] for seed in params.ablate.seeds]
            assert found["value"] == pytest.approx(np.mean(each), rel=1e-6, abs=2e-5)
        assert each[0] != each[1] and scores["test-voices"][name]["lip_gap_r"]["n"] == 2
    assert metadata["channels-4"]["channels"] == 4 and metadata["channels-4"]["set"] == {"ablate.student.channels": 4}
    assert metadata["window-256ms"]["why"] and metadata["baseline"]["set"] == {}
    assert metadata["baseline"]["guided"] and not metadata["no-feature-loss"]["guided"]


def test_a_variant_is_compared_with_what_makes_all_its_changes_but_the_last(params):
    wanted = {
        "baseline": "baseline", "no-feature-loss": "baseline", "channels-4": "baseline", "window-256ms": "baseline",
        "channels-4-no-feature-loss": "no-feature-loss", "voices-2": "no-feature-loss",
    }  # fmt: skip
    assert {name: stage.reference_of(params, name) for name in wanted} == wanted


def test_teachers_and_students_are_measured_and_compared(params, data):
    taught, agreement, metadata = (
        read_strictly(data / "evaluate" / f"{stem}.json") for stem in ("taught", "agreement", "teachers")
    )
    assert list(agreement) == list(metadata) == list(params.teachers)
    assert metadata["mesh"]["controls"] == 4 and metadata["hubert"]["controls"] == 52
    for name in params.teachers:
        pair = taught["test-voices"][name]
        assert list(pair) == ["teacher", "student"]
        assert all(pair[role]["lip_gap_r"]["n"] == 2 for role in pair)
        assert agreement[name]["correlation"]["n"] == 1  # one block of up to ten seconds
    errors = {taught["test-voices"][name]["teacher"]["lve_mm"]["value"] for name in ("hubert", "mesh", "mfcc")}
    assert len(errors) == 3  # each is a network of its own


def test_smoothing_costs_delay_and_takes_jitter(params, data):
    files = ("smoothing", "smoothing_differences", "smoothers")
    scores, differences, metadata = (read_strictly(data / "evaluate" / f"{stem}.json") for stem in files)
    jitter = {name: found["jitter"]["value"] for name, found in scores["test-voices"].items()}
    assert list(jitter) == list(metadata)
    assert jitter["average-7"] < jitter["average-3"] < jitter["none"]
    assert metadata["average-5"]["lookahead_ms"] - metadata["none"]["lookahead_ms"] == pytest.approx(2000 / 60)
    assert metadata["one-euro-33ms"]["lookahead_ms"] == metadata["average-5"]["lookahead_ms"]
    assert metadata["one-euro-33ms"]["reference"] == metadata["savitzky-golay-5"]["reference"] == "average-5"
    gained = differences["test-voices"]["one-euro-33ms"]["jitter"]["difference"]["value"]
    assert gained == pytest.approx(jitter["one-euro-33ms"] - jitter["average-5"], rel=1e-4)
