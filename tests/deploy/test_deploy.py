"""Exported graphs: what they compute, what they are made of, what they weigh, and what their cards say."""

import json
import re
from dataclasses import replace

import numpy as np
import onnx
import onnxruntime as ort
import pytest
import torch
from exported import RATE_HZ, build, model_path, noise, student
from onnx import TensorProto, numpy_helper
from onnx.reference import ReferenceEvaluator

from facedistill.core.manifest import Utterance
from facedistill.deploy.card import METRICS, PARTS, Corpus, corpora_of, limits_of, model_card, real_speech_section
from facedistill.deploy.graph import history_shapes, streaming_graph, window_graph
from facedistill.deploy.memory import working_memory
from facedistill.deploy.precision import PRECISIONS, to_float16
from facedistill.rig.arkit import CURVES
from facedistill.runtime import Model

KINDS = ("window", "streaming")
STUDENTS = {
    "real-time": {},
    "residual from the first block on": {"past_ms": 256, "future_ms": 256, "channels": 16},
    "no future": {"past_ms": 512, "future_ms": 0},
    "all future": {"past_ms": 0, "future_ms": 512},
    "far before near": {"dilations": (8, 4, 2, 1)},
    "a tenth of the level": {"level_keep_ratio": 0.1},
    "short": {"past_ms": 192, "filters": 8, "dilations": (1, 2, 4)},
    "one block": {"past_ms": 64, "future_ms": 64, "channels": 5, "filters": 6, "dilations": (3,)},
}
# What Unity's Inference Engine and Unreal's NNE both import at opset 15.
STANDARD = {
    "Add", "Cast", "Clip", "Concat", "DequantizeLinear", "Gather", "Gemm", "Log", "MatMul", "Mul", "QuantizeLinear",
    "ReduceMean", "ReduceSumSquare", "Relu", "Reshape", "Slice", "Sub",
}  # fmt: skip


def session(graph: onnx.ModelProto) -> ort.InferenceSession:
    return ort.InferenceSession(graph.SerializeToString(), providers=["CPUExecutionProvider"])


def expected(network, samples: np.ndarray) -> np.ndarray:
    with torch.inference_mode():
        return network(torch.from_numpy(samples)[None])[0].clamp(0, 1).numpy()


def frames(samples: np.ndarray) -> np.ndarray:
    """(L, 512) rows of the hop before and the new one."""
    return np.stack([samples[first : first + 512] for first in range(0, len(samples) - 511, 256)])


def streamed(network, graph: onnx.ModelProto, samples: np.ndarray, sizes: tuple[int, ...]) -> np.ndarray:
    """The curves of every step, computed in turns of the given numbers of rows."""
    run, rows, curves, turn = session(graph), frames(samples), [], 0
    states = initial_states(network, graph)
    while len(rows):
        size = sizes[turn % len(sizes)]
        found, *sound = run.run(
            ["curves", *(f"state_out{number}" for number in range(len(states)))], {"frames": rows[:size], **states}
        )
        curves.append(found)
        states = {name: after[-len(before) :] for (name, before), after in zip(states.items(), sound, strict=True)}
        rows, turn = rows[size:], turn + 1
    return np.concatenate(curves)


def initial_states(network, graph: onnx.ModelProto) -> dict[str, np.ndarray]:
    kind = {TensorProto.FLOAT: np.float32, TensorProto.UINT8: np.uint8}[graph.graph.input[-1].type.tensor_type.elem_type]
    return {f"state_in{number}": np.zeros(shape, kind) for number, shape in enumerate(history_shapes(network.config))}


def weights(graph: onnx.ModelProto) -> dict[str, np.ndarray]:
    return {weight.name: numpy_helper.to_array(weight) for weight in graph.graph.initializer}


@pytest.fixture(scope="module")
def graphs() -> dict[tuple[str, str], onnx.ModelProto]:
    return build(student(), iter([noise(2.0)]))


@pytest.mark.parametrize("which", STUDENTS)
def test_a_window_is_the_network(which):
    network = student(**STUDENTS[which])
    graph, samples, window = window_graph(network), noise(1.0), network.config.window_samples
    run, curves = session(graph), expected(network, samples)
    assert curves.std(axis=0).max() > 0.01, "the curves move"
    for number in range(0, len(curves), 5):
        found = run.run(["curves"], {"window": samples[None, 256 * number : 256 * number + window]})[0]
        np.testing.assert_allclose(found[0], curves[number], atol=1e-5)


@pytest.mark.parametrize("which", STUDENTS)
def test_a_stream_is_the_network(which):
    network = student(**STUDENTS[which])
    graph, samples = streaming_graph(network), noise(1.0)
    curves = expected(network, samples)
    for sizes in ((1000,), (1, 3, 7)):
        found = streamed(network, graph, samples, sizes)[network.config.window_samples // 256 - 2 :]
        np.testing.assert_allclose(found, curves, atol=1e-5)


@pytest.mark.parametrize("kind", KINDS)
def test_float16_rounds_every_weight_and_nothing_else(graphs, kind):
    exact, half = weights(graphs["float32", kind]), weights(graphs["float16", kind])
    rounded = {name.removesuffix(".half") for name in half if name.endswith(".half")}
    assert rounded == {name for name, value in exact.items() if value.dtype == np.float32 and value.size > 1}
    for name, value in exact.items():
        if name in rounded:
            assert half[f"{name}.half"].dtype == np.float16
            np.testing.assert_array_equal(half[f"{name}.half"], value.astype(np.float16))
        else:
            np.testing.assert_array_equal(half[name], value)


def test_float16_halves_a_file():
    graph = streaming_graph(student(channels=64, filters=64))
    assert 0.49 < len(to_float16(graph).SerializeToString()) / len(graph.SerializeToString()) < 0.55


@pytest.mark.parametrize("kind", KINDS)
def test_int8_weights_have_a_scale_a_channel_and_seven_bits(graphs, kind):
    exact, small = weights(graphs["float32", kind]), weights(graphs["int8", kind])
    layers = [*(f"block{number}.conv" for number in range(4)), "hidden"]
    for layer in layers:
        quantised, scale = small[f"{layer}.weight_quantized"], small[f"{layer}.weight_scale"]
        assert quantised.dtype == np.int8 and np.abs(quantised.astype(int)).max() <= 64
        assert scale.shape == (quantised.shape[1],) and len(set(scale)) > 1
        assert not small[f"{layer}.weight_zero_point"].any()
        assert (np.abs(quantised * scale - exact[f"{layer}.weight"]) <= scale / 2 + 1e-7).all()
    assert {name.removesuffix("_quantized") for name in small if name.endswith("weight_quantized")} == {
        f"{name}.weight" for name in layers
    }
    for name in ("out.weight", "out.bias", "front.weight", "front.scale", "front.offset"):
        np.testing.assert_array_equal(small[name], exact[name])


def test_a_window_and_a_stream_round_alike(graphs):
    window, stream = (weights(graphs["int8", kind]) for kind in KINDS)
    scales = {name for name in stream if name.endswith(("_scale", "_zero_point", "_quantized"))}
    assert len(scales & window.keys()) > 40
    for name in scales:
        same = re.sub(r"^(state_in|state_out)(\d)", r"block\2.taps", name)  # which a window does not have
        same = re.sub(r"^front", "block0.taps", same)  # a window quantises it after cutting it
        np.testing.assert_array_equal(window[same], stream[name])


@pytest.mark.parametrize("precision", PRECISIONS)
@pytest.mark.parametrize("kind", KINDS)
def test_graphs_are_plain_onnx(graphs, precision, kind):
    graph = graphs[precision, kind]
    assert [(opset.domain, opset.version) for opset in graph.opset_import] == [("", 15)]
    assert graph.ir_version == 8 and not graph.functions
    assert {node.op_type for node in graph.graph.node} <= STANDARD and {node.domain for node in graph.graph.node} == {""}
    assert {weight.data_location for weight in graph.graph.initializer} == {TensorProto.DEFAULT}
    for tensor in (*graph.graph.input, *graph.graph.output):
        state = precision == "int8" and tensor.name.startswith(("state_in", "state_out"))
        assert tensor.type.tensor_type.elem_type == (TensorProto.UINT8 if state else TensorProto.FLOAT)
    clip = next(node for node in graph.graph.node if node.op_type == "Clip")
    assert [weights(graph)[name].shape for name in clip.input[1:]] == [(), ()], "the standard wants scalars"


@pytest.mark.parametrize("precision", ["float32", "float16"])
def test_the_reference_implementation_agrees(graphs, precision):
    """Nothing in a graph is peculiar to onnxruntime; 8 bits may round to the other side."""
    window, graph = noise(0.512)[None], graphs[precision, "window"]
    found = session(graph).run(["curves"], {"window": window})[0]
    np.testing.assert_allclose(found, ReferenceEvaluator(graph).run(["curves"], {"window": window})[0], atol=1e-5)


def test_the_same_student_gives_the_same_bytes(graphs):
    again = build(student(), iter([noise(2.0)]))
    assert again.keys() == graphs.keys()
    for key, graph in graphs.items():
        assert again[key].SerializeToString(deterministic=True) == graph.SerializeToString(deterministic=True)


# Working memory -------------------------------------------------------------------------------------------------------


def recount(graph: onnx.ModelProto, feeds: dict[str, np.ndarray]) -> tuple[int, int]:
    """Runs the graph with every tensor as an output, and looks at every moment which of them are there."""
    nodes, inner, opened = graph.graph.node, graph.graph, onnx.ModelProto.FromString(graph.SerializeToString())
    names = {name for node in nodes for name in node.output} - {tensor.name for tensor in inner.output}
    opened.graph.output.extend(onnx.ValueInfoProto(name=name) for name in sorted(names))
    run = session(opened)
    everything = feeds | dict(zip((tensor.name for tensor in run.get_outputs()), run.run(None, feeds), strict=True))
    fixed = {weight.name for weight in inner.initializer}
    for node in nodes:
        if all(name in fixed for name in node.input):
            fixed.update(node.output)
    outside = [tensor.name for tensor in (*inner.input, *inner.output)]
    root = {}
    for node in nodes:  # a reshaped tensor is the tensor itself
        same = root.get(node.input[0], node.input[0])
        root |= {name: same if node.op_type == "Reshape" else name for name in node.output}
    made = {name: moment for moment, node in enumerate(nodes) for name in node.output}
    inside = [name for name in made if root[name] == name and name not in fixed and name not in outside]
    last = {name: max(moment for moment, node in enumerate(nodes) if name in map(root.get, node.input)) for name in inside}
    peak = max(sum(everything[name].nbytes for name in inside if made[name] <= now <= last[name]) for now in range(len(nodes)))
    return peak, sum(everything[name].nbytes for name in outside)


@pytest.mark.parametrize("precision", PRECISIONS)
def test_working_memory_of_a_window_is_what_a_naive_count_finds(graphs, precision):
    graph = graphs[precision, "window"]
    found = working_memory(graph)
    assert (found.activations, found.state) == recount(graph, {"window": noise(0.512)[None]})
    half = [4 * value.size for value in weights(graph).values() if value.dtype == np.float16]
    assert found.expanded == sum(half) and bool(half) == (precision == "float16")


@pytest.mark.parametrize("precision", PRECISIONS)
@pytest.mark.parametrize("n_rows", [1, 5, 16])
def test_working_memory_of_a_step_is_what_a_naive_count_finds(graphs, precision, n_rows):
    graph, states = graphs[precision, "streaming"], history_shapes(student().config)
    feeds, n_bytes = initial_states(student(), graph), 1 if precision == "int8" else 4
    found = working_memory(graph, n_rows)
    assert (found.activations, found.state) == recount(graph, {"frames": frames(noise(1.0))[:n_rows], **feeds})
    kept = sum((2 * rows + n_rows) * width for rows, width in states)
    assert found.state == n_bytes * kept + 4 * n_rows * (512 + 52), "state before and after"


# Metadata and cards ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("precision", PRECISIONS)
@pytest.mark.parametrize("kind", KINDS)
def test_a_file_tells_what_it_is_to_anyone_with_onnx(precision, kind):
    said = {entry.key: entry.value for entry in onnx.load(model_path(precision, kind)).metadata_props}
    assert (said["facedistill"], said["kind"], said["precision"], said["name"]) == ("2", kind, precision, "tiny")
    assert (said["licence"], said["training_data_sha256"]) == ("Apache-2.0", "0" * 64)
    numbers = {name: json.loads(said[name]) for name in said if name.endswith(("_hz", "_samples"))}
    assert numbers == {
        "sample_rate_hz": RATE_HZ, "window_samples": 8192, "past_samples": 7168, "lookahead_samples": 1024, "hop_samples": 256,
    }  # fmt: skip
    assert json.loads(said["curves"]) == list(CURVES)


def rows_of(card: str, heading: str) -> list[list[str]]:
    """The cells of the first table under a heading."""
    table = re.search(r"(?:^\|.*\n)+", card.split(f"\n## {heading}\n")[1], re.MULTILINE)[0]
    rows = [[cell.strip() for cell in row.strip("|").split("|")] for row in table.splitlines()]
    return [rows[0], *rows[2:]]


CORPORA = [
    Corpus("espeak-ng", 3.25, 62, ("de", "en-us"), ("generated",)),
    Corpus("vctk", 0.5, 1200, ("en-GB",), ("CC BY 4.0", "CC0")),
    Corpus("a|b", 0.125, 0, (), ("not stated",)),
]


def made_up() -> tuple[dict, dict]:
    """Files and quality in which every number is another."""
    numbers = iter(np.random.default_rng(0).uniform(0.1, 0.9, 200).tolist())
    files = {
        name: {
            "bytes": int(1e6 * next(numbers)),
            "sha256": f"{number:064x}",
            **{f"{part}_bytes": int(1e5 * next(numbers)) for part in PARTS},
        }
        for number, name in enumerate(["tiny.onnx", "tiny-window.onnx", "tiny-int8.onnx"])
    }
    scores = {
        precision: {metric: {"value": next(numbers), "low": next(numbers), "high": next(numbers), "n": 77} for metric in METRICS}
        for precision in PRECISIONS
    }
    return files, {"scores": scores, "differences": {name: next(numbers) / 100 for name in files}, "tolerances": {"int8": 0.0625}}


def test_a_card_says_every_number_it_is_given():
    files, quality = made_up()
    metadata = replace(Model(model_path()).metadata, training_data_sha256="ab" * 32)
    card = model_card(metadata, 123_456, CORPORA, files, quality)
    assert rows_of(card, "Files")[1:] == [
        [
            f"`{name}`", f"{file['bytes'] / 1e6:.2f} MB", f"{sum(file[f'{part}_bytes'] for part in PARTS) / 1e6:.3f} MB",
            f"`{file['sha256']}`",
        ]
        for name, file in files.items()
    ]  # fmt: skip
    header, *rows = rows_of(card, "Quality")
    assert header[1:] == list(PRECISIONS) and len(rows) == len(METRICS)
    for row, metric in zip(rows, METRICS, strict=True):
        for cell, precision in zip(row[1:], PRECISIONS, strict=True):
            summary = quality["scores"][precision][metric]
            assert cell == f"{summary['value']:.3f} [{summary['low']:.3f}, {summary['high']:.3f}]"
    assert rows_of(card, "Training data") == [
        ["source", "hours", "speakers", "languages", "licence"],
        ["espeak-ng", "3.25", "62", "de, en-us", "generated"],
        ["vctk", "0.50", "1200", "en-GB", "CC BY 4.0, CC0"],
        ["a\\", "b", "0.12", "not stated", "not stated", "not stated"],
    ]
    assert limits_of(CORPORA) in card and "Real speech" not in card
    for name, difference in quality["differences"].items():
        assert f"`{name}` {difference:.2g}" in card
    assert "int8 0.0625" in card
    for text in (
        "123,456 parameters",
        "On 77 utterances",
        "512 ms",
        "448 ms",
        " 64 ms",
        "16 ms",
        "16,000 Hz",
        "Apache-2.0",
        "ab" * 32,
        "30 steps",
    ):
        assert text in card, text
    assert "{" not in card and "nan" not in card.lower().split()


def test_a_card_says_what_could_not_be_measured():
    files, quality = made_up()
    quality["scores"]["int8"]["pbm"] = {"value": None, "low": None, "high": None, "n": 0}
    quality["scores"]["float16"]["lve_mm"] |= {"low": None, "high": None}
    card = model_card(Model(model_path()).metadata, 1, CORPORA, files, quality)
    assert rows_of(card, "Quality")[4][3] == "not measurable"
    assert rows_of(card, "Quality")[6][2] == f"{quality['scores']['float16']['lve_mm']['value']:.3f}"


def utterance(number: int, **fields) -> Utterance:
    plain = {"source": "vctk", "speaker": "p1", "language": "en", "split": "unlabelled", "duration_s": 1800.0, "licence": "CC0"}
    return Utterance(id=str(number), audio=f"{number}.flac", **plain | fields)


def test_training_data_is_what_models_learn_from():
    rows = [
        {}, {"speaker": "p2", "split": "paired", "licence": "CC BY 4.0", "language": "de"},
        {"speaker": "unknown", "language": "und"}, {"split": "held-out", "speaker": "p3"},
        {"split": "test-recordings", "source": "emu"}, {"split": "validation"},
        {"source": "espeak-ng", "licence": "generated", "duration_s": 9000.0}, {"source": "mine", "licence": None},
    ]  # fmt: skip
    assert corpora_of(utterance(number, **row) for number, row in enumerate(rows)) == [
        Corpus("espeak-ng", 2.5, 1, ("en",), ("generated",)),
        Corpus("vctk", 1.5, 2, ("de", "en"), ("CC BY 4.0", "CC0")),
        Corpus("mine", 0.5, 1, ("en",), ("not stated",)),
    ]


@pytest.mark.parametrize(
    ("corpora", "sound", "warned"),
    [
        (CORPORA[:1], "3.2 h of synthetic speech, with", True),
        (CORPORA[1:2], "0.5 h of recordings by 1,200 speakers, with", False),
        (CORPORA, "3.2 h of synthetic speech and 0.6 h of recordings by 1,200 speakers, with", False),
        (CORPORA[2:], "0.1 h of recordings, with", False),
    ],
)
def test_limits_follow_from_the_training_data(corpora, sound, warned):
    message = limits_of(corpora)
    assert message.startswith(f"Trained on {sound} curves made by rule") and ("No recording was heard" in message) is warned


def test_real_speech_is_quoted_or_said_to_be_unmeasured():
    nothing = {"value": None, "low": None, "high": None, "n": 0}
    results = {
        "tiny": {
            "emu": {"pbm": {"value": 0.95, "low": None, "high": None, "n": 1234}, "pbm_1mm": nothing, "lag_s": 0.1},
            "mean": {"pbm": {"value": 0.9, "low": 0.85, "high": 0.95, "n": 1234}, "pbm_1mm": nothing},
        },
        "tiny-int8": {"lag_ms": 10, "sha256": None},
    }  # fmt: skip
    header, *rows = rows_of(f"\n{real_speech_section(results)}\n", "Real speech")
    assert header[:3] == ["model", "recordings", "p, b, m"] and len(header) == 5
    assert rows == [["`tiny`", "emu", "1,234", "not measurable", "0.950"],
                    ["`tiny`", "mean", "1,234", "not measurable", "0.900 [0.850, 0.950]"]]  # fmt: skip
    for unknown in ({}, {"tiny-int8": results["tiny-int8"]}):
        assert real_speech_section(unknown) == "## Real speech\n\nNot measured."
