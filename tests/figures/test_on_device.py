"""Table 3 and figure 5: what was measured is what is shown, joined by student and precision, and judged by the stated budgets."""

import json

import numpy as np
import pytest
from matplotlib import pyplot as plt
from matplotlib.figure import Figure

from facedistill.core.errors import InputError
from facedistill.figures.on_device import (
    BUDGETS,
    WAYS,
    cost_table,
    judge_budgets,
    judge_latency,
    latency_figure,
    machine,
    read_measurements,
    read_quality,
    readable,
    stale,
)

MEASURES = {column: measure for _, _, column, measure, *_ in BUDGETS}


def cost(value: float) -> dict[str, float]:
    return {"value": value, "low": 0.9 * value, "high": 1.2 * value, "n": 7}


def time(median: float) -> dict[str, float]:
    return {"median": median, "least": 0.8 * median, "most": 1.5 * median}


def measured(precision: str, sha256: str, *, weights: int, stream: float = 4.0, windows: float = 20.0) -> dict:
    return {
        "precision": precision, "weights_bytes": weights, "sha256": sha256,
        "process_bytes": {"interpreter_and_libraries": 66_000_000, "model": 14_000_000},
        "memory_bytes": {"activations_measured": 11_000, "activations": 10_000, "state": 32_000, "expanded": 0},
        "future_ms": 64.0, "delay_ms": 79.0, "delay_ensemble_ms": 96.0,
        "push_ms": {"median": 0.1, "p99": 0.2, "worst": 1.5},
        "windows_ms_per_s": time(windows), "offline_ms_per_s": time(stream / 4),
        **{f"pushes_{hz}_ms_per_s": time(stream * hz / 60) for hz in (60, 30, 10)},
        "of_windows": {"offline": stream / 4 / windows, **{f"pushes_{hz}": stream * hz / 60 / windows for hz in (60, 30, 10)}},
    }  # fmt: skip


def scores(precision: str, r: float, pbm: float) -> dict:
    against = {"lip_gap_r": {"ratio": cost(r / 0.8)}}
    against |= {name: {"difference": cost(pbm - 0.9)} for name in ("pbm_1mm", "pbm")}
    found = {"lip_gap_r": cost(r), **{name: cost(pbm) for name in ("pbm_1mm", "false_closures_1mm", "pbm")}}
    return {"scores": {precision: found}, "against-float32": {precision: against}}


@pytest.fixture
def found(tmp_path):
    """Measurements and qualities of a wide and a narrow student, the teacher and the envelope."""
    systems = {
        "wide": measured("float32", "a", weights=11_000_000),
        "tiny-int8": measured("int8", "b", weights=400_000, stream=3.0),
        "tiny": measured("float32", "c", weights=950_000),
        "teacher": {"weights_bytes": 20_000_000, "memory_bytes": {"measured": 90_000_000}, "offline_ms_per_s": time(60.0)},
        "amplitude-envelope": {"weights_bytes": 0, "offline_ms_per_s": time(0.5)},
    }
    message = {"processor": "a processor", "system": "Linux", "python": "3.11", "onnxruntime": "1.32"}
    (tmp_path / "bench.json").write_text(json.dumps({"machine": message, "repeats": 3, "systems": systems}))
    for student, rows in {
        "wide": [("float32", "a", 0.8, 0.9)],
        "tiny": [("float32", "c", 0.8, 0.9), ("int8", "b", 0.796, 0.88)],
    }.items():
        folder = tmp_path / "export" / student
        folder.mkdir(parents=True)
        quality = {"scores": {}, "against-float32": {}}
        for precision, _, r, pbm in rows:
            one = scores(precision, r, pbm)
            quality["scores"] |= one["scores"]
            quality["against-float32"] |= {} if precision == "float32" else one["against-float32"]
        (folder / "quality.json").write_text(json.dumps(quality))
        files = {
            f"{student}-{precision}": {"precision": precision, "kind": "streaming", "sha256": sha} for precision, sha, *_ in rows
        }
        files |= {f"{name}-window": file | {"kind": "window", "sha256": "w"} for name, file in files.items()}
        (folder / "files.json").write_text(json.dumps(files))
    return read_measurements(tmp_path / "bench.json"), read_quality(tmp_path / "export"), tmp_path


def test_the_table_joins_costs_and_quality(found):
    table = cost_table(*found[:2])
    assert table["system"].tolist() == ["tiny", "tiny-int8", "wide", "amplitude-envelope", "teacher"]
    small = table.set_index("system").loc["tiny-int8"]
    assert (small.student, small.weights_mb, small.total_mb) == ("tiny", 0.4, pytest.approx(0.443))
    assert (small.lip_gap_r, small.r_ratio, small.pbm_difference) == (0.796, pytest.approx(0.995), pytest.approx(-0.02))
    assert (small.pushes_30_ratio, small.offline_ratio) == (pytest.approx(1.5 / 20), pytest.approx(0.75 / 20))
    assert (small.step_ms, small.ensemble_ms, small.delay_ms) == (15.0, 17.0, 96.0)
    teacher = table.set_index("system").loc["teacher"]
    assert teacher.working_mb == 90 and np.isnan(teacher.pushes_60_ms_per_s) and np.isnan(teacher.lip_gap_r)


def test_readers_see_every_system_and_dashes_where_nothing_was_measured(found):
    shown = readable(cost_table(*found[:2])).set_index("System")
    assert shown.loc["tiny-int8", "Delay: window + step + ensemble (ms)"] == "64 + 15 + 17 = 96"
    assert shown.loc["tiny-int8", "Working memory (MB)"] == "0.043"
    assert shown.loc["teacher", "Worst chunk (ms)"] == "–"
    assert {f"{heading} (ms/s)" for heading in WAYS.values()} <= set(shown)
    assert machine(found[2] / "bench.json").startswith("one core of a processor (Linux)")
    assert machine(found[2] / "bench.json").endswith(", the median of 3 runs")


def test_budgets_are_judged_both_ways(found):
    judged = judge_budgets(cost_table(*found[:2]), "tiny")
    assert len(judged) == len(BUDGETS)
    verdicts = judged.set_index("Measure")["Verdict"]
    assert verdicts[MEASURES["total_mb"]] == "holds" and verdicts[MEASURES["pushes_60_ms_per_s"]].tolist() == ["holds", "holds"]
    assert verdicts[MEASURES["offline_ratio"]] == "holds"  # 1 of 20 ms
    assert verdicts[MEASURES["pushes_60_ratio"]] == "FAILS"  # 4 of 20 ms
    assert verdicts[MEASURES["r_ratio"]] == "holds" and verdicts[MEASURES["pbm_difference"]] == "FAILS"
    assert judged.loc[0, ["Measured", "Needed"]].tolist() == ["0.443", "≤ 1"]
    with pytest.raises(InputError, match="wide: not measured in int8"):
        judge_budgets(cost_table(*found[:2]), "wide")


def test_ways_are_judged_by_their_runs_and_the_latency_by_its_parts(found):
    verdicts = judge_latency(found[0], "tiny").set_index("Claim")["Verdict"]
    streamed = "stream, 60 chunks a second: cheaper than window by window, 60 a second"
    assert verdicts[streamed] == "holds"  # 3.2 to 6 against 16 to 30 ms
    assert verdicts["stream, all at once: cheaper than stream, 10 chunks a second"] == "FAILS"  # 1.5 against 0.53
    assert verdicts["Most of the latency is the window's future"] == "holds"  # 64 of 96 ms
    verdicts = judge_latency(found[0].assign(future_ms=40.0), "tiny").set_index("Claim")["Verdict"]
    assert verdicts["Most of the latency is the window's future"] == "FAILS"


def test_models_that_were_not_measured_are_named(found):
    measurements, quality, _ = found
    assert stale(measurements, quality) == []
    assert stale(measurements, quality.replace({"sha256": {"b": "changed"}})) == ["tiny int8"]


def test_the_figure_shows_every_student_in_every_way(found):
    fig = latency_figure(found[0])
    assert isinstance(fig, Figure)
    left, right = fig.axes
    assert [label.get_text() for label in left.get_yticklabels()] == list(WAYS.values())
    assert {label.get_text() for label in right.get_yticklabels()} == {"tiny", "wide"}
    assert len(left.containers) == 3 * len(WAYS)
    assert sorted(text.get_text() for text in right.texts if text.get_text() == "96 ms") == ["96 ms"] * 2
    plt.close(fig)


@pytest.mark.parametrize("content", ["{}", '{"systems": {"a": {}}}', '{"systems": [1]}', "[", "3"])
def test_other_files_are_refused(tmp_path, content):
    (tmp_path / "bench.json").write_text(content)
    with pytest.raises(InputError, match="bench.json"):
        read_measurements(tmp_path / "bench.json")
    with pytest.raises(InputError, match="nothing is exported"):
        read_quality(tmp_path)
