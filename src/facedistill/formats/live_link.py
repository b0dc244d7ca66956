"""Live Link Face CSV, as phones record it for Unreal: timecode, count, 52 curves in its own order, 9 rotations (radians).

Seen in real files and read here: both spellings of the count column, ARKit's order and the app's, NeuroSync's seven emotions
after the rotations, timecode in 60ths, 30ths, 25ths or 24ths of a second, dropped frames, a midnight, weights up to 1.053.
"""

import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from facedistill.core.errors import InputError
from facedistill.core.files import write_text
from facedistill.face.arkit import CURVES
from facedistill.formats.animation import Animation, frame_rate, regular
from facedistill.formats.parsing import cells, read_table, reading, table_text

ROTATIONS = (
    "HeadYaw", "HeadPitch", "HeadRoll",
    "LeftEyeYaw", "LeftEyePitch", "LeftEyeRoll", "RightEyeYaw", "RightEyePitch", "RightEyeRoll",
)  # fmt: skip
SWAPPED = {"jawLeft": "jawRight", "jawRight": "jawLeft", "mouthLeft": "mouthRight", "mouthRight": "mouthLeft"}
ORDER = tuple(SWAPPED.get(name, name) for name in CURVES)  # the app's, which is not ARKit's
COUNT = len(ORDER) + len(ROTATIONS)  # 61
TIMECODE = re.compile(r"(\d{1,4}):(\d{1,4}):(\d{1,4}):(\d{1,4}(?:\.\d{0,20})?)", re.ASCII)
TIMECODE_HZ = (60, 30, 25, 24)
TICK_S = 1 / 60_000  # the last digit that is written
MAX_IRREGULARITY = 0.3  # of steps where a timecode in other than 60ths is read rightly
DAY_S = 24 * 3600.0
DEFAULT_FPS = 60.0
DECIMALS = 10


def write(path: Path, animation: Animation) -> None:
    """Writes a take in the app's order, absent curves as 0; weights come back exactly, times within 1/60000 s.

    Raises:
        InputError: a curve has no column in this format, or the times would not come back from a timecode: they do not begin at
            0 s, are too close together, or so irregular that their timecode would be taken for another.
    """
    others = [name for name in animation.names if name not in ORDER + ROTATIONS]
    if others:
        allowed = f"the 52 ARKit curves, {', '.join(ROTATIONS)}"
        raise InputError(f"{path}: Live Link Face has no column for {others[0]!r}; allowed: {allowed}")
    timecodes = [_timecode(time_s) for time_s in np.clip(animation.times_s, 0, DAY_S)]
    if np.abs(_times(timecodes)[0] - animation.times_s).max() > TICK_S:
        allowed = "times from 0 s to 24 h that are near regular; or resample with an explicit frame rate"
        raise InputError(f"{path}: these times would not come back from a timecode; allowed: {allowed}")
    header = ["Timecode", "BlendshapeCount", *(name[0].upper() + name[1:] for name in ORDER), *ROTATIONS]
    columns = animation.select(ORDER + ROTATIONS)
    rows = [[code, COUNT, *map(_decimal, row)] for code, row in zip(timecodes, columns.tolist(), strict=True)]
    write_text(path, table_text(header, rows))


def read(path: Path, fps: float | None = None) -> Animation:
    """Reads a take by the names in its header; times count from its first row.

    Times within rounding of a regular grid are put on it; others stay as recorded. A timecode that goes backwards, other than
    over midnight, is not believed: rows then stand at 60 fps.

    Args:
        fps: goes by the row and not by the timecode.

    Raises:
        InputError: not a Live Link Face CSV.
    """
    with reading(path, "a Live Link Face CSV"):
        header, rows = read_table(path)
        if [column.strip().lower() for column in header[:2]] != ["timecode", "blendshapecount"]:
            raise ValueError(f"its columns begin with {header[:2]}, not with Timecode and BlendshapeCount")
        names, weights = tuple(header[2:]), cells([row[2:] for row in rows], len(header) - 2)
        if fps:
            return regular(names, weights, fps)
        times_s, rate = _times([row[0] for row in rows])
        return Animation(names, weights, times_s, rate)


def _decimal(value: float) -> str:
    """Ten decimals as the app writes, and as many more as the value needs to come back the same."""
    text = f"{value:.{DECIMALS}f}"
    return text if float(text) == value else np.format_float_positional(value, unique=True, min_digits=DECIMALS)


def _timecode(time_s: float) -> str:
    """HH:MM:SS:FF.fff, FF in 60ths of a second, fff in thousandths of one."""
    seconds, ticks = divmod(round(time_s / TICK_S), 60_000)
    minutes, seconds = divmod(seconds, 60)
    return f"{minutes // 60 % 24:02d}:{minutes % 60:02d}:{seconds:02d}:{ticks // 1000:02d}.{ticks % 1000:03d}"


def _times(timecodes: Sequence[str]) -> tuple[np.ndarray, float]:
    """(T,) seconds from the first row on, and the nominal frame rate."""
    matches = [TIMECODE.fullmatch(code.strip()) for code in timecodes]
    if None in matches:
        code = timecodes[matches.index(None)]
        raise ValueError(f"timecode {code!r}; allowed: HH:MM:SS:FF.fff, or an explicit fps that goes by the row")
    parts = np.array([match.groups() for match in matches], np.float64).reshape(-1, 4)
    parts[:, 3] = _without_milliseconds(parts[:, 3])
    times_s = _from_first(parts, _base_hz(parts))
    if (np.diff(times_s) <= 0).any():
        return np.arange(len(times_s)) / DEFAULT_FPS, DEFAULT_FPS
    rate = frame_rate(times_s, DEFAULT_FPS)
    grid_s = np.arange(len(times_s)) / rate
    return (grid_s if (np.abs(times_s - grid_s) <= 0.51 * TICK_S).all() else times_s), rate


def _without_milliseconds(frames: np.ndarray) -> np.ndarray:
    """NeuroSync writes FF.mmm, mmm the milliseconds of the same second, where the app writes a fraction of a frame."""
    whole = np.floor(frames)
    milliseconds = np.abs((frames - whole) * 1000 - whole * 1000 / 60) <= 1
    return whole if len(frames) and whole.max() >= 30 and milliseconds.all() else frames


def _base_hz(parts: np.ndarray) -> int:
    """Frames in a second of timecode: what makes the steps the most regular; 60 where that leaves a doubt."""
    found = {
        base_hz: round(_irregularity(np.diff(_from_first(parts, base_hz))), 3)
        for base_hz in TIMECODE_HZ
        if (parts[:, 3] < base_hz).all()
    }
    best = min(found, key=found.get, default=TIMECODE_HZ[0])  # of equals the first, so that 60 wins
    return best if found.get(best, 1.0) < MAX_IRREGULARITY else TIMECODE_HZ[0]


def _irregularity(steps_s: np.ndarray) -> float:
    """How far steps are from their median on average, as a part of it."""
    median_s = float(np.median(steps_s)) if len(steps_s) else 0.0
    return float(np.abs(steps_s - median_s).mean()) / median_s if median_s > 0 else 0.0


def _from_first(parts: np.ndarray, base_hz: int) -> np.ndarray:
    """(T,) seconds from the first row on; a fall of more than half a day is midnight."""
    times_s = parts @ np.array([3600.0, 60.0, 1.0, 1 / base_hz])
    midnights = np.cumsum(np.diff(times_s, prepend=times_s[:1]) < -DAY_S / 2)
    return times_s + midnights * DAY_S - times_s[:1]
