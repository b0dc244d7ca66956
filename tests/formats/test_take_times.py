"""Times of takes, whatever writes them: every frame where it was, at the rate it had, or a refusal that names a row."""

import itertools
import json
import logging
import re
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from facedistill.core.errors import InputError
from facedistill.formats.animation import Animation
from facedistill.formats.grids import NTSC_FPS, STANDARD_FPS
from facedistill.formats.registry import read, write
from facedistill.formats.times import GIVE_RATE, Recorded, timeline

NTSC = {23.976: Fraction(24_000, 1001), 29.97: Fraction(30_000, 1001), 59.94: Fraction(60_000, 1001)}
RATES = (10, 12, 15, 23.976, 24, 25, 29.97, 30, 48, 50, 59.94, 60, 100, 120, 12.5, 37, 72, 90)
FAULTS = ("clean", "copy", "stuck", "swap", "missing", "several", "swaps", "pause", "jitter")
PAUSE_S, JITTER_STEPS = 7, 0.2
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

    @property
    def n_frames(self) -> int:
        return round(self.seconds * self.rate)

    @property
    def is_crowded(self) -> bool:
        return self.style[-1] == "2" and self.rate > 65

    def ticks(self, frame: int | Fraction, per_second: int, *, cut: bool = False) -> int:
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
    writers = [(writer, style) for writer in FREE for style in DECIMALS if style == "exact" or writer != "json"]
    writers += [(writer, "app") for writer in APP] + [(writer, style) for writer in NEUROSYNC for style in ("round3", "cut3")]
    product = itertools.product(writers, RATES, FAULTS, SECONDS, STARTS)
    found = [Case(*writer, *rest, seed=number) for number, (writer, *rest) in enumerate(product)]
    return [
        case for case in found
        if (case.writer != "whole" or (case.rate == case.base_hz and case.fault != "jitter"))  # frames of its own timecode
        and not (case.is_crowded and case.fault in {"pause", "jitter"})
    ]  # fmt: skip


def rows_of(case: Case) -> list[tuple[int | Fraction, int]]:
    """(frame whose time is recorded, frame) of each row, in the file's order."""
    n_frames = case.n_frames
    rows = [(frame, frame) for frame in range(n_frames)]
    rng = np.random.default_rng(case.seed)
    places = 1 + (n_frames - 3) * (np.arange(4) + rng.uniform(0.1, 0.9, 4)) // 4  # one in each quarter, ...
    over = [frame for frame in range(1, n_frames - 2) if second(case, frame) < second(case, frame + 1)]
    first = int(rng.choice(over)) if over and rng.random() < 0.5 else int(rng.choice(places))  # ... or where a second ends
    if case.fault == "pause":
        return [
            (frame + over, frame + over) for frame in range(n_frames) for over in [round(PAUSE_S * case.rate) * (frame > first)]
        ]
    if case.fault == "jitter":
        return [(frame + Fraction(rng.uniform(0, JITTER_STEPS)), frame) for frame in range(n_frames)]
    if case.fault == "swaps":
        n_swaps = max(1, min(8, n_frames // 20))
        for at in (n_frames // n_swaps * np.arange(n_swaps) + n_frames // n_swaps // 2).tolist():
            rows[at : at + 2] = rows[at : at + 2][::-1]
        return rows
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
    seconds = [second(case, frame) for frame in sorted(frame for _, frame in rows_of(case))]
    n_ends = int((np.diff(seconds) == 1).sum())
    return case.base_hz == 60 or case.writer in NEUROSYNC or n_ends > 1 or (n_ends == 1 and case.fault == "clean")


def tells_its_rate(case: Case) -> bool:
    """Whether no rate that is as common is as near as the rounding over the whole take."""
    rates = [*STANDARD_FPS, *NTSC_FPS, *range(1, 250)]
    seconds = case.seconds / 2 if case.fault == "pause" else case.seconds  # of its longer part
    mine, off = float(case.exact_rate), rounding_s(case) / (seconds - 1 / case.rate)
    if case.fault == "pause" and off * PAUSE_S * mine > 0.5:  # frames within the pause cannot be counted
        return False
    kind = lambda rate: 0 if rate in STANDARD_FPS else 1 if min(abs(rate - fps) for fps in NTSC_FPS) < 1e-6 else 2  # noqa: E731
    rivals = [rate for rate in rates if abs(rate - mine) > 1e-6 and abs(rate / mine - 1) <= 1.1 * off]
    return not [rate for rate in rivals if kind(rate) <= kind(mine) or rate == int(rate)]


def allowed_s(case: Case) -> float:
    """How far a time may be from the truth: what it was rounded to, if the file does not tell its grid."""
    if case.style[-1] == "2":
        if case.fault == "jitter":
            return 0.02
        unordered = case.is_crowded and case.fault != "clean"  # equal times do not tell which of two frames is the odd one
        return 0.01 + unordered / case.rate
    if case.fault == "jitter":  # may be put on a grid that is as near
        return 2 * rounding_s(case)
    cut_anywhere = case.style == "cut3" and case.start_s and case.writer in FREE
    return 5e-4 if tells_its_rate(case) and not cut_anywhere else 1e-3


def wrong(case: Case, found: Animation) -> str:
    """What is wrong with a take that was read; nothing if it is right."""
    frames = np.rint(found.weights[:, found.names.index("jawOpen")] * 4096).astype(int)
    expected = sorted({frame for _, frame in rows_of(case)})
    if case.writer not in FREE and not shows_its_base(case):
        return ""
    if frames.tolist() != expected and not case.is_crowded:
        return f"frames {frames.tolist()[:20]}"
    moved = {frame: time for time, frame in rows_of(case)} if case.fault == "jitter" else {}
    truth_s = np.array([float(moved.get(frame, frame) / case.exact_rate) for frame in frames.tolist()])
    truth_s = truth_s + float(case.start_s) if case.writer in FREE else truth_s - truth_s[0]
    off_s = np.abs(found.times_s - truth_s).max()
    if off_s > 1.01 * allowed_s(case):
        return f"{off_s * 1000:.2f} ms off"
    if case.fault == "jitter":
        return f"{found.fps:g} fps" if case.n_frames > 50 and abs(found.fps / float(case.exact_rate) - 1) > 0.02 else ""
    if tells_its_rate(case) and abs(found.fps / float(case.exact_rate) - 1) > 1e-6:
        return f"{found.fps:g} fps"
    return ""


def read_all(selected: list[Case], folder: Path) -> tuple[list[str], list[Case]]:
    """What is wrong with any of the cases, and those that are refused."""
    faults, refused = [], []
    for case in selected:
        try:
            found = read(write_case(case, folder))
        except InputError as error:
            assert re.search(r"data row \d+ is at .*--source-fps", str(error)), error
            refused.append(case)
        else:
            faults += [f"{case}: {problem}" for problem in [wrong(case, found)] if problem]
    return faults, refused


def has_too_many_odd(case: Case) -> bool:
    """Whether two odd rows are more than a twentieth of a take with several."""
    return case.fault == "several" and case.n_frames * 0.05 < 2


def test_the_matrix_is_read_rightly(tmp_path):
    """And no more than one in twenty is refused: what is short, and has several odd rows."""
    everything = cases()
    selected = [everything[number] for number in np.random.default_rng(0).choice(len(everything), 600, replace=False)]
    faults, refused = read_all(selected, tmp_path)
    assert not faults, "\n".join(faults[:20])
    assert refused == [case for case in selected if has_too_many_odd(case)]
    assert 0 < len(refused) <= 0.05 * len(selected)


# One file each.


def plain(folder: Path, times: Sequence[object], weights: Sequence[float] | None = None) -> Path:
    path = folder / "take.csv"
    weights = [row / 4096 for row in range(len(times))] if weights is None else weights
    path.write_text("time_s,jawOpen\n" + "".join(f"{time},{w!r}\n" for time, w in zip(times, weights, strict=True)))
    return path


def live_link(folder: Path, codes: Sequence[str]) -> Path:
    path = folder / "take.csv"
    path.write_text(
        "Timecode,BlendShapeCount,JawOpen\n" + "".join(f"{code},61,{row / 4096!r}\n" for row, code in enumerate(codes))
    )
    return path


def counted(frames: Sequence[int], base_hz: int) -> list[str]:
    return [f"01:02:{frame // base_hz:02d}:{frame % base_hz:02d}" for frame in frames]


def frames_of(found: Animation) -> list[int]:
    return np.rint(found.weights[:, 0] * 4096).astype(int).tolist()


@pytest.mark.parametrize(
    ("texts", "fps"),
    [
        (["0", "0.033", "0.066"], 30), (["0", "0.033", "0.067"], 30), (["0.000", "0.033"], 30), (["0", "0.03"], 30),
        (["0", "0.017", "0.033"], 60), (["0", "0.016", "0.033"], 60), (["0", "0.017"], 60), (["0", "0.016"], 60),
        (["0", "0.04", "0.08"], 25), (["0", "0.02"], 50), (["0", "0.1"], 10), (["0", "1", "2"], 1), (["0", "0.4"], 2.5),
        (["0", "0.008", "0.016"], 120), (["0", "0.041", "0.083", "0.125"], 24),
        ([f"{row / 29.97:.3f}" for row in range(200)], 30_000 / 1001), ([f"{row / 23.976}" for row in range(999)], 23.976),
        ([f"{row / 29.5:.3f}" for row in range(200)], 29.5),
        ([f"{row / 30:.3f}" for row in range(60) if row not in {7, 8, 40}], 30),
        ([f"{row / 60:.2f}" for row in range(300) if row % 50 != 7], 60),
        ([f"{row / 48:.2f}" for row in range(300) if row != 100], 48),
        ([f"{row / 120:.2f}" for row in range(300)], 120), ([f"{row / 90:.2f}" for row in range(300)], 90),
        ([f"{row * 0.0333:.4f}" for row in range(600)], 30.03),  # which is what it says
    ],
    ids=str,
)  # fmt: skip
def test_rounded_times_mean_a_simple_rate(texts, fps, tmp_path, caplog):
    found = read(plain(tmp_path, texts))
    assert found.fps == pytest.approx(fps, rel=1e-12)
    counts = found.times_s * found.fps
    np.testing.assert_allclose(counts, np.rint(counts), atol=1e-9)
    assert not caplog.records


@pytest.mark.parametrize("times", [[0, 1, 5, 7], [0, 0.1, 0.5, 0.7, 0.8, 1.1], [0.5, 1.25, 1.5, 4]])
@pytest.mark.parametrize("kind", ["csv", "json", "npz", "glb", "beat", "a2f-csv"])
def test_keys_of_an_animator_stay_where_they_are(kind, times, tmp_path):
    assert kept(tmp_path, kind, times).tolist() == (np.array(times, np.float32) if kind == "glb" else np.array(times)).tolist()


def kept(folder: Path, kind: str, times_s: Sequence[float]) -> np.ndarray:
    """The times that are read from a file with these."""
    path = folder / f"take.{ {'beat': 'json', 'a2f-csv': 'csv'}.get(kind, kind) }"
    weights = np.linspace(0, 1, len(times_s))[:, None]
    write(path, Animation(("jawOpen",), weights, times_s, 30), kind=kind)
    return read(path).times_s


@pytest.mark.parametrize("kind", ["csv", "json", "npz", "glb", "beat", "a2f-csv"])
def test_irregular_keys_are_not_moved_beyond_what_they_were_rounded_to(kind, tmp_path):
    @settings(max_examples=60 if kind == "glb" else 200, deadline=None, derandomize=True)
    @given(st.integers(0, 9), st.data())
    def check(decimals, data):
        wanted = st.lists(st.integers(0, 10 ** (decimals + 1) if decimals > 1 else 200), min_size=2, max_size=40, unique=True)
        times_s = np.array(sorted(data.draw(wanted))) / 10**decimals
        assume(np.diff(times_s).min() > 2e-6)  # frame rates go up to 1 MHz
        decimals = next(places for places in range(10) if (np.round(times_s, places) == times_s).all())  # that show
        if kind == "glb":
            times_s = np.unique(times_s.astype(np.float32).astype(float))
        found_s = kept(tmp_path, kind, times_s)
        rounding_s = float(np.spacing(np.float32(times_s[-1]))) if kind == "glb" else 10.0**-decimals if decimals > 1 else 0
        if kind in {"json", "npz"} or (found_s == times_s).all():
            np.testing.assert_array_equal(found_s, times_s)
            return
        np.testing.assert_allclose(found_s, times_s, rtol=0, atol=rounding_s * 1.001 + 1e-9)
        steps_s = np.diff(found_s)
        if rounding_s > 2e-9:  # few gaps, and all else is one step
            step_s = np.quantile(steps_s, 0.5, method="lower")
            np.testing.assert_allclose(steps_s / step_s, np.rint(steps_s / step_s), rtol=1e-3, atol=1e-3)
            assert (steps_s > 1.5 * step_s).sum() <= max(1, 0.05 * (len(times_s) + 1) / 0.95)

    check()


@pytest.mark.parametrize("seed", range(20))
def test_rows_that_ascend_are_never_odd(seed, tmp_path, caplog):
    """Not even if their steps are about as short as what they were rounded to."""
    times_s = np.round(np.arange(60) / 72, 2)
    for row in np.random.default_rng(seed).integers(1, 59, 5).tolist():
        if times_s[row + 1] - times_s[row] > 0.015:
            times_s[row] = np.round(times_s[row] + 0.01, 2)
    found = read(plain(tmp_path, times_s.tolist()))
    np.testing.assert_allclose(found.times_s, times_s, rtol=0, atol=0.01)
    assert frames_of(found) == list(range(len(times_s))) and not caplog.records


def test_jitter_is_real(tmp_path):
    times_s = np.round(np.cumsum(np.random.default_rng(0).normal(1 / 60, 2e-3, 600)), 4)
    found = read(plain(tmp_path, times_s.tolist()))
    np.testing.assert_array_equal(found.times_s, times_s)
    assert found.fps == 60


def test_a_phone_that_is_a_little_fast_means_30_fps(tmp_path, caplog):
    frames = 47.169 + 1.9997 * np.arange(600)
    found = read(live_link(tmp_path, [f"12:27:{int(frame // 60):02d}:{frame % 60:06.3f}" for frame in frames]))
    np.testing.assert_allclose(found.times_s, (frames - frames[0]) / 60, rtol=0, atol=2e-5)
    assert found.fps == 30 and not caplog.records


def test_frames_in_which_nothing_moves_are_no_copies(tmp_path, caplog):
    found = read(plain(tmp_path, [f"{row / 120:.2f}" for row in range(600)], [0.0] * 600))
    np.testing.assert_array_equal(found.times_s, np.arange(600) / 120)
    assert not caplog.records


def odd(times: list[float], at: int, fault: str) -> tuple[list[float], list[int]]:
    """Times and frames of rows, one of them odd."""
    rows = [(time, frame) for frame, time in enumerate(times)]
    if fault == "copy":
        rows.insert(at + 1, rows[at])
    elif fault == "stuck":
        rows[at + 1] = (times[at], at + 1)
    elif fault in {"early", "late"}:
        rows[at] = (times[at] + (1000 if fault == "late" else -1000), at)
    else:
        rows[at : at + 2] = rows[at : at + 2][::-1]
    return [time for time, _ in rows], [frame for _, frame in rows]


@pytest.mark.parametrize(
    ("fault", "number", "message"),
    [
        ("copy", 1, "a copy of the row before; left out"),
        ("swap", 1, "out of order; put where its time belongs"),
        ("stuck", 1, "at a time that does not ascend; put between its neighbours"),
        ("early", 0, "at a time that does not ascend; put between its neighbours"),
        ("late", 0, "at a time that does not ascend; put between its neighbours"),
    ],
)
def test_an_odd_row_is_put_right_and_told(fault, number, message, tmp_path, caplog):
    @settings(max_examples=40, deadline=None, derandomize=True)
    @given(st.integers(20, 200), st.data(), st.sampled_from([24, 25, 30, 60, 29.5]), st.sampled_from([3, 4, 17]))
    def check(n_rows, data, fps, decimals):
        caplog.clear()
        at = data.draw(st.integers(1, n_rows - 3))
        times, frames = odd([round(frame / fps, decimals) for frame in range(n_rows)], at, fault)
        found = read(plain(tmp_path, times, [frame / 4096 for frame in frames]))
        assert frames_of(found) == list(range(n_rows))
        np.testing.assert_allclose(found.times_s, np.arange(n_rows) / fps, rtol=0, atol=1e-9)
        assert found.fps == fps
        (record,) = caplog.records
        assert record.levelno == logging.WARNING
        assert record.getMessage() == f"{tmp_path / 'take.csv'}: data row {at + 1 + number} is {message}"

    check()


def test_several_odd_rows_of_a_kind_are_one_note(tmp_path, caplog):
    frames = sorted([*range(100), 10, 50, 90])
    found = read(plain(tmp_path, [frame / 30 for frame in frames], [frame / 4096 for frame in frames]))
    assert frames_of(found) == list(range(100)) and found.fps == 30
    (record,) = caplog.records
    assert record.getMessage().endswith("data row 12 is a copy of the row before; left out, and 2 more are such")


@pytest.mark.parametrize("style", ["17", "3"])
def test_thirty_swapped_pairs_are_put_right(style, tmp_path):
    frames = np.arange(900)
    for at in range(10, 900, 30):
        frames[at : at + 2] = at + 1, at
    found = read(plain(tmp_path, [round(frame / 30, int(style)) for frame in frames], (frames / 4096).tolist()))
    assert frames_of(found) == list(range(900)) and found.fps == 30
    np.testing.assert_allclose(found.times_s, np.arange(900) / 30, rtol=0, atol=1e-9)


@pytest.mark.parametrize(
    ("frames", "message"),
    [
        ([0, *range(1500, 1800)], "data row 2 comes 50.0 s after the row before it"),
        ([*range(300), 16_799], "data row 301 comes 550.0 s after the row before it"),
        (
            [*range(50), *range(140, 200), *range(300, 400)],
            "data row 51 comes 3.0 s after the row before it, and 1 more are such",
        ),
        ([*range(100), *range(158, 300)], ""),  # just below two seconds
        ([*range(0, 9000, 90)], ""),  # a key every three seconds
    ],
    ids=str,
)
def test_a_hole_longer_than_two_seconds_is_told(frames, message, tmp_path, caplog):
    read(plain(tmp_path, [frame / 30 for frame in frames]))
    assert [record.getMessage().partition(".csv: ")[2] for record in caplog.records] == [message] * bool(message)


@pytest.mark.parametrize(
    ("frames", "row"),
    [
        ([*range(300), *range(300)], 301), ([*range(300), *range(5)], 301), ([*range(300), 0, 1], 301),
        ([*range(5), *range(300)], 6), ([*range(300), *range(200, 500)], 301),
        ([*range(50), 49, *range(50, 300), *range(100)], 302),
    ],
)  # fmt: skip
def test_another_take_is_refused_where_it_begins(frames, row, tmp_path):
    path = plain(tmp_path, [frame / 30 for frame in frames])
    with pytest.raises(
        InputError, match=rf"take\.csv: data row {row} is at .* as if another take began .*--source-fps.*fps="
    ) as error:
        read(path)
    assert "\n" not in str(error.value)
    np.testing.assert_array_equal(read(path, fps=30).times_s, np.arange(len(frames)) / 30)


def test_many_odd_rows_are_refused(tmp_path):
    frames = [frame + 1 - 2 * (frame % 2) if frame < 12 else frame for frame in range(60)]  # six pairs swapped
    with pytest.raises(InputError, match=r"data row 2 is at 0 s, and the row before at 0.0333333 s, and 6 of 60 rows"):
        read(plain(tmp_path, [frame / 30 for frame in frames]))


@settings(max_examples=300, deadline=None, derandomize=True)
@given(
    st.lists(st.integers(-3, 30).map(lambda time: time / 10) | st.floats(allow_nan=False, allow_infinity=False), min_size=1),
    st.lists(st.booleans(), min_size=100, max_size=100),
    st.none() | st.sampled_from([24.0, 60.0]),
)
def test_times_ascend_whatever_is_recorded(times, copies, fps):
    recorded_s = np.array(times)
    try:
        found = timeline(Recorded(recorded_s, 30, fps=fps), np.resize(copies, len(times)))
    except ValueError as error:
        assert re.match(r"data row \d+ is at", str(error))
        return
    assert np.unique(found.rows).size == len(found.rows) == len(found.times_s) <= len(times)
    if np.abs(recorded_s).max() < 1e6 and (np.abs(np.diff(np.sort(recorded_s))) > 1e-6).all():
        assert (np.diff(found.times_s) > 0).all()


# Timecodes.


def test_neurosync_has_milliseconds_of_the_second(tmp_path, caplog):
    found = read(live_link(tmp_path, ["00:00:00:04.066", "00:00:00:04.083", "00:00:00:06.100"]))
    np.testing.assert_array_equal(found.times_s, np.arange(3) / 60)
    assert found.fps == 60 and not caplog.records


@pytest.mark.parametrize("codes", [["00:00:00:38.652", "00:00:00:39.653"], ["00:00:01:10.000", "00:00:01:12.001"]])
def test_two_rows_of_the_app_have_fractions_of_a_frame(codes, tmp_path):
    step = int(codes[1][9:11]) - int(codes[0][9:11])
    np.testing.assert_allclose(read(live_link(tmp_path, codes)).times_s, [0, step / 60], atol=2e-5)


def test_an_app_whose_fractions_are_milliseconds_in_some_rows(tmp_path):
    codes = [f"00:00:01:{frame}.500" for frame in range(28, 33)]
    np.testing.assert_array_equal(read(live_link(tmp_path, codes)).times_s, np.arange(5) / 60)


@pytest.mark.parametrize("base_hz", [10, 24, 25, 30, 48, 50, 59, 60, 72, 100, 120, 240])
@pytest.mark.parametrize("step", [1, 2])
def test_the_base_of_a_timecode_is_what_it_counts(base_hz, step, tmp_path, caplog):
    frames = np.arange(7, 7 + 4 * base_hz, 1 if base_hz % step else step)
    found = read(live_link(tmp_path, counted(frames, base_hz)))
    np.testing.assert_allclose(found.times_s, (frames - 7) / base_hz, rtol=0, atol=1e-9)
    assert not caplog.records


@pytest.mark.parametrize("base_hz", [24, 30, 48, 50, 60, 120])
@pytest.mark.parametrize("missing", [-1, 0])
def test_a_row_missing_at_the_only_rollover(base_hz, missing, tmp_path, caplog):
    frames = np.delete(np.arange(base_hz // 2, base_hz * 3 // 2), base_hz // 2 + missing)
    found = read(live_link(tmp_path, counted(frames, base_hz)))
    np.testing.assert_array_equal(found.times_s, (frames - frames[0]) / base_hz)
    (record,) = caplog.records
    assert record.getMessage().endswith(
        f"rows are missing where its timecode rolls over; {base_hz} frames a second are assumed; {GIVE_RATE}"
    )


@pytest.mark.parametrize("base_hz", [10, 24, 25, 50, 60, 72])
def test_one_plain_rollover_tells_the_base_unless_rows_are_missing_before(base_hz, tmp_path, caplog):
    frames = np.arange(base_hz // 2, base_hz * 3 // 2)
    found = read(live_link(tmp_path, counted(frames, base_hz)))
    np.testing.assert_array_equal(found.times_s, np.arange(len(frames)) / base_hz)
    message = f"shows only once how many frames it counts in a second; {base_hz} frames a second are assumed; {GIVE_RATE}"
    assert [record.getMessage().endswith(message) for record in caplog.records] == [True] * (base_hz != 60)


def test_a_take_begins_at_0_s_whichever_row_comes_first(tmp_path):
    frames = [1, 0, *range(2, 90)]
    found = read(live_link(tmp_path, counted(frames, 30)))
    np.testing.assert_allclose(found.times_s, np.arange(90) / 30, rtol=0, atol=1e-9)
    assert frames_of(found) == [1, 0, *range(2, 90)]


@pytest.mark.parametrize(("frames", "base_hz"), [(range(3, 20), 60), (range(50, 75), 100), ([3, 7], 60), (range(230, 250), 250)])
def test_a_timecode_that_does_not_roll_over_is_a_guess(frames, base_hz, tmp_path, caplog):
    found = read(live_link(tmp_path, [f"01:02:03:{frame:02d}" for frame in frames]))
    np.testing.assert_allclose(found.times_s, (np.array(frames) - frames[0]) / base_hz, atol=1e-9)
    (record,) = caplog.records
    assert f"does not show how many frames it counts in a second; {base_hz} frames a second are assumed" in record.getMessage()


@pytest.mark.parametrize("codes", [["01:02:03:04.5"], ["01:02:03:07", "01:02:04:07", "01:02:05:07"]])
def test_a_timecode_whose_base_does_not_matter_is_no_guess(codes, tmp_path, caplog):
    np.testing.assert_array_equal(read(live_link(tmp_path, codes)).times_s, np.arange(len(codes)))
    assert not caplog.records


@pytest.mark.parametrize("fps", [24, 25, 30, 60])
def test_a_base_is_right_or_told_to_be_a_guess(fps, tmp_path, caplog):
    """Whatever is missing; takes of one to three seconds."""
    rng = np.random.default_rng(fps)
    n_right = 0
    for _ in range(150):
        n_rows, start = int(rng.uniform(1.2, 3) * fps), int(rng.integers(fps))
        frames = np.arange(start, start + n_rows)
        at, n_missing = int(rng.integers(1, n_rows // 2)), int(rng.integers(1, n_rows // 2))
        frames = np.delete(frames, slice(at, at + n_missing))
        caplog.clear()
        found = read(live_link(tmp_path, counted(frames, fps)))
        is_right = np.allclose(found.times_s, (frames - frames[0]) / fps, rtol=0, atol=1e-9)
        assert is_right or any("frames a second are assumed" in record.getMessage() for record in caplog.records), frames
        n_right += is_right
    assert n_right >= 0.9 * 150


@pytest.mark.parametrize(
    ("frames", "base_hz"),
    [([*range(40), *range(60, 120)], 60), ([*range(25), *range(30, 75)], 30), ([*range(7, 24), *range(30, 60)], 30)],
)
def test_a_base_is_more_than_any_frame_that_it_counts(frames, base_hz, tmp_path):
    found = read(live_link(tmp_path, counted(frames, base_hz)))
    np.testing.assert_allclose(found.times_s, (np.array(frames) - frames[0]) / base_hz, rtol=0, atol=1e-9)


def test_a_garbled_frame_tells_no_base(tmp_path):
    codes = counted(range(90), 30)
    codes[40] = codes[40][:-2] + "99"
    np.testing.assert_allclose(read(live_link(tmp_path, codes)).times_s, np.arange(90) / 30, rtol=0, atol=1e-9)


@pytest.mark.parametrize("base_hz", [24, 30, 60])
@pytest.mark.parametrize("pause_s", [0.5, 5, 10])
def test_a_pause_of_whole_frames_moves_no_row(base_hz, pause_s, tmp_path):
    frames = np.arange(300)
    frames[120:] += int(pause_s * base_hz)
    found = read(live_link(tmp_path, counted(frames, base_hz)))
    np.testing.assert_allclose(found.times_s, frames / base_hz, rtol=0, atol=1e-9)
    assert found.fps == base_hz


@pytest.mark.parametrize("missing", [0.04, 0.053, 0.06, 0.1, 0.2])
@pytest.mark.parametrize("seed", range(4))
def test_rows_that_are_missing_anywhere_change_no_rate(missing, seed, tmp_path):
    frames = np.flatnonzero(np.random.default_rng(seed).random(600) >= missing)
    found = read(live_link(tmp_path, counted(frames, 60)))
    np.testing.assert_allclose(found.times_s, (frames - frames[0]) / 60, rtol=0, atol=1e-9)
    assert found.fps == 60


def drop_frame(number: int, base_hz: int, part: str = "") -> str:
    """The timecode of a frame as NTSC counts: of 10 minutes, 9 skip 2 numbers (of 30) or 4 (of 60)."""
    skipped = base_hz // 15
    for minute in range(1, 600):
        if minute % 10 and number >= minute * 60 * base_hz:
            number += skipped
    second = number // base_hz
    return f"{second // 3600:02d}:{second // 60 % 60:02d}:{second % 60:02d}:{number % base_hz:02d}{part}"


@pytest.mark.parametrize("part", ["", ".250"])
@pytest.mark.parametrize("base_hz", [30, 60])
@pytest.mark.parametrize(("begins_s", "seconds"), [(58, 4), (58, 130), (530, 80), (7170, 700)])
def test_drop_frame_timecode_is_not_the_time(begins_s, seconds, base_hz, part, tmp_path, caplog):
    assert drop_frame(1800 - 1, 30) == "00:00:59:29" and drop_frame(1800, 30) == "00:01:00:02"
    assert drop_frame(17_982, 30) == "00:10:00:00"
    frames = np.arange(seconds * base_hz)
    found = read(live_link(tmp_path, [drop_frame(begins_s * base_hz + int(frame), base_hz, part) for frame in frames]))
    assert found.fps == pytest.approx(1000 * base_hz / 1001, rel=1e-9)
    np.testing.assert_allclose(found.times_s, frames * 1001 / (1000 * base_hz), rtol=0, atol=1e-6)
    assert not caplog.records


@pytest.mark.parametrize("missing", [range(0), range(1, 2), range(2, 30), range(0, 40)])
def test_timecode_that_skips_no_numbers_is_the_time(missing, tmp_path):
    """A minute begins with the 150th frame, and in one of these takes the first frames of it are missing, in one all."""
    frames = np.array([frame for frame in range(300) if frame - 150 not in missing])
    codes = [f"01:{2 + (1650 + frame) // 1800:02d}:{(1650 + frame) // 30 % 60:02d}:{(1650 + frame) % 30:02d}" for frame in frames]
    found = read(live_link(tmp_path, codes))
    np.testing.assert_allclose(found.times_s, frames / 30, rtol=0, atol=1e-9)
    assert found.fps == 30


def test_a_rate_that_is_not_the_timecodes(tmp_path):
    """24 frames a second, in whole 60ths."""
    frames = np.arange(100) * 60 // 24
    found = read(live_link(tmp_path, counted(frames, 60)))
    np.testing.assert_array_equal(found.times_s, np.arange(100) / 24)
    assert found.fps == 24


def test_a_doubled_row_of_a_timecode_changes_no_rate(tmp_path):
    path = live_link(tmp_path, counted(range(600), 30))
    lines = path.read_text().splitlines(keepends=True)
    path.write_text("".join([*lines[:31], lines[30], *lines[31:]]))
    found = read(path)
    np.testing.assert_array_equal(found.times_s, np.arange(600) / 30)
    assert frames_of(found) == list(range(600)) and found.fps == 30


def test_rows_swapped_at_midnight(tmp_path, caplog):
    codes = [f"{code}:{frame:02d}" for code in ("23:59:58", "23:59:59", "00:00:00", "00:00:01") for frame in range(30)]
    codes[59:61] = codes[60:58:-1]
    found = read(live_link(tmp_path, codes))
    np.testing.assert_array_equal(found.times_s, np.arange(120) / 30)
    assert frames_of(found) == [*range(59), 60, 59, *range(61, 120)]
    assert [record.getMessage().split(": ")[1] for record in caplog.records] == [
        "data row 61 is out of order; put where its time belongs"
    ]


# What is told of other files.


@pytest.mark.parametrize(("extra", "n_rows", "n_notes"), [({}, 2, 1), ({}, 1, 0), ({"exportFps": 24}, 2, 0), ({"fps": 24}, 2, 0)])
def test_a_rate_that_audio2face_does_not_tell_is_told(extra, n_rows, n_notes, tmp_path, caplog):
    path = tmp_path / "a.json"
    path.write_text(json.dumps({"facsNames": ["jawOpen"], "weightMat": [[0.5]] * n_rows} | extra))
    assert read(path).fps == (24 if extra else 30)
    notes = [record.getMessage() for record in caplog.records]
    assert notes == [f"{path}: it has no exportFps; 30 frames a second are assumed; {GIVE_RATE}"] * n_notes
    caplog.clear()
    assert read(path, fps=60).fps == 60 and not caplog.records


@pytest.mark.parametrize(("cell", "found"), [("", "an empty cell"), (" ", "an empty cell"), ("x", "'x'"), ("nan", "'nan'")])
@pytest.mark.parametrize(
    "header", ["time_s,jawOpen,jawLeft", ",timeCode,blendShapes.JawOpen", "Timecode,BlendshapeCount,JawOpen"]
)
def test_a_bad_cell_is_named_with_its_row_and_column(cell, found, header, tmp_path):
    path = tmp_path / "a.csv"
    path.write_text(
        f"{header}\n0:0:0:0,0,0\n0:0:0:1,1,{cell}\n0:0:0:2,2,{cell}\n".replace(
            "0:0:0:", "" if "Timecode" not in header else "0:0:0:"
        )
    )
    with pytest.raises(InputError, match=rf"data row 2, column {header.split(',')[2]!r}: {found}; expected a number"):
        read(path)


def test_exact_times_stay_where_they_begin(tmp_path):
    """0.51 s is no frame of 25 fps counted from 0 s, though 0.52 s with two decimals may be one."""
    texts = [f"{0.51 + row / 25:.2f}" for row in range(50)]
    found = read(plain(tmp_path, texts))
    np.testing.assert_array_equal(found.times_s, np.array(texts, float))
    assert found.fps == 25
