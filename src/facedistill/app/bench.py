"""What models cost on this machine: weights, working memory, time on one core and delay, beside the teacher and an envelope."""

import hashlib
import operator
import os
import platform
import re
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Sequence
from functools import partial
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import onnxruntime as ort
import psutil
from rich.console import Console
from rich.table import Table
from rich.text import Text
from tqdm import tqdm

from facedistill.core.errors import InputError
from facedistill.core.files import write_json
from facedistill.core.paths import DATA
from facedistill.core.processes import mapped
from facedistill.runtime import Animator, Model, find_model
from facedistill.runtime.model import open_session
from facedistill.runtime.released import WINDOW_SUFFIX, released_models
from facedistill.runtime.streams import StreamingSession

RATE_HZ = 16_000
REPEATS = 11
FPS = 60  # of frames, and of windows in the paper's way
PUSHES_HZ = (60, 30, 10)  # how often a stream gets sound: once a frame, at 60 and 30 a second, and in blocks of 100 ms
QUANTILES = {"median": 0.5, "p99": 0.99, "worst": 1.0}
TEACHER_S = 10.0
CAPTION = (
    "MB of weights, kB of working memory; milliseconds of one core per second of sound that comes in 60, 30 or 10 chunks a "
    "second, as a whole, or window by window; the worst chunk and latency, in ms"
)
HEADINGS = ("", "MB", "kB", "60/s", "30/s", "10/s", "whole", "wind.", "worst", "late")
DIGITS = (2, 0, 1, 1, 1, 1, 1, 1, 0)

Result = dict[str, object]
Job = Callable[[], Result]


def bench(models: Sequence[str], *, seconds: float, out: Path | None, exported: bool = False) -> None:
    """Measures models, each in a process of its own, for some seconds of sound; prints a table, and keeps all in `out`, as JSON.

    Models are named, by path too; else all that are released, or `exported` to data/export, with the envelope and the teacher.
    """
    paths = _paths(models, exported)
    if out is not None and (out.is_dir() or not out.absolute().parent.is_dir() or not os.access(out.absolute().parent, os.W_OK)):
        raise InputError(f"{out}: cannot be written; expected a file in a folder that is there")
    for path in paths:
        Model(path)  # what is none is told before the others are measured
    jobs: dict[str, Job] = {path.stem: partial(measure_model, path, seconds) for path in paths}
    if not models:
        jobs["amplitude-envelope"] = partial(measure_envelope, seconds)
    if exported and (DATA / "teach" / "config.json").is_file() and find_spec("torch"):
        jobs["teacher"] = measure_teacher
    systems = {name: _alone(job) for name, job in tqdm(jobs.items(), desc="bench", unit="system")}
    Console().print(_table(systems))
    if out is not None:
        write_json(out, {"machine": machine(), "seconds": seconds, "repeats": REPEATS, "systems": systems})


def _paths(models: Sequence[str], exported: bool) -> list[Path]:
    if exported and models:
        raise InputError("--exported measures all of data/export; expected without names")
    if exported:
        paths = sorted(path for path in (DATA / "export").glob("*/*.onnx") if not path.stem.endswith(WINDOW_SUFFIX))
        missing = f"{DATA / 'export'}: no models to measure; run `make repro`"
    else:
        paths = [find_model(model) for model in models] or list(dict.fromkeys(released_models().values()))
        missing = "no models are released here; name a model's file, or measure what `make repro` exports: --exported"
    if not paths:
        raise InputError(missing)
    name, count = Counter(path.stem for path in paths).most_common(1)[0]
    if count > 1:
        raise InputError(f"{name}: named twice; expected each model once")
    return paths


def measure_model(path: Path, seconds: float) -> Result:
    """Everything about one exported student; its window graph lies beside it."""
    before = _resident_bytes()
    model = Model(path)
    loaded = _resident_bytes()
    sound, metadata, animator = _sound(seconds), model.metadata, Animator(model, fps=FPS)
    result: Result = {
        "precision": metadata.precision,
        "weights_bytes": path.stat().st_size,
        "sha256": hashlib.sha256(path.read_bytes()).hexdigest(),
        "process_bytes": {"interpreter_and_libraries": before, "model": loaded - before},
        "memory_bytes": measured_memory(path),
        "future_ms": 1000 * metadata.future_samples / metadata.sample_rate_hz,
        "delay_ms": 1000 * animator.lookahead_s,
        "delay_ensemble_ms": 1000 * Animator(model, fps=FPS, ensemble=True).lookahead_s,
    }
    ways = {"offline": partial(animator.animate, sound)}
    ways |= {f"pushes_{pushes_hz}": partial(_stream, animator, sound, pushes_hz) for pushes_hz in PUSHES_HZ}
    window = path.with_name(f"{path.stem}{WINDOW_SUFFIX}.onnx")
    if window.is_file():
        ways["windows"] = partial(_windows, open_session(window)[0], sound, metadata.window_samples)
    costs = _timed(ways, seconds)
    result |= _spread(costs)
    if "windows" in costs:
        result["of_windows"] = {way: float(np.median(cost / costs["windows"])) for way, cost in costs.items() if way != "windows"}
    latencies_ms = np.sort([1000 * latency_s for _ in range(REPEATS) for latency_s in _stream(animator, sound, FPS)])
    result["push_ms"] = {name: float(np.quantile(latencies_ms, share)) for name, share in QUANTILES.items()}
    return result


def measure_envelope(seconds: float) -> Result:
    """The baseline that needs no learning."""
    from facedistill.measure.baselines import band_envelope

    return {"weights_bytes": 0, **_spread(_timed({"offline": partial(band_envelope, _sound(seconds))}, seconds))}


def measure_teacher() -> Result:
    """The teacher on whole utterances of `TEACHER_S` seconds."""
    before = _resident_bytes()
    import torch

    from facedistill.models.teacher import load_teacher

    torch.set_num_threads(1)
    libraries = _resident_bytes()
    teacher, sound = load_teacher(DATA / "teach"), _sound(TEACHER_S)
    loaded, animate = _resident_bytes(), partial(teacher.animate, sound)
    return {
        "weights_bytes": (DATA / "teach" / "model.safetensors").stat().st_size,
        "process_bytes": {"interpreter_and_libraries": libraries, "torch": libraries - before, "model": loaded - libraries},
        "memory_bytes": {"measured": _peak_bytes(animate)},
        **_spread(_timed({"offline": animate}, TEACHER_S)),
    }


def measured_memory(path: Path) -> dict[str, int | None]:
    """The working memory of the most steps at once, by the graph and as measured; None without the package for it.

    Without its arena, every tensor is an allocation; onnxruntime's order keeps some longer, and some 15 kB are its bookkeeping.
    """
    model = Model(path)
    options = ort.SessionOptions()
    options.intra_op_num_threads = 1
    options.enable_cpu_mem_arena = options.enable_mem_pattern = False
    model.session = ort.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    steps, hops = StreamingSession(model), np.zeros(model.max_rows * model.metadata.hop_samples, np.float32)
    for _ in range(3):  # both turns of the states: buffers are tied to the session once
        steps.push(hops)
    result = {"state": steps.n_bytes, "activations_measured": _peak_bytes(lambda: steps.push(hops))}
    if find_spec("onnx"):
        import onnx

        from facedistill.deploy.memory import working_memory

        computed = working_memory(onnx.load(path))
        result |= {"activations": computed.activations, "expanded": computed.expanded}
    return result


def _peak_bytes(run: Callable[[], object]) -> int | None:
    """The most that a function allocates at any one time, in Python and in native code."""
    if not find_spec("memray"):  # not made for Windows
        return None
    import memray

    with tempfile.TemporaryDirectory() as folder:
        trace = Path(folder) / "trace"
        with memray.Tracker(trace):
            run()
        return sum(record.size for record in memray.FileReader(trace).get_high_watermark_allocation_records())


def _stream(animator: Animator, sound: np.ndarray, pushes_hz: int) -> list[float]:
    """Seconds that each push of a stream takes."""
    latencies_s = []
    for number in range(len(sound) * pushes_hz // RATE_HZ):
        chunk = sound[number * RATE_HZ // pushes_hz : (number + 1) * RATE_HZ // pushes_hz]
        start_s = time.perf_counter()
        animator.push(chunk)
        latencies_s.append(time.perf_counter() - start_s)
    animator.flush()
    return latencies_s


def _windows(session: ort.InferenceSession, sound: np.ndarray, window_samples: int) -> None:
    """The paper's way: the whole window again for every frame."""
    padded = np.pad(sound, (0, window_samples))[None]
    for frame in range(len(sound) * FPS // RATE_HZ):
        first = frame * RATE_HZ // FPS
        session.run(["curves"], {"window": padded[:, first : first + window_samples]})


def _timed(ways: dict[str, Callable[[], object]], seconds: float) -> dict[str, np.ndarray]:
    """Milliseconds of one core a second of sound, `REPEATS` times after one to warm up; ways take turns, so all meet the same."""
    for run in ways.values():
        run()
    costs: dict[str, list[float]] = {way: [] for way in ways}
    for _ in range(REPEATS):
        for way, run in ways.items():
            start_s = time.perf_counter()
            run()
            costs[way].append(1000 * (time.perf_counter() - start_s) / seconds)
    return {way: np.array(cost) for way, cost in costs.items()}


def _spread(costs: dict[str, np.ndarray]) -> Result:
    """The median, the least and the most of each way's runs."""
    return {
        f"{way}_ms_per_s": {"median": float(np.median(cost)), "least": float(cost.min()), "most": float(cost.max())}
        for way, cost in costs.items()
    }


def _sound(seconds: float) -> np.ndarray:
    """Noise that comes and goes like syllables: what a model costs does not depend on what it hears."""
    time_s = np.arange(int(seconds * RATE_HZ)) / RATE_HZ
    noise = np.random.default_rng(0).standard_normal(len(time_s))
    return (0.1 * noise * (1 + np.sin(2 * np.pi * 4 * time_s))).astype(np.float32)


def _resident_bytes() -> int:
    return psutil.Process().memory_info().rss


def _alone(job: Job) -> Result:
    """Runs a measurement in a new process, so that its memory is its own."""
    with mapped(operator.call, [job], 1, asked_by="bench") as results:
        return next(results)


def machine() -> dict[str, str]:
    """The processor, its cores, the system and the versions that decide how fast models run."""
    about = Path("/proc/cpuinfo").read_text() if Path("/proc/cpuinfo").is_file() else ""
    named = re.search(r"^model name\s*:\s*(.*)", about, re.MULTILINE)
    return {
        "processor": named[1].strip() if named else platform.processor(),
        "cores": str(os.cpu_count()),
        "system": f"{platform.system()} {platform.machine()}",
        "python": platform.python_version(),
        "onnxruntime": ort.__version__,
        "numpy": np.__version__,
    }


def _table(systems: dict[str, Result]) -> Table:
    """The measurements for a terminal; all of them are in the JSON file."""
    table = Table(box=None, padding=(0, 1, 0, 0), caption_justify="left", caption=CAPTION)
    for heading in HEADINGS:
        table.add_column(heading, justify="right" if heading else "left", no_wrap=True)
    ways = (*(f"pushes_{pushes_hz}" for pushes_hz in PUSHES_HZ), "offline", "windows")
    for name, result in systems.items():
        memory = result.get("memory_bytes", {})
        activations = max(memory.get("activations") or 0, memory.get("activations_measured") or 0)
        working = activations + memory["state"] + memory.get("expanded", 0) if "state" in memory else memory.get("measured")
        medians = [result.get(f"{way}_ms_per_s", {}).get("median") for way in ways]
        latencies = [result.get("push_ms", {}).get("worst"), result.get("delay_ms")]
        values = [result["weights_bytes"] / 1e6, None if working is None else working / 1e3, *medians, *latencies]
        cells = ["" if value is None else f"{value:.{digits}f}" for value, digits in zip(values, DIGITS, strict=True)]
        table.add_row(Text(name), *cells)  # a file may have any name: no markup
    return table
