"""What models cost on a device: `facedistill bench`'s measurements and `export`'s files as a table, a figure and verdicts."""

from itertools import pairwise
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from facedistill.core.errors import InputError
from facedistill.core.files import read_json
from facedistill.core.paths import DATA, ROOT
from facedistill.drawing.figures import MODEL_COLOURS
from facedistill.drawing.results import apart, interval_text, verdict_of

MEASUREMENTS = ROOT / "benchmarks" / "on_device.json"
EXPORTED = DATA / "export"
PRECISIONS = ("float32", "float16", "int8")
MARKERS = dict(zip(PRECISIONS, "osD", strict=True))
WAYS = {  # how sound comes in -> heading
    "windows": "window by window, 60 a second",
    "pushes_60": "stream, 60 chunks a second",
    "pushes_30": "stream, 30 chunks a second",
    "pushes_10": "stream, 10 chunks a second",
    "offline": "stream, all at once",
}
ENDS = ("", "_least", "_most")
PAPER_DELAY_MS = 81.0
STEP_COLOURS = {"future of the window": "#0072B2", "to the next step": "#56B4E9", "ensemble": "#E69F00"}
BUDGET_MB, BUDGET_MS_PER_S, BUDGET_CACHED, BUDGET_R, BUDGET_PBM = 1.0, 10.0, 1 / 8, 0.99, -0.01


def read_measurements(path: Path = MEASUREMENTS) -> pd.DataFrame:
    """Reads what `facedistill bench --out` wrote: one row a system.

    Columns: system, student, precision, weights_mb, activations_mb, state_mb, expanded_mb, working_mb (the three together,
    activations as they were seen where that is more; for the teacher measured), measured_mb (activations as they were seen),
    process_mb, model_mb, each of `WAYS` with _ms_per_s (the median of some runs), _ms_per_s_least and _ms_per_s_most, and
    _ratio (the median of what it costs against window by window, run by run),
    median_ms, p99_ms, worst_ms, future_ms, step_ms, ensemble_ms, delay_ms, sha256. NaN where nothing was measured.

    Raises:
        InputError: missing, not JSON, or of another form.
    """
    content = read_json(path)
    try:
        return pd.DataFrame([_row(name, result) for name, result in content["systems"].items()])
    except (AttributeError, KeyError, TypeError) as error:
        raise InputError(f"{path}: not what `facedistill bench --out` writes ({error!r})") from None


def machine(path: Path = MEASUREMENTS) -> str:
    """Where it was measured, and how often, in words."""
    content = read_json(path)
    told = content["machine"]
    where = f"one core of {told['processor']} ({told['system']}), Python {told['python']}, onnxruntime {told['onnxruntime']}"
    return f"{where}, the median of {content['repeats']} runs"


def _row(name: str, result: dict) -> dict[str, object]:
    precision = result.get("precision", "float32")
    memory, process, push = (result.get(key, {}) for key in ("memory_bytes", "process_bytes", "push_ms"))
    activations = np.fmax(_mb(memory.get("activations")), _mb(memory.get("activations_measured")))  # whichever is more
    computed = activations + _mb(memory.get("state")) + _mb(memory.get("expanded"))
    row = {
        "system": name,
        "student": name.removesuffix(f"-{precision}"),
        "precision": precision,
        "weights_mb": _mb(result["weights_bytes"]),
        "activations_mb": _mb(memory.get("activations")),
        "state_mb": _mb(memory.get("state")),
        "expanded_mb": _mb(memory.get("expanded")),
        "working_mb": _mb(memory.get("measured")) if np.isnan(computed) else computed,
        "measured_mb": _mb(memory.get("activations_measured")),
        "process_mb": _mb(process.get("interpreter_and_libraries")),
        "model_mb": _mb(process.get("model")),
    }
    for way in WAYS:
        cost = result.get(f"{way}_ms_per_s", {})
        row |= {f"{way}_ms_per_s{end}": cost.get(end[1:] or "median", np.nan) for end in ENDS}
        row[f"{way}_ratio"] = result.get("of_windows", {}).get(way, np.nan)
    delay, future, smooth = (result.get(key, np.nan) for key in ("delay_ms", "future_ms", "delay_ensemble_ms"))
    return row | {
        **{f"{key}_ms": push.get(key, np.nan) for key in ("median", "p99", "worst")},
        "future_ms": future,
        "step_ms": delay - future,
        "ensemble_ms": smooth - delay,
        "delay_ms": smooth,
        "sha256": result.get("sha256", ""),
    }


def _mb(count: float | None) -> float:
    return np.nan if count is None else count / 1e6


def read_quality(folder: Path = EXPORTED) -> pd.DataFrame:
    """What `export` measured of every precision.

    Columns: student, precision, sha256, lip_gap_r, pbm, n_utterances and n_bilabials that these are of, and, against float32,
    r_ratio and pbm_difference (NaN for float32).

    Raises:
        InputError: nothing is exported, or something else lies there.
    """
    rows = []
    for path in sorted(folder.glob("*/quality.json")):
        quality, files = read_json(path), read_json(path.with_name("files.json"))
        hashes = {file["precision"]: file["sha256"] for file in files.values() if file["kind"] == "streaming"}
        for precision, scores in quality["scores"].items():
            against = quality["against-float32"].get(precision)
            rows.append({
                "student": path.parent.name, "precision": precision, "sha256": hashes[precision],
                "lip_gap_r": scores["lip_gap_r"]["value"], "pbm": scores["pbm"]["value"],
                "n_utterances": scores["lip_gap_r"]["n"], "n_bilabials": scores["pbm"]["n"],
                "r_ratio": against["lip_gap_r"]["ratio"]["value"] if against else np.nan,
                "pbm_difference": against["pbm"]["difference"]["value"] if against else np.nan,
            })  # fmt: skip
    if not rows:
        raise InputError(f"{folder}: nothing is exported; run `dvc repro`")
    return pd.DataFrame(rows)


def cost_table(measurements: pd.DataFrame, quality: pd.DataFrame) -> pd.DataFrame:
    """Both together, one row a system: students in the order of their sizes, each in its precisions, then the others."""
    table = measurements.merge(quality.drop(columns="sha256"), on=["student", "precision"], how="left")
    table["total_mb"] = table["weights_mb"] + table["working_mb"]
    sizes = table.groupby("student")["weights_mb"].transform("max").where(table["sha256"] != "", np.inf)
    order = table["precision"].map(PRECISIONS.index)
    return table.assign(_size=sizes, _order=order).sort_values(["_size", "student", "_order"]).drop(columns=["_size", "_order"])


def readable(table: pd.DataFrame) -> pd.DataFrame:
    """`cost_table` for readers."""
    columns = {
        "System": table["system"],
        "Weights (MB)": _text(table["weights_mb"], 2),
        "Working memory (MB)": _text(table["working_mb"], 3),
        "Activations: counted / seen (MB)": [
            "–" if np.isnan(counted) else f"{counted:.3f} / {interval_text(seen, np.nan, np.nan, n_digits=3)}"
            for counted, seen in table[["activations_mb", "measured_mb"]].to_numpy()
        ],
        "Process: libraries + model (MB)": [
            "–" if np.isnan(process) else f"{process:.0f} + {model:.0f}"
            for process, model in zip(table["process_mb"], table["model_mb"], strict=True)
        ],
        **{f"{heading} (ms/s)": _text(table[f"{way}_ms_per_s"], 2) for way, heading in WAYS.items()},
        "Worst chunk (ms)": _text(table["worst_ms"], 2),
        "Delay: window + step + ensemble (ms)": [
            "–" if np.isnan(whole) else f"{future:.0f} + {step:.0f} + {ensemble:.0f} = {whole:.0f}"
            for future, step, ensemble, whole in table[["future_ms", "step_ms", "ensemble_ms", "delay_ms"]].to_numpy()
        ],
        "Lip-gap r": _text(table["lip_gap_r"], 3),
        "PBM": _text(table["pbm"], 3),
    }
    return pd.DataFrame(columns)


def _text(values: pd.Series, n_digits: int) -> list[str]:
    return [interval_text(value, np.nan, np.nan, n_digits=n_digits) for value in values]


def budgets(table: pd.DataFrame, student: str) -> pd.DataFrame:
    """Whether a student keeps within its budgets: columns Budget, Measured, Needed, Verdict."""
    rows = {precision: table[(table["student"] == student) & (table["precision"] == precision)] for precision in PRECISIONS}
    small, whole = (rows[precision].iloc[0] if len(rows[precision]) else None for precision in ("int8", "float32"))
    if small is None or whole is None:
        raise InputError(f"{student}: not measured in int8 and float32; run `make bench`")
    judged = [
        ("int8: weights and working memory (MB)", small["total_mb"], "≤", BUDGET_MB),
        *(
            (f"{row['precision']}: stream, 60 chunks a second (ms per s)", row["pushes_60_ms_per_s"], "≤", BUDGET_MS_PER_S)
            for row in (whole, small)
        ),
        *(
            (f"float32: {WAYS[way]}, against window by window", whole[f"{way}_ratio"], "≤", BUDGET_CACHED)
            for way in ("offline", "pushes_10", "pushes_30", "pushes_60")
        ),
        ("int8: lip-gap correlation against float32", small["r_ratio"], "≥", BUDGET_R),
        ("int8: PBM accuracy minus float32's", small["pbm_difference"], "≥", BUDGET_PBM),
    ]
    return pd.DataFrame([
        {
            "Budget": text, "Measured": f"{value:.3f}", "Needed": f"{sign} {bound:g}",
            "Verdict": verdict_of(value <= bound if sign == "≤" else value >= bound, value),
        }
        for text, value, sign, bound in judged
    ])  # fmt: skip


def latency_verdicts(measurements: pd.DataFrame, student: str) -> pd.DataFrame:
    """Whether larger chunks are cheaper, and most of the delay is the window's future: columns Claim, Measured, Verdict.

    One way is cheaper than another where its dearest run is cheaper than the other's cheapest: see `results.apart`.
    """
    row, rows = measurements.set_index("system").loc[student], []
    for dear, cheap in pairwise(WAYS):
        costs = ([row[f"{way}_ms_per_s{end}"] for end in ENDS] for way in (cheap, dear))
        found = apart(*costs, n_digits=2, more=False)
        found["Measured"] += " ms per s"
        rows.append({"Claim": f"{WAYS[cheap]}: cheaper than {WAYS[dear]}"} | found)
    future, rest = row["future_ms"], row["step_ms"] + row["ensemble_ms"]
    told = f"{row['future_ms']:.1f} + {row['step_ms']:.1f} + {row['ensemble_ms']:.1f} = {row['delay_ms']:.1f} ms"
    verdict = verdict_of(future > rest, future - rest)
    return pd.DataFrame([*rows, {"Claim": "most of the delay is the window's future", "Measured": told, "Verdict": verdict}])


def stale(measurements: pd.DataFrame, quality: pd.DataFrame) -> list[str]:
    """Exported models that are not the ones that were measured: `make bench` measures them anew."""
    measured = set(measurements["sha256"])
    return [f"{row.student} {row.precision}" for row in quality.itertuples() if row.sha256 not in measured]


def latency_figure(measurements: pd.DataFrame) -> Figure:
    """Left, what a second of sound costs in every way it may come; right, how late a frame is and why."""
    students = measurements[measurements["sha256"] != ""]
    names = list(dict.fromkeys(students.sort_values("delay_ms")["student"]))
    fig, (cost, delay) = plt.subplots(1, 2, figsize=(13, 5), width_ratios=[3, 2], layout="constrained")
    for position, way in enumerate(WAYS):
        for number, name in enumerate(names):
            _costs(cost, students[students["student"] == name], way, position + 0.17 * (number - (len(names) - 1) / 2))
    cost.axvline(1000, color="black", linewidth=1)
    cost.axvline(BUDGET_MS_PER_S, color="#888888", linestyle="--", linewidth=1)
    cost.text(BUDGET_MS_PER_S, -0.62, " budget of tiny-real-time", fontsize=8, color="#555555", va="center")
    cost.text(1000, -0.62, "real time ", fontsize=8, va="center", ha="right")
    cost.set_xscale("log")
    cost.set_yticks(range(len(WAYS)), WAYS.values())
    cost.set(xlabel="Milliseconds of one core per second of sound", ylim=(len(WAYS) - 0.5, -0.8), title="What it costs")
    colours = [Line2D([], [], color=MODEL_COLOURS.get(name, "black"), marker="o", linestyle="none", label=name) for name in names]
    shapes = [Line2D([], [], color="#555555", marker=mark, linestyle="none", label=name) for name, mark in MARKERS.items()]
    cost.legend(handles=colours + shapes, fontsize=8, ncols=2, loc="lower right")
    _delays(delay, students, names)
    return fig


def _costs(ax: plt.Axes, rows: pd.DataFrame, way: str, place: float) -> None:
    for row in rows.to_dict("records"):
        value, least, most = (row[f"{way}_ms_per_s{end}"] for end in ENDS)
        if not np.isnan(value):
            ax.errorbar(
                value, place, xerr=[[value - least], [most - value]], color=MODEL_COLOURS.get(row["student"], "black"),
                marker=MARKERS[row["precision"]], markersize=5, capsize=2, linestyle="none",
            )  # fmt: skip


def _delays(ax: plt.Axes, students: pd.DataFrame, names: list[str]) -> None:
    first = students.drop_duplicates("student").set_index("student").loc[names]
    left = np.zeros(len(names))
    for (label, colour), column in zip(STEP_COLOURS.items(), ("future_ms", "step_ms", "ensemble_ms"), strict=True):
        ax.barh(names, first[column], left=left, color=colour, label=label)
        left += first[column].to_numpy()
    for place, value in enumerate(left):
        ax.text(value + 3, place, f"{value:.0f} ms", va="center", fontsize=9)
    ax.axvline(PAPER_DELAY_MS, color="black", linestyle="--", linewidth=1)
    ax.text(PAPER_DELAY_MS, -0.62, " 81 ms: the paper's real-time model", fontsize=8, va="center")
    ax.invert_yaxis()
    ax.set(xlabel="Delay of a frame (ms)", xlim=(0, left.max() * 1.2), ylim=(len(names) - 0.5, -0.8), title="How late it is")
    ax.grid(axis="y", visible=False)
    ax.legend(fontsize=8, loc="upper right", bbox_to_anchor=(1, 0.9))
