"""The glTF 2.0 container: JSON plus bytes, read with every offset checked, extended at the end; ValueError if it is not glTF."""

import base64
import dataclasses
import json
import struct
from functools import cached_property
from pathlib import Path
from urllib.parse import unquote

import numpy as np

from facedistill.formats.json_csv import field, parse_json

MAGIC, VERSION = b"glTF", 2
HEADER, CHUNK = struct.Struct("<4sII"), struct.Struct("<I4s")
JSON_CHUNK, BIN_CHUNK = b"JSON", b"BIN\0"
FLOAT = 5126
COMPONENTS = {5120: "<i1", 5121: "<u1", 5122: "<i2", 5123: "<u2", 5125: "<u4", FLOAT: "<f4"}
KINDS = {np.dtype(name): kind for kind, name in COMPONENTS.items()}
SIZES = {"SCALAR": 1, "VEC2": 2, "VEC3": 3, "VEC4": 4, "MAT4": 16}
HEAD_NUMBERS = 2**26  # that accessors may hold all together, unless there are as many bytes: 52 shapes of 400,000 vertices
DATA_URI = "data:"
QUANTISED = "KHR_mesh_quantization"  # positions and places on textures are integers


@dataclasses.dataclass
class Gltf:
    """A glTF document in memory."""

    content: dict  # the JSON, with everything in it that this package does not know
    binary: bytearray = dataclasses.field(default_factory=bytearray)  # the BIN chunk: buffer 0, which `append` extends
    chunks: list[tuple[bytes, bytes]] = dataclasses.field(default_factory=list)  # further chunks of a GLB, kept as they are
    path: Path = Path()  # beside which buffers and pictures in files of their own lie
    n_read: int = dataclasses.field(default=0, init=False)  # numbers that accessors have given so far
    n_pixels: int = dataclasses.field(default=0, init=False)  # of the pictures that were decoded so far
    n_bytes: int = dataclasses.field(default=0, init=False)  # of all resources
    # The bytes of buffers and pictures by their names or data URIs, each read and decoded once.
    resources: dict[str, bytes] = dataclasses.field(default_factory=dict, init=False, repr=False)

    def item(self, key: str, index: object) -> dict:
        """`content[key][index]`, an object."""
        items = field(self.content, key, list, [])
        if type(index) is not int or not 0 <= index < len(items) or not isinstance(items[index], dict):
            raise ValueError(f"{key}[{str(index)[:20]}] is not there; {len(items)} are")
        return items[index]

    @cached_property
    def extensions(self) -> frozenset[str]:
        """The names of all extensions that the document uses."""
        names = [*field(self.content, "extensionsUsed", list, []), *self.required()]
        return frozenset(name for name in names if isinstance(name, str))

    def required(self) -> list[str]:
        """The names of the extensions without which the document means something else."""
        names = field(self.content, "extensionsRequired", list, [])
        if not all(isinstance(name, str) for name in names):
            raise ValueError("'extensionsRequired' does not hold names; expected a text for each")
        return names

    def count(self, index: object) -> int:
        """How many numbers or vectors an accessor holds, one or more, without reading them."""
        count = field(self.item("accessors", index), "count", int)
        if count < 1:
            raise ValueError(f"accessors[{index}] holds {count} elements; expected 1 or more")
        return count

    def vectors(self, attributes: dict, name: str, count: int | None, *sizes: int, **numbers: bool) -> np.ndarray:
        """An attribute of the vertices of a primitive or target, (count, n) with n of `sizes`; `numbers` as of `accessor`."""
        found = self.accessor(field(attributes, name, int), **numbers)
        if found.ndim != 2 or found.shape[1] not in sizes or count not in (None, len(found)):
            allowed = f"vectors of {sizes}, one for each of {count or 'the'} vertices"
            raise ValueError(f"{name} of shape {found.shape}; expected {allowed}")
        return found

    def accessor(self, index: object, *, whole: bool = False, quantised: bool = False) -> np.ndarray:
        """The numbers of an accessor, (count,) or (count, n): float64, normalised integers as fractions, or int64 where `whole`.

        `quantised` integers of 8 and 16 bits may stand for themselves, as KHR_mesh_quantization has them.
        """
        name, accessor = f"accessors[{index}]", self.item("accessors", index)
        values = self._stored(accessor, name, self.count(index))
        if not np.isfinite(values).all():
            raise ValueError(f"{name} holds a number that is not finite")
        values = values[:, 0] if values.shape[1] == 1 else values
        is_float, is_fraction = values.dtype.kind == "f", accessor.get("normalized") is True
        if whole and (is_float or is_fraction):
            raise ValueError(f"{name} holds no whole numbers; expected indices")
        if whole or is_float:
            return values.astype(np.int64 if whole else np.float64)
        if values.dtype.itemsize > 2 or not (is_fraction or quantised):
            raise ValueError(f"{name} holds whole numbers; expected floats, or `normalized` ones")
        return np.maximum(values / np.iinfo(values.dtype).max, -1.0) if is_fraction else values.astype(np.float64)

    def append(self, values: np.ndarray, *, bounds: bool = False, target: int | None = None) -> int:
        """Adds (count,) or (count, 3) float32 or unsigned numbers, with their `bounds` if so wanted; the accessor's index."""
        accessor = {"bufferView": self.append_view(values, target), **describe(values)}
        return self.append_item("accessors", accessor | (limits(values) if bounds else {}))

    def append_view(self, values: np.ndarray, target: int | None = None) -> int:
        """Adds the bytes of `values` at the end and a bufferView over them; the index of it."""
        self.binary += bytes(-len(self.binary) % 4)
        view = {"buffer": 0, "byteOffset": len(self.binary), "byteLength": values.nbytes}
        self.binary += values.astype(values.dtype.newbyteorder("<")).tobytes()
        return self.append_item("bufferViews", view | ({} if target is None else {"target": target}))

    def append_item(self, key: str, item: dict) -> int:
        """Adds to one of the lists of the JSON; the index of it."""
        items = self.content[key] = field(self.content, key, list, [])
        items.append(item)
        return len(items) - 1

    def to_bytes(self) -> bytes:
        """The document as a GLB; ValueError for a number beyond all floats, struct.error if there were 4 GiB or more."""
        self.binary += bytes(-len(self.binary) % 4)
        self.content["buffers"][0]["byteLength"] = len(self.binary)
        text = json.dumps(self.content, separators=(",", ":"), allow_nan=False).encode()
        chunks = [(JSON_CHUNK, text + b" " * (-len(text) % 4)), (BIN_CHUNK, bytes(self.binary)), *self.chunks]
        body = b"".join(CHUNK.pack(len(data), kind) + data for kind, data in chunks)
        return HEADER.pack(MAGIC, VERSION, HEADER.size + len(body)) + body

    def view(self, index: object) -> memoryview:
        """The bytes of a bufferView, all there and not compressed."""
        view, name = self.item("bufferViews", index), f"bufferViews[{index}]"
        if extensions := field(view, "extensions", dict, {}):
            raise ValueError(f"{name} is compressed by {', '.join(extensions)[:80]}; expected plain data: export without it")
        start, length, buffer = field(view, "byteOffset", int, 0), field(view, "byteLength", int), field(view, "buffer", int)
        uri = field(self.item("buffers", buffer), "uri", str, None)
        if uri is None and buffer:
            raise ValueError(f"buffers[{buffer}] has no uri; expected only the first, in a GLB")
        data = self.binary if uri is None else self._resource(f"buffers[{buffer}]", uri)
        if start < 0 or length < 0 or start + length > len(data):
            raise ValueError(f"{name} does not fit into its buffer")
        return memoryview(data)[start : start + length]

    def image(self, index: object) -> bytes | memoryview:
        """The file of an image, wherever it lies."""
        image = self.item("images", index)
        uri = field(image, "uri", str, None)
        return self.view(field(image, "bufferView", int)) if uri is None else self._resource(f"images[{index}]", uri)

    def _stored(self, accessor: dict, name: str, count: int) -> np.ndarray:
        """(count, n) as they are stored: zeros without a bufferView, some of them replaced where the accessor is sparse."""
        kind, size = field(accessor, "componentType", int), SIZES.get(field(accessor, "type", str), 0)
        if not size or kind not in COMPONENTS:
            allowed = ", ".join([*SIZES, *map(str, COMPONENTS)])
            raise ValueError(f"{name} has a type or componentType that is not known; expected {allowed}")
        if extensions := field(accessor, "extensions", dict, {}):
            raise ValueError(f"{name} is given by {', '.join(extensions)[:80]}; expected plain data: export without it")
        sparse = field(accessor, "sparse", dict, None)
        values = self._elements(accessor, name, count, size, kind) if "bufferView" in accessor else None
        self._count_numbers(name, count * size)
        if values is None:
            values = np.zeros((count, size), COMPONENTS[kind])
        if sparse is None:
            return values
        rows, replaced = (field(sparse, part, dict) for part in ("indices", "values"))
        n_rows = field(sparse, "count", int)
        places = self._elements(rows, name, n_rows, 1, field(rows, "componentType", int))[:, 0]
        self._count_numbers(name, n_rows * (1 + size))
        if places.dtype.kind == "f" or places.min() < 0 or places.max() >= count:
            raise ValueError(f"{name} is sparse with places beyond its {count}")
        values = values.copy()
        values[places] = self._elements(replaced, name, n_rows, size, kind)
        return values

    def _count_numbers(self, name: str, more: int) -> None:
        """Bounds the sum of what is read: accessors may share their bytes, or have none."""
        self.n_read += more
        most = max(HEAD_NUMBERS, len(self.binary) + self.n_bytes)
        if self.n_read > most:
            raise ValueError(f"with {name} it holds {self.n_read:.4g} numbers; expected up to {most} of so few bytes")

    def _elements(self, part: dict, name: str, count: int, size: int, kind: int) -> np.ndarray:
        """(count, size) of the bytes that an accessor, or a part of a sparse one, refers to."""
        dtype = np.dtype(COMPONENTS.get(kind, "V1"))
        index, start, row_bytes = field(part, "bufferView", int), field(part, "byteOffset", int, 0), size * dtype.itemsize
        data = self.view(index)
        stride = field(self.item("bufferViews", index), "byteStride", int, row_bytes)
        is_inside = start >= 0 and count >= 1 and stride >= row_bytes and start + (count - 1) * stride + row_bytes <= len(data)
        if dtype.kind == "V" or not is_inside:
            raise ValueError(f"{name} does not fit into its bufferView")
        return np.ndarray((count, size), dtype, data, start, (stride, dtype.itemsize))

    def _resource(self, what: str, uri: str) -> bytes:
        """What a URI names: a file in the same folder, or the data in it."""
        name = uri if uri.startswith(DATA_URI) else unquote(uri)
        if name not in self.resources:
            if name.startswith(DATA_URI):
                self.resources[name] = base64.b64decode(name.partition(",")[2], validate=True)
            elif name in {"", ".", ".."} or set(name) & set("/\\:\0") or not self.path.with_name(name).is_file():
                raise ValueError(f"{what} is {name[:80]!r}; expected the name of a file in the same folder, or a data URI")
            else:
                self.resources[name] = self.path.with_name(name).read_bytes()
            self.n_bytes += len(self.resources[name])
        return self.resources[name]


def load(path: Path) -> Gltf:
    """Reads a .glb, or a .gltf with its buffers inside or beside it."""
    data = path.read_bytes()
    if data[: len(MAGIC)] != MAGIC:
        return Gltf(parse_json(data), path=path)
    if len(data) < HEADER.size or HEADER.unpack_from(data)[1:] != (VERSION, len(data)):
        raise ValueError(f"its header does not say glTF {VERSION} and its own {len(data)} bytes")
    chunks, start = [], HEADER.size
    while start < len(data):
        length, kind = CHUNK.unpack_from(data, start) if start + CHUNK.size <= len(data) else (len(data), b"")
        if start + CHUNK.size + length > len(data):
            raise ValueError(f"a chunk is cut off at byte {start}")
        start += CHUNK.size + length
        chunks.append((kind, memoryview(data)[start - length : start]))
    if not chunks or chunks[0][0] != JSON_CHUNK:
        raise ValueError("its first chunk is not JSON")
    has_binary = len(chunks) > 1 and chunks[1][0] == BIN_CHUNK
    binary, further = (chunks[1][1], chunks[2:]) if has_binary else (b"", chunks[1:])
    return Gltf(parse_json(bytes(chunks[0][1])), bytearray(binary), [(kind, bytes(rest)) for kind, rest in further], path)


def describe(values: np.ndarray) -> dict:
    """The fields of an accessor that say what it holds."""
    return {"componentType": KINDS[values.dtype], "count": len(values), "type": "SCALAR" if values.ndim == 1 else "VEC3"}


def limits(values: np.ndarray) -> dict:
    """The fields of an accessor that hold its least and greatest values, component by component."""
    return {name: np.atleast_1d(bound).tolist() for name, bound in (("min", values.min(0)), ("max", values.max(0)))}
