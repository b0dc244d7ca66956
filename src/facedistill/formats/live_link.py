"""Live Link Face for Unreal: the CSV that phones record, and the packets that they send.

Read as well: NeuroSync's seven emotions and its milliseconds in the timecode, other bases, NTSC's drop-frame, midnight.
"""

import re
import struct
import uuid
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from facedistill.core.errors import InputError
from facedistill.formats.animation import Animation
from facedistill.formats.grids import are_few
from facedistill.formats.json_csv import read_table, write_table
from facedistill.formats.times import GIVE_RATE, GIVEN_RATE, Recorded, Rows, timeline
from facedistill.rig.arkit import CURVES

ROTATIONS = tuple(f"{part}{angle}" for part in ("Head", "LeftEye", "RightEye") for angle in ("Yaw", "Pitch", "Roll"))
SWAPPED = {"jawLeft": "jawRight", "jawRight": "jawLeft", "mouthLeft": "mouthRight", "mouthRight": "mouthLeft"}
ORDER = tuple(SWAPPED.get(name, name) for name in CURVES)  # the app's, which is not ARKit's
COUNT = len(ORDER) + len(ROTATIONS)  # 61
TIMECODE = re.compile(r"(\d{1,4}):(\d{1,4}):(\d{1,4}):(\d{1,4}(?:\.\d{0,20})?)", re.ASCII)
BASES_HZ = range(10, 241)  # frames that a timecode may count in a second
COMMON_HZ = (10, 12, 15, 24, 25, 30, 48, 50, 60, 100, 120, 240)
USUAL_HZ = 60
DROPPED = {30: 2, 60: 4}  # frame numbers that NTSC's drop-frame timecode skips at most minutes, by its base
HIDDEN, COMMON = 0.5, 0.6  # what a rollover with a row missing, and what a common base count for, where a plain rollover counts 1
MAX_HIDDEN = 2  # rows missing at a rollover
MILLISECONDS_OFF = (-0.6, 1.2)  # frames that FF may be behind them: it is rounded, cut, or one too small
MILLISECONDS_ROWS = 0.95  # of a take in which they agree
TICK_S = 1 / 60_000  # the last digit that is written
DAY_S = 24 * 3600.0
DEFAULT_FPS = 60.0
DECIMALS = 10


def write(path: Path, animation: Animation) -> None:
    """Writes a take in the app's order, absent curves as 0; weights come back exactly, times within 1/60000 s.

    InputError where a curve has no column, or times would not: not from 0 s on, too close, or as irregular as another's.
    """
    if others := [name for name in animation.names if name not in ORDER + ROTATIONS]:
        allowed = f"the 52 ARKit curves, {', '.join(ROTATIONS)}"
        raise InputError(f"{path}: Live Link Face has no column for {others[0]!r}; expected {allowed}")
    timecodes = [_timecode(time_s) for time_s in np.clip(animation.times_s, 0, DAY_S)]
    if not _come_back(timecodes, animation.times_s):
        allowed = "times from 0 s to 24 h that are near regular; or resample with an explicit frame rate"
        raise InputError(f"{path}: these times would not come back from a timecode; expected {allowed}")
    header = ["Timecode", "BlendshapeCount", *(name[0].upper() + name[1:] for name in ORDER), *ROTATIONS]
    columns = animation.select(ORDER + ROTATIONS)
    rows = ([code, COUNT, *map(_decimal, row.tolist())] for code, row in zip(timecodes, columns, strict=True))
    write_table(path, header, rows)


def read(path: Path) -> Rows:
    """Reads a take by the names in its header; times count from its first row, by the base that the timecode's rollovers show."""
    header, texts, weights = read_table(path, _count_texts)
    return Rows(header[2:], weights, lambda: _recorded([timecode for timecode, _ in texts]))


def packet(subject: str, frame: int, *, fps: int, weights: Mapping[str, float]) -> bytes:
    """Frame number `frame` since midnight, over UDP as Unreal reads it: Apple's curves, 0 if not in `weights`; no rotations."""
    name = subject.encode()
    device = f"${uuid.uuid5(uuid.NAMESPACE_DNS, f'{subject}.facedistill')}".encode()  # the same whenever it comes back
    head = struct.pack("<I", 6) + device + struct.pack(">i", len(name)) + name  # version 6
    values = [weights.get(curve, 0.0) for curve in CURVES] + [0.0] * len(ROTATIONS)
    return head + struct.pack(f">ifiiB{COUNT}f", frame, 0.0, fps, 1, COUNT, *values)


def is_header(columns: Sequence[str]) -> bool:
    """Whether the columns of a CSV are those of a take."""
    return [column.strip().lower() for column in columns[:2]] == ["timecode", "blendshapecount"]


def _count_texts(header: list[str]) -> int:
    if not is_header(header):
        raise ValueError(f"its columns begin with {header[:2]}, not with Timecode and BlendshapeCount")
    return 2


def _decimal(value: float) -> str:
    """Ten decimals as the app writes, and as many more as the value needs to come back the same."""
    text = f"{value:.{DECIMALS}f}"
    return text if float(text) == value else np.format_float_positional(value, unique=True, min_digits=DECIMALS)


def _timecode(time_s: float) -> str:
    """HH:MM:SS:FF.fff, FF in 60ths of a second, fff in thousandths of one."""
    seconds, ticks = divmod(round(time_s / TICK_S), 60_000)
    minutes, seconds = divmod(seconds, 60)
    return f"{minutes // 60 % 24:02d}:{minutes % 60:02d}:{seconds:02d}:{ticks // 1000:02d}.{ticks % 1000:03d}"


def _come_back(timecodes: Sequence[str], times_s: np.ndarray) -> bool:
    """Whether `read` would read these times (T,) from the timecodes."""
    try:
        found_s = timeline(_recorded(timecodes), np.zeros(len(times_s), bool)).times_s
    except ValueError:
        return False
    return bool((np.abs(found_s - found_s[0] - times_s) <= TICK_S).all())


def _recorded(timecodes: Sequence[str]) -> Recorded:
    """What timecodes mean."""
    matches = [TIMECODE.fullmatch(code.strip()) for code in timecodes]
    if None in matches:
        row = matches.index(None)
        raise ValueError(f"data row {row + 1}: timecode {timecodes[row]!r}; expected HH:MM:SS:FF.fff, or {GIVEN_RATE}")
    parts = np.array([match.groups() for match in matches], np.float64).reshape(-1, 4)
    day_s = parts[:, :3] @ np.array([3600.0, 60.0, 1.0])
    steps_s = np.diff(day_s, prepend=day_s[:1])  # a fall of more than half a day is midnight, a rise a row from before it
    clock_s = day_s + DAY_S * np.cumsum((steps_s < -DAY_S / 2).astype(int) - (steps_s > DAY_S / 2))
    frames = np.floor(parts[:, 3])
    seconds, fractions = clock_s - clock_s[:1], parts[:, 3] - frames
    if _are_milliseconds(seconds, frames, fractions):
        return Recorded(seconds + fractions - fractions[:1], DEFAULT_FPS, rounding_s=1e-3, from_zero=True)
    base_hz, notes = _base_hz(seconds, frames)
    n_dropped = _dropped(clock_s, frames, base_hz)
    numbers = seconds * base_hz + (parts[:, 3] - parts[:1, 3]) - (n_dropped - n_dropped[:1])
    frame_s = (1.001 if n_dropped.any() else 1) / base_hz
    n_decimals = max((len(code.rpartition(".")[2]) if "." in code else 0 for code in timecodes), default=0)
    is_counted = n_dropped.any() and not n_decimals and are_few(len(numbers) - len(np.unique(numbers)), len(numbers))
    rounding_s = 0.0 if is_counted else 10.0**-n_decimals * frame_s
    return Recorded(numbers * frame_s, DEFAULT_FPS, rounding_s=rounding_s, from_zero=True, notes=notes)


def _dropped(clock_s: np.ndarray, frames: np.ndarray, base_hz: int) -> np.ndarray:
    """(T,) frame numbers that a timecode has skipped since midnight: none unless it is of NTSC's drop-frame kind.

    That skips the first FF of minutes that are no multiple of ten: all such minutes begin so, and most other seconds do not.
    """
    n_skipped, minutes = DROPPED.get(base_hz, 0), clock_s // 60
    skips, is_low = (clock_s % 60 == 0) & (minutes % 10 > 0), frames < n_skipped
    begun = np.intersect1d(clock_s[frames < 2 * n_skipped], clock_s[frames >= base_hz - n_skipped] + 1)  # no pause is there
    at_minutes, is_plain = np.isin(begun, clock_s[skips]), np.isin(begun, clock_s[is_low])
    if not at_minutes.any() or (skips & is_low).any() or is_plain.sum() <= 0.5 * (~at_minutes).sum():
        n_skipped = 0
    return n_skipped * (minutes - minutes // 10)


def _base_hz(seconds: np.ndarray, frames: np.ndarray) -> tuple[int, tuple[str, ...]]:
    """Frames in a second of timecode, and a note if that is a guess.

    At a rollover, it is the last FF of a second and a usual step more, several where rows lack. Any FF not garbled is below it.
    """
    counted, n_rows = np.unique(frames, return_counts=True)
    gaps = np.diff(counted)
    is_garbled = len(gaps) > 1 and n_rows[-1] == 1 and gaps[-1] > 3 * gaps[:-1].max()
    rows = np.stack([seconds, frames], axis=1)
    codes = np.unique(rows[frames < counted[-1]] if is_garbled else rows, axis=0)  # none doubled or swapped
    to_next = np.diff(codes, axis=0)
    steps, ends = to_next[to_next[:, 0] == 0, 1], np.flatnonzero(to_next[:, 0] == 1)
    if not (len(steps) and len(ends)):
        needed = int(codes[:, 1].max(initial=0)) + 1
        best = next((base for base in COMMON_HZ if base >= max(needed, USUAL_HZ)), needed)
        if (frames == frames[:1]).all():  # whatever the base is
            return best, ()
        why = "its timecode does not show how many frames it counts in a second"
    else:
        best, n_plain = _rollover_base(codes[:, 1], steps, ends)
        if n_plain > 1 or (n_plain and best == USUAL_HZ):
            return best, ()
        once = "its timecode shows only once how many frames it counts in a second"  # unless rows are missing just before
        why = once if n_plain else "rows are missing where its timecode rolls over"
    return best, (f"{why}; {best} frames a second are assumed; {GIVE_RATE}",)


def _rollover_base(frames: np.ndarray, steps: np.ndarray, ends: np.ndarray) -> tuple[int, int]:
    """The base that most rollovers show, and how many with no row missing, of sorted FF; `ends` are the last of seconds."""
    short, long = np.quantile(steps, [0.05, 0.95], method="nearest")
    last, first = frames[ends], frames[ends + 1]
    plain, score = {}, {}
    for base in BASES_HZ:
        over = np.where(base > last, base - last + first, 0)
        plain[base] = int(((over >= short) & (over <= long)).sum())
        hidden = int(((over > long) & (over <= (MAX_HIDDEN + 1) * long)).sum())
        beyond = int((frames >= base).sum())
        score[base] = 2 * (plain[base] - beyond) + (1 + HIDDEN) * hidden + COMMON * (base in COMMON_HZ)
    best = max(score, key=score.get)  # of equals the first, with the fewest rows missing
    return best, plain[best]


def _are_milliseconds(seconds: np.ndarray, frames: np.ndarray, fractions: np.ndarray) -> bool:
    """Whether a take is NeuroSync's, with FF.mmm, mmm the milliseconds of the second, where the app has a fraction of a frame."""
    n_different, (low, high) = len(np.unique(frames)), MILLISECONDS_OFF
    if not fractions.any() or n_different < 2:
        return False
    behind = (fractions * base - frames for base in BASES_HZ)
    if not any(((off >= low) & (off <= high)).mean() >= MILLISECONDS_ROWS for off in behind):
        return False
    steps_s = [np.abs(np.diff(times_s)).min() for times_s in (seconds + fractions, seconds + (frames + fractions) / USUAL_HZ)]
    return n_different > 2 or steps_s[0] > steps_s[1]  # a few rows can be both, but frames are not crowded
