"""Takes: recordings, and for each a file of the same name with how a face moves to it: what any outside teacher leaves."""

import math
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from facedistill.core import SAMPLE_RATE_HZ
from facedistill.core.errors import InputError
from facedistill.formats import registry
from facedistill.formats.json_csv import reading
from facedistill.rig.arkit import CURVES, INDEX
from facedistill.rig.curves import FPS, at_times, n_frames
from facedistill.speech.audio import list_recordings, read_audio

VERTICES = ".npy"  # (T, 3V) or (T, V, 3) positions, as VOCASET's and BIWI's models write them
MESH = ()  # the names of what has no names
LABEL_SUFFIXES = (*registry.BY_SUFFIX, VERTICES)
END_FRAMES = math.ceil(FPS / 10)  # of non-speech audio yet, or any more
MAX_VALUE = np.finfo(np.float16).max  # shards of curves are float16
MAX_APART_S = 1.0  # that a label file may be shorter or longer than its recording


@dataclass(frozen=True, eq=False)
class Labels:
    """How a face moves to one recording."""

    names: tuple[str, ...]  # (K,), ARKit's 52 where the file has jawOpen; none for a mesh
    frames: np.ndarray  # (T, K) float32 at 60 fps, for the whole recording
    left_out: tuple[str, ...]  # curves beside ARKit's, which an ARKit face has no place for
    ratio: float  # how long the file lasts, over how long its recording does


@dataclass(frozen=True)
class Take:
    """A recording and its labels."""

    name: str
    audio: Path
    labels: Path

    def read(self, fps: float | None) -> Labels:
        """The labels, whose rate is `fps` or None where files tell it; InputError unless they last as long as the recording."""
        is_mesh = self.labels.suffix.lower() == VERTICES
        with reading(self.labels, "labels of a recording"):
            names, read, rate, left_out = _vertices(self.labels, fps) if is_mesh else _curves(self.labels, fps)
            with np.errstate(over="ignore"):
                frames = np.array(read, np.float32)
            if not np.isfinite(frames).all() or np.abs(frames).max() > MAX_VALUE:
                raise InputError(f"{self.labels}: a value that is not finite or above {MAX_VALUE:g}; expected smaller numbers")
        n_samples = len(read_audio(self.audio))
        lasts_s, audio_s = len(frames) / rate, n_samples / SAMPLE_RATE_HZ
        if abs(lasts_s - audio_s) > MAX_APART_S:
            found = f"lasts {lasts_s:.1f} s at {rate:g} frames a second, its recording {audio_s:.1f} s"
            raise InputError(f"{self.labels}: {found}; expected within {MAX_APART_S:g} s of it")
        return Labels(names, at_times(frames, np.arange(n_frames(n_samples)) / FPS, rate), left_out, lasts_s / audio_s)


def find_takes(audio: Path, labels: Path) -> list[Take]:
    """The recordings below `audio` with a label file below `labels`, by name; InputError unless there is one for one."""
    for folder in (audio, labels):
        if not folder.is_dir():
            raise InputError(f"{folder}: no such folder; expected one of recordings and one of label files of the same names")
    recordings = _by_stem(list_recordings(audio))
    found = _by_stem(path for path in sorted(labels.rglob("*")) if path.suffix.lower() in LABEL_SUFFIXES)
    if not found:
        raise InputError(f"{labels}: no label files; expected one {', '.join(LABEL_SUFFIXES)} for each recording of {audio}")
    for stem, paths in found.items():
        audio_files = recordings.get(stem, [])
        if not audio_files:
            raise InputError(f"{paths[0]}: no recording of that name; expected label files of the recordings below {audio}")
        if len(paths) > 1 or len(audio_files) > 1:
            both = paths if len(paths) > 1 else audio_files
            raise InputError(f"{both[1]}: {both[0]} is called {stem!r} too; expected one recording and one label file of a name")
    return [Take(stem, recordings[stem][0], paths[0]) for stem, paths in sorted(found.items())]


def _by_stem(paths: Iterable[Path]) -> dict[str, list[Path]]:
    table = defaultdict(list)
    for path in paths:
        table[path.stem].append(path)
    return table


def _curves(path: Path, fps: float | None) -> tuple[tuple[str, ...], np.ndarray, float, tuple[str, ...]]:
    animation = registry.read(path, fps=fps, at_fps=FPS)
    names, left_out = animation.names, ()
    if "jawOpen" in names:
        names, left_out = CURVES, tuple(name for name in names if name not in INDEX)
    return names, animation.select(names), FPS, left_out


def _vertices(path: Path, fps: float | None) -> tuple[tuple[str, ...], np.ndarray, float, tuple[str, ...]]:
    if fps is None:
        raise InputError(f"{path}: vertices do not tell their frame rate; expected an explicit fps")
    try:
        frames = np.lib.format.open_memmap(path, mode="r")
    except (OSError, ValueError, EOFError) as error:
        raise InputError(f"{path}: not an array ({' '.join(str(error).split())}); expected (T, 3V) or (T, V, 3)") from None
    flat = frames.reshape(len(frames), -1) if frames.ndim in (2, 3) and frames.size else np.empty((0, 0))
    is_points = flat.shape[1] % 3 == 0 and (frames.ndim == 2 or frames.shape[2] == 3)
    if not flat.size or not is_points or frames.dtype.kind != "f":
        raise InputError(f"{path}: {frames.dtype} of shape {frames.shape}; expected (T, 3V) or (T, V, 3) positions")
    return MESH, flat, fps, ()


def median_ends(frames: list[np.ndarray]) -> np.ndarray:
    """(K,) float32: the medians of the first and last `END_FRAMES` of takes."""
    ends = np.concatenate([part for one in frames for part in (one[:END_FRAMES], one[-END_FRAMES:])])
    return np.median(ends, axis=0).astype(np.float32)
