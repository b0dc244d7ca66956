"""Regular grids of times: how files round them, and the simplest frame rate that a whole take allows."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

STANDARD_FPS = (24.0, 25.0, 30.0, 48.0, 50.0, 60.0, 100.0, 120.0)
NTSC_FPS = tuple(1000 / 1001 * fps for fps in (24, 30, 48, 60, 120))
SHORT_NTSC_FPS = (23.976, 29.97, 47.952, 59.94, 119.88)  # as many write them
FPS_DECIMALS = 2  # of any other rate that is told from times: a phone's 30.004 fps are 30
MAX_OFF = 0.2  # of a rate that a short take allows too, from the middle of those it allows
NOMINAL_OFF = 0.01  # phones record 59.9 fps where they mean 60
EXACT_S = 1e-9
MAX_EXACT_S = 1e-4  # floats that are coarser than this hold no times of frames
MIN_DECIMALS, MAX_DECIMALS = 2, 8  # of a second: with fewer any times are on some grid, with more they are as good as exact
SLACK, SLACK_STEP, ULPS = 1 + 1e-6, 1 + 1e-12, 4  # of floats
TELLS_GAPS = 0.65  # rounding, in steps, up to which a missing row shows; above, rows count
SINGLE = 1.75  # usual steps up to which a step is one
FEW = 0.05  # of the rows; one is always few
COUNT_ROUNDS, BOUND_ROUNDS = 20, 100  # after which what does not settle is taken as it is, or as no bound
MAX_WHOLE_FPS, N_SHIFTS = 250, 16  # rates, and starts within a frame, that are tried where neither shows


@dataclass(frozen=True, eq=False)
class Grid:
    """Frame t of (T,) stands at start_s + counts[t] / fps."""

    counts: np.ndarray
    start_s: float
    fps: float
    is_exact: bool


@dataclass(frozen=True, eq=False)
class _Fit:
    """Rows (T,) counted in steps, and the shortest and longest step that their times allow."""

    counts: np.ndarray
    low_s: float
    high_s: float


def rounding_of(times_s: np.ndarray) -> float:
    """What times were rounded to: a power of ten, or what float32 leaves; 0 if neither shows, or it is more than frames allow."""
    with np.errstate(over="ignore", invalid="ignore"):
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
    return max(EXACT_S, 8 * float(np.spacing(np.abs(times_s).max())))


def grid_of(times_s: np.ndarray, rounding_s: float, fps: float | None) -> Grid | None:
    """The grid that times are on, of the simplest rate that the whole take allows.

    Args:
        times_s: (T,) seconds, ascending; equal ones are taken for frames that the rounding made so.
        rounding_s: what they were rounded or cut to.
        fps: that the file tells, preferred to all others.

    Returns:
        None if the times are on no grid.
    """
    exact_s = exactness_of(times_s)
    if exact_s > MAX_EXACT_S or times_s[-1] - times_s[0] <= exact_s:
        return None
    n_rows, from_first_s, rounding_s = len(times_s), times_s - times_s[0], max(rounding_s, exact_s)
    exact, rounded = _fit(from_first_s, exact_s), _fit(from_first_s, rounding_s)
    n_gaps = int((np.diff(rounded.counts) > 1).sum()) if rounded else 0
    if not are_few(n_gaps, n_rows + n_gaps):
        rounded = None  # with a gap wherever it needs one, any times are on a grid
    n_missing = int(exact.counts[-1]) - n_rows + 1 if exact else 0
    if not are_few(n_missing, n_rows + n_missing):  # 90 fps with two decimals are 100 fps with a tenth missing, too
        is_full = rounded and rounded.counts[-1] == n_rows - 1
        is_crowded = rounding_s > TELLS_GAPS / _rate(exact)
        if is_full or is_crowded and 2 * _n_off(*crowded_grid_of(times_s, rounding_s, fps)) < n_missing:
            exact = None
    rate, fit = _simplest(exact, rounded, fps)
    is_exact = fit is exact
    return fit and _anchored(times_s, fit.counts, rate, exact_s if is_exact else rounding_s, is_exact=is_exact)


def crowded_grid_of(times_s: np.ndarray, rounding_s: float, fps: float | None) -> tuple[np.ndarray, Grid | None]:
    """The grid of times whose steps are about as short as what they were rounded to, so that missing rows do not show.

    Args:
        times_s, rounding_s, fps: see `grid_of`.

    Returns:
        (T,) which of the times are on it, and the grid of those: of a simple rate, with few times off it and few frames missing.
    """
    n_rows, lasts_s = len(times_s), float(times_s[-1] - times_s[0])
    slowest, fastest = (n_rows - 1) / (lasts_s + rounding_s), n_rows * (1 + FEW) / max(lasts_s - rounding_s, rounding_s)
    for rates in ((fps,) if fps else (), STANDARD_FPS, NTSC_FPS, range(1, MAX_WHOLE_FPS)):
        likely = [rate for rate in rates if slowest <= rate <= fastest]
        tried = [trial for rate in likely for trial in _crowded_trials(times_s, rounding_s, rate)]
        n_off, is_there, grid = min(tried, key=lambda trial: trial[0], default=(n_rows + 1, None, None))
        if are_few(n_off, n_rows):
            return is_there, grid
    return np.ones(n_rows, bool), None


def _n_off(is_there: np.ndarray, grid: Grid | None) -> float:
    """How many rows (T,) are off a grid, and how many frames of it are missing."""
    return len(is_there) + np.ptp(grid.counts) + 1 - 2 * is_there.sum() if grid else np.inf


def usual_step(times_s: np.ndarray, rounding_s: float) -> float:
    """The step of most rows; of all where the rounding hides whether any is missing."""
    steps_s = np.diff(times_s)
    if rounding_s > TELLS_GAPS * steps_s.mean():
        return float(steps_s.mean())
    return _usual(steps_s)


def nominal_rate(step_s: float, off: float) -> float:
    """The common rate near a step, or else the step's own."""
    nearest = min(STANDARD_FPS, key=lambda fps: abs(fps * step_s - 1))
    return nearest if abs(nearest * step_s - 1) < max(off, NOMINAL_OFF) else float(f"{1 / step_s:.6g}")


def are_few(count: int, n_rows: int) -> bool:
    """Whether so many rows of a take may be odd or missing."""
    return count <= max(1, FEW * n_rows)


def _counts(times_s: np.ndarray, rounding_s: float) -> Iterator[np.ndarray]:
    """Ways to count rows in steps, those with the fewest missing first."""
    yield np.arange(len(times_s))
    steps_s = np.diff(times_s)
    for step_s in (times_s[-1] / len(steps_s), _usual(steps_s)):
        if rounding_s <= TELLS_GAPS * step_s:
            yield np.concatenate([[0], np.cumsum(_steps_between(steps_s, step_s))])


def _steps_between(steps_s: np.ndarray, step_s: float) -> np.ndarray:
    """How many steps there are from row to row, counted again with the step that the count before gives."""
    counted = np.maximum(1, np.rint(steps_s / step_s))
    for _ in range(COUNT_ROUNDS):
        again = np.maximum(1, np.rint(steps_s * counted.sum() / steps_s.sum()))
        if (again == counted).all():
            break
        counted = again
    return counted


def _fit(times_s: np.ndarray, rounding_s: float) -> _Fit | None:
    for counts in _counts(times_s, rounding_s):
        low_s, high_s = (_bound(times_s, counts, rounding_s, side) for side in (-1, 1))
        if low_s is not None and high_s is not None:
            return _Fit(counts, low_s, high_s)
    return None


def _bound(times_s: np.ndarray, counts: np.ndarray, rounding_s: float, side: int) -> float | None:
    """The shortest (side -1) or longest (1) step with which times are within the rounding of their counts; None without any.

    How far residuals span is a convex function of the step, and made of lines: Newton's method reaches the bound from outside.
    """
    step_s = (times_s[-1] + side * rounding_s) / counts[-1]
    for _ in range(BOUND_ROUNDS):
        rest_s = times_s - counts * step_s
        highest, lowest = int(np.argmax(rest_s)), int(np.argmin(rest_s))
        span_s, lever = rest_s[highest] - rest_s[lowest], side * (counts[lowest] - counts[highest])
        if span_s <= rounding_s * SLACK + ULPS * np.spacing(times_s[-1]):
            return float(step_s)
        if lever <= 0:
            return None
        step_s -= side * (span_s - rounding_s) / lever
    return None


def _simplest(exact: _Fit | None, rounded: _Fit | None, fps: float | None) -> tuple[float, _Fit | None]:
    """The simplest rate that the times allow, and how they are counted then.

    Few rounded times allow many rates, so that the common ones go before those that fit to the last digit: 0.033 s and 0.066 s
    are not 30.303 fps.
    """
    told = (fps,) if fps else ()
    for rates, fit in (
        (told, exact), (told, rounded), (STANDARD_FPS, exact), (STANDARD_FPS, rounded),
        (None, exact), (NTSC_FPS, rounded), (SHORT_NTSC_FPS, rounded), (None, rounded),
    ):  # fmt: skip
        rate = _rate_within(rates, fit) if fit else None
        if rate:
            return rate, fit
    return 0.0, None


def _rate_within(rates: Sequence[float] | None, fit: _Fit) -> float | None:
    """The rate nearest to the middle of those that a fit allows: one of `rates`, or any with few decimals."""
    middle = _rate(fit)
    if rates is None:
        rates = [round(middle, decimals) for decimals in range(FPS_DECIMALS + 1)]
    else:
        rates = sorted((rate for rate in rates if abs(rate - middle) <= MAX_OFF * middle), key=lambda rate: abs(rate - middle))
    allowed = (rate for rate in rates if rate > 0 and fit.low_s <= SLACK_STEP / rate and fit.high_s * SLACK_STEP >= 1 / rate)
    return next(allowed, None)


def _rate(fit: _Fit) -> float:
    """The rate in the middle of those that a fit allows."""
    return 2 / (fit.low_s + fit.high_s)


def _anchored(times_s: np.ndarray, counts: np.ndarray, rate: float, rounding_s: float, is_exact: bool) -> Grid:
    """The grid of a rate, counted from 0 s where that is within the rounding and the take begins not long after."""
    rest_s = times_s - counts / rate
    low_s, high_s = float(rest_s.min()), float(rest_s.max())
    for first in (0, round((low_s + high_s) / 2 * rate)):
        if high_s - rounding_s * SLACK <= first / rate <= low_s + rounding_s * SLACK and abs(first) <= len(counts):
            return Grid(counts + first, 0.0, rate, is_exact)
    return Grid(counts, (low_s + high_s) / 2, rate, is_exact)


def _crowded_trials(times_s: np.ndarray, rounding_s: float, rate: float) -> Iterator[tuple[int, np.ndarray, Grid]]:
    """Grids of a rate that begin at different parts of a frame: rows off them and frames missing, (T,) rows on them, and they.

    Each row gets the first count that its time can mean and none before it has.
    """
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
    return float(steps_s[steps_s <= SINGLE * np.quantile(steps_s, 0.5, method="lower")].mean())
