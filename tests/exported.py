"""A small student with curves that move, exported: what tests of the runtime, the formats and the command line share."""

from collections.abc import Iterable
from dataclasses import replace
from functools import cache
from pathlib import Path
from tempfile import mkdtemp

import numpy as np
import onnx
import torch
from onnx import TensorProto, helper

from facedistill.core.files import write_json
from facedistill.deploy.card import METRICS
from facedistill.deploy.precision import PRECISIONS
from facedistill.models.student import Student, StudentConfig
from facedistill.pipeline.export import build, described, write_model
from facedistill.rig.arkit import CURVES
from facedistill.runtime.model import Model, ModelMetadata

RATE_HZ = 16_000
METADATA = ModelMetadata("streaming", "x", "float32", 16_000, 8192, 7168, 256, CURVES, "MIT", "0" * 64)


@cache
def student(past_ms: int = 448, future_ms: int = 64, channels: int = 8, **config) -> Student:
    """An untrained student whose normalisations and outputs are made lively, so that every curve moves within 0..1."""
    torch.manual_seed(past_ms)
    made = Student(StudentConfig(channels, past_ms, future_ms, **{"filters": 16} | config)).eval()
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for module in made.modules():
            if isinstance(module, torch.nn.BatchNorm1d):
                module.running_mean.copy_(torch.randn(module.running_mean.shape, generator=generator))
                module.running_var.copy_(0.5 + torch.rand(module.running_var.shape, generator=generator))
                module.bias.fill_(1.0)  # few dead units: what reaches the input reaches the output
        made.front.norm.running_mean.fill_(-8.0 * made.config.level_keep_ratio)
        made.out.weight.mul_(0.3)
        made.out.bias.fill_(0.5)
    return made


def noise(duration_s: float, seed: int = 0, rate_hz: int = RATE_HZ) -> np.ndarray:
    rng, n = np.random.default_rng(seed), int(duration_s * rate_hz)
    return (0.1 * rng.standard_normal(n) * (1 + np.sin(np.arange(n) * 25 / rate_hz))).astype(np.float32)


@cache
def exported(past_ms: int = 448, future_ms: int = 64) -> dict[tuple[str, str], Path]:
    """{(precision, kind): file}."""
    made, folder = student(past_ms, future_ms), Path(mkdtemp(prefix="facedistill-"))
    graphs = build(made, iter([noise(3.0, seed) for seed in range(2)]))
    metadata = replace(METADATA, name="tiny", past_samples=made.config.past_samples, licence="Apache-2.0")
    return {
        (precision, kind): write_model(folder, graph, replace(metadata, precision=precision, kind=kind))
        for (precision, kind), graph in graphs.items()
    }


def model_path(precision: str = "float32", kind: str = "streaming") -> Path:
    return exported()[precision, kind]


# data/export ----------------------------------------------------------------------------------------------------------

CORPUS = {"source": "vctk", "hours": 1.25, "speakers": 3, "languages": ["en"], "licences": ["CC BY 4.0"]}


@cache
def graphs(channels: int) -> dict[tuple[str, str], onnx.ModelProto]:
    return build(student(channels=channels), iter([noise(1.0)]))


def export_tree(folder: Path, names: Iterable[str]) -> int:
    """Makes data/export as the stage writes it, of untrained students, of which `real-time` is larger than the others.

    Returns:
        The size in bytes of the largest file of the others.
    """
    metadata, largest = Model(model_path()).metadata, 0
    for name in names:
        files = {}
        for (precision, kind), graph in graphs(24 if name == "real-time" else 8).items():
            path = write_model(folder / name, graph, replace(metadata, name=name, precision=precision, kind=kind))
            files[path.name] = described(path, graph, precision, kind)
        summary = {"value": 0.5, "low": 0.25, "high": 0.75, "n": 77}
        quality = {
            "scores": {precision: dict.fromkeys(METRICS, summary) for precision in PRECISIONS},
            "tolerances": {"float32": 1e-5, "float16": 2e-3, "int8": 0.05},
            "differences": dict.fromkeys(files, 1e-6),
        }
        origin = {"n_parameters": 1234, "corpora": [CORPUS]}
        for part, content in (("files", files), ("quality", quality), ("origin", origin)):
            write_json(folder / name / f"{part}.json", content)
        if name != "real-time":
            largest = max(largest, *(file["bytes"] for file in files.values()))
    return largest


def tree(folder: Path) -> dict[str, bytes]:
    """{path: content} of all files below a folder, temporary ones too."""
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def inputs_of(width: int | None) -> tuple[list, list]:
    """Inputs and outputs of a stream with one history of `width` columns, or none."""
    ends = ["frames", ["L", 512]], ["curves", ["L", 52]]
    if width is not None:
        ends = [*ends, ["state_in0", [2, width]], ["state_out0", ["N", width]]]
    made = [helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name, shape in ends]
    return made[::2], made[1::2]


def saved(path: Path, nodes: list, weights: list, width: int | None = None, metadata: dict | None = None, **parts) -> Path:
    """A streaming model of any nodes, with this project's metadata."""
    graph = helper.make_graph(nodes, "g", *inputs_of(width), weights)
    sets = [helper.make_opsetid("", 15), helper.make_opsetid("com.example", 1)]
    model = helper.make_model(graph, opset_imports=sets, ir_version=8, **parts)
    helper.set_model_props(model, METADATA.to_props() | (metadata or {}))
    path.write_bytes(model.SerializeToString())
    return path
