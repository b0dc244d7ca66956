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
from facedistill.figures.claims import Claim, judge
from facedistill.figures.style import MODEL_COLOURS, draw_intervals
from facedistill.figures.tables import METRICS, texts

MEASUREMENTS = ROOT / "benchmarks" / "on_device.json"
EXPORTED = DATA / "export"
MARKERS = {"float32": "o", "float16": "s", "int8": "D"}  # of precisions, in their order
WAYS = {  # how sound comes in -> heading
    "windows": "window by window, 60 a second",
    "pushes_60": "stream, 60 chunks a second",
    "pushes_30": "stream, 30 chunks a second",
    "pushes_10": "stream, 10 chunks a second",
    "offline": "stream, all at once",
}
# column of a way -> where `bench` has it: the median, the least and the most of some runs
RUNS = {f"ms_per_s{end}": f"{{}}_ms_per_s.{run}" for end, run in (("", "median"), ("_least", "least"), ("_most", "most"))}
# column -> where `bench` has it: memory in bytes, and delays added up, which `read_measurements` takes apart
PLACES = {
    "system": "system", "student": "system", "precision": "precision", "weights_mb": "weights_bytes",
    **{f"{part}_mb": f"memory_bytes.{part}" for part in ("activations", "state", "expanded")},
    "working_mb": "memory_bytes.measured", "measured_mb": "memory_bytes.activations_measured",
    "process_mb": "process_bytes.interpreter_and_libraries", "model_mb": "process_bytes.model",
    **{f"{way}_{name}": place.format(way) for way in WAYS for name, place in (RUNS | {"ratio": "of_windows.{}"}).items()},
    **{f"{name}_ms": f"push_ms.{name}" for name in ("median", "p99", "worst")},
    "future_ms": "future_ms", "step_ms": "delay_ms", "ensemble_ms": "delay_ensemble_ms", "delay_ms": "delay_ensemble_ms",
    "sha256": "sha256",
}  # fmt: skip
STEPS = {"future_ms": "future of the window", "step_ms": "to the next step", "ensemble_ms": "ensemble"}
STEP_COLOURS = ("#0072B2", "#56B4E9", "#E69F00")
PAPER_DELAY_MS, BUDGET_MS_PER_S = 81.0, 10.0
PBM, QUALITY = ("pbm_1mm", "pbm"), ("lip_gap_r", "pbm_1mm", "false_closures_1mm", "pbm")  # metrics
STREAM = "Stream, 60 chunks a second (ms/s)"
BUDGETS = (  # (claim, precision, column of `cost_table`, measure, sign, bound)
    ("int8 fits in memory", "int8", "total_mb", "Weights and working memory (MB)", "≤", 1.0),
    ("float32 fits in the time", "float32", "pushes_60_ms_per_s", STREAM, "≤", BUDGET_MS_PER_S),
    ("int8 fits in the time", "int8", "pushes_60_ms_per_s", STREAM, "≤", BUDGET_MS_PER_S),
    *(
        ("float32 streams at an eighth of the cost", "float32", f"{way}_ratio", f"{WAYS[way]}, over window by window", "≤", 1 / 8)
        for way in ("offline", "pushes_10", "pushes_30", "pushes_60")
    ),
    ("int8 keeps the correlation", "int8", "r_ratio", "Lip-gap correlation, over float32", "≥", 0.99),
    ("int8 keeps the closures", "int8", "pbm_1mm_difference", "PBM at 1 mm, minus float32", "≥", -0.01),
    ("int8 keeps the order of gaps", "int8", "pbm_difference", "PBM at 5 % false closures, minus float32", "≥", -0.01),
)


def read_measurements(path: Path = MEASUREMENTS) -> pd.DataFrame:
    """What `facedistill bench --out` wrote: one row a system, columns as in `PLACES`; NaN where nothing was measured.

    working_mb is activations (as they were seen where that is more), state and expanded weights together, for the teacher
    measured; a ratio is the median, run by run, of a way over window by window. `InputError` where the file is anything else.
    """
    content = read_json(path)
    try:
        found = pd.json_normalize([{"system": name, **result} for name, result in content["systems"].items()])
        table = found.astype({"weights_bytes": float}).reindex(columns=PLACES.values()).set_axis(PLACES, axis=1)
    except (AttributeError, KeyError, TypeError) as error:
        raise InputError(f"{path}: not what `facedistill bench --out` writes ({error!r})") from None
    table = table.fillna({"precision": "float32", "sha256": ""})
    table[[column for column in table if column.endswith("_mb")]] /= 1e6
    computed = np.fmax(table["activations_mb"], table["measured_mb"]) + table["state_mb"] + table["expanded_mb"]
    return table.assign(
        student=[row.system.removesuffix(f"-{row.precision}") for row in table.itertuples()],
        working_mb=computed.fillna(table["working_mb"]),
        step_ms=table["step_ms"] - table["future_ms"],
        ensemble_ms=table["ensemble_ms"] - table["step_ms"],
    )


def machine(path: Path = MEASUREMENTS) -> str:
    """Where it was measured, and how often, in words."""
    content = read_json(path)
    where = "one core of {processor} ({system}), Python {python}, onnxruntime {onnxruntime}".format(**content["machine"])
    return f"{where}, the median of {content['repeats']} runs"


def read_quality(folder: Path = EXPORTED) -> pd.DataFrame:
    """What `export` measured of every precision: `QUALITY`, of how many utterances and /p b m/, and against float32 (or NaN)."""
    rows = []
    for path in sorted(folder.glob("*/quality.json")):
        quality, files = read_json(path), read_json(path.with_name("files.json"))
        hashes = {file["precision"]: file["sha256"] for file in files.values() if file["kind"] == "streaming"}
        for precision, scores in quality["scores"].items():
            against = quality["against-float32"].get(precision)
            rows.append({
                "student": path.parent.name, "precision": precision, "sha256": hashes[precision],
                **{metric: scores[metric]["value"] for metric in QUALITY},
                "n_utterances": scores["lip_gap_r"]["n"], "n_bilabials": scores["pbm"]["n"],
                "r_ratio": against["lip_gap_r"]["ratio"]["value"] if against else np.nan,
                **{f"{name}_difference": against[name]["difference"]["value"] if against else np.nan for name in PBM},
            })  # fmt: skip
    if not rows:
        raise InputError(f"{folder}: nothing is exported; run `dvc repro`")
    return pd.DataFrame(rows)


def cost_table(measurements: pd.DataFrame, quality: pd.DataFrame) -> pd.DataFrame:
    """Both together, one row a system: students in the order of their sizes, each in its precisions, then the others."""
    table = measurements.merge(quality.drop(columns="sha256"), on=["student", "precision"], how="left")
    table["total_mb"] = table["weights_mb"] + table["working_mb"]
    sizes = table.groupby("student")["weights_mb"].transform("max").where(table["sha256"] != "", np.inf)
    return table.iloc[np.lexsort([table["precision"].map(list(MARKERS).index), table["student"], sizes])]


def readable(table: pd.DataFrame) -> pd.DataFrame:
    """`cost_table` for readers."""
    parts = ("delay_ms", "future_ms", "step_ms", "ensemble_ms")
    columns = {
        "System": table["system"],
        "Weights (MB)": texts(table, "{:.2f}", "weights_mb"),
        "Working memory (MB)": texts(table, "{:.3f}", "working_mb"),
        "Activations: counted / seen (MB)": texts(table, "{:.3f} / {:.3f}", "activations_mb", "measured_mb"),
        "Process: libraries + model (MB)": texts(table, "{:.0f} + {:.0f}", "process_mb", "model_mb"),
        **{f"{heading} (ms/s)": texts(table, "{:.2f}", f"{way}_ms_per_s") for way, heading in WAYS.items()},
        "Worst chunk (ms)": texts(table, "{:.2f}", "worst_ms"),
        "Delay: window + step + ensemble (ms)": texts(table, "{1:.0f} + {2:.0f} + {3:.0f} = {0:.0f}", *parts),
        "Lip-gap r": texts(table, "{:.3f}", "lip_gap_r"),
        **{METRICS[metric][0]: texts(table, "{:.3f}", metric) for metric in QUALITY[1:]},
    }
    return pd.DataFrame(columns)


def judge_budgets(table: pd.DataFrame, student: str) -> pd.DataFrame:
    """Judges `BUDGETS` of a student by `cost_table`; see `claims.judge`. `InputError` if a precision was not measured."""
    rows = table[table["student"] == student].set_index("precision")
    if not {"int8", "float32"} <= set(rows.index):
        raise InputError(f"{student}: not measured in int8 and float32; run `make bench`")
    claims = [Claim(text, precision, *needed) for text, precision, _, *needed in BUDGETS]
    found = {("", precision, measure, "value"): rows.loc[precision, column] for _, precision, column, measure, *_ in BUDGETS}
    return judge(claims, {key: (value, np.nan, np.nan) for key, value in found.items()})


def judge_latency(measurements: pd.DataFrame, student: str) -> pd.DataFrame:
    """Judges whether larger chunks are cheaper in all runs, and most of the latency is the future; see `claims.judge`."""
    row, cost, share = measurements.set_index("system").loc[student], "Cost (ms/s)", "Share of the latency"
    measured = {("", way, cost, "value"): tuple(row[f"{way}_{run}"] for run in RUNS) for way in WAYS}
    measured["", "future", share, "value"] = row["future_ms"] / row["delay_ms"], np.nan, np.nan
    claims = [Claim(f"{WAYS[cheap]}: cheaper than {WAYS[dear]}", cheap, cost, "<", dear) for dear, cheap in pairwise(WAYS)]
    return judge([*claims, Claim("Most of the latency is the window's future", "future", share, ">", 0.5)], measured)


def stale(measurements: pd.DataFrame, quality: pd.DataFrame) -> list[str]:
    """Exported models that are not the ones that were measured: `make bench` measures them anew."""
    measured = set(measurements["sha256"])
    return [f"{row.student} {row.precision}" for row in quality.itertuples() if row.sha256 not in measured]


def latency_figure(measurements: pd.DataFrame) -> Figure:
    """Left, what a second of sound costs in every way it may come; right, the latency of a frame and its parts."""
    students = measurements[measurements["sha256"] != ""]
    names = list(dict.fromkeys(students.sort_values("delay_ms")["student"]))
    students = students.set_index("student").loc[names]
    fig, (costs, delays) = plt.subplots(1, 2, figsize=(13, 5), width_ratios=[3, 2], layout="constrained")
    _draw_costs(costs, students, names)
    _draw_delays(delays, students.groupby(level=0, sort=False).head(1))
    return fig


def _draw_costs(ax: plt.Axes, students: pd.DataFrame, names: list[str]) -> None:
    for position, way in enumerate(WAYS):
        for name, row in students.dropna(subset=[f"{way}_ms_per_s"]).iterrows():
            place = position + 0.17 * (names.index(name) - (len(names) - 1) / 2)
            look = {"color": MODEL_COLOURS.get(name, "black"), "marker": MARKERS[row["precision"]], "markersize": 5}
            ends = [row[f"{way}_{run}"] for run in RUNS]
            draw_intervals(ax, place, ends, along="x", capsize=2, linestyle="none", **look)
    ax.axvline(1000, color="black", linewidth=1)
    ax.axvline(BUDGET_MS_PER_S, color="#888888", linestyle="--", linewidth=1)
    ax.text(BUDGET_MS_PER_S, -0.62, " budget of tiny-real-time", fontsize=8, color="#555555", va="center")
    ax.text(1000, -0.62, "real time ", fontsize=8, va="center", ha="right")
    ax.set_xscale("log")
    ax.set_yticks(range(len(WAYS)), WAYS.values())
    ax.set(xlabel="Milliseconds of one core per second of sound", ylim=(len(WAYS) - 0.5, -0.8), title="What it costs")
    colours = [Line2D([], [], color=MODEL_COLOURS.get(name, "black"), marker="o", linestyle="none", label=name) for name in names]
    shapes = [Line2D([], [], color="#555555", marker=mark, linestyle="none", label=name) for name, mark in MARKERS.items()]
    ax.legend(handles=colours + shapes, fontsize=8, ncols=2, loc="lower right")


def _draw_delays(ax: plt.Axes, students: pd.DataFrame) -> None:
    left = np.zeros(len(students))
    for (column, label), colour in zip(STEPS.items(), STEP_COLOURS, strict=True):
        ax.barh(students.index, students[column], left=left, color=colour, label=label)
        left += students[column].to_numpy()
    for place, value in enumerate(left):
        ax.text(value + 3, place, f"{value:.0f} ms", va="center", fontsize=9)
    ax.axvline(PAPER_DELAY_MS, color="black", linestyle="--", linewidth=1)
    ax.text(PAPER_DELAY_MS, -0.62, " 81 ms: the paper's real-time model", fontsize=8, va="center")
    ax.invert_yaxis()
    ax.set(xlabel="Latency of a frame (ms)", xlim=(0, left.max() * 1.2), ylim=(len(students) - 0.5, -0.8), title="Latency")
    ax.grid(axis="y", visible=False)
    ax.legend(fontsize=8, loc="upper right", bbox_to_anchor=(1, 0.9))
