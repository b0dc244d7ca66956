"""Stage `export`: a student as ONNX files in every precision, each checked against the network and measured on test speech."""

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import onnx
from onnx import helper

from facedistill.core.errors import InputError
from facedistill.core.files import atomic_path, sha256, write_json, write_text
from facedistill.core.manifest import Utterance, read_manifest, select
from facedistill.core.params import Params
from facedistill.core.paths import DATA
from facedistill.deploy.card import model_card
from facedistill.deploy.graph import streaming_graph, window_graph
from facedistill.deploy.memory import working_memory
from facedistill.deploy.precision import PRECISIONS, calibrate, to_float16, to_int8
from facedistill.evaluate import rounded, score_split
from facedistill.face.arkit import CURVES
from facedistill.face.curves import FPS
from facedistill.measure.statistics import aggregate, compare
from facedistill.models.filterbank import HOP_SAMPLES
from facedistill.models.student import Student, load_student, n_parameters
from facedistill.models.training import prepare_torch
from facedistill.runtime.animator import Animator
from facedistill.runtime.model import STREAMING, WINDOW, Facts, Model
from facedistill.speech.audio import SAMPLE_RATE_HZ, read_audio

LICENCE = "Apache-2.0"
CALIBRATION_SPLIT, CALIBRATION_HOP_S = "unlabelled", 0.25
TEST_SPLIT, N_CHECKED = "test-voices", 5
TOLERANCES = {"float32": 1e-5, "float16": 2e-3, "int8": 0.05}  # how far a curve may at most be from the network's

Graphs = dict[tuple[str, str], onnx.ModelProto]  # by precision and kind


def export(params: Params, name: str) -> None:
    """Writes data/export/<name>: the graphs, files.json (sizes, hashes, memory), quality.json and README.md, a model card.

    Raises:
        InputError: no such student, or nothing to calibrate or to measure on.
        RuntimeError: an exported graph is further from the network than its tolerance.
    """
    prepare_torch()
    if name not in params.distill.students:
        raise InputError(f"student {name!r}; allowed: {', '.join(params.distill.students)}")
    student, out = load_student(DATA / "distill" / name), DATA / "export" / name
    facts, files, models = _facts(student, name), {}, {}
    for (precision, kind), graph in build(student, _audio(CALIBRATION_SPLIT, params.export.calibration_utterances)).items():
        path = write_model(out, graph, replace(facts, precision=precision, kind=kind))
        files[path.name] = _described(path, graph, precision=precision, kind=kind)
        if kind == STREAMING:
            models[precision] = Model(path)
    quality = {"tolerances": TOLERANCES, "differences": check(models, student, _audio(TEST_SPLIT, N_CHECKED))}
    quality |= rounded(measure(params, models))
    write_json(out / "files.json", files)
    write_json(out / "quality.json", quality)
    write_text(out / "README.md", model_card(facts, n_parameters(student), files, quality))


def build(student: Student, recordings: Iterator[np.ndarray]) -> Graphs:
    """Every graph of a student.

    Args:
        recordings: (S,) at 16 kHz, which int8 is calibrated on.
    """
    float32 = {WINDOW: window_graph(student), STREAMING: streaming_graph(student)}
    ranges = calibrate(float32[WINDOW], _windows(recordings, student.config.window_samples))
    convert = {"float32": lambda graph: graph, "float16": to_float16, "int8": lambda graph: to_int8(graph, ranges)}
    return {(precision, kind): convert[precision](graph) for precision in PRECISIONS for kind, graph in float32.items()}


def file_name(facts: Facts) -> str:
    """on-device.onnx, on-device-int8.onnx, on-device-int8-window.onnx: what is not said is float32 and streaming."""
    parts = [facts.name, *([facts.precision] if facts.precision != "float32" else []), *([WINDOW] if facts.kind == WINDOW else [])]
    return "-".join(parts) + ".onnx"


def write_model(folder: Path, graph: onnx.ModelProto, facts: Facts) -> Path:
    """Writes a graph with its facts as metadata, atomically and with the same bytes every time."""
    helper.set_model_props(graph, facts.metadata())
    path = folder / file_name(facts)
    with atomic_path(path) as temporary:
        temporary.write_bytes(graph.SerializeToString(deterministic=True))
    return path


def check(models: dict[str, Model], student: Student, recordings: Iterator[np.ndarray]) -> dict[str, float]:
    """How far each precision's curves are from the network's, at most, over recordings.

    Raises:
        RuntimeError: further than its tolerance.
    """
    differences = dict.fromkeys(models, 0.0)
    for audio in recordings:
        expected = student.animate(audio, FPS)
        for precision, model in models.items():
            difference = np.abs(_animate(model, audio) - expected).max()
            differences[precision] = float(np.maximum(differences[precision], difference))  # NaN stays, unlike with `max`
    for precision, difference in differences.items():
        if not difference <= TOLERANCES[precision]:
            raise RuntimeError(f"{precision} differs from the network by {difference:.2g}; allowed: {TOLERANCES[precision]}")
    return {precision: float(f"{difference:.2g}") for precision, difference in differences.items()}


def measure(params: Params, models: dict[str, Model]) -> dict[str, dict]:
    """Every precision's scores on test speech through the streaming engine, and what each loses against float32."""
    rows = _utterances(TEST_SPLIT, params.export.test_utterances)
    animators = {precision: partial(_animate, model) for precision, model in models.items()}
    measured = score_split(rows, animators, f"export {TEST_SPLIT}")
    settings = {"n_boot": params.evaluate.bootstrap, "groups": [(row.source, row.speaker) for row in rows]}
    return {
        "scores": {name: aggregate(scores, rng=np.random.default_rng(params.seed), **settings) for name, scores in measured.items()},
        "against-float32": {
            name: compare(measured[name], measured["float32"], rng=np.random.default_rng(params.seed), **settings)
            for name in PRECISIONS[1:]
        },
    }


def training_data_sha256() -> str:
    """The hash of all that students learn from: the labels' manifest, and every recording, curve and phone file it names."""
    manifest = DATA / "label" / "manifest.jsonl"
    rows = read_manifest(manifest)
    names = {name for row in rows for name in (row.audio, row.curves, row.phones) if name is not None}
    return sha256(manifest, *(sha256(manifest.parent / name) for name in sorted(names)))


def _facts(student: Student, name: str) -> Facts:
    """What is true of all files of a student; those of one of them differ in kind and precision."""
    return Facts(
        kind=STREAMING,
        name=name,
        precision="float32",
        sample_rate_hz=SAMPLE_RATE_HZ,
        window_samples=student.config.window_samples,
        past_samples=student.config.past_samples,
        hop_samples=HOP_SAMPLES,
        curves=CURVES,
        licence=LICENCE,
        training_data_sha256=training_data_sha256(),
    )


def _described(path: Path, graph: onnx.ModelProto, *, precision: str, kind: str) -> dict[str, str | int]:
    content, memory = path.read_bytes(), working_memory(graph)
    return {
        "precision": precision,
        "kind": kind,
        "bytes": len(content),
        "sha256": hashlib.sha256(content).hexdigest(),  # what `sha256sum` prints
        "activations_bytes": memory.activations,
        "state_bytes": memory.state,
    }


def _animate(model: Model, audio: np.ndarray) -> np.ndarray:
    return Animator(model, fps=FPS).animate(audio).weights


def _utterances(split: str, count: int) -> Sequence[Utterance]:
    """Utterances of a split of the corpus with phones, evenly spread.

    Raises:
        InputError: there are none.
    """
    manifest = DATA / "prepare" / "manifest.jsonl"
    rows = select(read_manifest(manifest), split)
    if not rows:
        raise InputError(f"{manifest}: no utterances of the split {split!r}, which exports are calibrated or measured on")
    return [rows[index] for index in np.linspace(0, len(rows) - 1, min(len(rows), count)).round().astype(int)]


def _audio(split: str, count: int) -> Iterator[np.ndarray]:
    return (read_audio(DATA / "prepare" / row.audio) for row in _utterances(split, count))


def _windows(recordings: Iterator[np.ndarray], window_samples: int) -> Iterator[dict[str, np.ndarray]]:
    """Inputs of a window graph."""
    for audio in recordings:
        padded = np.pad(audio, (0, max(0, window_samples - len(audio))))
        for first in range(0, len(padded) - window_samples + 1, int(CALIBRATION_HOP_S * SAMPLE_RATE_HZ)):
            yield {"window": padded[None, first : first + window_samples]}
