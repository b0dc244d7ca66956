"""The precisions of an exported graph: float32 as it is built, float16 weights, and int8 by onnxruntime's static quantisation."""

import tempfile
from collections.abc import Iterable
from functools import partial
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper
from onnxruntime.quantization import CalibrationMethod, QuantType
from onnxruntime.quantization.calibrate import TensorsData, create_calibrator
from onnxruntime.quantization.qdq_quantizer import QDQQuantizer

from facedistill.runtime.model import STATE_IN, STATE_OUT

PRECISIONS = ("float32", "float16", "int8")
# Names of nodes begin so; the filterbank hears 100 dB, and the last layer would make curves step.
QUANTISED = ("block", STATE_OUT, "hidden")
CALIBRATED = ("Add", "Gemm", "Relu")  # operators whose inputs and outputs are quantised
ROUTES = ("Concat", "Slice")  # operators that hand numbers on as they are


def to_float16(model: onnx.ModelProto) -> onnx.ModelProto:
    """Stores every weight in half precision; a Cast brings it back, and all is computed in float32."""
    half, casts = onnx.ModelProto.FromString(model.SerializeToString()), []
    for weight in half.graph.initializer:
        if weight.data_type == TensorProto.FLOAT and np.prod(weight.dims) > 1:
            name, stored = weight.name, f"{weight.name}.half"
            weight.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(weight).astype(np.float16), stored))
            casts.append(helper.make_node("Cast", [stored], [name], name=name, to=TensorProto.FLOAT))
    del half.graph.node[:]
    half.graph.node.extend([*casts, *model.graph.node])
    onnx.checker.check_model(half, full_check=True)
    return half


def calibrate(model: onnx.ModelProto, feeds: Iterable[dict[str, np.ndarray]]) -> TensorsData:
    """The range of every tensor of a float32 graph that is to be quantised; `feeds` are its inputs, run by run."""
    with tempfile.TemporaryDirectory() as folder:
        path, augmented = Path(folder, "model.onnx"), str(Path(folder, "augmented.onnx"))
        onnx.save(model, path)
        calibrator = create_calibrator(path, list(CALIBRATED), augmented, calibrate_method=CalibrationMethod.MinMax)
        calibrator.collect_data(SimpleNamespace(get_next=partial(next, iter(feeds), None)))  # all of a reader that is used
        return calibrator.compute_data()


def to_int8(model: onnx.ModelProto, ranges: TensorsData) -> onnx.ModelProto:
    """Quantises to 8 bits: weights by output channel, activations by tensor, in standard QuantizeLinear and DequantizeLinear.

    Weights use 7 of their 8 bits, so that processors without VNNI do not saturate: every machine computes the same integers.
    The state of a stream is 8 bits too. The ranges are of a graph with the same tensor names: a window and a step round alike.
    """
    nodes = [node for node in model.graph.node if node.name.startswith(QUANTISED)]
    known, weights = dict(ranges.items()), {weight.name for weight in model.graph.initializer}
    known |= {name: known[source] for name, source in _sources(nodes, weights).items()}
    quantizer = QDQQuantizer(
        onnx.ModelProto.FromString(model.SerializeToString()), per_channel=True, reduce_range=True,
        weight_qType=QuantType.QInt8, activation_qType=QuantType.QUInt8,
        tensors_range=TensorsData(ranges.calibration_method, known), nodes_to_quantize=[node.name for node in nodes],
        nodes_to_exclude=[], op_types_to_quantize=[*CALIBRATED, *ROUTES], extra_options={},
    )  # fmt: skip
    quantizer.quantize_model()
    _quantise_state(quantizer.model.graph())
    quantizer.model.topological_sort()
    small = quantizer.model.model
    small.producer_name, small.producer_version = model.producer_name, model.producer_version
    onnx.checker.check_model(small, full_check=True)
    return small


def _sources(nodes: Iterable[onnx.NodeProto], weights: set[str]) -> dict[str, str]:
    """The tensor whose numbers a tensor holds, for all that are cut from others or put together; states hold earlier ones."""
    sources: dict[str, str] = {}
    for node in nodes:
        if node.op_type in ROUTES:
            tensors = [name for name in node.input if name not in weights]
            sources |= dict.fromkeys([*tensors, *node.output], sources.get(tensors[-1], tensors[-1]))
    return sources


def _quantise_state(graph: onnx.GraphProto) -> None:
    """Lets a step take and give its state as the 8 bits that it is computed with: without the conversions at its ends."""
    names = {}
    for node in list(graph.node):
        if node.op_type == "QuantizeLinear" and node.input[0].startswith(STATE_IN):
            names[node.output[0]] = node.input[0]
            graph.node.remove(node)
        elif node.op_type == "DequantizeLinear" and node.output[0].startswith(STATE_OUT):
            names |= {node.input[0]: node.output[0], node.output[0]: f"{node.output[0]}.float"}
    for node in graph.node:
        for tensors in (node.input, node.output):
            tensors[:] = [names.get(name, name) for name in tensors]
    for tensor in (*graph.input, *graph.output):
        if tensor.name.startswith((STATE_IN, STATE_OUT)):
            tensor.type.tensor_type.elem_type = TensorProto.UINT8
