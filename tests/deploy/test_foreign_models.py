"""ONNX files that strangers made, with this project's metadata: none opens another file, fills the memory, or gives NaN."""

import resource
import subprocess
import sys

import numpy as np
import onnx
import pytest
from damage import DAMAGES
from exported import METADATA, model_path, saved
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper

from facedistill.core.errors import InputError
from facedistill.runtime.model import Model, has_external_data, open_session

WEIGHTS = np.zeros((512, 52), np.float32)
PRODUCT = helper.make_node("MatMul", ["frames", "w"], ["curves"])


def a_weight() -> TensorProto:
    return numpy_helper.from_array(WEIGHTS, "w")


def elsewhere(location: str) -> TensorProto:
    """The weights, in another file."""
    tensor = TensorProto(name="w", data_type=TensorProto.FLOAT, dims=WEIGHTS.shape, data_location=TensorProto.EXTERNAL)
    tensor.external_data.add(key="location", value=location)
    return tensor


def in_function(tensor: TensorProto) -> onnx.FunctionProto:
    constant = helper.make_node("Constant", [], ["w"], value=tensor)
    return helper.make_function("com.example", "Weights", [], ["w"], [constant], [helper.make_opsetid("", 15)])


def in_branches(tensor: TensorProto) -> list:
    branch = helper.make_graph(
        [helper.make_node("Identity", ["w"], ["z"])], "b", [], [helper.make_tensor_value_info("z", TensorProto.FLOAT, [512, 52])],
        [tensor],
    )  # fmt: skip
    choice = helper.make_node("Constant", [], ["c"], value=helper.make_tensor("c", TensorProto.BOOL, [], [True]))
    return [choice, helper.make_node("If", ["c"], ["v"], then_branch=branch, else_branch=branch)]


def sparse(tensor: TensorProto) -> onnx.SparseTensorProto:
    return onnx.SparseTensorProto(values=tensor, indices=helper.make_tensor("i", TensorProto.INT64, [1], [0]), dims=[512, 52])


USING = {
    "weight": lambda path, tensor: saved(path, [PRODUCT], [tensor]),
    "constant": lambda path, tensor: saved(path, [helper.make_node("Constant", [], ["w"], value=tensor), PRODUCT], []),
    "sparse": lambda path, tensor: saved(
        path, [helper.make_node("Constant", [], ["w"], sparse_value=sparse(tensor)), PRODUCT], []
    ),
    "branch": lambda path, tensor: saved(
        path, [*in_branches(tensor), helper.make_node("MatMul", ["frames", "v"], ["curves"])], []
    ),
    "function": lambda path, tensor: saved(
        path, [helper.make_node("Weights", [], ["w"], domain="com.example"), PRODUCT], [], functions=[in_function(tensor)]
    ),
}  # fmt: skip


@pytest.mark.parametrize("location", ["/etc/passwd", "../w.bin", "w.bin"])
@pytest.mark.parametrize("where", USING)
def test_no_other_file_is_opened(tmp_path, monkeypatch, where, location):
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    for folder in (tmp_path, tmp_path / "here"):
        (folder / "w.bin").write_bytes(WEIGHTS.tobytes())
    path = USING[where](tmp_path / "here" / "a.onnx", elsewhere(location))
    with pytest.raises(InputError, match="it would have other files opened; expected all weights in it") as error:
        Model(path)
    assert str(error.value).startswith(f"{path}: ") and "\n" not in str(error.value)
    with pytest.raises(InputError, match="other files"):
        open_session(path)


def test_where_a_weight_would_be_is_refused_even_if_it_is_here(tmp_path):
    tensor = a_weight()
    assert Model(saved(tmp_path / "a.onnx", [PRODUCT], [tensor])).metadata == METADATA
    tensor.external_data.add(key="location", value="w.bin")
    with pytest.raises(InputError, match="other files"):
        Model(saved(tmp_path / "b.onnx", [PRODUCT], [tensor]))


def test_a_number_without_an_end_is_refused_at_once():
    with pytest.raises(ValueError, match="cut off, or no protobuf"):
        has_external_data(memoryview(b"\xff" * 10_000_000))  # hours, were they added up


def test_what_is_no_want_of_memory_is_told_as_what_it_is(tmp_path):
    path = saved(tmp_path / "a.onnx", [helper.make_node("Allocator", ["frames"], ["curves"], domain="com.example")], [])
    with pytest.raises(InputError, match="a.onnx: not a model that facedistill exported"):
        Model(path)


def field(number: int, content: bytes, *, n_more: int = 0) -> bytes:
    """A field of bytes, its key with `n_more` bytes more than it needs, which protobuf allows."""
    key = number << 3 | 2
    return bytes([key | (128 if n_more else 0), *[128] * (n_more - 1), *[0] * (n_more > 0)]) + varint(len(content)) + content


def varint(value: int) -> bytes:
    return bytes([value]) if value < 128 else bytes([value & 127 | 128]) + varint(value >> 7)


@given(n_more=st.integers(0, 4))
def test_longer_ways_to_write_a_number_hide_nothing(n_more):
    content = field(7, field(5, field(13, b"", n_more=n_more)), n_more=n_more)
    assert has_external_data(memoryview(content))
    assert len(onnx.ModelProto.FromString(content).graph.initializer[0].external_data) == 1  # as protobuf reads it


@given(location=st.integers(0, 2**64 - 1))
def test_where_data_lies_is_told_as_protobuf_tells_it(location):
    content = field(7, field(5, bytes([14 << 3]) + varint(location)))
    tensor = onnx.ModelProto.FromString(content).graph.initializer[0]
    assert has_external_data(memoryview(content)) or tensor.data_location != TensorProto.EXTERNAL


@settings(deadline=None)
@given(damage=DAMAGES)
def test_any_bytes_are_walked_or_refused(damage):
    content = damage(model_path("int8").read_bytes())
    try:
        assert isinstance(has_external_data(memoryview(content)), bool)
    except ValueError as error:
        assert str(error) == "it is cut off, or no protobuf"


def test_endless_subgraphs_are_one_line(tmp_path):
    content = b""
    for _ in range(3000):
        content = field(1, field(5, field(6, content)))  # a node's attribute's graph
    (tmp_path / "deep.onnx").write_bytes(field(7, content))
    with pytest.raises(InputError, match="deep.onnx: not a model that facedistill exported") as error:
        Model(tmp_path / "deep.onnx")
    assert "\n" not in str(error.value)


# Values and sizes -----------------------------------------------------------------------------------------------------


def test_a_model_that_gives_nan_on_silence_is_refused(tmp_path):
    """Noise gives numbers."""
    nodes = [helper.make_node("Div", ["frames", "frames"], ["x"]), helper.make_node("MatMul", ["x", "w"], ["curves"])]
    with pytest.raises(InputError, match="silence gives NaN, infinite or missing curves; expected finite ones"):
        Model(saved(tmp_path / "a.onnx", nodes, [a_weight()]))


def test_a_model_whose_state_is_infinite_after_silence_is_refused(tmp_path):
    nodes = [PRODUCT, helper.make_node("ReduceMean", ["curves"], ["m"], axes=[1]), helper.make_node("Log", ["m"], ["state_out"])]
    nodes.append(helper.make_node("Concat", ["state_in0", "state_out"], ["state_out0"], axis=0))
    with pytest.raises(InputError, match="silence gives NaN, infinite or missing curves"):
        Model(saved(tmp_path / "a.onnx", nodes, [a_weight()], width=1))


@pytest.mark.parametrize("curves", [np.zeros((1, 52), np.float32), np.zeros((0, 52), np.float32)])
def test_a_model_that_gives_another_number_of_frames_is_refused(tmp_path, curves):
    nodes = [helper.make_node("Constant", [], ["curves"], value=numpy_helper.from_array(curves))]
    with pytest.raises(InputError, match="silence gives NaN, infinite or missing curves"):
        Model(saved(tmp_path / "a.onnx", nodes, []))


@pytest.mark.parametrize(
    ("width", "metadata", "message"),
    [
        (2**31, {}, "a state of more numbers than any student has; expected at most 16777216"),
        (2**40, {}, "a state of more numbers than any student has"),
        (None, {"hop_samples": str(2**30)}, "sizes in its metadata are no whole numbers below 1048576"),
        (None, {"window_samples": str(2**31)}, "sizes in its metadata are no whole numbers below 1048576"),
        (None, {"hop_samples": "8193"}, "sizes in its metadata do not fit each other"),
        (None, {"hop_samples": "1" * 5000}, "not a model that facedistill exported"),
        (None, {"curves": "[" * 100_000}, "not a model that facedistill exported"),
    ],
)
def test_sizes_that_would_fill_the_memory_are_refused(tmp_path, width, metadata, message):
    """In a process that is given 4 GB of addresses, of which onnxruntime takes some by itself."""
    nodes = [PRODUCT, *([helper.make_node("Identity", ["state_in0"], ["state_out0"])] if width else [])]
    path = saved(tmp_path / "a.onnx", nodes, [a_weight()], width, metadata)
    code = "import sys; from facedistill.runtime import Model; Model(sys.argv[1])"
    done = subprocess.run(
        [sys.executable, "-c", code, path], capture_output=True, text=True, check=False,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_AS, (2**32, 2**32)),
    )  # fmt: skip
    printed = done.stderr.splitlines()[-1]
    assert printed.startswith(f"facedistill.core.errors.InputError: {path}: ") and message in printed and len(printed) < 500


def test_operators_that_nobody_knows_are_one_line(tmp_path):
    node = helper.make_node("Evil", ["frames"], ["curves"], domain="com.example")
    with pytest.raises(InputError, match="not a model that facedistill exported .*Evil") as error:
        Model(saved(tmp_path / "a.onnx", [node], []))
    assert "\n" not in str(error.value)
