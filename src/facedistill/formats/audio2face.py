"""NVIDIA Audio2Face: the blendshape JSON of Omniverse, the JSON of the SDK's command line, and the CSV of the NIM's client."""

from pathlib import Path

import numpy as np

from facedistill.core.errors import InputError
from facedistill.face.arkit import INDEX
from facedistill.formats.animation import Animation, regular
from facedistill.formats.parsing import field, matrix, parse_json, read_table, reading
from facedistill.formats.times import GIVE_RATE, take, tell
from facedistill.formats.writing import write_object, write_table

DEFAULT_FPS = 30.0  # of a file that does not say
TIME_COLUMN = "timeCode"
PREFIX = "blendShapes."


def write_json(path: Path, animation: Animation) -> None:
    """Writes Omniverse's JSON: one frame rate, names, and a matrix of weights.

    Raises:
        InputError: frame t does not stand at t / fps, within a millisecond: the format has no times.
    """
    if not animation.is_regular():
        raise InputError(
            f"{path}: Audio2Face's JSON holds a frame rate and no times, and not every frame t is at t / {animation.fps:g} s; "
            "allowed: resample with an explicit frame rate"
        )
    content = {
        "exportFps": animation.fps, "numPoses": len(animation.names), "numFrames": len(animation.weights),
        "facsNames": list(animation.names), "weightMat": (row.tolist() for row in animation.weights),
    }  # fmt: skip
    write_object(path, content)


def read_json(path: Path, fps: float | None = None) -> Animation:
    """Reads Omniverse's JSON, of which `facsNames` and `weightMat` are enough, or the SDK's with `blendshape_names`.

    Args:
        fps: puts frame t at t / fps, whatever the file says of its times.

    Raises:
        InputError: neither of them, or it contradicts itself.
    """
    with reading(path, "an Audio2Face JSON of facsNames and weightMat, or of blendshape_names and frames"):
        content = parse_json(path.read_bytes())
        if "blendshape_names" in content:
            return _read_sdk(path, content, fps)
        names = tuple(field(content, "facsNames", list))
        weights = matrix(field(content, "weightMat", list), len(names))
        _check_count(content, "numPoses", len(names))
        _check_count(content, "numFrames", len(weights))
        rate = fps or field(content, "exportFps", float, field(content, "fps", float, None))
        if rate is None and len(weights) > 1:
            tell(path, [f"it has no exportFps; {DEFAULT_FPS:g} frames a second are assumed; {GIVE_RATE}"])
        return regular(names, weights, DEFAULT_FPS if rate is None else rate)


def write_csv(path: Path, animation: Animation) -> None:
    """Writes the CSV of the NIM's sample client: an index without a name, `timeCode`, `blendShapes.EyeBlinkLeft`, ...

    ARKit's names get the client's capital; all others stay as they are.

    Raises:
        InputError: see `write_table`.
    """
    names = [PREFIX + (name[0].upper() + name[1:] if name in INDEX else name) for name in animation.names]
    timed = enumerate(zip(animation.times_s.tolist(), animation.weights, strict=True))
    write_table(path, ["", TIME_COLUMN, *names], ([number, time_s, *row.tolist()] for number, (time_s, row) in timed))


def read_csv(path: Path, fps: float | None = None) -> Animation:
    """Reads the CSV of the NIM's sample client, with or without its index, and with the 16 tongue shapes or without.

    Args:
        fps: puts row t at t / fps, whatever the times are.

    Raises:
        InputError: not such a CSV.
    """
    with reading(path, f"an Audio2Face CSV of {TIME_COLUMN} and {PREFIX}<name> columns"):
        header, _, values = read_table(path, _count_texts)
        names, weights, times_s = tuple(header[_count_texts(header) + 1 :]), values[:, 1:], values[:, 0]
        return regular(names, weights, fps) if fps else take(path, names, weights, times_s, default_fps=DEFAULT_FPS)


def _count_texts(header: list[str]) -> int:
    n_index = 1 if header[0] == "" else 0
    if header[n_index : n_index + 1] != [TIME_COLUMN]:
        raise ValueError(f"its columns begin with {header[: n_index + 1]}")
    return n_index


def _read_sdk(path: Path, content: dict, fps: float | None) -> Animation:
    names, frames = tuple(field(content, "blendshape_names", list)), field(content, "frames", list)
    weights = matrix([field(frame, "weights", list) for frame in frames], len(names))
    _check_count(content, "frame_count", len(weights))
    if fps:
        return regular(names, weights, fps)
    times_s = np.array([field(frame, "time_code", float) for frame in frames])
    rate = field(content, "fps", float, None)
    return take(path, names, weights, times_s, default_fps=DEFAULT_FPS, fps=rate)


def _check_count(content: dict, key: str, found: int) -> None:
    if field(content, key, int, found) != found:
        raise ValueError(f"{key!r} is {content[key]}, and there are {found}")
