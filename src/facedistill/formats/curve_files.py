"""Curves as CSV, JSON and NPZ: our own, BEAT's (and LAM-Audio2Expression's), Audio2Face's of Omniverse, its SDK and its NIM."""

import io
import math
import warnings
import zipfile
import zlib
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import numpy as np

from facedistill.core.errors import InputError
from facedistill.core.files import atomic_path
from facedistill.formats.animation import MAX_FRAMES, TAKE_NUMBERS, Animation, check_fps, check_names
from facedistill.formats.json_csv import field, matrix, parse_json, read_table, write_object, write_table
from facedistill.formats.times import GIVE_RATE, Recorded, Rows
from facedistill.rig.arkit import INDEX

FORMAT, VERSION = "facedistill-curves", 1
TIME_COLUMN, NIM_TIME_COLUMN, NIM_PREFIX = "time_s", "timeCode", "blendShapes."
FPS, A2F_FPS = 60.0, 30.0  # of a file that does not tell
MAX_RATIO = 100  # of an archive that unpacks to more than TAKE_NUMBERS; real curves pack to a tenth at best
NUMBER_BYTES = 8  # of any number, once it is read
HEADERS = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}


def write_csv(path: Path, animation: Animation) -> None:
    """Writes `time_s` and one column a curve, all digits of every number."""
    write_table(path, [TIME_COLUMN, *animation.names], _timed(animation))


def write_nim_csv(path: Path, animation: Animation) -> None:
    """Writes an index without a name, `timeCode`, `blendShapes.EyeBlinkLeft`, ...: ARKit's names with the client's capital."""
    names = [NIM_PREFIX + (name[0].upper() + name[1:] if name in INDEX else name) for name in animation.names]
    rows = ([number, *row] for number, row in enumerate(_timed(animation)))
    write_table(path, ["", NIM_TIME_COLUMN, *names], rows)


def _timed(animation: Animation) -> Iterator[list[float]]:
    return ([time_s, *row.tolist()] for time_s, row in zip(animation.times_s.tolist(), animation.weights, strict=True))


def read_csv(path: Path, *, time_column: str = TIME_COLUMN, default_fps: float = FPS) -> Rows:
    """Reads a table of times and one column a curve; an index without a name may come before."""

    def count_texts(header: list[str]) -> int:
        n_index = 1 if header[0] == "" else 0
        if header[n_index : n_index + 1] != [time_column]:
            raise ValueError(f"its columns begin with {header[: n_index + 1]}, not with {time_column}")
        return n_index

    header, _, values = read_table(path, count_texts)
    names = header[len(header) - values.shape[1] + 1 :]
    return Rows(names, values[:, 1:], partial(Recorded, values[:, 0], default_fps))


read_nim_csv = partial(read_csv, time_column=NIM_TIME_COLUMN, default_fps=A2F_FPS)  # with the 16 tongue shapes or without


def write_json(path: Path, animation: Animation) -> None:
    """Writes one object: format, version, fps, names, times_s and weights, one list a frame."""
    rows = {"times_s": iter(animation.times_s.tolist()), "weights": map(np.ndarray.tolist, animation.weights)}
    write_object(path, {"format": FORMAT, "version": VERSION, "fps": animation.fps, "names": animation.names} | rows)


def read_json(path: Path) -> Rows:
    """Reads what `write_json` writes."""
    content = parse_json(path.read_bytes())
    if (field(content, "format", str), field(content, "version", int)) != (FORMAT, VERSION):
        raise ValueError(f"its format is {content['format']!r}, version {content['version']}")
    names = field(content, "names", list)
    weights = matrix(field(content, "weights", list), len(names))

    def recorded() -> Recorded:
        times_s = matrix([field(content, "times_s", list)], len(weights), "times_s, row")[0]
        return Recorded(times_s, FPS, fps=field(content, "fps", float), rounding_s=0.0)

    return Rows(names, weights, recorded)


def write_beat(path: Path, animation: Animation) -> None:
    """Writes BEAT's JSON with LAM's metadata, which keeps the frame rate; names in alphabetical order, as BEAT has them."""
    names = sorted(animation.names)
    frames = (
        {"weights": row.tolist(), "time": time_s, "rotation": []}
        for row, time_s in zip(animation.select(names), animation.times_s.tolist(), strict=True)
    )
    metadata = {"fps": animation.fps, "frame_count": len(animation.times_s), "blendshape_names": names}
    write_object(path, {"names": names, "frames": frames, "metadata": metadata})


def read_beat(path: Path) -> Rows:
    """Reads BEAT's JSON: 51 curves (no tongueOut), 52 or any other; the rotations, empty in BEAT, are not read."""
    content = parse_json(path.read_bytes())
    return _framed(content, "names", "time", FPS, lambda: field(field(content, "metadata", dict, {}), "fps", float, None))


def _framed(content: dict, names_key: str, time_key: str, default_fps: float, rate: Callable[[], float | None]) -> Rows:
    """Frames that are objects, each with its weights and its time."""
    names, frames = field(content, names_key, list), field(content, "frames", list)
    weights = matrix([field(frame, "weights", list) for frame in frames], len(names))
    return Rows(names, weights, lambda: Recorded([field(frame, time_key, float) for frame in frames], default_fps, fps=rate()))


def write_a2f(path: Path, animation: Animation) -> None:
    """Writes Omniverse's JSON: one frame rate, names, weights; InputError unless frame t is at t / fps, within a millisecond."""
    if not animation.is_regular():
        found = f"not every frame t is at t / {animation.fps:g} s; expected resampling with an explicit frame rate"
        raise InputError(f"{path}: Audio2Face's JSON holds a frame rate and no times, and {found}")
    counts = {"numPoses": len(animation.names), "numFrames": len(animation.weights)}
    rows = {"facsNames": animation.names, "weightMat": map(np.ndarray.tolist, animation.weights)}
    write_object(path, {"exportFps": animation.fps} | counts | rows)


def read_a2f(path: Path) -> Rows:
    """Reads Omniverse's JSON, of which `facsNames` and `weightMat` are enough, or the SDK's with `blendshape_names`."""
    content = parse_json(path.read_bytes())
    if "blendshape_names" in content:
        rows = _framed(content, "blendshape_names", "time_code", A2F_FPS, lambda: field(content, "fps", float, None))
        _check_count(content, "frame_count", len(rows.weights))
        return rows
    names = field(content, "facsNames", list)
    weights = matrix(field(content, "weightMat", list), len(names))
    _check_count(content, "numPoses", len(names))
    _check_count(content, "numFrames", len(weights))

    def recorded() -> Recorded:
        given_fps = field(content, "exportFps", float, field(content, "fps", float, None))
        fps = A2F_FPS if given_fps is None else given_fps
        check_fps(fps)
        is_guess = given_fps is None and len(weights) > 1
        notes = (f"it has no exportFps; {A2F_FPS:g} frames a second are assumed; {GIVE_RATE}",) if is_guess else ()
        return Recorded(np.arange(len(weights)) / fps, fps, fps=fps, rounding_s=0.0, notes=notes)

    return Rows(names, weights, recorded)


def _check_count(content: dict, key: str, found: int) -> None:
    if field(content, key, int, found) != found:
        raise ValueError(f"{key!r} is {content[key]}, and there are {found}")


def write_npz(path: Path, animation: Animation) -> None:
    """Writes the arrays names (text of fixed width), weights, times_s and fps; the same bytes for the same animation."""
    with atomic_path(path) as temporary, temporary.open("wb") as file:
        np.savez(file, names=animation.names, weights=animation.weights, times_s=animation.times_s, fps=animation.fps)


def read_npz(path: Path) -> Rows:
    """Reads what `write_npz` or `numpy.savez(path, names=..., ...)` writes; nothing is unpickled, no size in it is trusted."""
    try:
        with zipfile.ZipFile(path) as archive:
            names, weights, times_s, fps = _arrays(archive, path.stat().st_size)
    except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError) as error:
        raise ValueError(str(error)) from None
    if names.dtype.kind != "U" or names.ndim != 1 or fps.size != 1 or "U" in {weights.dtype.kind, times_s.dtype.kind}:
        raise ValueError("expected names as texts, weights and times_s as numbers, one fps")
    check_names(names)
    return Rows(names.tolist(), weights, lambda: Recorded(times_s, FPS, fps=float(fps.item()), rounding_s=0.0))


def _arrays(archive: zipfile.ZipFile, n_bytes: int) -> list[np.ndarray]:
    """Names, weights, times_s and fps of an archive of `n_bytes`; how much they are is known before any is unpacked."""
    sized = {key: _sized(archive, key) for key in ("names", "weights", "times_s", "fps")}
    n_numbers = sum(math.prod(shape) * max(dtype.itemsize, NUMBER_BYTES) // NUMBER_BYTES for shape, dtype in sized.values())
    n_frames = max(math.prod(sized[key][0][:1]) for key in ("weights", "times_s"))
    most, most_frames = max(TAKE_NUMBERS, MAX_RATIO * n_bytes // NUMBER_BYTES), max(MAX_FRAMES, n_bytes)
    if n_numbers > most or n_frames > most_frames:
        found = f"it unpacks to {n_numbers} numbers of {n_frames} frames"
        raise ValueError(f"{found}; expected up to {most} and {most_frames} from so few bytes")
    return [np.lib.format.read_array(archive.open(f"{key}.npy"), allow_pickle=False) for key in sized]


def _sized(archive: zipfile.ZipFile, key: str) -> tuple[tuple[int, ...], np.dtype]:
    """Shape and type of an array, as its header says; a ValueError unless it unpacks to as many bytes as they take."""
    if f"{key}.npy" not in archive.namelist():
        raise ValueError(f"{key!r} is missing")
    info = archive.getinfo(f"{key}.npy")
    if info.compress_type not in {zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED}:  # NumPy's; others unpack without an end
        raise ValueError(f"{key!r} is packed by method {info.compress_type}; expected it stored or deflated")
    with archive.open(info) as member:
        start = io.BytesIO(member.read(4096))
    try:
        with warnings.catch_warnings(action="error"):  # NumPy would warn of Python 2's headers
            shape, _, dtype = HEADERS[np.lib.format.read_magic(start)](start)
        if dtype.kind not in "fiuU":  # numbers and texts
            raise TypeError(dtype)
    except Exception:  # whatever a broken header makes of NumPy's parsers: IndexError, SyntaxError, TokenError and others
        raise ValueError(f"{key!r} is no array; expected numbers or texts") from None
    n_bytes = start.tell() + math.prod(shape) * dtype.itemsize
    if info.file_size != n_bytes:
        raise ValueError(f"{key!r} unpacks to {info.file_size} bytes; expected {n_bytes}, as its header says")
    return shape, dtype
