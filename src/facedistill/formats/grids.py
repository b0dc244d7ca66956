"""Regular grids of times: how files round them, and the simplest frame rate that fits a whole take."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np

STANDARD_FPS = (24.0, 25.0, 30.0, 48.0, 50.0, 60.0, 100.0, 120.0)
NTSC_FPS = tuple(1000 / 1001 * fps for fps in (24, 30, 48, 60, 120))
SHORT_NTSC_FPS = (23.976, 29.97, 47.952, 59.94, 119.88)  # as many write them
FPS_DECIMALS = 2  # of any other rate that is told from times: a phone's 30.004 fps are 30
MAX_OFF = 0.2  # of a rate that a short take allows too, from the one that fits best
MIN_DECIMALS, MAX_DECIMALS = 2, 8  # of a second: with fewer any times are on some grid, with more they are as good as exact
SLACK, ULPS = 1 + 1e-6, 4  # of floats
TELLS_GAPS = 0.65  # rounding, in steps, up to which a missing row shows; above, rows count
FEW = 0.05  # of the rows; one is always few
MAX_WHOLE_FPS, N_SHIFTS = 250, 16  # rates, and starts within a frame, that are tried where neither shows


@dataclass(frozen=True, eq=False)
class Grid:
    """Frame t of (T,) is at start_s + counts[t] / fps; `is_exact` if its time is so to the last digit."""

    counts: np.ndarray
    start_s: float
    fps: float
    is_exact: bool


@dataclass(frozen=True, eq=False)
class _Fit:
    """Rows (T,) counted in frames, and the rates by their kind that put them there `within_s`."""

    counts: np.ndarray
    within_s: float
    rates: dict[str, float]


def rounding_of(times_s: np.ndarray) -> float:
    """What times were rounded to: a power of ten, or what float32 leaves; 0 if neither shows, or it is more than frames allow."""
    for decimals in range(MAX_DECIMALS + 1):
        if (np.round(times_s, decimals) == times_s).all():
            return 10.0**-decimals if decimals >= MIN_DECIMALS else 0.0
    return float32_rounding_of(times_s) if (times_s.astype(np.float32) == times_s).all() else 0.0


def float32_rounding_of(times_s: np.ndarray) -> float:
    """What float32 leaves of the greatest of times."""
    with np.errstate(over="ignore", invalid="ignore"):
        return float(np.spacing(np.abs(times_s).max(initial=0).astype(np.float32)))


def exactness_of(times_s: np.ndarray) -> float:
    """How far times of a grid that are written to the last digit may be from it."""
    return max(1e-9, 8 * float(np.spacing(np.abs(times_s).max())))


def are_few(count: int, n_rows: int) -> bool:
    """Whether so many rows of a take may be odd or missing."""
    return count <= max(1, FEW * n_rows)


def usual_step_and_rate(times_s: np.ndarray, rounding_s: float) -> tuple[float, float]:
    """The step of most rows, or of all where the rounding hides missing ones; and the common rate near it, or its own."""
    steps_s = np.diff(times_s)
    step_s = float(steps_s.mean())
    if rounding_s <= TELLS_GAPS * step_s:
        step_s = _usual(steps_s)
    nearest = min(STANDARD_FPS, key=lambda fps: abs(fps * step_s - 1))
    is_near = abs(nearest * step_s - 1) < max(rounding_s / np.ptp(times_s), 0.01)  # phones record 59.9 fps where they mean 60
    return step_s, nearest if is_near else float(f"{1 / step_s:.6g}")


def grid_of(times_s: np.ndarray, rounding_s: float, fps: float | None) -> Grid | None:
    """The grid of the simplest rate that fits (T,) ascending times within `rounding_s`, a told `fps` first; None without one."""
    exact_s, n_rows = exactness_of(times_s), len(times_s)
    if exact_s > 1e-4 or times_s[-1] - times_s[0] <= exact_s:  # floats so coarse hold no times of frames
        return None
    rounding_s = max(rounding_s, exact_s)
    exact, rounded = (_fit(times_s - times_s[0], within_s, fps) for within_s in (exact_s, rounding_s))
    n_gaps = int((np.diff(rounded.counts) > 1).sum())
    if not are_few(n_gaps, n_rows + n_gaps):
        rounded.rates.clear()  # with a gap wherever it needs one, any times are on a grid
    n_missing = int(exact.counts[-1]) - n_rows + 1
    if not are_few(n_missing, n_rows + n_missing):  # 90 fps with two decimals are 100 fps with a tenth missing, too
        is_full = rounded.rates and rounded.counts[-1] == n_rows - 1
        is_crowded = rounding_s > TELLS_GAPS * (times_s[-1] - times_s[0]) / exact.counts[-1]
        if is_full or is_crowded and 2 * crowded_grid_of(times_s, rounding_s, fps)[0] < n_missing:
            exact.rates.clear()
    # Few rounded times fit many rates: 0.033 s and 0.066 s are 30 fps, not the 30.303 that fits to the last digit.
    for kind, fit in (
        ("told", exact), ("told", rounded), ("standard", exact), ("standard", rounded),
        ("any", exact), ("ntsc", rounded), ("any", rounded),
    ):  # fmt: skip
        if kind in fit.rates:
            return _anchored(times_s, fit.counts, fit.rates[kind], fit.within_s, is_exact=fit is exact)
    return None


def crowded_grid_of(times_s: np.ndarray, rounding_s: float, fps: float | None) -> tuple[float, np.ndarray, Grid | None]:
    """The grid of times, see `grid_of`, whose steps are about as short as their rounding, so that missing rows do not show.

    Returned are how many times are off it or missing, few or else inf; (T,) which are on it; and the grid of those, if any.
    """
    n_rows, lasts_s = len(times_s), float(times_s[-1] - times_s[0])
    slowest, fastest = (n_rows - 1) / (lasts_s + rounding_s), n_rows * (1 + FEW) / max(lasts_s - rounding_s, rounding_s)
    for rates in ((fps,) if fps else (), STANDARD_FPS, NTSC_FPS, range(1, MAX_WHOLE_FPS)):
        likely = [rate for rate in rates if slowest <= rate <= fastest]
        trials = [trial for rate in likely for trial in _crowded_trials(times_s, rounding_s, rate)]
        best = min(trials, key=lambda trial: trial[0], default=(n_rows + 1,))
        if are_few(best[0], n_rows):
            return best
    return np.inf, np.ones(n_rows, bool), None


def _fit(times_s: np.ndarray, within_s: float, fps: float | None) -> _Fit:
    """The first way to count times (T,) from 0 s that fits any rate."""
    allowed_s = within_s * SLACK + ULPS * np.spacing(times_s[-1])
    for counts in _counts(times_s, within_s):
        centred = counts - counts.mean()
        best = float(centred @ centred / (centred @ times_s))  # by least squares
        kinds = {
            "told": _near(best, (fps,) if fps else ()),
            "standard": _near(best, STANDARD_FPS),
            "ntsc": _near(best, NTSC_FPS) + _near(best, SHORT_NTSC_FPS),
            "any": [rate for decimals in range(FPS_DECIMALS + 1) if (rate := round(best, decimals)) > 0],
        }
        fitting = {kind: [fps for fps in rates if np.ptp(times_s - counts / fps) <= allowed_s] for kind, rates in kinds.items()}
        if any(fitting.values()):
            return _Fit(counts, within_s, {kind: rates[0] for kind, rates in fitting.items() if rates})
    return _Fit(np.arange(len(times_s)), within_s, {})


def _near(best: float, rates: Iterable[float]) -> list[float]:
    return sorted((rate for rate in rates if abs(rate - best) <= MAX_OFF * best), key=lambda rate: abs(rate - best))


def _counts(times_s: np.ndarray, within_s: float) -> Iterator[np.ndarray]:
    """Ways to count rows in steps, those with the fewest missing first."""
    yield np.arange(len(times_s))
    steps_s = np.diff(times_s)
    for step_s in (times_s[-1] / len(steps_s), _usual(steps_s)):
        if within_s <= TELLS_GAPS * step_s:
            for _ in range(20):  # the step that a count gives counts again, until they settle
                counted = np.maximum(1, np.rint(steps_s / step_s))
                step_s = times_s[-1] / counted.sum()
            yield np.concatenate([[0], np.cumsum(counted)])


def _anchored(times_s: np.ndarray, counts: np.ndarray, rate: float, rounding_s: float, *, is_exact: bool) -> Grid:
    """The grid of a rate, counted from 0 s where that is within the rounding and the take begins not long after."""
    rest_s = times_s - counts / rate
    low_s, high_s = float(rest_s.min()), float(rest_s.max())
    for first in (0, round((low_s + high_s) / 2 * rate)):
        if high_s - rounding_s * SLACK <= first / rate <= low_s + rounding_s * SLACK and abs(first) <= len(counts):
            return Grid(counts + first, 0.0, rate, is_exact)
    return Grid(counts, (low_s + high_s) / 2, rate, is_exact)


def _crowded_trials(times_s: np.ndarray, rounding_s: float, rate: float) -> Iterator[tuple[int, np.ndarray, Grid]]:
    """Grids that begin at different parts of a frame; each row has the first count that its time can mean and none before has."""
    half_s, places = (rounding_s + 1 / (rate * N_SHIFTS)) / 2, np.arange(len(times_s))
    for shift in range(N_SHIFTS):
        from_start_s = times_s - times_s[0] - shift / (rate * N_SHIFTS)
        counts = np.maximum.accumulate(np.ceil((from_start_s - half_s) * rate) - places) + places
        is_there = counts <= (from_start_s + half_s) * rate
        if is_there.any() and np.ptp(times_s[is_there] - counts[is_there] / rate) <= rounding_s * SLACK:
            n_off = int((~is_there).sum() + counts[-1] - counts[0]) - len(times_s) + 1
            yield n_off, is_there, _anchored(times_s[is_there], counts[is_there], rate, rounding_s, is_exact=False)


def _usual(steps_s: np.ndarray) -> float:
    """The mean of the steps but for those that are nearly two of the middle one, or the one below the middle."""
    return float(steps_s[steps_s <= 1.75 * np.quantile(steps_s, 0.5, method="lower")].mean())
