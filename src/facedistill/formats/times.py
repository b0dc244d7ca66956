"""Times of takes: as files record them, rounded, doubled or swapped, and as their frames have them.

A row is *odd* if its time is outside the longest ascending run of times. Times that fit one regular grid within what they were
rounded to are put on it; all others, a phone's jitter among them, stay as they were recorded.
"""

import logging
from bisect import bisect, bisect_left, insort
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np

from facedistill.core.errors import InputError
from facedistill.formats.animation import Animation, check_fps, check_frames

STANDARD_FPS = (24.0, 25.0, 30.0, 48.0, 50.0, 60.0, 100.0, 120.0)
NTSC_FPS = tuple(1000 / 1001 * fps for fps in (24, 30, 48, 60, 120))
FPS_DECIMALS = 3  # of any other rate that is told from times
MAX_OFF = 0.2  # of a rate that a short take allows too, from the middle of those it allows
NOMINAL_OFF = 0.01  # phones record 59.9 fps where they mean 60
EXACT_S = 1e-9
MAX_EXACT_S = 1e-4  # floats that are coarser than this hold no times of frames
MAX_DECIMALS = 8  # of a second; more are as good as exact
SLACK, SLACK_STEP = 1 + 1e-6, 1 + 1e-12  # of floats
TELLS_GAPS = 0.65  # rounding, in steps, up to which a missing row shows; above, rows count
MAX_WHOLE_FPS, N_SHIFTS = 250, 16  # rates, and starts within a frame, that are tried where neither shows
MAX_ODD = 0.05  # of the rows; one is always allowed
MAX_ODD_RUN, MAX_ODD_END = 2, 1  # ascending rows that are odd together: more are another take
NEAR_ROWS = 3  # that a row may be away from where its time belongs
BY_THE_ROW = "a frame rate that goes by the row (--source-fps, in Python fps=)"

Room = Callable[[float, Sequence[float]], float | None]

log = logging.getLogger(__name__)


@dataclass(frozen=True, eq=False)
class Timeline:
    """What the recorded times of a take mean.

    Attributes:
        rows: (T,) the rows of the file that are frames, in the order of time.
        times_s: (T,) float64, ascending.
        fps: the nominal frame rate.
        notes: what was guessed or put right, a line each.
    """

    rows: np.ndarray
    times_s: np.ndarray
    fps: float
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, eq=False)
class _Take:
    """Rows (T,) as a file has them; see `timeline`."""

    times_s: np.ndarray
    is_copy: np.ndarray
    rounding_s: float
    fps: float | None
    default_fps: float


@dataclass(frozen=True, eq=False)
class _Grid:
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


def take(
    path: Path, names: Sequence[str], weights: np.ndarray, recorded_s: np.ndarray, *,
    default_fps: float, fps: float | None = None, rounding_s: float | None = None,
) -> Animation:  # fmt: skip
    """The animation that rows with recorded times are; what is guessed or put right is told as a warning.

    Args:
        path: of the file, for what is told.
        weights: (T, N), in the file's order.
        recorded_s: (T,) seconds.
        default_fps: what one frame alone gets.
        fps: nominal, as the file tells it.
        rounding_s: what the times were rounded or cut to; told from their decimals if None.

    Raises:
        InputError: the times are not those of one take.
        ValueError: see `Animation`.
    """
    weights, recorded_s = np.asarray(weights, np.float64), np.asarray(recorded_s, np.float64)
    check_frames(names, weights, recorded_s)
    if fps is not None:
        check_fps(fps)
    try:
        found = timeline(recorded_s, repeated(weights), default_fps=default_fps, fps=fps, rounding_s=rounding_s)
    except ValueError as error:
        raise InputError(f"{path}: {error}") from None
    tell(path, found.notes)
    return Animation(tuple(names), weights[found.rows], found.times_s, found.fps)


def tell(path: Path, notes: Sequence[str]) -> None:
    """Warns of what was guessed or put right in a file."""
    for note in notes:
        log.warning("%s: %s", path, note)


def repeated(weights: np.ndarray) -> np.ndarray:
    """(T,) whether a row of (T, N) is the same as the one before."""
    return np.concatenate([[False], (weights[1:] == weights[:-1]).all(axis=1)])


def timeline(
    recorded_s: np.ndarray, is_repeated: np.ndarray, *,
    default_fps: float, fps: float | None = None, rounding_s: float | None = None,
) -> Timeline:  # fmt: skip
    """What recorded times mean.

    Args:
        recorded_s: (T,) finite seconds, in the order of the rows.
        is_repeated: (T,) rows that are copies of the one before, if their times are the same too.
        default_fps, fps, rounding_s: see `take`.

    Raises:
        ValueError: too many rows are odd, or the times start over.
    """
    is_copy = is_repeated & (np.diff(recorded_s, prepend=np.nan) == 0)
    with np.errstate(all="ignore"):  # of numbers that are no times
        rows = _ascending(recorded_s)
        rounding_s = _rounding(recorded_s[rows]) if rounding_s is None else rounding_s
        return _understood(_Take(recorded_s, is_copy, rounding_s, fps, default_fps), rows)


def _understood(take: _Take, rows: np.ndarray) -> Timeline:
    """A take of which `rows` ascend."""
    trouble = _trouble(take.times_s, rows)
    grid = None if trouble else _grid(take.times_s[rows], take)
    if not (grid and (grid.is_exact or len(rows) == len(take.times_s))):
        found = _crowded(take)
        if found:
            return found
    if trouble:
        raise ValueError(trouble)
    return _on_grid(take, rows, grid) if grid else _as_recorded(take, rows, take.times_s[rows])


def _crowded(take: _Take) -> Timeline | None:
    """A take whose frames are about as near to each other as its times tell, so that equal times are right; None if it is not.

    Raises:
        ValueError: it is, and too many rows are odd.
    """
    n_rows, rows = len(take.times_s), _ascending(take.times_s, ties=True)
    has_ties = bool((np.diff(take.times_s) == 0).any())
    grid = _grid(take.times_s, take) if has_ties and len(rows) == n_rows else None
    if grid:
        return _on_grid(take, rows, grid)
    half_s = float(np.diff(np.quantile(take.times_s, [0.25, 0.75]))[0])
    if not 0 < TELLS_GAPS * half_s / (n_rows / 2) < take.rounding_s:
        return None
    if _are_few(int(take.is_copy.sum()), n_rows):  # more of them are frames in which nothing moves
        rows = rows[~take.is_copy[rows]]
    trouble = _trouble(take.times_s, rows)
    if trouble:
        raise ValueError(trouble)
    is_there, grid = _crowded_grid(take.times_s[rows], take)
    if grid:
        return _on_grid(take, rows[is_there], grid)
    return _as_recorded(take, rows, _spread(take.times_s[rows], take.rounding_s))


def _crowded_grid(times_s: np.ndarray, take: _Take) -> tuple[np.ndarray, _Grid | None]:
    """(T,) which of the rows are on a grid of a simple rate, and that, with few of them off it and few frames missing."""
    n_rows, lasts_s = len(times_s), float(times_s[-1] - times_s[0])
    slowest = (n_rows - 1) / (lasts_s + take.rounding_s)
    fastest = n_rows * (1 + MAX_ODD) / max(lasts_s - take.rounding_s, take.rounding_s)
    for rates in ((take.fps,) if take.fps else (), STANDARD_FPS, NTSC_FPS, range(1, MAX_WHOLE_FPS)):
        tried = [
            (int((~is_there).sum()) + int(counts[-1] - counts[0]) - n_rows + 1, rate, counts, is_there)
            for rate in rates
            if slowest <= rate <= fastest
            for shift in np.arange(N_SHIFTS) / N_SHIFTS
            for counts, is_there in [_crowded_counts(times_s, take.rounding_s, rate, shift / rate)]
        ]
        n_off, rate, counts, is_there = min(tried, key=lambda trial: trial[0], default=(n_rows, 0.0, None, None))
        if _are_few(n_off, n_rows) and np.ptp(times_s[is_there] - counts[is_there] / rate) <= take.rounding_s * SLACK:
            return is_there, _anchored(times_s[is_there], counts[is_there], rate, take.rounding_s, is_exact=False)
    return np.ones(n_rows, bool), None


def _crowded_counts(times_s: np.ndarray, rounding_s: float, rate: float, start_s: float) -> tuple[np.ndarray, np.ndarray]:
    """(T,) the first steps of a grid from `start_s` on that the times can mean, one for each, and (T,) whether they can."""
    from_start_s, half_s = times_s - times_s[0] - start_s, (rounding_s + 1 / (rate * N_SHIFTS)) / 2
    places = np.arange(len(times_s))
    counts = np.maximum.accumulate(np.ceil((from_start_s - half_s) * rate) - places) + places
    return counts, counts <= (from_start_s + half_s) * rate


def _on_grid(take: _Take, rows: np.ndarray, grid: _Grid) -> Timeline:
    """A take on a grid, its `rows` at the grid's counts."""
    counts = (take.times_s - grid.start_s) * grid.fps
    rest = counts[rows] - grid.counts
    own, off = counts - (rest.min() + rest.max()) / 2, 0.5 + (0 if grid.is_exact else take.rounding_s * grid.fps / 2)
    order, counts, notes = _placed(own, rows, grid.counts, take.is_copy, 1.0, partial(_free_count, off=off))
    times_s = grid.start_s + counts / grid.fps
    if grid.start_s:  # to the last digit, as it was written
        recorded_s = take.times_s[order]
        times_s = np.where(np.abs(times_s - recorded_s) <= EXACT_S, recorded_s, times_s)
    return Timeline(order, times_s, take.fps or grid.fps, notes)


def _as_recorded(take: _Take, rows: np.ndarray, times_s: np.ndarray) -> Timeline:
    """A take on no grid, its `rows` at `times_s`."""
    if len(rows) > 1:
        step_s = _usual_step(times_s, take.rounding_s)
        rate = take.fps or _nominal(step_s, take.rounding_s / np.ptp(times_s))
    else:
        rate = take.fps or take.default_fps
        step_s = 1 / rate
    order, times_s, notes = _placed(take.times_s, rows, times_s, take.is_copy, step_s, partial(_free_time, step_s=step_s))
    return Timeline(order, times_s, rate, notes)


def _spread(times_s: np.ndarray, rounding_s: float) -> np.ndarray:
    """Ascending times (T,), equal ones side by side within what they were rounded to."""
    _, first, which, n_equal = np.unique(times_s, return_index=True, return_inverse=True, return_counts=True)
    place = np.arange(len(times_s)) - first[which]
    return times_s + rounding_s * ((place + 0.5) / n_equal[which] - 0.5)


def _ascending(times_s: np.ndarray, *, ties: bool = False) -> np.ndarray:
    """The rows of the longest ascending run of times, of equal ones the first, or with `ties` all."""
    steps_s = np.diff(times_s)
    if (steps_s >= 0).all() if ties else (steps_s > 0).all():
        return np.arange(len(times_s))
    ends_s, piles = [], []  # of runs of 1, 2, ... rows: the earliest time that one ends at; rows that end one, later ones earlier
    for row, time_s in enumerate(times_s.tolist()):
        length = bisect(ends_s, time_s) if ties else bisect_left(ends_s, time_s)
        if length == len(piles):
            ends_s.append(time_s)
            piles.append([row])
        elif time_s < ends_s[length]:
            ends_s[length] = time_s
            piles[length].append(row)
    run = [piles[-1][-1]]
    for pile in reversed(piles[:-1]):  # of several, the row that leaves the shortest step
        end_s = times_s[run[-1]]
        run.append(next(row for row in pile if times_s[row] < end_s or ties and times_s[row] == end_s))
    return np.array(run[::-1])


def _trouble(times_s: np.ndarray, rows: np.ndarray) -> str | None:
    """Why the rows beside an ascending run make a file no take; None if they do not."""
    n_rows, odd = len(times_s), _others(len(times_s), rows)
    if not len(odd):
        return None
    runs = np.split(odd, np.flatnonzero((np.diff(odd) > 1) | (np.diff(times_s[odd]) <= 0)) + 1)
    another = next((run for run in runs if len(run) > (MAX_ODD_END if run[-1] == n_rows - 1 else MAX_ODD_RUN)), None)
    if another is None and _are_few(len(odd), n_rows):
        return None
    first = max(int(odd[0] if another is None else another[0]), 1)
    row = first + int(np.argmax(np.diff(times_s[first - 1 :]) <= 0))
    where = f"data row {row + 1} is at {times_s[row]:g} s, and the row before at {times_s[row - 1]:g} s"
    if another is None:
        return f"{where}, and {len(odd)} of {n_rows} rows are out of order; expected ascending times, or {BY_THE_ROW}"
    return f"{where}, as if another take began there; expected one take, or {BY_THE_ROW}"


def _are_few(count: int, n_rows: int) -> bool:
    return count <= max(1, MAX_ODD * n_rows)


def _others(n_rows: int, rows: np.ndarray) -> np.ndarray:
    return np.setdiff1d(np.arange(n_rows), rows, assume_unique=True)


def _placed(
    own: np.ndarray, rows: np.ndarray, kept: np.ndarray, is_copy: np.ndarray, step: float, room: Room
) -> tuple[np.ndarray, np.ndarray, tuple[str, ...]]:
    """Puts odd rows where they belong: where their own times say, if a frame is missing there, or between their neighbours.

    Args:
        own: (N,) recorded times of all rows, in seconds or in counts.
        rows, kept: (T,) rows that ascend, and their times.
        step: from frame to frame.
        room: where among ascending times a recorded one belongs; None where all is taken.

    Returns:
        The rows in their order, their times, and notes.
    """
    there = dict(zip(rows.tolist(), kept.tolist(), strict=True))
    odd = _others(len(own), rows)
    copies, swapped, between, taken = odd[is_copy[odd]].tolist(), [], [], kept.tolist()
    for row in odd[~is_copy[odd]].tolist():
        place = bisect(taken, own[row])
        is_near = abs(place - int(np.searchsorted(rows, row))) <= NEAR_ROWS and any(
            abs(own[row] - other) <= NEAR_ROWS * step for other in taken[max(place - 1, 0) : place + 1]
        )
        at = room(float(own[row]), taken) if is_near else None
        if at is None:
            between.append(row)
        else:
            there[row] = at
            insort(taken, at)
            swapped.append(row)
    after = {row: kept[n - 1] if n else -np.inf for row in between for n in [np.searchsorted(rows, row)]}
    order = np.array(sorted([*there, *between], key=lambda row: (there.get(row, after.get(row)), row in after, row)))
    times = np.array([there.get(row, np.nan) for row in order.tolist()])
    notes = (
        _note(copies, "a copy of the row before; left out"),
        _note(swapped, "out of order; put where its time belongs"),
        _note(between, "at a time that does not ascend; put between its neighbours"),
    )
    return order, _filled(times, step), tuple(note for note in notes if note)


def _free_count(at: float, taken: Sequence[float], off: float) -> float | None:
    """The whole number nearest to `at`, and at most `off` from it, that is not taken."""
    for count in sorted((np.rint(at) + side for side in (-1.0, 0.0, 1.0)), key=lambda count: abs(count - at)):
        if abs(count - at) <= off and taken[max(bisect(taken, count) - 1, 0)] != count:
            return float(count)
    return None


def _free_time(at: float, taken: Sequence[float], step_s: float) -> float | None:
    """`at` itself, unless another time is nearer than half a step."""
    place = bisect(taken, at)
    return at if all(abs(at - other) > step_s / 2 for other in taken[max(place - 1, 0) : place + 1]) else None


def _filled(times: np.ndarray, step: float) -> np.ndarray:
    """(T,) with what is missing (NaN) between its neighbours, and beyond the ends step by step."""
    places, is_known = np.arange(len(times)), ~np.isnan(times)
    first, last = places[is_known][[0, -1]]
    inside = np.interp(places, places[is_known], times[is_known])
    return inside + np.minimum(places - first, 0) * step + np.maximum(places - last, 0) * step


def _note(rows: list[int], what: str) -> str:
    others = f", and {len(rows) - 1} more are such" if len(rows) > 1 else ""
    return f"data row {rows[0] + 1} is {what}{others}" if rows else ""


def _usual_step(times_s: np.ndarray, rounding_s: float) -> float:
    """The step of most rows; of all where the rounding hides whether any is missing."""
    steps_s = np.diff(times_s)
    if rounding_s > TELLS_GAPS * steps_s.mean():
        return float(steps_s.mean())
    return float(steps_s[np.abs(steps_s / _median(steps_s) - 1) < 0.5].mean())


def _median(steps_s: np.ndarray) -> float:
    """The middle one, or the one below the middle."""
    return float(np.quantile(steps_s, 0.5, method="lower"))


def _nominal(step_s: float, off: float) -> float:
    """The common rate near a step, or else the step's own."""
    nearest = min(STANDARD_FPS, key=lambda fps: abs(fps * step_s - 1))
    return nearest if abs(nearest * step_s - 1) < max(off, NOMINAL_OFF) else float(f"{1 / step_s:.6g}")


def _rounding(times_s: np.ndarray) -> float:
    """What times were rounded to: a power of ten, or what float32 leaves; 0 if neither shows."""
    with np.errstate(over="ignore", invalid="ignore"):
        for decimals in range(MAX_DECIMALS + 1):
            if (np.round(times_s, decimals) == times_s).all():
                return 10.0**-decimals
        singles = times_s.astype(np.float32)
    return float(np.spacing(np.abs(singles).max())) if (singles == times_s).all() else 0.0


def _grid(times_s: np.ndarray, take: _Take) -> _Grid | None:
    """The grid that ascending times (T,) are on, of the simplest rate that the whole take allows; None if they are on none."""
    exact_s = max(EXACT_S, 8 * float(np.spacing(np.abs(times_s).max())))
    if exact_s > MAX_EXACT_S or times_s[-1] - times_s[0] <= exact_s:
        return None
    from_first_s, rounding_s = times_s - times_s[0], max(take.rounding_s, exact_s)
    exact, rounded = _fit(from_first_s, exact_s), _fit(from_first_s, rounding_s)
    if exact and rounding_s > TELLS_GAPS / _rate(exact) and not _are_few(int(exact.counts[-1]) - len(times_s) + 1, len(times_s)):
        exact = None  # 90 fps with two decimals are 100 fps with a tenth missing, too
    rate, fit = _simplest(exact, rounded, take.fps)
    return None if fit is None else _anchored(times_s, fit.counts, rate, rounding_s, fit is exact)


def _counts(times_s: np.ndarray, rounding_s: float) -> Iterator[np.ndarray]:
    """Ways to count rows in steps, those with the fewest missing first."""
    yield np.arange(len(times_s))
    steps_s = np.diff(times_s)
    for step_s in (times_s[-1] / len(steps_s), _median(steps_s)):
        if rounding_s <= TELLS_GAPS * step_s:
            yield np.concatenate([[0], np.cumsum(_steps_between(steps_s, step_s))])


def _steps_between(steps_s: np.ndarray, step_s: float, n_rounds: int = 20) -> np.ndarray:
    """How many steps there are from row to row, counted again with the step that the count before gives."""
    counted = np.maximum(1, np.rint(steps_s / step_s))
    for _ in range(n_rounds):
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


def _bound(times_s: np.ndarray, counts: np.ndarray, rounding_s: float, side: int, n_rounds: int = 100) -> float | None:
    """The shortest (side -1) or longest (1) step with which times are within the rounding of their counts; None without any.

    How far residuals span is a convex function of the step, and made of lines: Newton's method reaches the bound from outside.
    """
    step_s = (times_s[-1] + side * rounding_s) / counts[-1]
    for _ in range(n_rounds):
        rest_s = times_s - counts * step_s
        highest, lowest = int(np.argmax(rest_s)), int(np.argmin(rest_s))
        span_s, lever = rest_s[highest] - rest_s[lowest], side * (counts[lowest] - counts[highest])
        if span_s <= rounding_s * SLACK:
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
        (None, exact), (NTSC_FPS, rounded), (None, rounded),
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


def _anchored(times_s: np.ndarray, counts: np.ndarray, rate: float, rounding_s: float, is_exact: bool) -> _Grid:
    """The grid of a rate, counted from 0 s where that is within the rounding and the take begins not long after."""
    rest_s = times_s - counts / rate
    low_s, high_s = float(rest_s.min()), float(rest_s.max())
    for first in (0, round((low_s + high_s) / 2 * rate)):
        if high_s - rounding_s * SLACK <= first / rate <= low_s + rounding_s * SLACK and abs(first) <= len(counts):
            return _Grid(counts + first, 0.0, rate, is_exact)
    return _Grid(counts, (low_s + high_s) / 2, rate, is_exact)
