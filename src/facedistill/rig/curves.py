"""Rig curves on disk and in time: npz shards keyed by utterance id, and explicit frame-rate conversion."""

import math
import os
import zipfile
from collections.abc import Iterable
from pathlib import Path

import numpy as np

from facedistill.core import SAMPLE_RATE_HZ
from facedistill.core.errors import InputError
from facedistill.core.files import atomic_path
from facedistill.core.manifest import Utterance
from facedistill.core.paths import DATA
from facedistill.rig.arkit import N_CURVES

FPS = 60  # frame rate of all stored curves
STAGE_WORDS = {"prepare": 1, "align": 1, "label": 1, "teachers": 2}  # {folder of data with shards: words of its command}


def n_frames(n_samples: int, fps: float = FPS) -> int:
    """Animation frames of `n_samples` at 16 kHz: frame t is shown at t / fps, while that is inside the audio."""
    return math.ceil(n_samples * fps / SAMPLE_RATE_HZ)


def at_times(curves: np.ndarray, times_s: np.ndarray, fps: float = FPS) -> np.ndarray:
    """(T, K) frames at `fps`, linearly interpolated at (M,) seconds -> (M, K) float32; held before and after all frames."""
    position = np.clip(np.asarray(times_s) * fps, 0, len(curves) - 1)
    low = np.floor(position).astype(int)
    high = np.minimum(low + 1, len(curves) - 1)
    fraction = (position - low)[:, None].astype(np.float32)
    return curves[low] * (1 - fraction) + curves[high] * fraction


def write_shard(path: Path, curves: dict[str, np.ndarray]) -> None:
    """Writes {utterance id: (T, K) curves} as float16, atomically and with the same bytes for the same curves."""
    with atomic_path(path) as temporary, zipfile.ZipFile(temporary, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
        for key, frames in curves.items():
            with archive.open(zipfile.ZipInfo(f"{key}.npy"), "w", force_zip64=True) as member:
                np.lib.format.write_array(member, np.ascontiguousarray(frames, np.float16), allow_pickle=False)


def read_curves(root: Path, utterances: Iterable[Utterance], n_curves: int = N_CURVES) -> dict[str, np.ndarray]:
    """{id: (T, K) float32} from shards, whose paths are relative to `root`; utterances without curves are left out.

    InputError where a shard is missing, broken, lacks an utterance, or holds curves of another shape.
    """
    by_shard: dict[str, list[str]] = {}
    for utterance in utterances:
        if utterance.curves is not None:
            by_shard.setdefault(utterance.curves, []).append(utterance.id)
    curves = {}
    for shard, ids in by_shard.items():
        path = root / shard
        try:
            with np.load(path, allow_pickle=False) as archive:  # which compares checksums
                curves.update({key: archive[key].astype(np.float32) for key in ids})
        except Exception as error:  # zipfile, zlib and NumPy have an exception for every fault, without a common base
            reason = " ".join(str(error).split())[:200]
            raise InputError(f"{path}: not a curve shard that matches its manifest ({reason}); {_expected(path)}") from None
        for key in ids:
            if curves[key].ndim != 2 or curves[key].shape[1] != n_curves:
                raise InputError(f"{path}: curves of {key} have shape {curves[key].shape}; expected (T, {n_curves})")
    return curves


def _expected(shard: Path) -> str:
    place = Path(os.path.abspath(shard))
    words = place.relative_to(DATA).parts if place.is_relative_to(DATA) else ("",)
    command = " ".join(words[: STAGE_WORDS.get(words[0], 0)])
    return f"expected what `facedistill {command}` writes, so run it again" if command else "expected float16 arrays by id"
