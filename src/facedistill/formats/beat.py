"""BEAT's facial JSON, which LAM-Audio2Expression writes too: names in alphabetical order, and frames of weights with times."""

from pathlib import Path

import numpy as np

from facedistill.formats.animation import Animation, regular
from facedistill.formats.parsing import field, matrix, parse_json, reading
from facedistill.formats.times import take
from facedistill.formats.writing import write_object

DEFAULT_FPS = 60.0  # of one frame


def write(path: Path, animation: Animation) -> None:
    """Writes BEAT's JSON with LAM's metadata, which keeps the frame rate; names in alphabetical order, as BEAT has them."""
    names = sorted(animation.names)
    frames = (
        {"weights": row.tolist(), "time": time_s, "rotation": []}
        for row, time_s in zip(animation.select(names), animation.times_s.tolist(), strict=True)
    )
    metadata = {"fps": animation.fps, "frame_count": len(animation.times_s), "blendshape_names": names}
    write_object(path, {"names": names, "frames": frames, "metadata": metadata})


def read(path: Path, fps: float | None = None) -> Animation:
    """Reads BEAT's JSON: 51 curves (no tongueOut), 52 or any other; the rotations, empty in BEAT, are not read.

    Args:
        fps: puts frame t at t / fps, whatever the times are.

    Raises:
        InputError: not such a JSON.
    """
    with reading(path, "a BEAT JSON of names and frames"):
        content = parse_json(path.read_bytes())
        names, frames = tuple(field(content, "names", list)), field(content, "frames", list)
        weights = matrix([field(frame, "weights", list) for frame in frames], len(names))
        if fps:
            return regular(names, weights, fps)
        times_s = np.array([field(frame, "time", float) for frame in frames])
        rate = field(field(content, "metadata", dict, {}), "fps", float, None)
        return take(path, names, weights, times_s, default_fps=DEFAULT_FPS, fps=rate)
