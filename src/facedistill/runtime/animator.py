"""The streaming engine: sound in chunks of any size, every 16 ms computed once, so frames agree bit for bit however it is cut."""

import json
import math
from dataclasses import dataclass

import numpy as np

from facedistill.core import EXPECTED_SAMPLES, MAX_RATE_HZ, MAX_SAMPLE, MIN_RATE_HZ
from facedistill.core.errors import InputError
from facedistill.runtime.model import Model
from facedistill.runtime.streams import Resampler, StreamingSession

MAX_FPS = 240
ENSEMBLE_FPS = 60  # the ensemble averages a frame with its neighbours at this rate, whatever the frame rate


@dataclass(frozen=True)
class Frames:
    """Frames of animation."""

    times_s: np.ndarray  # (T,) float64, seconds from the first sample
    weights: np.ndarray  # (T, K) float32 in [0, 1], in the order of the model's curves

    def __len__(self) -> int:
        return len(self.times_s)


class Animator:
    """One stream of sound through one model."""

    def __init__(self, model: Model, *, rate_hz: int | None = None, fps: int = 60, ensemble: bool = False) -> None:
        """Starts a stream of sound at `rate_hz`, the model's own if None, to `fps` frames a second; InputError if not allowed.

        `ensemble` averages three predictions 1/60 s apart (paper): less jitter for 16.7 ms more of look-ahead.
        """
        metadata = model.metadata
        rate_hz = metadata.sample_rate_hz if rate_hz is None else rate_hz
        if not MIN_RATE_HZ <= rate_hz <= MAX_RATE_HZ or rate_hz != int(rate_hz):
            raise InputError(f"sample rate {rate_hz} Hz; expected whole numbers from {MIN_RATE_HZ} to {MAX_RATE_HZ} Hz")
        if not 1 <= fps <= MAX_FPS or fps != int(fps):
            raise InputError(f"{fps} frames a second; expected whole numbers from 1 to {MAX_FPS}")
        self.model, self.rate_hz, self.fps, self.ensemble = model, int(rate_hz), int(fps), ensemble
        self.curves: tuple[str, ...] = metadata.curves  # names of the K curves
        self._model_hz, self._hop = metadata.sample_rate_hz, metadata.hop_samples
        # Time is counted in whole numbers, of which a second has ENSEMBLE_FPS * fps * sample_rate_hz: nothing is rounded.
        self._step = ENSEMBLE_FPS * self.fps * self._hop  # between two frames of the grid
        self._period = ENSEMBLE_FPS * self._model_hz  # between two frames of the animation
        self._offsets = [tap * self.fps * self._model_hz for tap in ((-1, 0, 1) if ensemble else (0,))]  # of predictions
        self._resampler = Resampler(self.rate_hz, self._model_hz) if rate_hz != self._model_hz else None
        self._session = StreamingSession(model)
        self._parts = {"resampler": self._resampler, "steps": self._session} if self._resampler else {"steps": self._session}
        self.reset()

    @property
    def lookahead_s(self) -> float:
        """The whole algorithmic delay, of window, step, ensemble and filter: how long after a frame sound may still change it."""
        hops = self.fps * self._hop
        period = math.lcm(hops // math.gcd(self._model_hz, hops), self.fps)  # whole seconds, after which every rate begins anew
        return max(self.heard_samples(frame) / self.rate_hz - frame / self.fps for frame in range(period))

    def heard_samples(self, frame: int) -> int:
        """How many samples of a stream decide a frame; at the model's own rate the last one does, unless int8 rounds it off."""
        grid_frame = -(-self._time(frame, self._offsets[-1]) // self._step)
        last = grid_frame * self._hop + self.model.metadata.future_samples - 1
        return (last if self._resampler is None else self._resampler.last_input(last)) + 1

    def reset(self) -> None:
        """Starts over: before the first sample there is silence."""
        for part in self._parts.values():
            part.reset()
        self._n_frames = self._n_samples = 0
        self._grid: list[np.ndarray] = []  # (K,) computed frames that frames to come may need, the last of `_n_grid`
        self._n_grid = 2 - self.model.metadata.window_samples // self._hop  # the first frames see too little: they are not kept
        self._hear(np.zeros(self.model.metadata.past_samples, np.float32))
        self._n_samples = 0  # at the model's rate, without the silence before the first

    def push(self, samples: np.ndarray) -> Frames:
        """Hears (S,) samples, any number, float in +-1 or int16; the frames that are new. InputError, no change, if others."""
        samples = _checked(samples)
        self._hear(samples if self._resampler is None else self._resampler.push(samples))
        # Up to the last frame whose grid frames are all known.
        return self._frames(min(((self._n_grid - 1) * self._step - self._offsets[-1]) // self._period + 1, self._n_inside()))

    def flush(self) -> Frames:
        """Ends the stream, as if silence followed, and starts over; returns the frames that are left, up to its end."""
        if self._resampler is not None:
            self._hear(self._resampler.flush())
        end, last = self._n_inside(), -(-self._n_samples // self._hop)  # frames of the animation, and of the grid
        self._hear(np.zeros(max(0, last * self._hop + self.model.metadata.future_samples - self._n_samples), np.float32))
        frames = self._frames(end)
        self.reset()
        return frames

    def animate(self, samples: np.ndarray) -> Frames:
        """A whole recording: `push` and `flush` in one."""
        parts = self.push(samples), self.flush()
        return Frames(*(np.concatenate([getattr(part, name) for part in parts]) for name in ("times_s", "weights")))

    def state(self) -> dict[str, np.ndarray]:
        """All that the stream carries on, as arrays: `numpy.savez` stores it."""
        return {
            "model": np.array(json.dumps(self.model.metadata.to_props())),
            "settings": np.array([self.rate_hz, self.fps, self.ensemble]),
            "counts": np.array([self._n_samples, self._n_grid, self._n_frames]),
            "grid": np.array(self._grid, np.float32).reshape(-1, len(self.curves)),
            **{f"{key}.{name}": value for key, part in self._parts.items() for name, value in part.state().items()},
        }

    def restore(self, state: dict[str, np.ndarray]) -> None:
        """Goes on from a `state` of the same model and settings; InputError, and the stream stays as it was, for another."""
        own = self.state()
        forms = [{name: (array.dtype, array.ndim, array.shape[1:]) for name, array in one.items()} for one in (own, state)]
        if forms[0] != forms[1] or not all(np.array_equal(state[name], own[name]) for name in ("model", "settings")):
            raise InputError("this state is of another model, sample rate, frame rate or smoothing")
        states = {key: {name: state[f"{key}.{name}"] for name in part.state()} for key, part in self._parts.items()}
        if not self._session.fits(states["steps"]):
            raise InputError("this state is broken: its buffers have other sizes")
        self._n_samples, self._n_grid, self._n_frames = map(int, state["counts"])
        self._grid = list(state["grid"].copy())
        for key, part in self._parts.items():
            part.restore(states[key])

    def _hear(self, samples: np.ndarray) -> None:
        """Computes the grid frames that more samples, at the model's rate, make known."""
        self._n_samples += len(samples)
        for rows in self._session.push(samples):
            self._grid.extend(rows if self._n_grid >= 0 else rows[-self._n_grid :])
            self._n_grid += len(rows)

    def _time(self, frame: int, offset: int) -> int:
        """When a prediction stands of which a frame is averaged; nothing stands before the start."""
        return max(0, frame * self._period + offset)

    def _n_inside(self) -> int:
        """Frames from the start to the end of the sound."""
        return -(-self._n_samples * self.fps // self._model_hz)

    def _frames(self, end: int) -> Frames:
        """The frames from the first that has not been given to `end`; the grid frames that no other needs go."""
        numbers = range(self._n_frames, end)
        weights = np.empty((len(numbers), len(self.curves)), np.float32)
        for row, number in enumerate(numbers):
            predictions = [self._prediction(self._time(number, offset)) for offset in self._offsets]
            weights[row] = predictions[0] if len(predictions) == 1 else sum(predictions) * np.float32(1 / len(predictions))
        self._n_frames += len(numbers)
        needed = self._time(self._n_frames, self._offsets[0]) // self._step - (self._n_grid - len(self._grid))
        del self._grid[: max(0, min(needed, len(self._grid) - 1))]
        return Frames(np.array([number / self.fps for number in numbers]), weights)

    def _prediction(self, time: int) -> np.ndarray:
        """(K,) between the grid frames before and after a moment; after the last, that is held."""
        low, part = divmod(time, self._step)
        low -= self._n_grid - len(self._grid)
        if part == 0 or low >= len(self._grid) - 1:
            return self._grid[min(low, len(self._grid) - 1)]
        part /= self._step
        return self._grid[low] * (1 - part) + self._grid[low + 1] * part


def _checked(samples: np.ndarray) -> np.ndarray:
    """(S,) float32; InputError where they are not mono, not samples, not finite or far beyond full scale."""
    samples = np.asarray(samples)
    if samples.ndim != 1:
        raise InputError(f"samples of shape {samples.shape}; expected one channel, (S,)")
    if samples.dtype == np.int16:
        return samples.astype(np.float32) / 2**15
    if samples.dtype.kind != "f":
        raise InputError(f"samples of type {samples.dtype}; expected floats in +-1, or int16")
    with np.errstate(over="ignore"):  # which the next lines tell
        samples = samples.astype(np.float32, copy=False)
    if not samples.dot(samples) <= MAX_SAMPLE**2:  # four times as fast as to look at every sample, and mostly enough
        largest = float(np.abs(samples).max())
        if not largest <= MAX_SAMPLE:
            what = f"samples of up to {largest:.4g}" if math.isfinite(largest) else "samples that are NaN or infinite"
            raise InputError(f"{what}; {EXPECTED_SAMPLES}")
    return samples
