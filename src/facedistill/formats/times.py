"""Times of takes: as files record them, rounded, doubled or swapped, and as their frames have them.

A row is *odd* if it is outside the longest ascending run. Times that fit one grid within their rounding are put on it, no others.
"""

import logging
from bisect import bisect, bisect_left, insort
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from facedistill.core.errors import InputError
from facedistill.formats import grids
from facedistill.formats.animation import Animation, check_fps, check_frames

MAX_ODD_RUN, MAX_ODD_END = 2, 1  # ascending rows that are odd together: more are another take
NEAR_ROWS = 3  # that a row may be away from where its time belongs
HOLE_S, HOLE_STEPS = 2.0, 3  # a longer step is told, if it is so many usual ones
GIVE_RATE, GIVEN_RATE = (f"{what} with --source-fps (in Python fps=)" for what in ("give the rate", "the rate given"))


@dataclass(frozen=True, eq=False)
class Recorded:
    """Times of rows as a file records them."""

    times_s: Sequence[float]  # (T,), in the order of the rows
    default_fps: float  # what one frame alone gets
    fps: float | None = None  # nominal, as the file tells it
    rounding_s: float | None = None  # what the times were rounded or cut to, 0 if not at all; told from their decimals if None
    from_zero: bool = False  # the first frame is at 0 s, whatever its time
    notes: tuple[str, ...] = ()  # what was guessed, a line each


@dataclass(frozen=True, eq=False)
class Rows:
    """What a file holds: curves, their weights (T, N), and their times, which are not read where the frame rate is given."""

    names: Sequence[str]
    weights: np.ndarray
    recorded: Callable[[], Recorded]


@dataclass(frozen=True, eq=False)
class Timeline:
    """What recorded times mean: `rows` (T,), those that are frames, in order; times (T,); frame rate; notes, a line each."""

    rows: np.ndarray
    times_s: np.ndarray
    fps: float
    notes: tuple[str, ...] = ()


def animation_of(path: Path, rows: Rows) -> Animation:
    """The animation that rows are; guesses and repairs are warnings. InputError unless of one take; ValueError as `Animation`."""
    recorded = rows.recorded()
    recorded, weights = replace(recorded, times_s=np.asarray(recorded.times_s, np.float64)), np.asarray(rows.weights, np.float64)
    check_frames(rows.names, weights, recorded.times_s)
    if recorded.fps is not None:
        check_fps(recorded.fps)
    is_repeated = np.concatenate([[False], (weights[1:] == weights[:-1]).all(axis=1)])
    try:
        found = timeline(recorded, is_repeated)
    except ValueError as error:
        raise InputError(f"{path}: {error}") from None
    for note in found.notes + recorded.notes:
        logging.getLogger(__name__).warning("%s: %s", path, note)
    times_s = found.times_s - found.times_s[0] if recorded.from_zero else found.times_s
    return Animation(tuple(rows.names), weights[found.rows], times_s, found.fps)


def timeline(recorded: Recorded, is_repeated: np.ndarray) -> Timeline:
    """What finite times mean, of which those `is_repeated` (T,) may copy the row before; ValueError if odd beyond repair."""
    times_s = recorded.times_s
    is_copy = is_repeated & (np.diff(times_s, prepend=np.nan) == 0)
    with np.errstate(all="ignore"):  # of numbers that are no times
        rows = _ascending(times_s)
        if recorded.rounding_s is None:
            recorded = replace(recorded, rounding_s=grids.rounding_of(times_s[rows]))
        trouble = _trouble(times_s, rows)
        grid = None if trouble else grids.grid_of(times_s[rows], recorded.rounding_s, recorded.fps)
        is_sure = grid and (grid.is_exact or len(rows) == len(times_s))
        found = None if is_sure else _crowded(recorded, is_copy)
        if not found and trouble:
            raise ValueError(trouble)
        found = found or (_on_grid(recorded, rows, grid, is_copy) if grid else _off_grid(recorded, rows, times_s[rows], is_copy))
        steps_s = np.diff(found.times_s, prepend=found.times_s[:1])
        late = np.flatnonzero(steps_s > max(HOLE_S, HOLE_STEPS * float(np.median(steps_s))))  # by a pause, or an odd row
        holes = _note(found.rows[late], f"comes {steps_s[late[0]]:.1f} s after the row before it") if len(late) else ()
    return replace(found, notes=found.notes + holes)


def _crowded(recorded: Recorded, is_copy: np.ndarray) -> Timeline | None:
    """A take whose frames are so near to each other that equal times are right; None if it is not, ValueError if it is broken."""
    times_s, rounding_s, n_rows = recorded.times_s, recorded.rounding_s, len(recorded.times_s)
    rows, least_s = _ascending(np.argsort(np.argsort(times_s, kind="stable"))), np.diff(times_s).min(initial=np.inf)
    grid = grids.grid_of(times_s, rounding_s, recorded.fps) if least_s == 0 else None
    if grid:
        return _on_grid(recorded, rows, grid, is_copy)
    half_s = float(np.diff(np.quantile(times_s, [0.25, 0.75]))[0])
    if not 0 < grids.TELLS_GAPS * half_s / (n_rows / 2) < rounding_s:
        return None
    if grids.are_few(int(is_copy.sum()), n_rows):  # more of them are frames in which nothing moves
        rows = rows[~is_copy[rows]]
    if trouble := _trouble(times_s, rows):
        raise ValueError(trouble)
    _, is_there, grid = grids.crowded_grid_of(times_s[rows], rounding_s, recorded.fps)
    if grid and (is_there.all() or least_s <= 0):  # rows that ascend are never odd
        return _on_grid(recorded, rows[is_there], grid, is_copy)
    _, first, which, n_equal = np.unique(times_s[rows], return_index=True, return_inverse=True, return_counts=True)
    place = np.arange(len(rows)) - first[which]  # equal times are put side by side within what they were rounded to
    return _off_grid(recorded, rows, times_s[rows] + rounding_s * ((place + 0.5) / n_equal[which] - 0.5), is_copy)


def _on_grid(recorded: Recorded, rows: np.ndarray, grid: grids.Grid, is_copy: np.ndarray) -> Timeline:
    """A take on a grid, its `rows` at the grid's counts."""
    counts = (recorded.times_s - grid.start_s) * grid.fps
    off = counts[rows] - grid.counts
    counts -= (off.min() + off.max()) / 2  # cut times are all early
    order, counts, notes = _placed(np.rint(counts), rows, grid.counts, 1.0, is_copy)
    times_s = grid.start_s + counts / grid.fps
    if grid.start_s or not recorded.rounding_s:  # to the last digit, as it was written
        written_s = recorded.times_s[order]
        times_s = np.where(np.abs(times_s - written_s) <= grids.exactness_of(written_s), written_s, times_s)
    return Timeline(order, times_s, recorded.fps or grid.fps, notes)


def _off_grid(recorded: Recorded, rows: np.ndarray, times_s: np.ndarray, is_copy: np.ndarray) -> Timeline:
    """A take on no grid, its `rows` at `times_s`."""
    step_s, rate = 1 / (recorded.fps or recorded.default_fps), recorded.default_fps
    if len(rows) > 1:
        step_s, rate = grids.usual_step_and_rate(times_s, recorded.rounding_s)
    order, times_s, notes = _placed(recorded.times_s, rows, times_s, step_s, is_copy)
    return Timeline(order, times_s, recorded.fps or rate, notes)


def _ascending(values: np.ndarray) -> np.ndarray:
    """The rows of the longest run of values (T,) that ascend, of equal ones the first."""
    if (np.diff(values) > 0).all():
        return np.arange(len(values))
    ends, piles = [], []  # of runs of 1, 2, ... rows: the least value that one ends at; rows that end one, later ones less
    for row, value in enumerate(values.tolist()):
        length = bisect_left(ends, value)
        if length == len(piles):
            ends.append(value)
            piles.append([row])
        elif value < ends[length]:
            ends[length] = value
            piles[length].append(row)
    run = [piles[-1][-1]]
    for pile in reversed(piles[:-1]):  # of several, the row that leaves the shortest step
        run.append(next(row for row in pile if values[row] < values[run[-1]]))
    return np.array(run[::-1])


def _trouble(times_s: np.ndarray, rows: np.ndarray) -> str | None:
    """Why the rows beside an ascending run make a file no take; None if they do not."""
    n_rows, odd = len(times_s), _others(len(times_s), rows)
    runs = np.split(odd, np.flatnonzero((np.diff(odd) > 1) | (np.diff(times_s[odd]) <= 0)) + 1) if len(odd) else []
    another = next((run for run in runs if len(run) > (MAX_ODD_END if run[-1] == n_rows - 1 else MAX_ODD_RUN)), None)
    if not len(odd) or (another is None and grids.are_few(len(odd), n_rows)):
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
    own: np.ndarray, rows: np.ndarray, kept: np.ndarray, step: float, is_copy: np.ndarray
) -> tuple[np.ndarray, np.ndarray, tuple[str, ...]]:
    """Puts odd rows where they belong: where their own times say, if a frame is missing there, or between their neighbours.

    Of `own` times (N,), in s or counts, those of `rows` (T,) become `kept`; other copies go. Returns rows in order, times, notes.
    """
    times, taken = np.full(len(own), np.nan), kept.tolist()
    times[rows] = kept
    odd = _others(len(own), rows)
    copies, odd = odd[is_copy[odd]], odd[~is_copy[odd]]
    before = np.searchsorted(rows, odd)  # how many rows that ascend are before each
    for row, n_before in zip(odd.tolist(), before.tolist(), strict=True):
        place, at = int(np.searchsorted(kept, own[row], side="right")), float(own[row])
        off = np.abs(at - kept[max(place - 1, 0) : place + 1]).min()
        is_near = abs(place - n_before) <= NEAR_ROWS and off <= NEAR_ROWS * step
        nearest = bisect(taken, at)
        if is_near and all(abs(at - other) > step / 2 for other in taken[max(nearest - 1, 0) : nearest + 1]):
            times[row] = at
            insort(taken, at)
    is_between = np.isnan(times[odd])
    sorted_by = times.copy()
    sorted_by[odd[is_between]] = np.concatenate([[-np.inf], kept])[before[is_between]]
    order = np.lexsort([np.isnan(times), sorted_by])
    order = order[~np.isin(order, copies)]
    notes = (
        *_note(copies, "is a copy of the row before; left out"),
        *_note(odd[~is_between], "is out of order; put where its time belongs"),
        *_note(odd[is_between], "is at a time that does not ascend; put between its neighbours"),
    )
    return order, _filled(times[order], step), notes


def _filled(times: np.ndarray, step: float) -> np.ndarray:
    """(T,) with what is missing (NaN) between its neighbours, and beyond the ends step by step."""
    places, is_known = np.arange(len(times)), ~np.isnan(times)
    first, last = places[is_known][[0, -1]]
    inside = np.interp(places, places[is_known], times[is_known])
    return inside + np.minimum(places - first, 0) * step + np.maximum(places - last, 0) * step


def _note(rows: np.ndarray, what: str) -> tuple[str, ...]:
    others = f", and {len(rows) - 1} more are such" if len(rows) > 1 else ""
    return (f"data row {rows[0] + 1} {what}{others}",) if len(rows) else ()
