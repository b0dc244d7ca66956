"""The stage `export` on a corpus of a few seconds: the files it writes, what they say, and when it refuses."""

import hashlib
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from exported import noise, student

from facedistill.core.errors import InputError
from facedistill.core.manifest import Utterance, read_manifest, write_manifest
from facedistill.deploy.precision import PRECISIONS, to_float16
from facedistill.models.networks import n_parameters
from facedistill.models.student import save_student
from facedistill.pipeline import export as stage
from facedistill.rig.curves import n_frames, write_shard
from facedistill.runtime.model import open_session
from facedistill.speech.audio import write_flac
from facedistill.speech.phones import Phone, write_phones

NAME = "tiny-real-time"
FILES = {
    (precision, kind): f"{NAME}{'' if precision == 'float32' else f'-{precision}'}{'-window' if kind == 'window' else ''}.onnx"
    for precision in PRECISIONS
    for kind in ("streaming", "window")
}


def utterance(folder: Path, number: int, split: str) -> Utterance:
    """A second of noise, labelled as papapa, and its shard of one."""
    key, audio = f"{split}-{number}", noise(1.0, number)
    labels = ["", "p", "a", "p", "a", "p", "a", ""]
    write_flac(folder / f"{key}.flac", audio)
    write_phones(folder / f"{key}.tsv", [Phone(i / 8, (i + 1) / 8, label) for i, label in enumerate(labels)])
    write_shard(folder / f"{key}.npz", {key: np.random.default_rng(number).random((n_frames(len(audio)), 52), np.float32)})
    return Utterance(
        id=key, source="noise", speaker=f"s{number}", language="und", split=split, audio=f"{key}.flac", duration_s=1.0,
        phones=f"{key}.tsv", curves=f"{key}.npz",
    )  # fmt: skip


def corpus(folder: Path) -> Path:
    """data/ with a corpus, labels of it and a student."""
    splits = ["test-voices"] * 3 + ["unlabelled"] * 3 + ["paired"]
    rows = [utterance(folder / "prepare", number, split) for number, split in enumerate(splits)]
    write_manifest(folder / "prepare" / "manifest.jsonl", rows)
    labelled = [
        replace(row, audio=f"../prepare/{row.audio}", phones=f"../prepare/{row.phones}")
        for row in rows
        if row.split == "unlabelled"
    ]
    for row in labelled:
        write_shard(folder / "label" / row.curves, {row.id: np.zeros((60, 52), np.float32)})
    write_manifest(folder / "label" / "manifest.jsonl", labelled)
    save_student(student(), folder / "distill" / NAME)
    return folder


@pytest.fixture
def data(tmp_path, monkeypatch) -> Path:
    for module in ("pipeline.export", "pipeline.evaluate"):
        monkeypatch.setattr(f"facedistill.{module}.DATA", tmp_path)
    return corpus(tmp_path)


def without(data: Path, split: str) -> None:
    manifest = data / "prepare" / "manifest.jsonl"
    write_manifest(manifest, [row for row in read_manifest(manifest) if row.split != split])


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_everything_is_written_and_told(smoke_params, data):
    stage.export(smoke_params, NAME)
    out = data / "export" / NAME
    written = contents(out)
    assert written.keys() == {*FILES.values(), "files.json", "quality.json", "origin.json", "README.md"}

    files = json.loads(written["files.json"])
    assert files.keys() == set(FILES.values())
    for (precision, kind), name in FILES.items():
        assert (files[name]["precision"], files[name]["kind"]) == (precision, kind)
        assert files[name]["sha256"] == hashlib.sha256(written[name]).hexdigest()
        assert files[name]["bytes"] == len(written[name])
        assert files[name]["activations_bytes"] > 4 * 52 and files[name]["state_bytes"] > 4 * 52
        _, metadata = open_session(out / name)
        assert (metadata.name, metadata.precision, metadata.kind, metadata.licence) == (NAME, precision, kind, "Apache-2.0")
        assert metadata.training_data_sha256 == stage.training_data_sha256()
        assert files[name]["sha256"] in written["README.md"].decode()

    quality = json.loads(written["quality.json"])
    assert quality["tolerances"] == smoke_params.export.tolerances.model_dump() and list(quality["differences"]) == list(files)
    for (precision, _), name in FILES.items():
        assert 0 < quality["differences"][name] <= quality["tolerances"][precision]
    assert quality["scores"].keys() == set(PRECISIONS) and quality["against-float32"].keys() == {"float16", "int8"}
    for precision in PRECISIONS:
        assert quality["scores"][precision]["lve_mm"]["n"] == 2 * 60, "test_utterances of a second each"
    exact, half, small = (quality["differences"][FILES[precision, "streaming"]] for precision in PRECISIONS)
    assert exact < half < small, "and they are other graphs"
    lost = quality["against-float32"]["int8"]["lve_mm"]["difference"]["value"]
    assert lost == pytest.approx(
        quality["scores"]["int8"]["lve_mm"]["value"] - quality["scores"]["float32"]["lve_mm"]["value"], abs=2e-5
    )

    origin = json.loads(written["origin.json"])
    assert origin["n_parameters"] == n_parameters(student())
    noises = {"source": "noise", "hours": round(4 / 3600, 4), "speakers": 4, "languages": [], "licences": ["not stated"]}
    assert origin["corpora"] == [noises], "the unlabelled three and the paired one: tests are no training data"
    assert "| noise | 0.00 | 4 | not stated | not stated |" in written["README.md"].decode()

    stage.export(smoke_params, NAME)
    assert contents(out) == written, "the same bytes twice"


def test_int8_is_calibrated_on_whole_windows_from_the_start(monkeypatch):
    seen = []
    monkeypatch.setattr(stage, "calibrate", lambda graph, feeds: seen.extend(feeds))
    monkeypatch.setattr(stage, "to_int8", lambda graph, ranges: graph)
    long, short = noise(1.0), noise(0.1)
    stage.build(student(), iter([long, short]))
    windows = [feed["window"][0] for feed in seen]
    assert len(windows) == 2 + 1 and {len(window) for window in windows} == {8192}
    np.testing.assert_array_equal(windows[0], long[:8192])
    np.testing.assert_array_equal(windows[1], long[4000 : 4000 + 8192])
    np.testing.assert_array_equal(windows[2], np.pad(short, (0, 8192 - len(short))))


def test_only_students_are_exported(smoke_params, data):
    with pytest.raises(InputError, match="student 'teacher'; expected small, on-device, real-time, tiny-real-time$"):
        stage.export(smoke_params, "teacher")
    with pytest.raises(InputError, match="small"):
        stage.export(smoke_params, "small")  # not distilled yet
    assert not (data / "export").exists()


@pytest.mark.parametrize("split", ["unlabelled", "test-voices"])
def test_nothing_to_calibrate_or_to_measure_on(smoke_params, data, split):
    without(data, split)
    with pytest.raises(InputError, match=f"no utterances of the split '{split}'"):
        stage.export(smoke_params, NAME)
    assert not (data / "export" / NAME / "quality.json").exists()


@pytest.mark.parametrize("kind", ["streaming", "window"])
@pytest.mark.parametrize("value", [0.7, np.nan])
def test_a_graph_that_is_off_is_no_export(smoke_params, data, monkeypatch, value, kind):
    def spoiled(graph):
        half = to_float16(graph)
        if graph.graph.name != kind:
            return half
        weight = next(weight for weight in half.graph.initializer if weight.name == "out.bias.half")
        weight.raw_data = np.full(52, value, np.float16).tobytes()
        return half

    monkeypatch.setattr(stage, "to_float16", spoiled)
    message = f"^float16, {kind}: .* from the network; expected {smoke_params.export.tolerances.float16}$"
    if kind == "streaming" and np.isnan(value):  # such a model is not even loaded
        message = "silence gives NaN"
    with pytest.raises((RuntimeError, InputError), match=message):
        stage.export(smoke_params, NAME)
    assert not {"quality.json", "files.json", "origin.json", "README.md"} & {
        path.name for path in (data / "export" / NAME).iterdir()
    }


def test_the_check_knows_the_network(data):
    """Against the student it came from, and against another."""
    graphs = stage.build(student(), iter([noise(1.0)]))
    metadata = stage._metadata(student(), NAME)
    paths = {
        ("float32", kind): stage.write_model(data, graphs["float32", kind], replace(metadata, kind=kind))
        for kind in ("streaming", "window")
    }
    allowed = {"float32": 1e-5}
    assert max(stage.check(paths, student(), iter([noise(1.0)]), allowed).values()) < 1e-5
    for key, path in paths.items():
        with pytest.raises(RuntimeError, match=f"^float32, {key[1]}: "):
            stage.check({key: path}, student(256, 256), iter([noise(1.0)]), allowed)


@pytest.mark.parametrize("what", ["curves", "phones", "audio", "manifest"])
def test_the_training_data_hash_sees_every_change(data, what):
    before = stage.training_data_sha256()
    assert before == stage.training_data_sha256()
    manifest = data / "label" / "manifest.jsonl"
    path = manifest if what == "manifest" else manifest.parent / getattr(read_manifest(manifest)[1], what)
    path.write_bytes(path.read_bytes().replace(b"noise", b"sound") if what == "manifest" else path.read_bytes() + b"\n")
    assert stage.training_data_sha256() != before


def test_the_training_data_hash_ignores_other_data(data):
    before = stage.training_data_sha256()
    without(data, "test-voices")
    assert stage.training_data_sha256() == before
