"""`info` and `bench`: what a model's file says, and what a model costs here; nothing depends on how fast this machine is."""

import hashlib
import json
import shutil
from pathlib import Path

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from exported import exported, model_path

from facedistill.app import bench as bench_module
from facedistill.app.bench import bench, measure_envelope, measured_memory
from facedistill.app.info import print_info
from facedistill.core.errors import InputError
from facedistill.deploy.memory import working_memory
from facedistill.deploy.precision import PRECISIONS
from facedistill.rig.arkit import CURVES
from facedistill.runtime import Animator, Model
from facedistill.runtime.model import MAX_ROWS, TYPES

COSTS = {"offline_ms_per_s", "windows_ms_per_s", *(f"pushes_{pushes_hz}_ms_per_s" for pushes_hz in (60, 30, 10))}


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """A checkout: a student of every precision and kind in data/export, and all but float32 of it in models/."""
    made = tmp_path_factory.mktemp("checkout")
    for place in ("data/export/tiny", "models/tiny"):
        (made / place).mkdir(parents=True)
        for precision, kind in exported():
            if "export" in place or precision != "float32":
                shutil.copy(model_path(precision, kind), made / place)
    return made


@pytest.fixture(autouse=True)
def quick(monkeypatch, folder) -> None:
    """Every measurement once and in this process."""
    for module in ("app.bench", "runtime.released"):
        monkeypatch.setattr(f"facedistill.{module}.DATA", folder / "data")
    monkeypatch.setattr("facedistill.runtime.released.RELEASED", folder / "models")
    monkeypatch.setattr(bench_module, "REPEATS", 1)
    monkeypatch.setattr(bench_module, "_alone", lambda job: job())


# Info -----------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["streaming", "window"])
@pytest.mark.parametrize("precision", PRECISIONS)
def test_info_says_what_the_file_says(folder, capsys, monkeypatch, precision, kind):
    monkeypatch.setenv("COLUMNS", "2000")
    place = "data/export" if precision == "float32" else "models"
    path = folder / place / "tiny" / model_path(precision, kind).name
    print_info(str(path) if precision == "float32" else path.stem)
    said = capsys.readouterr().out
    content = path.read_bytes()
    for text in (
        f"tiny, {precision}", f"{kind} graph", str(path), f"{len(content):,} bytes", hashlib.sha256(content).hexdigest(),
        "16,000 Hz",
        "512 ms a frame: 448 ms before it and 64 ms after", ", ".join(CURVES), "Apache-2.0", "0" * 64,
    ):  # fmt: skip
        assert text in said
    if kind == "streaming":
        assert "at most 79.3 ms; 96.0 ms with --ensemble" in said
    else:
        assert "delay" not in said


def test_the_delay_is_the_engines(capsys):
    path = model_path()
    print_info(str(path))
    model, said = Model(path), capsys.readouterr().out
    for fps in (30, 60):
        plain, smooth = (1000 * Animator(model, fps=fps, ensemble=ensemble).lookahead_s for ensemble in (False, True))
        assert f"\ndelay at {fps} fps  at most {plain:.1f} ms; {smooth:.1f} ms with --ensemble\n" in said


@pytest.mark.parametrize("name", ["a[bold]b", "[red]", "[/bold]", "ü"])
def test_a_path_is_printed_as_it_is(tmp_path, capsys, monkeypatch, name):
    monkeypatch.setenv("COLUMNS", "500")
    path = tmp_path / f"{name}.onnx"
    path.parent.mkdir(exist_ok=True)
    shutil.copy(model_path(), path)
    print_info(str(path))
    assert str(path) in capsys.readouterr().out


def test_info_of_nothing_is_refused(tmp_path):
    with pytest.raises(InputError, match="neither the file of one nor one of: tiny-float16-window, tiny-float16, .*tiny$"):
        print_info("nope")
    (tmp_path / "a.onnx").write_bytes(b"onnx")
    with pytest.raises(InputError, match="a.onnx: not a model that facedistill exported"):
        print_info(str(tmp_path / "a.onnx"))


# Bench ----------------------------------------------------------------------------------------------------------------


def check(result: dict, path: Path, precision: str) -> None:
    assert result["precision"] == precision and result["weights_bytes"] == path.stat().st_size
    assert result["sha256"] == hashlib.sha256(path.read_bytes()).hexdigest()
    assert (result["future_ms"], round(result["delay_ms"], 1), round(result["delay_ensemble_ms"], 1)) == (64, 79.3, 96.0)
    assert {key for key in result if key.endswith("_ms_per_s")} == COSTS
    for key in COSTS:
        assert 0 < result[key]["least"] <= result[key]["median"] <= result[key]["most"]
    for way, ratio in result["of_windows"].items():
        assert ratio == pytest.approx(result[f"{way}_ms_per_s"]["median"] / result["windows_ms_per_s"]["median"]), (
            "of the one run"
        )
    assert len(result["of_windows"]) == len(COSTS) - 1
    assert 0 < result["push_ms"]["median"] <= result["push_ms"]["p99"] <= result["push_ms"]["worst"]
    assert result["process_bytes"].keys() == {"interpreter_and_libraries", "model"}
    assert result["memory_bytes"].keys() == {"activations_measured", "state", "activations", "expanded"}


def test_every_exported_model_is_measured_beside_an_envelope(tmp_path, folder, capsys):
    bench([], seconds=1, out=tmp_path / "bench.json", exported=True)
    written = json.loads((tmp_path / "bench.json").read_text())
    assert (written["seconds"], written["repeats"]) == (1, 1)
    assert written["machine"].keys() == {"processor", "cores", "system", "python", "onnxruntime", "numpy"}
    assert all(written["machine"].values())
    assert list(written["systems"]) == ["tiny-float16", "tiny-int8", "tiny", "amplitude-envelope"]
    for precision in PRECISIONS:
        name = model_path(precision).stem
        check(written["systems"][name], folder / "data" / "export" / "tiny" / f"{name}.onnx", precision)
    assert written["systems"]["amplitude-envelope"]["offline_ms_per_s"]["median"] > 0
    printed = capsys.readouterr().out
    for name in written["systems"]:
        assert name in printed


def test_a_named_model_is_measured_alone_and_in_a_process_of_its_own(tmp_path, monkeypatch):
    monkeypatch.undo()
    path = shutil.copy(model_path("int8"), tmp_path / "a.onnx")
    bench([str(path)], seconds=1, out=tmp_path / "bench.json")
    systems = json.loads((tmp_path / "bench.json").read_text())["systems"]
    assert list(systems) == ["a"] and not {"windows_ms_per_s", "of_windows"} & systems["a"].keys(), "no window graph beside it"
    process = systems["a"]["process_bytes"]
    assert 10e6 < process["interpreter_and_libraries"] < 500e6 and 0 < process["model"] < 200e6


@pytest.mark.parametrize("precision", PRECISIONS)
def test_the_memory_that_is_measured_is_the_memory_that_is_counted(precision):
    pytest.importorskip("memray")
    graph = onnx.load(model_path(precision))
    found, counted = measured_memory(model_path(precision)), working_memory(graph)
    assert (found["activations"], found["expanded"]) == (counted.activations, counted.expanded)
    assert largest_tensor_bytes(graph) <= found["activations_measured"] < 3 * counted.activations
    assert 0.5 * counted.state < found["state"] < 2 * counted.state, "the engine hears hops, the graph pairs of them"


def largest_tensor_bytes(graph: onnx.ModelProto) -> int:
    """Of the intermediate tensors of the most steps at once, each computed alone so that it is really there."""
    sizes = []
    for operator in ("MatMul", "Gather"):
        node = next(node for node in graph.graph.node if node.op_type == operator)
        opened = onnx.ModelProto.FromString(graph.SerializeToString())
        opened.graph.output.append(onnx.ValueInfoProto(name=node.output[0]))
        run = ort.InferenceSession(opened.SerializeToString(), providers=["CPUExecutionProvider"])
        feeds = {
            tensor.name: np.zeros([MAX_ROWS if size == "L" else size for size in tensor.shape], TYPES[tensor.type])
            for tensor in run.get_inputs()
        }
        sizes.append(run.run([node.output[0]], feeds)[0].nbytes)
    return max(sizes)


def test_memory_that_cannot_be_found_out_is_left_out(monkeypatch, capsys):
    monkeypatch.setattr(bench_module, "find_spec", lambda name: None)
    found = measured_memory(model_path())
    assert found.keys() == {"state", "activations_measured"} and found["activations_measured"] is None
    bench([str(model_path())], seconds=1, out=None)
    assert "tiny" in capsys.readouterr().out


def test_what_a_stream_costs_is_counted_push_by_push():
    animator = Animator(Model(model_path()), fps=60)
    sound = bench_module._sound(1.5)
    assert len(sound) == 24_000 and sound.dtype == np.float32 and 0.01 < np.abs(sound).max() < 1.5
    for pushes_hz in (60, 30, 10):
        assert len(bench_module._stream(animator, sound, pushes_hz)) == 1.5 * pushes_hz


def test_the_spread_of_runs_is_told(monkeypatch):
    """The run to warm up does not count; times are per second of sound."""
    monkeypatch.setattr(bench_module, "REPEATS", 3)
    times_s = iter([0.0, 0.010, 1.0, 1.001, 2.0, 2.040, 3.0, 3.001, 4.0, 4.020, 5.0, 5.001])
    monkeypatch.setattr(bench_module.time, "perf_counter", lambda: next(times_s))
    ran = []
    costs = bench_module._timed({"a": lambda: ran.append("a"), "b": lambda: ran.append("b")}, 2.0)
    assert "".join(ran) == 4 * "ab", "in turns"
    np.testing.assert_allclose(costs["b"], [0.5] * 3)
    assert bench_module._spread(costs)["a_ms_per_s"] == pytest.approx({"median": 10.0, "least": 5.0, "most": 20.0})


def test_the_envelope_has_no_weights():
    assert measure_envelope(1.0)["weights_bytes"] == 0


def test_released_models_are_measured_unless_told(tmp_path):
    bench([], seconds=1, out=tmp_path / "bench.json")
    assert list(json.loads((tmp_path / "bench.json").read_text())["systems"]) == [
        "tiny-float16",
        "tiny-int8",
        "amplitude-envelope",
    ]


def test_nothing_to_measure(tmp_path, monkeypatch):
    monkeypatch.setattr(bench_module, "DATA", tmp_path)
    monkeypatch.setattr("facedistill.runtime.released.RELEASED", tmp_path)
    with pytest.raises(InputError, match="export: no models to measure; run `make repro`$"):
        bench([], seconds=1, out=None, exported=True)
    with pytest.raises(InputError, match="^no models are released here; name a model's file, or .* --exported$"):
        bench([], seconds=1, out=None)
    with pytest.raises(InputError, match="^--exported measures all of data/export; expected without names$"):
        bench([str(model_path())], seconds=1, out=None, exported=True)
    with pytest.raises(InputError, match="nope"):
        bench(["nope"], seconds=1, out=None)


@pytest.mark.parametrize("place", ["", "deep/bench.json", "file/bench.json"])
def test_a_place_that_cannot_be_written_is_told_before_anything_is_measured(tmp_path, monkeypatch, place):
    monkeypatch.setattr(bench_module, "_alone", lambda *_: pytest.fail("measured"))
    (tmp_path / "file").write_text("mine")
    with pytest.raises(InputError, match="cannot be written; expected a file in a folder that is there"):
        bench([str(model_path())], seconds=1, out=tmp_path / place)


def test_a_model_that_is_none_is_told_before_the_others_are_measured(monkeypatch):
    monkeypatch.setattr(bench_module, "_alone", lambda *_: pytest.fail("measured"))
    with pytest.raises(InputError, match="a graph of one window"):
        bench([str(model_path()), str(model_path(kind="window"))], seconds=1, out=None)
