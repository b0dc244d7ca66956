"""Times of takes: as files record them, rounded, doubled or swapped, and as their frames have them.

A row is *odd* if its time is outside the longest ascending run of times. Times that fit one regular grid within what they were
rounded to are put on it; all others, a phone's jitter among them, stay as they were recorded.
"""

import logging
from bisect import bisect, bisect_left, insort
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np

from facedistill.core.errors import InputError
from facedistill.formats.animation import Animation, check_fps, check_frames
from facedistill.formats.grids import (
    TELLS_GAPS,
    Grid,
    are_few,
    crowded_grid_of,
    exactness_of,
    grid_of,
    nominal_rate,
    rounding_of,
    usual_step,
)

MAX_ODD_RUN, MAX_ODD_END = 2, 1  # ascending rows that are odd together: more are another take
NEAR_ROWS = 3  # that a row may be away from where its time belongs
HOLE_S, HOLE_STEPS = 2.0, 3  # a longer step is told, if it is so many usual ones
GIVE_RATE, GIVEN_RATE = (f"{what} with --source-fps (in Python fps=)" for what in ("give the rate", "the rate given"))

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
        rounding_s: what the times were rounded or cut to, 0 if every digit is there; told from their decimals if None.

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
        rounding_s = rounding_of(recorded_s[rows]) if rounding_s is None else rounding_s
        found = _understood(_Take(recorded_s, is_copy, rounding_s, fps, default_fps), rows)
        return replace(found, notes=(*found.notes, *_holes(found)))


def _understood(take: _Take, rows: np.ndarray) -> Timeline:
    """A take of which `rows` ascend."""
    trouble = _trouble(take.times_s, rows)
    grid = None if trouble else grid_of(take.times_s[rows], take.rounding_s, take.fps)
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
    grid = grid_of(take.times_s, take.rounding_s, take.fps) if has_ties and len(rows) == n_rows else None
    if grid:
        return _on_grid(take, rows, grid)
    half_s = float(np.diff(np.quantile(take.times_s, [0.25, 0.75]))[0])
    if not 0 < TELLS_GAPS * half_s / (n_rows / 2) < take.rounding_s:
        return None
    if are_few(int(take.is_copy.sum()), n_rows):  # more of them are frames in which nothing moves
        rows = rows[~take.is_copy[rows]]
    trouble = _trouble(take.times_s, rows)
    if trouble:
        raise ValueError(trouble)
    _, is_there, grid = crowded_grid_of(take.times_s[rows], take.rounding_s, take.fps)
    if grid and (is_there.all() or (np.diff(take.times_s) <= 0).any()):  # rows that ascend are never odd
        return _on_grid(take, rows[is_there], grid)
    return _as_recorded(take, rows, _spread(take.times_s[rows], take.rounding_s))


def _on_grid(take: _Take, rows: np.ndarray, grid: Grid) -> Timeline:
    """A take on a grid, its `rows` at the grid's counts."""
    counts = (take.times_s - grid.start_s) * grid.fps
    off = counts[rows] - grid.counts
    counts -= (off.min() + off.max()) / 2  # cut times are all early
    order, counts, notes = _placed(counts, rows, grid.counts, take.is_copy, 1.0, _free_count)
    times_s = grid.start_s + counts / grid.fps
    if grid.start_s or not take.rounding_s:  # to the last digit, as it was written
        recorded_s = take.times_s[order]
        times_s = np.where(np.abs(times_s - recorded_s) <= exactness_of(recorded_s), recorded_s, times_s)
    return Timeline(order, times_s, take.fps or grid.fps, notes)


def _as_recorded(take: _Take, rows: np.ndarray, times_s: np.ndarray) -> Timeline:
    """A take on no grid, its `rows` at `times_s`."""
    if len(rows) > 1:
        step_s = usual_step(times_s, take.rounding_s)
        rate = take.fps or nominal_rate(step_s, take.rounding_s / np.ptp(times_s))
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
    if another is None and are_few(len(odd), n_rows):
        return None
    first = max(int(odd[0] if another is None else another[0]), 1)
    row = first + int(np.argmax(np.diff(times_s[first - 1 :]) <= 0))
    where = f"data row {row + 1} is at {times_s[row]:g} s, and the row before at {times_s[row - 1]:g} s"
    if another is None:
        return f"{where}, and {len(odd)} of {n_rows} rows are out of order; expected ascending times, or {GIVEN_RATE}"
    return f"{where}, as if another take began there; expected one take, or {GIVEN_RATE}"


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
        place = int(np.searchsorted(kept, own[row], side="right"))
        is_near = abs(place - int(np.searchsorted(rows, row))) <= NEAR_ROWS and bool(
            (np.abs(own[row] - kept[max(place - 1, 0) : place + 1]) <= NEAR_ROWS * step).any()
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
        _note(copies, "is a copy of the row before; left out"),
        _note(swapped, "is out of order; put where its time belongs"),
        _note(between, "is at a time that does not ascend; put between its neighbours"),
    )
    return order, _filled(times, step), tuple(note for note in notes if note)


def _free_count(at: float, taken: Sequence[float]) -> float | None:
    """The whole number nearest to `at` unless it is taken."""
    count = float(np.rint(at))
    return None if taken[max(bisect(taken, count) - 1, 0)] == count else count


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


def _holes(found: Timeline) -> tuple[str, ...]:
    """A note of the rows that come long after the ones before, which a pause makes, but an odd row or a second take too."""
    steps_s = np.diff(found.times_s, prepend=found.times_s[:1])
    late = np.flatnonzero(steps_s > max(HOLE_S, HOLE_STEPS * float(np.median(steps_s))))
    return tuple(_note(found.rows[late].tolist(), f"comes {steps_s[row]:.1f} s after the row before it") for row in late[:1])


def _note(rows: list[int], what: str) -> str:
    others = f", and {len(rows) - 1} more are such" if len(rows) > 1 else ""
    return f"data row {rows[0] + 1} {what}{others}" if rows else ""
