"""Exported students: what their files say of themselves, and the session that runs them."""

import json
import math
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, fields
from pathlib import Path

import numpy as np
import onnxruntime as ort

from facedistill.core import MAX_RATE_HZ, MIN_RATE_HZ
from facedistill.core.errors import InputError
from facedistill.runtime.released import check_released

VERSION = "2"  # of the inputs, outputs and metadata of exported graphs
STREAMING, WINDOW = "streaming", "window"
VERSION_KEY = "facedistill"
MAX_ROWS = 12  # 16 ms steps computed at once: more are little faster, and need more working memory
STATE_IN, STATE_OUT = "state_in", "state_out"  # a streaming graph's state: the input and the output of each block, numbered
TYPES = {"tensor(float)": np.float32, "tensor(uint8)": np.uint8}  # of that state
MAX_SAMPLES = 2**20  # of a window: half a minute at 16 kHz
MAX_STATE = 2**24  # numbers in the states of a stream
NO_MEMORY = re.compile("bad_alloc|[Ff]ailed to allocate memory|AllocateRaw")  # in what onnxruntime says
# {message: {number of a field: the message in it}} of onnx.proto, as far as it leads to tensors
PARTS = {
    "model": {7: "graph", 20: "training", 25: "function"},
    "training": {1: "graph", 2: "graph"},
    "function": {7: "node", 11: "attribute"},
    "graph": {1: "node", 5: "tensor", 15: "sparse tensor"},
    "node": {5: "attribute"},
    "attribute": {5: "tensor", 6: "graph", 10: "tensor", 11: "graph", 22: "sparse tensor", 23: "sparse tensor"},
    "sparse tensor": {1: "tensor", 2: "tensor"},
    "tensor": {},
}
EXTERNAL_DATA, DATA_LOCATION = 13, 14  # fields of a tensor
VARINT, BYTES, FIXED_BYTES = 0, 2, {1: 8, 5: 4}  # how a field is encoded
MAX_KEY, MAX_BYTES = 2**32, 11  # of a number: one of more bytes would take minutes to add up


@dataclass(frozen=True)
class ModelMetadata:
    """What an exported file says of itself."""

    kind: str  # streaming or window
    name: str  # of the student
    precision: str  # float32, float16 or int8
    sample_rate_hz: int
    window_samples: int  # what one frame sees, of which `past_samples` lie before it
    past_samples: int
    hop_samples: int  # the step of the grid of frames
    curves: tuple[str, ...]  # names of the K outputs, in order
    licence: str  # SPDX identifier
    training_data_sha256: str  # of the labels and recordings that the student was trained on

    @property
    def future_samples(self) -> int:
        return self.window_samples - self.past_samples

    def to_props(self) -> dict[str, str]:
        """As the strings that an ONNX file holds."""
        values = asdict(self) | {"lookahead_samples": self.future_samples}
        texts = {name: value if isinstance(value, str) else json.dumps(value) for name, value in values.items()}
        return {VERSION_KEY: VERSION} | texts

    @classmethod
    def from_props(cls, props: dict[str, str]) -> "ModelMetadata":
        """The inverse of `to_props`; ValueError for what this version does not write."""
        if VERSION_KEY not in props:
            raise ValueError("it has no facedistill metadata")
        if props[VERSION_KEY] != VERSION:
            raise ValueError(f"its format is version {props[VERSION_KEY][:20]!r}; this facedistill reads {VERSION!r}")
        names = [field.name for field in fields(cls)]
        if missing := [name for name in names if name not in props]:
            raise ValueError(f"its metadata lacks {missing[0]}")
        values = {name: props[name] for name in names}
        numbers = {name: json.loads(values[name]) for name in values if name.endswith(("_hz", "_samples"))}
        curves = json.loads(values["curves"])
        if not all(isinstance(number, int) and 0 <= number < MAX_SAMPLES for number in numbers.values()):
            raise ValueError(f"sizes in its metadata are no whole numbers below {MAX_SAMPLES}: {numbers}")
        if not isinstance(curves, list) or not curves or not all(isinstance(name, str) for name in curves):
            raise ValueError("the curves of its metadata are no list of names")
        metadata = cls(**values | numbers | {"curves": tuple(curves)})
        rate_fits = MIN_RATE_HZ <= metadata.sample_rate_hz <= MAX_RATE_HZ
        if not rate_fits or not 1 <= metadata.hop_samples <= metadata.window_samples >= metadata.past_samples:
            raise ValueError(f"sizes in its metadata do not fit each other: {numbers}")
        return metadata


def open_session(path: Path) -> tuple[ort.InferenceSession, ModelMetadata]:
    """Opens an exported file of either kind, on one core; InputError if missing, broken, foreign or of another version."""
    if not path.is_file():
        raise InputError(f"{path}: no such model; expected an ONNX file that facedistill exported")
    content = path.read_bytes()
    check_released(path, content)
    options = ort.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.log_severity_level = 4  # only what is fatal, since errors are raised anyway
    with _running(path):
        if has_external_data(memoryview(content)):
            raise ValueError("it would have other files opened; expected all weights in it")
        # Without a fallback: it would try a broken file again and print a box about it.
        session = ort.InferenceSession(content, options, providers=["CPUExecutionProvider"], enable_fallback=0)
        return session, ModelMetadata.from_props(session.get_modelmeta().custom_metadata_map)


@contextmanager
def _running(path: Path) -> Iterator[None]:
    """Tells by an InputError, or a MemoryError, what onnxruntime raises as it opens or first runs a file."""
    try:
        yield
    except Exception as error:  # onnxruntime has an exception of its own for every fault of a file, without a common base
        if is_of_memory(error):
            raise MemoryError(str(error)) from None
        raise InputError(f"{path}: not a model that facedistill exported ({' '.join(str(error).split())[:200]})") from None


def is_of_memory(error: Exception) -> bool:
    """Whether an error of onnxruntime tells that there is not enough memory."""
    return isinstance(error, MemoryError) or bool(NO_MEMORY.search(str(error)))


def output_name(state: str) -> str:
    """The output that a state is taken from."""
    return STATE_OUT + state.removeprefix(STATE_IN)


def has_external_data(message: memoryview, kind: str = "model") -> bool:
    """Whether any tensor of an ONNX file, of subgraphs too, is in another file or names one; ValueError if it is no protobuf."""
    for number, value in _fields(message):
        if kind == "tensor" and (number == EXTERNAL_DATA or (number == DATA_LOCATION and value != 0)):
            return True
        if number in PARTS[kind] and isinstance(value, memoryview) and has_external_data(value, PARTS[kind][number]):
            return True
    return False


def _fields(message: memoryview) -> Iterator[tuple[int, int | memoryview]]:
    """(number, value) of each field in turn."""
    at = 0
    while at < len(message):
        key, at = _varint(message, at)
        encoding = key & 7
        if encoding == VARINT:
            value, at = _varint(message, at)
        else:
            size, at = _varint(message, at) if encoding == BYTES else (FIXED_BYTES.get(encoding, MAX_KEY), at)
            value, at = message[at : at + size], at + size
        if at > len(message) or key >= MAX_KEY:
            raise ValueError("it is cut off, or no protobuf")
        yield key >> 3, value


def _varint(message: memoryview, at: int) -> tuple[int, int]:
    """A number of 7 bits a byte, the lowest first, and where it ends."""
    value = 0
    for place, byte in enumerate(message[at : at + MAX_BYTES]):
        value |= (byte & 127) << 7 * place
        if byte < 128:
            return value, at + place + 1
    raise ValueError("it is cut off, or no protobuf")


class Model:
    """A streaming student; any number of animators may share it."""

    def __init__(self, path: Path | str) -> None:
        """Loads the file; raises InputError if it is not a streaming model of this version."""
        path = Path(path)
        self.session, self.metadata = open_session(path)
        if self.metadata.kind != STREAMING:
            raise InputError(f"{path}: a graph of one {self.metadata.kind}; expected the streaming graph of the same student")
        inputs, outputs = (
            {tensor.name: (TYPES.get(tensor.type), tensor.shape) for tensor in tensors}
            for tensors in (self.session.get_inputs(), self.session.get_outputs())
        )
        rows = {name: (kind, shape[1:]) for name, (kind, shape) in (inputs | outputs).items()}
        self.states = {name: form for name, form in inputs.items() if name.startswith(STATE_IN)}  # {name: (type, shape)}
        expected = {"frames": (np.float32, [2 * self.metadata.hop_samples]), "curves": (np.float32, [len(self.metadata.curves)])}
        whole = True
        for name, (kind, shape) in self.states.items():
            expected |= dict.fromkeys((name, output_name(name)), (kind, shape[1:]))
            whole &= bool(kind) and len(shape) == 2 and all(isinstance(size, int) and size > 0 for size in shape)
        if not whole or rows != expected:
            raise InputError(f"{path}: not a model that facedistill exported (its inputs and outputs are others)")
        if sum(math.prod(shape) for _, shape in self.states.values()) > MAX_STATE:
            raise InputError(f"{path}: a state of more numbers than any student has; expected at most {MAX_STATE}")
        with _running(path):  # a broken file may open and not run
            frames = np.zeros((MAX_ROWS, 2 * self.metadata.hop_samples), np.float32)
            curves, states = self.run(frames, self.initial_state())
            is_finite = all(np.isfinite(values).all() for values in (curves, *states.values()))
            if not is_finite or curves.shape != (MAX_ROWS, len(self.metadata.curves)):
                raise ValueError("silence gives NaN, infinite or missing curves; expected finite ones")
            self.max_rows = MAX_ROWS if self._rows_are_independent() else 1

    def run(self, frames: np.ndarray, states: dict[str, np.ndarray]) -> tuple[np.ndarray, dict[str, np.ndarray]]:
        """(L, 512) frames and the states before them -> (L, K) curves and the states after."""
        curves, *after = self.session.run(["curves", *map(output_name, states)], {"frames": frames, **states})
        return curves, {name: rows[len(rows) - len(states[name]) :] for name, rows in zip(states, after, strict=True)}

    def initial_state(self) -> dict[str, np.ndarray]:
        """Histories of zeros: what a stream starts with, before it has heard silence."""
        return {name: np.zeros(shape, kind) for name, (kind, shape) in self.states.items()}

    def _rows_are_independent(self) -> bool:
        """Whether rows have the same bits however many are computed together: matrix products on this processor decide."""
        frames = np.random.default_rng(0).standard_normal((MAX_ROWS, 2 * self.metadata.hop_samples), np.float32)
        together, _ = self.run(frames, self.initial_state())
        for n_rows in range(1, MAX_ROWS):
            states, parts = self.initial_state(), []
            for first in range(0, MAX_ROWS, n_rows):
                curves, states = self.run(frames[first : first + n_rows], states)
                parts.append(curves)
            if not np.array_equal(np.concatenate(parts), together):
                return False
        return True
