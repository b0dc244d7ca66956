"""Stage `export`: a student as ONNX files in every precision, each checked against the network and measured on test speech."""

import hashlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path

import numpy as np
import onnx
import torch
from onnx import helper

from facedistill.core import SAMPLE_RATE_HZ
from facedistill.core.errors import InputError
from facedistill.core.files import atomic_path, sha256, write_json, write_text
from facedistill.core.manifest import Utterance, evenly_spaced, read_manifest, select
from facedistill.core.params import Params
from facedistill.core.paths import DATA
from facedistill.deploy.card import corpora_of, model_card
from facedistill.deploy.graph import streaming_graph, window_graph
from facedistill.deploy.memory import working_memory
from facedistill.deploy.precision import PRECISIONS, calibrate, to_float16, to_int8
from facedistill.measure.bootstrap import aggregate, compare, rounded
from facedistill.measure.systems import AnimateAll, exported_system
from facedistill.measure.test_sets import interval_options, load_examples, measure
from facedistill.models.filterbank import HOP_SAMPLES
from facedistill.models.networks import n_parameters
from facedistill.models.student import Student, load_student
from facedistill.models.training import prepare_torch
from facedistill.rig.arkit import CURVES
from facedistill.rig.curves import FPS
from facedistill.runtime.model import STREAMING, WINDOW, ModelMetadata, open_session
from facedistill.speech.audio import read_audio

CALIBRATION_SPLIT, WINDOWS_HOP_S = "unlabelled", 0.25
TEST_SPLIT, N_CHECKED = "test-voices", 5

Key = tuple[str, str]  # precision and kind


def export(params: Params, name: str) -> None:
    """Writes data/export/<name>: the graphs, files.json (sizes, hashes, memory), quality.json, origin.json and a model card."""
    prepare_torch()
    if name not in params.distill.students:
        raise InputError(f"student {name!r}; expected {', '.join(params.distill.students)}")
    student, out = load_student(DATA / "distill" / name), DATA / "export" / name
    corpora = corpora_of(read_manifest(DATA / "prepare" / "manifest.jsonl"))
    metadata, files, paths = _metadata(student, name), {}, {}
    for key, graph in build(student, _audio(CALIBRATION_SPLIT, params.export.calibration_utterances)).items():
        paths[key] = write_model(out, graph, replace(metadata, precision=key[0], kind=key[1]))
        files[paths[key].name] = described(paths[key], graph, *key)
    tolerances = params.export.tolerances.model_dump()
    differences = check(paths, student, _audio(TEST_SPLIT, N_CHECKED), tolerances)
    quality = {"tolerances": tolerances, "differences": {paths[key].name: value for key, value in differences.items()}}
    quality |= scores(params, {precision: paths[precision, STREAMING] for precision in PRECISIONS})
    origin = {"n_parameters": n_parameters(student), "corpora": list(map(asdict, corpora))}
    for part, content in (("files", files), ("quality", quality), ("origin", origin)):
        write_json(out / f"{part}.json", content)
    write_text(out / "README.md", model_card(metadata, origin["n_parameters"], corpora, files, quality))


def build(student: Student, recordings: Iterable[np.ndarray]) -> dict[Key, onnx.ModelProto]:
    """Every graph of a student; int8 is calibrated on recordings, (S,) each at 16 kHz."""
    float32 = {WINDOW: window_graph(student), STREAMING: streaming_graph(student)}
    windows = _windows(recordings, student.config.window_samples)
    ranges = calibrate(float32[WINDOW], ({"window": window} for window in windows))
    convert = {"float32": lambda graph: graph, "float16": to_float16, "int8": lambda graph: to_int8(graph, ranges)}
    return {(precision, kind): convert[precision](graph) for precision in PRECISIONS for kind, graph in float32.items()}


def write_model(folder: Path, graph: onnx.ModelProto, metadata: ModelMetadata) -> Path:
    """Writes a graph with its metadata, atomically and with the same bytes every time, as on-device-int8-window.onnx say."""
    helper.set_model_props(graph, metadata.to_props())
    suffixes = [word for word in (metadata.precision, metadata.kind) if word not in ("float32", STREAMING)]
    path = folder / f"{'-'.join([metadata.name, *suffixes])}.onnx"
    with atomic_path(path) as temporary:
        temporary.write_bytes(graph.SerializeToString(deterministic=True))
    return path


def described(path: Path, graph: onnx.ModelProto, precision: str, kind: str) -> dict[str, str | int]:
    """What the card and `info` tell of a file: precision, kind, sizes in bytes, SHA-256."""
    content, memory = path.read_bytes(), working_memory(graph)
    digest = hashlib.sha256(content).hexdigest()  # what `sha256sum` prints
    about = {"precision": precision, "kind": kind, "bytes": len(content), "sha256": digest}
    return about | {f"{part}_bytes": size for part, size in asdict(memory).items()}


def check(
    paths: Mapping[Key, Path], student: Student, recordings: Iterable[np.ndarray], tolerances: Mapping[str, float]
) -> dict[Key, float]:
    """How far each graph is from the network on recordings, (S,) at 16 kHz, at most; RuntimeError where that is not tolerated."""
    runs = {key: exported_system(path).load() if key[1] == STREAMING else _windowed(path) for key, path in paths.items()}
    differences = dict.fromkeys(runs, 0.0)
    for audio in recordings:
        windows = list(_windows([audio], student.config.window_samples))
        inputs = {STREAMING: [audio], WINDOW: windows}
        expected = {STREAMING: student.animate(audio, FPS), WINDOW: _network(student, windows)}
        for key, run in runs.items():
            found = np.concatenate(run(inputs[key[1]]))
            differences[key] = np.maximum(differences[key], np.abs(found - expected[key[1]]).max())  # NaN stays
    for (precision, kind), difference in differences.items():
        if not difference <= tolerances[precision]:  # NaN is not
            raise RuntimeError(f"{precision}, {kind}: {difference:.2g} from the network; expected {tolerances[precision]}")
    return {key: float(f"{difference:.2g}") for key, difference in differences.items()}


def scores(params: Params, paths: Mapping[str, Path]) -> dict[str, dict]:
    """Every precision's scores on test speech through the streaming engine, and what each loses against float32."""
    examples = load_examples(DATA / "prepare", _utterances(TEST_SPLIT, params.export.test_utterances))
    systems = [replace(exported_system(path), name=precision) for precision, path in paths.items()]
    found = {precision: scored[TEST_SPLIT] for precision, scored in measure(systems, {TEST_SPLIT: examples})}
    resampling = partial(interval_options, params, examples)
    return rounded({
        "scores": {name: aggregate(scored, **resampling()) for name, scored in found.items()},
        "against-float32": {name: compare([found[name]], [found["float32"]], **resampling()) for name in PRECISIONS[1:]},
    })  # fmt: skip


def training_data_sha256() -> str:
    """The hash of all that students learn from: the labels' manifest, and every recording, curve and phone file it names."""
    manifest = DATA / "label" / "manifest.jsonl"
    names = {name for row in read_manifest(manifest) for name in (row.audio, row.curves, row.phones) if name is not None}
    return sha256(manifest, *(sha256(manifest.parent / name) for name in sorted(names)))


def _metadata(student: Student, name: str) -> ModelMetadata:
    return ModelMetadata(
        kind=STREAMING, name=name, precision="float32", sample_rate_hz=SAMPLE_RATE_HZ,
        window_samples=student.config.window_samples, past_samples=student.config.past_samples, hop_samples=HOP_SAMPLES,
        curves=CURVES, licence="Apache-2.0", training_data_sha256=training_data_sha256(),
    )  # fmt: skip


def _windowed(path: Path) -> AnimateAll:
    """(1, window) samples each -> (1, K) curves each."""
    session, _ = open_session(path)
    return lambda windows: [session.run(["curves"], {"window": window})[0] for window in windows]


@torch.inference_mode()
def _network(student: Student, windows: Sequence[np.ndarray]) -> np.ndarray:
    return student(torch.from_numpy(np.concatenate(windows)))[:, 0].clamp(0, 1).numpy()


def _utterances(split: str, count: int) -> list[Utterance]:
    """Utterances of a split of the corpus, evenly spread; InputError if there are none."""
    manifest = DATA / "prepare" / "manifest.jsonl"
    rows = select(read_manifest(manifest), split)
    if not rows:
        raise InputError(f"{manifest}: no utterances of the split {split!r}, which exports are calibrated or measured on")
    return evenly_spaced(rows, count)


def _audio(split: str, count: int) -> Iterator[np.ndarray]:
    return (read_audio(DATA / "prepare" / row.audio) for row in _utterances(split, count))


def _windows(recordings: Iterable[np.ndarray], window_samples: int) -> Iterator[np.ndarray]:
    """(1, window) pieces of recordings, every `WINDOWS_HOP_S`."""
    for audio in recordings:
        padded = np.pad(audio, (0, max(0, window_samples - len(audio))))
        for first in range(0, len(padded) - window_samples + 1, int(WINDOWS_HOP_S * SAMPLE_RATE_HZ)):
            yield padded[None, first : first + window_samples]
