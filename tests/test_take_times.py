"""Times of takes, whatever writes them: every frame where it was, at the rate it had, or a refusal that names a row."""

import itertools
import json
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

from facedistill.core.errors import InputError
from facedistill.formats.animation import Animation
from facedistill.formats.registry import read
from facedistill.formats.times import NTSC_FPS, STANDARD_FPS

NTSC = {23.976: Fraction(24_000, 1001), 29.97: Fraction(30_000, 1001), 59.94: Fraction(60_000, 1001)}
RATES = (10, 12, 15, 23.976, 24, 25, 29.97, 30, 48, 50, 59.94, 60, 100, 120, 12.5, 37, 72, 90)
FAULTS = ("clean", "copy", "stuck", "swap", "missing", "several")
SECONDS = (0.8, 3, 20)
STARTS = (Fraction(0), Fraction("47115.3716"))  # 13:05:15 and a bit
DECIMALS = ("exact", "round3", "cut3", "round2", "cut2")
ROUNDING_S = {"exact": 1e-9, "round3": 1e-3, "cut3": 1e-3, "round2": 1e-2, "cut2": 1e-2}
FREE = ("a2f-csv", "sdk", "beat", "csv", "json")
APP = ("app60", "app", "whole")  # counting 60ths; what the take has, with a fraction of a frame or without
NEUROSYNC = ("neuro60", "neuro")


@dataclass(frozen=True)
class Case:
    """A file to generate."""

    writer: str
    style: str
    rate: float
    fault: str
    seconds: float
    start_s: Fraction
    seed: int = 0

    @property
    def exact_rate(self) -> Fraction:
        return NTSC.get(self.rate, Fraction(self.rate))

    def ticks(self, frame: int, per_second: int, *, cut: bool = False) -> int:
        """The time of a frame in parts of a second, cut or rounded."""
        start, step = self.start_s, 1 / self.exact_rate
        above = (start.numerator * step.denominator + frame * step.numerator * start.denominator) * per_second
        below = start.denominator * step.denominator
        return above // below if cut else (2 * above + below) // (2 * below)

    @property
    def base_hz(self) -> int:
        return 60 if self.writer.endswith("60") else round(self.rate)


def cases() -> list[Case]:
    """The whole matrix."""
    writers = [(writer, style) for writer in FREE for style in DECIMALS]
    writers += [(writer, "app") for writer in APP] + [(writer, style) for writer in NEUROSYNC for style in ("round3", "cut3")]
    product = itertools.product(writers, RATES, FAULTS, SECONDS, STARTS)
    found = [Case(*writer, *rest, seed=number) for number, (writer, *rest) in enumerate(product)]
    return [case for case in found if case.writer != "whole" or case.rate == case.base_hz]  # whole frames of its own timecode


def rows_of(case: Case) -> list[tuple[int, int]]:
    """(frame whose time is recorded, frame) of each row, in the file's order."""
    n_frames = max(4, round(case.seconds * case.rate))
    rows = [(frame, frame) for frame in range(n_frames)]
    rng = np.random.default_rng(case.seed)
    places = 1 + (n_frames - 3) * (np.arange(4) + rng.uniform(0.1, 0.9, 4)) // 4  # one in each quarter, ...
    over = [frame for frame in range(1, n_frames - 2) if second(case, frame) < second(case, frame + 1)]
    first = int(rng.choice(over)) if over and rng.random() < 0.5 else int(rng.choice(places))  # ... or where a second ends
    wanted = {"several": {"copy": 0, "swap": 1, "missing": 3}}.get(case.fault, {case.fault: None})
    for fault, quarter in sorted(wanted.items(), key=lambda item: -1 if item[1] is None else -item[1]):
        at = first if quarter is None else int(places[quarter])
        if fault == "copy":
            rows.insert(at + 1, rows[at])
        elif fault == "stuck":
            rows[at] = (at - 1, at)
        elif fault == "swap":
            rows[at : at + 2] = rows[at : at + 2][::-1]
        elif fault == "missing":
            del rows[at]
    return rows


def second(case: Case, frame: int) -> int:
    return case.ticks(frame, 1, cut=True)


def weights_of(frame: int) -> list[float]:
    return [frame / 4096, 0.5]


def recorded(case: Case, frame: int) -> float:
    if case.style == "exact":
        return float(case.start_s + frame / case.exact_rate)
    scale = 10 ** int(case.style[-1])
    return case.ticks(frame, scale, cut=case.style.startswith("cut")) / scale


def timecode(case: Case, frame: int) -> str:
    if case.writer == "whole":
        ticks = case.ticks(0, case.base_hz, cut=True) + frame
        whole, count, part = ticks // case.base_hz, ticks % case.base_hz, ""
    elif case.writer in NEUROSYNC:
        ticks = case.ticks(frame, 1000, cut=case.style == "cut3")
        whole, part = ticks // 1000, f".{ticks % 1000:03d}"
        count = max(case.ticks(frame, case.base_hz, cut=True) - whole * case.base_hz, 0)
    else:
        ticks = case.ticks(frame, case.base_hz * 1000)
        whole, rest = divmod(ticks, case.base_hz * 1000)
        count, part = rest // 1000, f".{rest % 1000:03d}"
    return f"{whole // 3600:02d}:{whole // 60 % 60:02d}:{whole % 60:02d}:{count:02d}{part}"


def write_case(case: Case, folder: Path) -> Path:
    rows = rows_of(case)
    names = ["jawOpen", "jawLeft"]
    path = folder / ("take.json" if case.writer in {"sdk", "beat", "json"} else "take.csv")
    if case.writer in FREE:
        timed = [(recorded(case, time), weights_of(frame)) for time, frame in rows]
    if case.writer == "a2f-csv":
        lines = [",timeCode,blendShapes.JawOpen,blendShapes.JawLeft"]
        lines += [f"{n},{time!r},{w[0]!r},{w[1]!r}" for n, (time, w) in enumerate(timed)]
    elif case.writer == "csv":
        lines = ["time_s,jawOpen,jawLeft", *(f"{time!r},{w[0]!r},{w[1]!r}" for time, w in timed)]
    elif case.writer == "sdk":
        frames = [{"time_code": time, "weights": w} for time, w in timed]
        lines = [json.dumps({"blendshape_names": names, "frames": frames})]
    elif case.writer == "beat":
        lines = [json.dumps({"names": names, "frames": [{"weights": w, "time": time, "rotation": []} for time, w in timed]})]
    elif case.writer == "json":
        content = {"format": "facedistill-curves", "version": 1, "fps": float(case.exact_rate), "names": names}
        lines = [json.dumps(content | {"times_s": [time for time, _ in timed], "weights": [w for _, w in timed]})]
    else:
        lines = ["Timecode,BlendshapeCount,JawOpen,JawLeft"]
        lines += [f"{timecode(case, time)},61,{weights_of(frame)[0]!r},0.5" for time, frame in rows]
    path.write_text("\n".join(lines) + "\n")
    return path


def rounding_s(case: Case) -> float:
    return ROUNDING_S.get(case.style, 1e-3 / case.base_hz)


def shows_its_base(case: Case) -> bool:
    """Whether the base of a timecode is the usual one, or shows: at two seconds' ends, or at one with nothing wrong."""
    frames = [frame for _, frame in rows_of(case)]
    n_ends = second(case, max(frames)) - second(case, min(frames))
    return case.base_hz == 60 or case.writer in NEUROSYNC or n_ends > 1 or (n_ends == 1 and case.fault == "clean")


def tells_its_rate(case: Case) -> bool:
    """Whether no rate that is as common is as near as the rounding over the whole take."""
    rates = [*STANDARD_FPS, *NTSC_FPS, *range(1, 250)]
    mine, off = float(case.exact_rate), rounding_s(case) / (case.seconds - 1 / case.rate)
    kind = lambda rate: 0 if rate in STANDARD_FPS else 1 if min(abs(rate - fps) for fps in NTSC_FPS) < 1e-6 else 2  # noqa: E731
    rivals = [rate for rate in rates if abs(rate - mine) > 1e-6 and abs(rate / mine - 1) <= 1.1 * off]
    return not [rate for rate in rivals if kind(rate) <= kind(mine) or rate == int(rate)]


def allowed_s(case: Case) -> float:
    """How far a time may be from the truth: what it was rounded to, if the file does not tell its grid."""
    if case.style[-1] == "2":
        unordered = case.rate > 65 and case.fault != "clean"  # equal times do not tell which of two frames is the odd one
        return 0.01 + unordered / case.rate
    cut_anywhere = case.style == "cut3" and case.start_s and case.writer in FREE
    return 5e-4 if tells_its_rate(case) and not cut_anywhere else 1e-3


def wrong(case: Case, found: Animation) -> str:
    """What is wrong with a take that was read; nothing if it is right."""
    frames = np.rint(found.weights[:, found.names.index("jawOpen")] * 4096).astype(int)
    expected = sorted({frame for _, frame in rows_of(case)})
    if case.writer not in FREE and not shows_its_base(case):
        return ""
    crowded = case.style[-1] == "2" and case.rate > 65
    if frames.tolist() != expected and not crowded:
        return f"frames {frames.tolist()[:20]}"
    truth_s = np.array([float(frame / case.exact_rate) for frame in frames])
    truth_s = truth_s + float(case.start_s) if case.writer in FREE else truth_s - truth_s[0]
    off_s = np.abs(found.times_s - truth_s).max()
    if off_s > 1.01 * allowed_s(case):
        return f"{off_s * 1000:.2f} ms off"
    if tells_its_rate(case) and abs(found.fps / float(case.exact_rate) - 1) > 1e-6:
        return f"{found.fps:g} fps"
    return ""
