"""Curves as NPZ, this project's own: NumPy's arrays, lossless."""

import io
import math
import warnings
import zipfile
import zlib
from pathlib import Path

import numpy as np

from facedistill.core.files import atomic_path
from facedistill.formats.animation import MAX_FRAMES, TAKE_NUMBERS, Animation, check_names
from facedistill.formats.times import Recorded, Rows

MAX_RATIO = 100  # of an archive that unpacks to more than TAKE_NUMBERS; real curves pack to a tenth at best
DEFAULT_FPS = 60.0  # of one row
PACKING = {zipfile.ZIP_STORED: "stored", zipfile.ZIP_DEFLATED: "deflated"}  # NumPy's; others unpack without an end
MAX_HEADER_BYTES = 4096  # of an array
NUMBER_BYTES = 8  # of any number, once it is read
HEADERS = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}
KINDS = "fiuU"  # of arrays: numbers and texts


def write(path: Path, animation: Animation) -> None:
    """Writes the arrays names (text of fixed width), weights, times_s and fps; the same bytes for the same animation."""
    arrays = {"names": animation.names, "weights": animation.weights, "times_s": animation.times_s, "fps": animation.fps}
    with atomic_path(path) as temporary, zipfile.ZipFile(temporary, "w") as archive:
        for name, array in arrays.items():
            with archive.open(zipfile.ZipInfo(f"{name}.npy"), "w", force_zip64=True) as member:  # dated 1980, always
                np.lib.format.write_array(member, np.asarray(array), version=(1, 0), allow_pickle=False)


def read(path: Path) -> Rows:
    """Reads what `write` or `numpy.savez(path, names=..., weights=..., times_s=..., fps=...)` writes.

    Raises:
        ValueError: not such an archive, or one that unfolds to more than so few bytes can mean; nothing is unpickled and nothing
            is trusted about sizes.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            names, weights, times_s, fps = _arrays(archive, path.stat().st_size)
    except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError) as error:
        raise ValueError(str(error)) from None
    if names.dtype.kind != "U" or names.ndim != 1 or fps.size != 1 or "U" in {weights.dtype.kind, times_s.dtype.kind}:
        raise ValueError("expected names as texts, weights and times_s as numbers, one fps")
    check_names(names)
    return Rows(names.tolist(), weights, lambda: Recorded(times_s, DEFAULT_FPS, fps=float(fps.item()), rounding_s=0.0))


def _arrays(archive: zipfile.ZipFile, n_bytes: int) -> list[np.ndarray]:
    """Names, weights, times_s and fps of an archive of `n_bytes`; how much they are is known before any is unpacked."""
    sized = {key: _sized(archive, key) for key in ("names", "weights", "times_s", "fps")}
    n_numbers = sum(math.prod(shape) * max(dtype.itemsize, NUMBER_BYTES) // NUMBER_BYTES for shape, dtype in sized.values())
    n_frames = max(math.prod(sized[key][0][:1]) for key in ("weights", "times_s"))
    most, most_frames = max(TAKE_NUMBERS, MAX_RATIO * n_bytes // NUMBER_BYTES), max(MAX_FRAMES, n_bytes)
    if n_numbers > most or n_frames > most_frames:
        allowed = f"expected up to {most} and {most_frames} from so few bytes"
        raise ValueError(f"it unpacks to {n_numbers} numbers of {n_frames} frames; {allowed}")
    found = []
    for key in sized:
        with archive.open(f"{key}.npy") as member:
            found.append(np.lib.format.read_array(member, allow_pickle=False))
    return found


def _sized(archive: zipfile.ZipFile, key: str) -> tuple[tuple[int, ...], np.dtype]:
    """Shape and type of an array, as its header says; a ValueError unless it unpacks to as many bytes as they take."""
    if f"{key}.npy" not in archive.namelist():
        raise ValueError(f"{key!r} is missing")
    info = archive.getinfo(f"{key}.npy")
    if info.compress_type not in PACKING:
        raise ValueError(f"{key!r} is packed by method {info.compress_type}; expected it {' or '.join(PACKING.values())}")
    with archive.open(info) as member:
        start = io.BytesIO(member.read(MAX_HEADER_BYTES))
    try:
        with warnings.catch_warnings(action="error"):  # NumPy would warn of Python 2's headers
            shape, _, dtype = HEADERS[np.lib.format.read_magic(start)](start)
        if dtype.kind not in KINDS:
            raise TypeError(dtype)
    except Exception:  # whatever a broken header makes of NumPy's parsers: IndexError, SyntaxError, TokenError and others
        raise ValueError(f"{key!r} is no array; expected numbers or texts") from None
    n_bytes = start.tell() + math.prod(shape) * dtype.itemsize
    if info.file_size != n_bytes:
        raise ValueError(f"{key!r} unpacks to {info.file_size} bytes; expected {n_bytes}, as its header says")
    return shape, dtype
