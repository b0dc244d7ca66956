"""What an ONNX file would have opened besides itself, told from its protobuf encoding (onnx.proto), without the package onnx."""

from collections.abc import Iterator

# {message: {number of a field: the message in it}}, as far as it leads to tensors
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
MAX_KEY, MAX_BITS = 2**32, 64 + 7  # of a number: one of more bytes would take minutes to add up


def has_external_data(message: memoryview, kind: str = "model") -> bool:
    """Whether any tensor, of subgraphs and attributes too, is in another file or says where it would be.

    Raises:
        ValueError: not protobuf.
    """
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
    value, shift = 0, 0
    while at < len(message) and shift < MAX_BITS:
        byte = message[at]
        value, shift, at = value | (byte & 127) << shift, shift + 7, at + 1
        if byte < 128:
            return value, at
    raise ValueError("it is cut off, or no protobuf")
