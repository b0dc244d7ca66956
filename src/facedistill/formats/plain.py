"""This project's own files, lossless for whatever an animation holds: CSV, JSON and NPZ."""

import io
import lzma
import re
import zipfile
import zlib
from pathlib import Path

import numpy as np

from facedistill.core.files import atomic_path
from facedistill.formats.animation import Animation, regular
from facedistill.formats.parsing import cells, field, matrix, parse_json, read_table, reading
from facedistill.formats.times import take
from facedistill.formats.writing import write_object, write_table

TIME_COLUMN = "time_s"
FORMAT, VERSION = "facedistill-curves", 1
DEFAULT_FPS = 60.0  # of a CSV with one row
MAX_ARRAY_BYTES = 2**29  # unpacked: 20 times what an hour at 60 fps takes; a zip can claim anything
NPY_HEADER = re.compile(
    rb"\x93NUMPY\x01\x00..\{'descr': '([<|](?:f[248]|[iu][1248]|U\d{1,6}))', "
    rb"'fortran_order': (False|True), 'shape': \(([\d, ]{0,40})\), \} *\n",
    re.DOTALL,
)


def write_csv(path: Path, animation: Animation) -> None:
    """Writes `time_s` and one column per curve, all digits of every number."""
    rows = ([time_s, *row.tolist()] for time_s, row in zip(animation.times_s.tolist(), animation.weights, strict=True))
    write_table(path, [TIME_COLUMN, *animation.names], rows)


def read_csv(path: Path, fps: float | None = None) -> Animation:
    """Reads a CSV that begins with `time_s`; the frame rate is the one that its times keep.

    Args:
        fps: puts row t at t / fps, whatever the times are.

    Raises:
        InputError: not such a CSV.
    """
    with reading(path, "a CSV of time_s and one column per curve"):
        header, rows = read_table(path)
        if header[0] != TIME_COLUMN:
            raise ValueError(f"its first column is {header[0]!r}, not {TIME_COLUMN!r}")
        values = cells(rows, header)
        names, weights, times_s = tuple(header[1:]), values[:, 1:], values[:, 0]
        return regular(names, weights, fps) if fps else take(path, names, weights, times_s, default_fps=DEFAULT_FPS)


def write_json(path: Path, animation: Animation) -> None:
    """Writes one JSON object: format, version, fps, names, times_s and weights, one list a frame."""
    content = {
        "format": FORMAT, "version": VERSION, "fps": animation.fps, "names": list(animation.names),
        "times_s": iter(animation.times_s.tolist()), "weights": (row.tolist() for row in animation.weights),
    }  # fmt: skip
    write_object(path, content)


def read_json(path: Path, fps: float | None = None) -> Animation:
    """Reads what `write_json` writes.

    Args:
        fps: puts row t at t / fps, whatever the times are.

    Raises:
        InputError: not such a JSON.
    """
    with reading(path, f"a JSON of the format {FORMAT!r}, version {VERSION}"):
        content = parse_json(path.read_bytes())
        if (field(content, "format", str), field(content, "version", int)) != (FORMAT, VERSION):
            raise ValueError(f"its format is {content['format']!r}, version {content['version']}")
        names = tuple(field(content, "names", list))
        weights = matrix(field(content, "weights", list), len(names))
        times_s = matrix([field(content, "times_s", list)], len(weights), "times_s, row")[0]
        if fps:
            return regular(names, weights, fps)
        return take(path, names, weights, times_s, default_fps=DEFAULT_FPS, fps=field(content, "fps", float), rounding_s=0.0)


def write_npz(path: Path, animation: Animation) -> None:
    """Writes the arrays names (text of fixed width), weights, times_s and fps; the same bytes for the same animation."""
    arrays = {"names": animation.names, "weights": animation.weights, "times_s": animation.times_s, "fps": animation.fps}
    with atomic_path(path) as temporary, zipfile.ZipFile(temporary, "w") as archive:
        for name, array in arrays.items():
            with archive.open(zipfile.ZipInfo(f"{name}.npy"), "w", force_zip64=True) as member:  # dated 1980, always
                np.lib.format.write_array(member, np.asarray(array), version=(1, 0), allow_pickle=False)


def read_npz(path: Path, fps: float | None = None) -> Animation:
    """Reads what `write_npz` or `numpy.savez(path, names=..., weights=..., times_s=..., fps=...)` writes.

    Args:
        fps: puts row t at t / fps, whatever the times are.

    Raises:
        InputError: not such an archive; nothing is unpickled and nothing is trusted about sizes.
    """
    with reading(path, "an NPZ of names, weights, times_s and fps"):
        try:
            with zipfile.ZipFile(io.BytesIO(path.read_bytes())) as archive:
                names, weights, times_s, rate = (_array(archive, key) for key in ("names", "weights", "times_s", "fps"))
        except (zipfile.BadZipFile, zlib.error, lzma.LZMAError, EOFError, NotImplementedError, RuntimeError) as error:
            raise ValueError(str(error)) from None
        if names.dtype.kind != "U" or names.ndim != 1 or rate.size != 1 or "U" in {weights.dtype.kind, times_s.dtype.kind}:
            raise ValueError("allowed: names as texts, weights and times_s as numbers, one fps")
        if fps:
            return regular(names.tolist(), weights, fps)
        return take(path, names.tolist(), weights, times_s, default_fps=DEFAULT_FPS, fps=float(rate.item()), rounding_s=0.0)


def _array(archive: zipfile.ZipFile, key: str) -> np.ndarray:
    """One array, as large as its bytes are and not as its header says: a shape that does not fit them is a ValueError."""
    if f"{key}.npy" not in archive.namelist():
        raise ValueError(f"{key!r} is missing")
    if archive.getinfo(f"{key}.npy").file_size > MAX_ARRAY_BYTES:  # no more than that is unpacked either
        raise ValueError(f"{key!r} unpacks to more than {MAX_ARRAY_BYTES} bytes")
    data = archive.read(f"{key}.npy")
    header = NPY_HEADER.match(data)
    if not header:
        raise ValueError(f"{key!r} is no array of numbers or texts")
    dtype, shape = np.dtype(header[1].decode()), [int(size) for size in header[3].replace(b",", b" ").split()]
    return np.frombuffer(data, dtype, offset=header.end()).reshape(shape, order="F" if header[2] == b"True" else "C")
