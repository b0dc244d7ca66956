"""Curves over time under their names: what every file format holds, and nothing positional."""

import math
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from facedistill.rig.arkit import CURVES, N_CURVES

MAX_CURVES = 10_000  # of a take, and morph targets of a mesh: ARKit has 52, rigs of films have hundreds
MAX_FRAMES = 2_000_000  # that a take is resampled to, or unpacked to from fewer bytes: nine hours at 60 fps
TAKE_NUMBERS = 2**25  # that anything may unfold to: three hours of 52 curves at 60 fps, 256 MB
MAX_GROWTH = 32  # times its own numbers that a take may grow by otherwise: one frame a second to 30 fps
MIN_FPS, MAX_FPS = 1e-3, 1e6
MAX_NAME = 200  # characters
PREFIX = "blendshapes."
_SIDES = {"_l": "left", "_r": "right"}
_BY_LETTERS = {name.lower(): name for name in CURVES}


def canonical(name: str) -> str:
    """ARKit's name of a blendshape, in any spelling; all others stay, as ICT's `browInnerUp_L`, half of an ARKit shape, does.

    Known: Unreal's `JawOpen`, `jaw_open`, ICT-FaceKit's `eyeBlink_L`, Audio2Face's `blendShapes.JawOpen`, Maya's `node.jawOpen`.
    """
    bare = name.strip() if len(name) <= MAX_NAME else name
    while bare[: len(PREFIX)].lower() == PREFIX and len(bare) <= MAX_NAME:
        bare = bare[len(PREFIX) :].strip()
    letters = re.sub(r"_[lr]\Z", lambda side: _SIDES[side[0]], bare.rsplit(".", 1)[-1].lower()).replace("_", "")
    return _BY_LETTERS.get(letters, bare)


@dataclass(frozen=True, eq=False)
class Animation:
    """The curves of one take; ValueError where something is missing, doubled, not finite, of the wrong shape, or too much."""

    names: tuple[str, ...]  # (N,) in the file's order, made `canonical`; no two are equal
    weights: np.ndarray  # (T, N) float64, not clamped: recordings of faces go past 1
    times_s: np.ndarray  # (T,) float64 seconds, ascending
    fps: float  # nominal; the times may drop frames or start late

    def __post_init__(self) -> None:
        for name in self.names:
            if not (isinstance(name, str) and name.strip() and len(name) <= MAX_NAME and name.strip().isprintable()):
                raise ValueError(f"a curve is called {name!r}; expected 1 to {MAX_NAME} printable characters")
        names = tuple(map(canonical, self.names))
        if len(set(names)) != len(names):
            raise ValueError(f"two curves are called {Counter(names).most_common(1)[0][0]!r}; expected one")
        vars(self).update(names=names, weights=_fixed(self.weights), times_s=_fixed(self.times_s), fps=float(self.fps))
        check_frames(self.names, self.weights, self.times_s)
        check_fps(self.fps)
        if len(late := np.flatnonzero(self.times_s[1:] <= self.times_s[:-1]) + 1):
            expected = "expected ascending times, or an explicit fps"
            raise ValueError(f"the time of frame {late[0]} is not after the one before; {expected}")

    def select(self, names: Sequence[str]) -> np.ndarray:
        """(T, len(names)) float64 weights of the named curves, in that order; a curve that is not there rests at 0."""
        columns, rest = dict(zip(self.names, self.weights.T, strict=True)), np.zeros(len(self.weights))
        return np.stack([columns.get(name, rest) for name in map(canonical, names)], axis=1)

    def is_regular(self) -> bool:
        """Whether frame t stands at t / fps for every t, within a millisecond: the frame rate alone tells all times."""
        off_s = np.abs(self.times_s - np.arange(len(self.times_s)) / self.fps).max()
        return bool(off_s <= min(1e-3, 0.1 / self.fps))

    def at(self, fps: float) -> "Animation":
        """The motion with frame t at t / fps, from 0 s to its last time, interpolated linearly; ValueError if too many frames."""
        check_fps(fps)
        duration_frames = max(float(self.times_s[-1]), 0.0) * fps
        most = min(MAX_FRAMES, most_grown(*self.weights.shape) // max(len(self.names), N_CURVES))
        if not duration_frames < most:
            raise ValueError(f"{duration_frames:.4g} frames at {fps:g} fps, from {len(self.times_s)}; expected up to {most}")
        times_s = np.arange(math.floor(duration_frames + 1e-6) + 1) / fps
        # Before the first time its frame is held: the curves stay in step with their audio.
        weights = np.stack([np.interp(times_s, self.times_s, curve) for curve in self.weights.T], axis=1)
        return Animation(self.names, weights, times_s, fps)


def _fixed(given: np.ndarray) -> np.ndarray:
    """As float64 that nobody can change; copied unless it is so already, since a long take is large."""
    is_fixed = isinstance(given, np.ndarray) and given.flags.owndata and not given.flags.writeable
    values = np.array(given, np.float64, copy=None if is_fixed else True)
    values.flags.writeable = False
    return values


def check_frames(names: Sequence[str], weights: np.ndarray, times_s: np.ndarray) -> None:
    """Raises ValueError unless weights (T, N) and times (T,) are finite and those of one or more frames of named curves."""
    if not (times_s.size and names and all(names)):
        raise ValueError(f"{times_s.size} frames of {len(names)} curves; expected one or more of each, with names")
    check_names(names)
    if times_s.ndim != 1 or weights.shape != (len(times_s), len(names)):
        raise ValueError(f"weights of shape {weights.shape} for {len(times_s)} frames of {len(names)} curves")
    if not (np.isfinite(weights).all() and np.isfinite(times_s).all()):
        raise ValueError("a weight or a time is not finite; expected numbers")


def check_names(names: Sequence[str]) -> None:
    """Raises ValueError if there are more of them than a rig has."""
    if len(names) > MAX_CURVES:
        raise ValueError(f"{len(names)} curves; expected up to {MAX_CURVES}")


def check_fps(fps: float) -> None:
    """Raises ValueError unless `fps` can be a frame rate."""
    if not MIN_FPS <= fps <= MAX_FPS:
        raise ValueError(f"{fps:g} frames per second; expected {MIN_FPS:g} to {MAX_FPS:g}")


def regular(names: Sequence[str], weights: np.ndarray, fps: float) -> Animation:
    """An animation of weights (T, N) whose frame t is at t / fps; ValueError as of `Animation`."""
    check_fps(fps)
    return Animation(tuple(names), weights, np.arange(len(weights)) / fps, fps)


def most_grown(n_frames: int, n_curves: int) -> int:
    """How many numbers a take may become, in which a face has all its curves in the end."""
    return max(TAKE_NUMBERS, MAX_GROWTH * n_frames * max(n_curves, N_CURVES))
