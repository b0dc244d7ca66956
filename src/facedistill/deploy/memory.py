"""The working memory of inference, exactly, from the graph: what must be held besides the file's weights while it is computed."""

import math
from dataclasses import dataclass

import onnx
from onnx import helper, shape_inference

from facedistill.runtime.model import MAX_ROWS


@dataclass(frozen=True)
class WorkingMemory:
    """Bytes."""

    activations: int  # the most that intermediate tensors take at any one time
    state: int  # all inputs and outputs of the graph; states count twice, before the step and with the new rows behind
    expanded: int  # weights that are stored in half precision, as they are computed with


def working_memory(model: onnx.ModelProto, n_rows: int = MAX_ROWS) -> WorkingMemory:
    """Counts the working memory of an exported graph that runs node by node, `n_rows` steps of 16 ms at once.

    An intermediate tensor is kept from the node that makes it to the last that reads it; a reshaped one is the tensor itself.
    """
    sizes, graph = _sizes(model, n_rows), model.graph
    outside = {tensor.name for tensor in (*graph.input, *graph.output)}
    weights = {weight.name for weight in graph.initializer}
    casts = {node.output[0] for node in graph.node if node.op_type == "Cast" and set(node.input) <= weights}
    weights |= {node.output[0] for node in graph.node if node.input and set(node.input) <= weights}
    tensor_of = {}  # name -> the tensor whose memory it is
    for node in graph.node:
        reshaped = node.op_type == "Reshape"
        tensor_of |= {name: tensor_of.get(node.input[0], node.input[0]) if reshaped else name for name in node.output}
    nodes = list(enumerate(graph.node))
    made = {name: number for number, node in nodes for name in node.output if tensor_of[name] == name}
    last_read = {tensor_of.get(name, name): number for number, node in nodes for name in node.input}
    held = {name: first for name, first in made.items() if name not in outside | weights}
    lives = [(sizes[name], first, last_read.get(name, len(nodes))) for name, first in held.items()]
    peak = max((sum(size for size, first, last in lives if first <= number <= last) for number, _ in nodes), default=0)
    return WorkingMemory(peak, sum(sizes[name] for name in outside), sum(sizes[name] for name in casts))


def _sizes(model: onnx.ModelProto, n_rows: int) -> dict[str, int]:
    """Bytes of every tensor that is not a weight."""
    fixed = onnx.ModelProto.FromString(model.SerializeToString())
    for tensor in fixed.graph.input:
        for dimension in tensor.type.tensor_type.shape.dim:
            if dimension.dim_param:
                dimension.dim_value = n_rows
    for tensor in fixed.graph.output:
        tensor.type.tensor_type.ClearField("shape")  # which follows
    graph = shape_inference.infer_shapes(fixed, strict_mode=True, data_prop=True).graph
    types = {tensor.name: tensor.type.tensor_type for tensor in (*graph.input, *graph.output, *graph.value_info)}
    return {
        name: math.prod(size.dim_value for size in kind.shape.dim) * helper.tensor_dtype_to_np_dtype(kind.elem_type).itemsize
        for name, kind in types.items()
    }
