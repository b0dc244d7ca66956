"""Curves as CSV and JSON: this project's own, BEAT's (which LAM-Audio2Expression writes too) and NVIDIA Audio2Face's.

Audio2Face has three: the JSON of Omniverse, the JSON of the SDK's command line, and the CSV of the NIM's sample client.
"""

from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import numpy as np

from facedistill.core.errors import InputError
from facedistill.formats.animation import Animation, check_fps
from facedistill.formats.parsing import field, matrix, parse_json, read_table
from facedistill.formats.times import GIVE_RATE, Recorded, Rows
from facedistill.formats.writing import write_object, write_table
from facedistill.rig.arkit import INDEX

FORMAT, VERSION = "facedistill-curves", 1
TIME_COLUMN, NIM_TIME_COLUMN, NIM_PREFIX = "time_s", "timeCode", "blendShapes."
FPS, A2F_FPS = 60.0, 30.0  # of a file that does not tell


def write_csv(path: Path, animation: Animation) -> None:
    """Writes `time_s` and one column a curve, all digits of every number."""
    write_table(path, [TIME_COLUMN, *animation.names], _timed(animation))


def write_nim_csv(path: Path, animation: Animation) -> None:
    """Writes an index without a name, `timeCode`, `blendShapes.EyeBlinkLeft`, ...: ARKit's names with the client's capital."""
    names = [NIM_PREFIX + (name[0].upper() + name[1:] if name in INDEX else name) for name in animation.names]
    rows = ([number, *row] for number, row in enumerate(_timed(animation)))
    write_table(path, ["", NIM_TIME_COLUMN, *names], rows)


def read_csv(path: Path, *, time_column: str = TIME_COLUMN, default_fps: float = FPS) -> Rows:
    """Reads a table of times and one column a curve; an index without a name may come before."""

    def count_texts(header: list[str]) -> int:
        n_index = 1 if header[0] == "" else 0
        if header[n_index : n_index + 1] != [time_column]:
            raise ValueError(f"its columns begin with {header[: n_index + 1]}, not with {time_column}")
        return n_index

    header, _, values = read_table(path, count_texts)
    names = header[len(header) - values.shape[1] + 1 :]
    return Rows(tuple(names), values[:, 1:], partial(Recorded, values[:, 0], default_fps))


read_nim_csv = partial(read_csv, time_column=NIM_TIME_COLUMN, default_fps=A2F_FPS)  # with the 16 tongue shapes or without


def write_json(path: Path, animation: Animation) -> None:
    """Writes one object: format, version, fps, names, times_s and weights, one list a frame."""
    content = {
        "format": FORMAT, "version": VERSION, "fps": animation.fps, "names": list(animation.names),
        "times_s": iter(animation.times_s.tolist()), "weights": (row.tolist() for row in animation.weights),
    }  # fmt: skip
    write_object(path, content)


def read_json(path: Path) -> Rows:
    """Reads what `write_json` writes."""
    content = parse_json(path.read_bytes())
    if (field(content, "format", str), field(content, "version", int)) != (FORMAT, VERSION):
        raise ValueError(f"its format is {content['format']!r}, version {content['version']}")
    names = tuple(field(content, "names", list))
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


def write_a2f(path: Path, animation: Animation) -> None:
    """Writes Omniverse's JSON: one frame rate, names, and a matrix of weights.

    Raises:
        InputError: frame t is not at t / fps, within a millisecond: the format has no times.
    """
    if not animation.is_regular():
        raise InputError(
            f"{path}: Audio2Face's JSON holds a frame rate and no times, and not every frame t is at t / {animation.fps:g} s; "
            "expected resampling with an explicit frame rate"
        )
    content = {
        "exportFps": animation.fps, "numPoses": len(animation.names), "numFrames": len(animation.weights),
        "facsNames": list(animation.names), "weightMat": (row.tolist() for row in animation.weights),
    }  # fmt: skip
    write_object(path, content)


def read_a2f(path: Path) -> Rows:
    """Reads Omniverse's JSON, of which `facsNames` and `weightMat` are enough, or the SDK's with `blendshape_names`."""
    content = parse_json(path.read_bytes())
    if "blendshape_names" in content:
        rows = _framed(content, "blendshape_names", "time_code", A2F_FPS, lambda: field(content, "fps", float, None))
        _check_count(content, "frame_count", len(rows.weights))
        return rows
    names = tuple(field(content, "facsNames", list))
    weights = matrix(field(content, "weightMat", list), len(names))
    _check_count(content, "numPoses", len(names))
    _check_count(content, "numFrames", len(weights))

    def recorded() -> Recorded:
        given_fps = field(content, "exportFps", float, field(content, "fps", float, None))
        note = f"it has no exportFps; {A2F_FPS:g} frames a second are assumed; {GIVE_RATE}"
        fps = A2F_FPS if given_fps is None else given_fps
        check_fps(fps)
        notes = (note,) if given_fps is None and len(weights) > 1 else ()
        return Recorded(np.arange(len(weights)) / fps, fps, fps=fps, rounding_s=0.0, notes=notes)

    return Rows(names, weights, recorded)


def _timed(animation: Animation) -> Iterator[list[float]]:
    return ([time_s, *row.tolist()] for time_s, row in zip(animation.times_s.tolist(), animation.weights, strict=True))


def _framed(content: dict, names_key: str, time_key: str, default_fps: float, rate: Callable[[], float | None]) -> Rows:
    """Frames that are objects, each with its weights and its time."""
    names, frames = tuple(field(content, names_key, list)), field(content, "frames", list)
    weights = matrix([field(frame, "weights", list) for frame in frames], len(names))
    return Rows(
        names, weights, lambda: Recorded(np.array([field(frame, time_key, float) for frame in frames]), default_fps, fps=rate())
    )


def _check_count(content: dict, key: str, found: int) -> None:
    if field(content, key, int, found) != found:
        raise ValueError(f"{key!r} is {content[key]}, and there are {found}")
