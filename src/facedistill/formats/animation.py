"""Curves over time under their names: what every file format holds, and nothing positional."""

import math
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from facedistill.face.arkit import CURVES

STANDARD_FPS = (24.0, 25.0, 30.0, 48.0, 50.0, 60.0, 120.0)
NTSC_FPS = (24_000 / 1001, 30_000 / 1001, 60_000 / 1001)
ROUNDING_S = 6e-5  # files that round their times keep four decimals of a second at the least
REGULAR_S = 1e-3  # times this near to frame / fps are meant to be there
MAX_FRAMES = 2_000_000  # that one animation is resampled to: nine hours at 60 fps
MIN_FPS, MAX_FPS = 1e-3, 1e6
MAX_NAME = 200  # characters
PREFIX = "blendshapes."
_SIDES = {"_l": "left", "_r": "right"}
_BY_LETTERS = {name.lower(): name for name in CURVES}


def canonical(name: str) -> str:
    """ARKit's name of a blendshape, whatever its spelling; names that are not ARKit's stay as they are.

    Known spellings: `JawOpen` (Unreal), `jaw_open`, `eyeBlink_L` (ICT-FaceKit, facecap), `blendShapes.JawOpen` (Audio2Face),
    `anyNode.jawOpen` (Maya). ICT's `browInnerUp_L` is half of an ARKit shape, and so stays. What is canonical stays so.
    """
    bare = name.strip() if len(name) <= MAX_NAME else name
    while bare[: len(PREFIX)].lower() == PREFIX and len(bare) <= MAX_NAME:
        bare = bare[len(PREFIX) :].strip()
    letters = re.sub(r"_[lr]\Z", lambda side: _SIDES[side[0]], bare.rsplit(".", 1)[-1].lower()).replace("_", "")
    return _BY_LETTERS.get(letters, bare)


@dataclass(frozen=True, eq=False)
class Animation:
    """The curves of one take: at least one frame of at least one curve.

    Attributes:
        names: (N,) names of the curves in the file's order, made `canonical`; no two are equal.
        weights: (T, N) float64, not clamped: recordings of faces go past 1.
        times_s: (T,) float64 seconds, ascending.
        fps: nominal frames per second; the times may drop frames or start late.

    Raises:
        ValueError: something is missing, doubled, not finite, or of the wrong shape.
    """

    names: tuple[str, ...]
    weights: np.ndarray
    times_s: np.ndarray
    fps: float

    def __post_init__(self) -> None:
        for name in self.names:
            if not (isinstance(name, str) and name.strip() and len(name) <= MAX_NAME and name.strip().isprintable()):
                raise ValueError(f"a curve is called {name!r}; allowed: 1 to {MAX_NAME} printable characters")
        names = tuple(map(canonical, self.names))
        if len(set(names)) != len(names):
            raise ValueError(f"two curves are called {Counter(names).most_common(1)[0][0]!r}; allowed: one")
        for field, value in (("names", names), ("fps", float(self.fps))):
            object.__setattr__(self, field, value)
        for field in ("weights", "times_s"):
            array = np.array(getattr(self, field), np.float64)
            array.flags.writeable = False
            object.__setattr__(self, field, array)
        self._check()

    def _check(self) -> None:
        if not (len(self.times_s) and self.names and all(self.names)):
            raise ValueError(f"{len(self.times_s)} frames of {len(self.names)} curves; allowed: one or more of each, with names")
        if self.times_s.ndim != 1 or self.weights.shape != (len(self.times_s), len(self.names)):
            raise ValueError(f"weights of shape {self.weights.shape} for {len(self.times_s)} frames of {len(self.names)} curves")
        if not (np.isfinite(self.weights).all() and np.isfinite(self.times_s).all()):
            raise ValueError("a weight or a time is not finite; allowed: numbers")
        check_fps(self.fps)
        if (self.times_s[1:] <= self.times_s[:-1]).any():
            row = int(np.argmax(self.times_s[1:] <= self.times_s[:-1])) + 1
            raise ValueError(f"the time of frame {row} is not after the one before; allowed: ascending times, or an explicit fps")

    def select(self, names: Sequence[str]) -> np.ndarray:
        """(T, len(names)) float64 weights of the named curves, in that order; a curve that is not there rests at 0."""
        index = {name: number for number, name in enumerate(self.names)}
        columns = np.array([index.get(canonical(name), -1) for name in names], int)
        return np.where(columns >= 0, self.weights[:, columns], 0.0)

    def is_regular(self) -> bool:
        """Whether frame t stands at t / fps for every t, so that the frame rate alone tells all times."""
        return _on_grid(self.times_s, self.fps, min(REGULAR_S, 0.1 / self.fps))

    def at(self, fps: float) -> "Animation":
        """The same motion with frame t at t / fps, from 0 s to its last time, interpolated linearly.

        Before its first time the first frame is held, so that it stays in step with its audio.

        Raises:
            ValueError: no frame rate, or one that makes more than MAX_FRAMES frames.
        """
        check_fps(fps)
        duration_frames = max(float(self.times_s[-1]), 0.0) * fps
        if not duration_frames < MAX_FRAMES:
            raise ValueError(f"{duration_frames:.4g} frames at {fps:g} fps; allowed: up to {MAX_FRAMES}")
        times_s = np.arange(math.floor(duration_frames + 1e-6) + 1) / fps
        columns = [np.interp(times_s, self.times_s, column) for column in self.weights.T]
        return Animation(self.names, np.stack(columns, axis=1), times_s, fps)


def check_fps(fps: float) -> None:
    """Raises ValueError unless `fps` can be a frame rate."""
    if not MIN_FPS <= fps <= MAX_FPS:
        raise ValueError(f"{fps:g} frames per second; allowed: {MIN_FPS:g} to {MAX_FPS:g}")


def regular(names: Sequence[str], weights: np.ndarray, fps: float) -> Animation:
    """An animation whose frame t stands at t / fps.

    Args:
        weights: (T, N).

    Raises:
        ValueError: see `Animation`.
    """
    check_fps(fps)
    return Animation(tuple(names), weights, np.arange(len(weights)) / fps, fps)


def frame_rate(times_s: np.ndarray, default_fps: float) -> float:
    """The nominal frame rate of times, which a file may have rounded, and frames dropped from.

    Args:
        times_s: (T,) seconds.
        default_fps: what one frame alone gets.
    """
    steps_s = np.diff(times_s)
    if not len(steps_s) or not np.median(steps_s) > 0:
        return default_fps
    rate = 1 / float(np.median(steps_s))
    for fps, tolerance_s in ((round(rate, 3), 1e-9), *((fps, ROUNDING_S) for fps in STANDARD_FPS + NTSC_FPS)):
        if fps and _on_grid(times_s - times_s[0], fps, tolerance_s):
            return fps
    nearest = min(STANDARD_FPS, key=lambda fps: abs(fps - rate))
    return nearest if abs(nearest - rate) < 0.01 * nearest else rate  # phones record 59.9 fps where they mean 60


def _on_grid(times_s: np.ndarray, fps: float, tolerance_s: float) -> bool:
    return bool((np.abs(times_s - np.arange(len(times_s)) / fps) <= tolerance_s).all())
