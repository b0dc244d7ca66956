"""A student as an ONNX graph: a pure function of one window for engines, and a step with its state for streams.

A convolution of three dilated taps is a fully-connected layer on those taps side by side: every layer works row by row, and a row
of a step is, bit for bit, what the window gives, however many are computed at once.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper
from torch import nn

from facedistill.models.filterbank import ENERGY_FLOOR, FIELD_SAMPLES, HOP_SAMPLES, KERNEL, KERNEL_SAMPLES, POOL, STRIDE_SAMPLES
from facedistill.models.student import Student, StudentConfig
from facedistill.rig.arkit import N_CURVES
from facedistill.runtime.model import STATE_IN, STATE_OUT

OPSET = 15  # what the importers of Unity and Unreal read without warnings
IR_VERSION = 8
END = 2**31 - 1  # of a slice: to the end, whatever the length


@dataclass
class Graph:
    """Nodes and constants in the making; a tensor is its name."""

    nodes: list[onnx.NodeProto] = field(default_factory=list)
    constants: dict[str, np.ndarray] = field(default_factory=dict)

    def constant(self, name: str, value: np.ndarray | Sequence[int]) -> str:
        """A weight, or integers that say how an operator works."""
        self.constants[name] = np.asarray(value, order="C")  # a scalar stays one: `Clip` wants scalars
        return name

    def add(self, operator: str, inputs: Sequence[str], output: str, **attributes: object) -> str:
        """A node with one output, whose name it takes."""
        self.nodes.append(helper.make_node(operator, inputs, [output], name=output, **attributes))
        return output

    def reshape(self, x: str, output: str, *shape: int) -> str:
        return self.add("Reshape", [x, self.constant(f"{output}.shape", shape)], output)

    def rows(self, x: str, output: str, begin: int, end: int) -> str:
        """x[begin:end]."""
        bounds = {"begin": [begin], "end": [end], "axis": [0]}
        return self.add("Slice", [x, *(self.constant(f"{output}.{name}", value) for name, value in bounds.items())], output)

    def model(self, name: str, inputs: dict[str, Sequence], outputs: dict[str, Sequence]) -> onnx.ModelProto:
        """The checked model; inputs and outputs are float32, given as {name: shape}."""
        kind, sides = TensorProto.FLOAT, (inputs, outputs)
        tensors = [[helper.make_tensor_value_info(name, kind, shape) for name, shape in side.items()] for side in sides]
        weights = [numpy_helper.from_array(value, tensor) for tensor, value in self.constants.items()]
        graph = helper.make_graph(self.nodes, name, *tensors, initializer=weights)
        opsets = [helper.make_opsetid("", OPSET)]
        model = helper.make_model(graph, producer_name="facedistill", opset_imports=opsets, ir_version=IR_VERSION)
        onnx.checker.check_model(model, full_check=True)
        return model


def window_graph(student: Student) -> onnx.ModelProto:
    """ "window" (1, window samples) at 16 kHz -> "curves" (1, K) in [0, 1], of the moment `past_samples` into the window."""
    graph = Graph()
    hops = graph.reshape("window", "hops", -1, HOP_SAMPLES)
    pairs = [graph.rows(hops, "earlier", 0, -1), graph.rows(hops, "later", 1, END)]
    x = _front(graph, student, graph.add("Concat", pairs, "frames", axis=1))
    for number, dilation in enumerate(student.config.dilations):
        x = _block(graph, student, number, x, graph.rows(x, f"block{number}.now", (KERNEL - 1) * dilation, END))
    _head(graph, student, x)
    return graph.model("window", {"window": (1, student.config.window_samples)}, {"curves": (1, N_CURVES)})


def streaming_graph(student: Student) -> onnx.ModelProto:
    """Any number L of 16 ms steps at once.

    "frames" (L, 512), each the hop of 256 samples before and the new one, and "state_in<i>" (2 * dilation, C), the last inputs
    of block i -> "curves" (L, K) in [0, 1] and "state_out<i>" (2 * dilation + L, C), whose end is the state of the next step.
    """
    graph = Graph()
    inputs, outputs = {"frames": ("L", FIELD_SAMPLES)}, {"curves": ("L", N_CURVES)}
    x = _front(graph, student, "frames")
    for number, (n_rows, width) in enumerate(history_shapes(student.config)):
        state_in, state_out = f"{STATE_IN}{number}", f"{STATE_OUT}{number}"
        inputs[state_in], outputs[state_out] = (n_rows, width), (f"{n_rows} + L", width)
        graph.add("Concat", [state_in, x], state_out, axis=0)
        x = _block(graph, student, number, state_out, x)
    _head(graph, student, x)
    return graph.model("streaming", inputs, outputs)


def history_shapes(config: StudentConfig) -> list[tuple[int, int]]:
    """(frames, channels) of each block's state."""
    return [((KERNEL - 1) * dilation, width) for dilation, width in zip(config.dilations, config.widths, strict=False)]


def _front(graph: Graph, student: Student, frames: str) -> str:
    """(L, 512) samples -> (L, filters): the filterbank's log energies, normalised, see `filterbank.Filterbank`."""
    n_filters = student.config.filters
    stretch = graph.reshape(frames, "front.strides", -1, FIELD_SAMPLES // STRIDE_SAMPLES, STRIDE_SAMPLES)
    taps = np.arange(POOL)[:, None] + np.arange(KERNEL_SAMPLES // STRIDE_SAMPLES)  # strides of each of a frame's windows
    windows = graph.add("Gather", [stretch, graph.constant("front.taps", taps)], "front.gathered", axis=1)
    windows = graph.reshape(windows, "front.windows", -1, KERNEL_SAMPLES)
    weight = _arrays(student.front.filters)["weight"][:, 0].T / np.float32(math.sqrt(POOL))  # so that squares sum to their mean
    kernel = graph.constant("front.weight", weight)
    filtered = graph.add("MatMul", [windows, kernel], "front.filtered")  # (POOL L, 2 filters): real and imaginary parts
    parts = graph.reshape(filtered, "front.parts", -1, 2 * POOL, n_filters)
    energy = graph.add("ReduceSumSquare", [parts], "front.energy", axes=[1], keepdims=0)
    floor = graph.constant("front.floor", np.float32([ENERGY_FLOOR]))
    bands = graph.add("Log", [graph.add("Add", [energy, floor], "front.floored")], "front.bands")
    level = graph.add("ReduceMean", [bands], "front.level", axes=[1], keepdims=1)
    rest = graph.constant("front.rest", np.float32(1 - student.config.level_keep_ratio))
    surplus = graph.add("Mul", [level, rest], "front.surplus")
    shape = graph.add("Sub", [bands, surplus], "front.shape")
    scale, offset = _batch_norm(student.front.norm)
    scaled = graph.add("Mul", [shape, graph.constant("front.scale", scale)], "front.scaled")
    return graph.add("Add", [scaled, graph.constant("front.offset", offset)], "front")


def _block(graph: Graph, student: Student, number: int, audio: str, now: str) -> str:
    """(2 dilation + L, C) inputs, whose last L rows are `now` -> (L, C'); see `filterbank.Block`."""
    block, dilation, name = student.blocks[number], student.config.dilations[number], f"block{number}"
    scale, offset = _batch_norm(block.norm)
    taps = [graph.rows(audio, f"{name}.before", 0, -2 * dilation), graph.rows(audio, f"{name}.centre", dilation, -dilation), now]
    kernel = _arrays(block.conv)["weight"] * scale[:, None, None]  # (C', C, taps)
    kernel = kernel.transpose(2, 1, 0).reshape(-1, kernel.shape[0])  # (taps C, C')
    y = _linear(graph, f"{name}.conv", graph.add("Concat", taps, f"{name}.taps", axis=1), kernel, offset)
    y = graph.add("Relu", [y], f"{name}.relu")
    return graph.add("Add", [y, taps[1]], name) if block.residual else y


def _head(graph: Graph, student: Student, x: str) -> str:
    """(L, C) -> "curves" (L, K)."""
    hidden, out = _arrays(student.hidden), _arrays(student.out)
    y = graph.add("Relu", [_linear(graph, "hidden", x, hidden["weight"][:, :, 0].T, hidden["bias"])], "hidden.relu")
    y = _linear(graph, "out", y, out["weight"][:, :, 0].T, out["bias"])
    return graph.add("Clip", [y, graph.constant("lowest", np.float32(0)), graph.constant("highest", np.float32(1))], "curves")


def _linear(graph: Graph, name: str, x: str, weight: np.ndarray, bias: np.ndarray) -> str:
    return graph.add("Gemm", [x, graph.constant(f"{name}.weight", weight), graph.constant(f"{name}.bias", bias)], name)


def _batch_norm(norm: nn.BatchNorm1d) -> tuple[np.ndarray, np.ndarray]:
    """Batch normalisation at inference as a scale and an offset a channel."""
    weights = _arrays(norm)
    scale = weights["weight"] / np.sqrt(weights["running_var"] + np.float32(norm.eps))
    return scale, weights["bias"] - weights["running_mean"] * scale


def _arrays(module: nn.Module) -> dict[str, np.ndarray]:
    return {name: tensor.numpy() for name, tensor in module.state_dict().items()}
