"""The command line: bad input is one line and exit code 2, an interrupt is 130, and help loads nothing heavy."""

import inspect
import subprocess
import sys
from importlib import metadata
from pathlib import Path
from types import ModuleType

import numpy as np
import onnx
import pytest
import soundfile as sf
from exported import model_path, noise
from onnx import helper

from facedistill import cli
from facedistill.app import animate as animate_module
from facedistill.core.errors import InputError
from facedistill.formats import registry
from facedistill.formats.animation import regular
from facedistill.repro import verify

COMMANDS = [
    "animate", "live", "convert", "render", "info", "bench", "check", "prepare", "align", "teach", "label", "distill", "ablate",
    "teachers", "evaluate", "export", "web", "release", "benchmark", "notebook", "fill", "verify", "site", "config", "head",
]  # fmt: skip


@pytest.fixture(autouse=True)
def _durations_go_elsewhere(tmp_path, monkeypatch):
    for module in (cli, verify):
        monkeypatch.setattr(module, "DURATION_NOTES", tmp_path / "durations.jsonl")


def run(monkeypatch: pytest.MonkeyPatch, *arguments: object) -> int:
    monkeypatch.setattr(sys, "argv", ["facedistill", *map(str, arguments)])
    with pytest.raises(SystemExit) as ended:
        cli.main()
    return ended.value.code or 0


def fake(monkeypatch: pytest.MonkeyPatch, module: str, **functions) -> None:
    made = ModuleType(f"facedistill.{module}")
    vars(made).update(functions)
    monkeypatch.setitem(sys.modules, f"facedistill.{module}", made)


def failing(error: BaseException):
    def fail(*_, **__):
        raise error

    return fail


def test_bad_input_is_one_line(monkeypatch, capsys):
    fake(monkeypatch, "core.params", load_params=failing(InputError("params.yaml: seed: must be at least 0, got -1")))
    fake(monkeypatch, "pipeline.prepare", prepare=failing(AssertionError("not reached")))
    assert run(monkeypatch, "prepare") == 2
    assert capsys.readouterr() == ("", "error: params.yaml: seed: must be at least 0, got -1\n")


def test_too_little_memory_is_one_line(monkeypatch, capsys):
    fake(monkeypatch, "pipeline.prepare", prepare=failing(MemoryError()))
    assert run(monkeypatch, "prepare") == 2
    assert capsys.readouterr().err == "error: prepare: not enough memory for it; expected a smaller input, or more memory\n"


def test_an_interrupt_is_130(monkeypatch):
    fake(monkeypatch, "core.params", load_params=dict)
    fake(monkeypatch, "pipeline.evaluate", evaluate=failing(KeyboardInterrupt()))
    assert run(monkeypatch, "evaluate") == 130


def test_a_bug_keeps_its_traceback(monkeypatch):
    fake(monkeypatch, "core.params", load_params=dict)
    fake(monkeypatch, "pipeline.label", label=failing(ZeroDivisionError()))
    monkeypatch.setattr(sys, "argv", ["facedistill", "label"])
    with pytest.raises(ZeroDivisionError):
        cli.main()


@pytest.mark.parametrize("command", ["prepare", "teach", "label", "evaluate"])
def test_each_stage_gets_the_parameters(monkeypatch, command):
    seen = []
    fake(monkeypatch, "core.params", load_params=lambda: "parameters")
    fake(monkeypatch, f"pipeline.{command}", **{command: lambda *arguments: seen.append(arguments)})
    assert run(monkeypatch, command) == 0
    assert seen == [("parameters",)]


@pytest.mark.parametrize("command", ["distill", "ablate", "export"])
def test_named_stages_get_the_name(monkeypatch, command):
    seen = []
    fake(monkeypatch, "core.params", load_params=lambda: "parameters")
    fake(monkeypatch, f"pipeline.{command}", **{command: lambda *arguments: seen.append(arguments)})
    assert run(monkeypatch, command, "on-device") == 0
    assert seen == [("parameters", "on-device")]
    assert run(monkeypatch, command) == 2


def test_a_missing_package_is_one_line_that_says_how_to_get_it(monkeypatch, capsys):
    fake(monkeypatch, "core.params", load_params=failing(ModuleNotFoundError("No module named 'torch'", name="torch")))
    fake(monkeypatch, "pipeline.teach", teach=failing(AssertionError("not reached")))
    assert run(monkeypatch, "teach") == 2
    assert capsys.readouterr().err == 'error: teach needs the package torch; hint: in the clone, `pip install -e ".[train]"`\n'


def test_what_makes_models_is_told_to_run_in_a_clone(monkeypatch, tmp_path, capsys):
    monkeypatch.setattr(cli, "ROOT", tmp_path)
    for command in ("check", "distill", "config", "verify", "web"):
        assert run(monkeypatch, command, *["x"] * (command in ("distill", "config"))) == 2
        expected = f'error: {command}: {tmp_path} is no clone; expected `pip install -e ".[train]"` in one\n'
        assert capsys.readouterr() == ("", expected)
    assert run(monkeypatch, "info", "no-such-model") == 2 and "no-such-model" in capsys.readouterr().err


def test_a_missing_library_of_the_system_is_one_line(monkeypatch, capsys):
    missing = "libX.so.6: cannot open shared object file: No such file or directory"
    fake(monkeypatch, "core.params", load_params=failing(ImportError(missing, name="package.core")))
    fake(monkeypatch, "pipeline.teach", teach=failing(AssertionError("not reached")))
    assert run(monkeypatch, "teach") == 2
    assert capsys.readouterr().err == f"error: teach: {missing}; hint: install that library of the system (README says how)\n"
    fake(monkeypatch, "core.params", load_params=failing(ImportError("cannot import name 'x'", name="package.core")))
    with pytest.raises(ImportError, match="cannot import name"):  # a bug is not hidden
        run(monkeypatch, "teach")


def test_an_error_of_the_disk_is_one_line(monkeypatch, capsys):
    fake(monkeypatch, "app.info", print_info=failing(OSError(28, "No space left on device", "a.json")))
    assert run(monkeypatch, "info", "tiny") == 2
    assert capsys.readouterr().err == "error: [Errno 28] No space left on device: 'a.json'\n"


# Commands that use a model --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("n_failed", "code"), [(0, 0), (1, 2)])
def test_animate_passes_everything_on(monkeypatch, tmp_path, n_failed, code):
    seen = []
    monkeypatch.setattr(animate_module, "animate_batch", lambda *given, **options: seen.append((*given, options)) or n_failed)
    options = [
        "--gain",
        "jawOpen=1.5",
        "--gain",
        "mouthClose=0",
        "--fps",
        60,
        "--ensemble",
        "--blinks",
        "--seed",
        4,
        "--workers",
        3,
    ]
    files = ["-o", tmp_path, "--model", model_path(), "--format", "glb", "--face", "head.glb"]
    assert run(monkeypatch, "animate", "a.wav", "b.flac", *files, *options) == code
    recordings, out, settings, rest = seen[0]
    assert ([str(path) for path in recordings], out, rest) == (["a.wav", "b.flac"], str(tmp_path), {"workers": 3})
    assert settings == animate_module.Settings(
        model_path(),
        fps=60,
        ensemble=True,
        blinks=4,
        gains={"jawOpen": 1.5, "mouthClose": 0.0},
        kind="glb",
        face=Path("head.glb"),
    )


def test_animate_is_plain_unless_told(monkeypatch, tmp_path):
    seen = []
    monkeypatch.setattr(animate_module, "animate_batch", lambda *given, **options: seen.append(given[2]) or 0)
    assert run(monkeypatch, "animate", "a.wav", "-o", tmp_path, "-m", model_path()) == 0
    assert seen == [animate_module.Settings(model_path())]


def test_formats_are_those_of_the_registry():
    assert cli.FORMATS == tuple(registry.KINDS)


def test_convert_turns_curves_into_every_format(monkeypatch, tmp_path, capsys):
    moving = regular(("jawOpen", "mouthLeft"), np.linspace(0, 1, 90).reshape(45, 2), 30)
    registry.write(tmp_path / "a.csv", moving)
    for kind in ("json", "npz", "livelink", "glb"):
        target = tmp_path / f"{kind}{registry.KINDS[kind].suffix}"
        assert run(monkeypatch, "convert", tmp_path / "a.csv", target, "--to", kind) == 0
        assert run(monkeypatch, "convert", target, tmp_path / "back.csv") == 0
        np.testing.assert_allclose(registry.read(tmp_path / "back.csv").select(moving.names), moving.weights, atol=1e-6)
    assert run(monkeypatch, "convert", tmp_path / "a.csv", tmp_path / "slow.csv", "--fps", 10) == 0
    assert len(registry.read(tmp_path / "slow.csv").times_s) == 15
    assert capsys.readouterr() == ("", "")


def foreign(path: Path) -> None:
    """A model of someone else: sound in, silence out."""
    tensors = [helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, ["L", 512]) for name in ("frames", "curves")]
    graph = helper.make_graph([helper.make_node("Abs", ["frames"], ["curves"])], "foreign", tensors[:1], tensors[1:])
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 15)], ir_version=8), path)


@pytest.fixture
def place(tmp_path, monkeypatch) -> Path:
    """A folder to work in, with a file of every kind that a command may be given."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("facedistill.runtime.released.RELEASED", tmp_path / "models")
    for module in ("app.bench", "repro.release", "runtime.released"):
        monkeypatch.setattr(f"facedistill.{module}.DATA", tmp_path / "data")
    (tmp_path / "model.onnx").write_bytes(model_path().read_bytes())
    (tmp_path / "window.onnx").write_bytes(model_path(kind="window").read_bytes())
    (tmp_path / "truncated.onnx").write_bytes(model_path().read_bytes()[:-1000])
    foreign(tmp_path / "foreign.onnx")
    sf.write(tmp_path / "a.wav", noise(0.2), 16_000)
    (tmp_path / "folder").mkdir()
    (tmp_path / "text.wav").write_text("not audio")
    registry.write(tmp_path / "curves.csv", regular(("jawOpen",), [[0.5], [0.25]], 30))
    registry.write(tmp_path / "own.csv", regular(("jawOpen", "tailWag"), [[0.5, 1], [0.25, 1]], 30))
    (tmp_path / "text.csv").write_text("not curves\n1\n")
    (tmp_path / "text.glb").write_bytes(b"not a head")
    return tmp_path


LONG = "x" * 300
BAD = {
    "animate": [
        "", "a.wav", "-o out", "a.wav -o out", "a.wav -o out -m model.onnx --format bvh",
        "a.wav -o out -m model.onnx --fps 29", "a.wav -o out -m nope", "a.wav -o out -m folder",
        "a.wav -o out -m foreign.onnx", "a.wav -o out -m window.onnx", "a.wav -o out -m truncated.onnx",
        "a.wav -o out -m a.wav", f"a.wav -o out -m {LONG}", f"{LONG} -o out -m model.onnx",
        "a.wav -o out -m model.onnx --face head.glb", "a.wav -o out -m model.onnx --format csv --face text.glb",
        "a.wav -o out -m model.onnx --gain", "a.wav -o out -m model.onnx --gain jawOpen",
        "a.wav -o out -m model.onnx --gain jawOpen=", "a.wav -o out -m model.onnx --gain jawOpen=-1",
        "a.wav -o out -m model.onnx --gain jawOpen=nan", "a.wav -o out -m model.onnx --gain jawOpen=101",
        "a.wav -o out -m model.onnx --gain tail=1", "a.wav -o out -m model.onnx --gain =1",
        "a.wav -o out -m model.onnx --workers 0", "a.wav -o out -m model.onnx --seed -1", "folder -o out -m model.onnx",
        "a.wav a.wav -o out -m model.onnx", "a.wav text.wav -o x.csv -m model.onnx", "a.wav -o out -m model.onnx --smooth",
    ],
    "live": [
        "", "--mic --wav a.wav", "--wav a.wav", "--wav a.wav -m window.onnx", "--wav a.wav -m foreign.onnx",
        "--wav nope.wav -m model.onnx", "--wav text.wav -m model.onnx", "--wav a.wav -m model.onnx --target nowhere",
        "--wav a.wav -m model.onnx --target host:99999", "--wav a.wav -m model.onnx --fps 1",
        "--wav a.wav -m model.onnx --target a..b:1", "--wav folder -m model.onnx",
    ],
    "convert": [
        "", "curves.csv", "nope.csv b.csv", "folder b.csv", "text.csv b.csv", "a.wav b.csv", "curves.csv b.bvh",
        "curves.csv b.csv --to bvh", "curves.csv b.csv --to glb", "curves.csv b.csv --from livelink",
        "curves.csv b.csv --from bvh", "curves.csv b.csv --fps 0", "curves.csv b.csv --fps nan",
        "curves.csv b.csv --source-fps 5000", "curves.csv b.csv --face text.glb", "curves.csv b.glb --face text.glb",
        "curves.csv b.glb --face nope.glb", "own.csv b.csv --to livelink", "curves.csv text.csv/b.csv",
        f"curves.csv {LONG}.csv", f"{LONG}.csv b.csv",
    ],
    "info": [
        "", "nope", "folder", "a.wav", "foreign.onnx", "truncated.onnx", "model.onnx window.onnx", LONG,
    ],
    "bench": [
        "", "nope", "window.onnx", "foreign.onnx", "model.onnx --seconds 0", "model.onnx --seconds 601",
        "model.onnx --seconds x", LONG, "--exported", "model.onnx --exported",
    ],
    "release": [
        "on-device",
    ],
    "": [
        "nope", "--nope", "--model model.onnx",
    ],
}  # fmt: skip


@pytest.mark.parametrize(
    ("command", "arguments"), [(command, arguments) for command, lines in BAD.items() for arguments in lines]
)
def test_every_bad_input_is_one_line_and_2(place, monkeypatch, capsys, command, arguments):
    monkeypatch.setattr("facedistill.app.bench._alone", lambda job: job())
    before = sorted(place.rglob("*"))
    assert run(monkeypatch, *command.split(), *arguments.split()) == 2
    captured = capsys.readouterr()
    lines = [line for line in captured.err.splitlines() if not line.startswith("live: a.wav -> ")]
    assert len(lines) == 1 and lines[0].startswith("error: ") and len(lines[0]) > len("error: ") + 10
    assert captured.out == "" and sorted(place.rglob("*")) == before, "nothing is written"


def test_a_bad_recording_is_told_and_so_is_how_many_went_well(place, monkeypatch, capsys):
    assert run(monkeypatch, "animate", "a.wav", "text.wav", "-o", "out", "-m", "model.onnx", "--workers", "1") == 2
    lines = [
        line for line in capsys.readouterr().err.replace("\r", "\n").splitlines() if line.startswith(("error: ", "animated "))
    ]
    assert len(lines) == 2 and lines[0].startswith("error: text.wav: ") and lines[1] == "animated 1 of 2 recordings into out"
    assert [path.name for path in (place / "out").iterdir()] == ["a.csv"]


def test_a_command_in_a_process_of_its_own(place):
    """What the tests above call in this process, once from outside."""
    for arguments, code in ((["a.wav", "-o", "out"], 0), (["text.wav", "-o", "out"], 2)):
        command = [sys.executable, "-m", "facedistill", "animate", *arguments, "--model", "model.onnx"]
        environment = {"PYTHONPATH": str(Path(inspect.getfile(cli)).parents[1]), "PATH": ""}
        done = subprocess.run(command, cwd=place, env=environment, capture_output=True, text=True, check=False)
        assert (done.returncode, done.stdout) == (code, "") and "Traceback" not in done.stderr
        assert [line.partition(" ")[0] for line in done.stderr.splitlines()] == (["error:", "animated"] if code else [])
    assert [path.name for path in (place / "out").iterdir()] == ["a.csv"]


# Help -----------------------------------------------------------------------------------------------------------------

HELP = """
import sys
from facedistill import cli
for command in sys.argv[1:]:
    sys.argv = ["facedistill", *command.split(), "--help"]
    try:
        cli.main()
    except SystemExit as ended:
        assert not ended.code, command
loaded = {"torch", "onnxruntime", "numpy", "scipy"} & set(sys.modules)
assert not loaded, loaded
"""


def test_help_loads_nothing_heavy():
    done = subprocess.run([sys.executable, "-c", HELP, "", *COMMANDS], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("Usage: facedistill ") == len(COMMANDS) + 1
    assert len(COMMANDS) == len(cli.app.registered_commands)


def test_no_arguments_is_help(monkeypatch, capsys):
    assert run(monkeypatch) == 0
    assert "Usage: facedistill" in capsys.readouterr().out


def test_the_version_is_that_of_the_package(monkeypatch, capsys):
    assert run(monkeypatch, "--version") == 0
    assert capsys.readouterr() == (f"facedistill {metadata.version('facedistill')}\n", "")
    assert run(monkeypatch, "--help") == 0 and "--version" in capsys.readouterr().out


def test_how_long_a_stage_took_is_noted_where_it_succeeded(tmp_path, monkeypatch):
    fake(monkeypatch, "pipeline.teach", teach=lambda params: None)
    assert run(monkeypatch, "teach") == 0
    fake(monkeypatch, "pipeline.label", label=lambda params: (_ for _ in ()).throw(InputError("no teacher")))
    assert run(monkeypatch, "label") == 2
    assert list(verify.durations()) == ["teach"]
