"""The command line: bad input is one line and exit code 2, an interrupt is 130, and help does not load torch."""

import subprocess
import sys
from types import ModuleType

import pytest

from facedistill import cli
from facedistill.core.errors import InputError


def run(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> int:
    monkeypatch.setattr(sys, "argv", ["facedistill", *arguments])
    with pytest.raises(SystemExit) as ended:
        cli.main()
    return ended.value.code or 0


def fake(monkeypatch: pytest.MonkeyPatch, module: str, **functions) -> None:
    made = ModuleType(f"facedistill.{module}")
    vars(made).update(functions)
    monkeypatch.setitem(sys.modules, f"facedistill.{module}", made)


def failing(error: BaseException):
    def fail(*_):
        raise error

    return fail


def test_bad_input_is_one_line(monkeypatch, capsys):
    fake(monkeypatch, "core.params", load_params=failing(InputError("params.yaml: seed: must be at least 0, got -1")))
    fake(monkeypatch, "prepare", prepare=failing(AssertionError("not reached")))
    assert run(monkeypatch, "prepare") == 2
    assert capsys.readouterr() == ("", "error: params.yaml: seed: must be at least 0, got -1\n")


def test_an_interrupt_is_130(monkeypatch):
    fake(monkeypatch, "core.params", load_params=dict)
    fake(monkeypatch, "evaluate", evaluate=failing(KeyboardInterrupt()))
    assert run(monkeypatch, "evaluate") == 130


def test_a_bug_keeps_its_traceback(monkeypatch):
    fake(monkeypatch, "core.params", load_params=dict)
    fake(monkeypatch, "label", label=failing(ZeroDivisionError()))
    monkeypatch.setattr(sys, "argv", ["facedistill", "label"])
    with pytest.raises(ZeroDivisionError):
        cli.main()


@pytest.mark.parametrize("command", ["prepare", "teach", "label", "evaluate"])
def test_each_stage_gets_the_parameters(monkeypatch, command):
    seen = []
    fake(monkeypatch, "core.params", load_params=lambda: "parameters")
    fake(monkeypatch, command, **{command: lambda *arguments: seen.append(arguments)})
    assert run(monkeypatch, command) == 0
    assert seen == [("parameters",)]


@pytest.mark.parametrize("command", ["distill", "ablate"])
def test_named_stages_get_the_name(monkeypatch, command):
    seen = []
    fake(monkeypatch, "core.params", load_params=lambda: "parameters")
    fake(monkeypatch, command, **{command: lambda *arguments: seen.append(arguments)})
    assert run(monkeypatch, command, "on-device") == 0
    assert seen == [("parameters", "on-device")]
    assert run(monkeypatch, command) == 2


@pytest.mark.parametrize(("n_failed", "code"), [(0, 0), (1, 2)])
def test_animate_tells_of_failed_files(monkeypatch, tmp_path, n_failed, code):
    seen = []
    fake(monkeypatch, "animate", animate_batch=lambda *arguments, **options: seen.append((*arguments, options)) or n_failed)
    assert run(monkeypatch, "animate", "a.wav", "b.flac", "-o", str(tmp_path), "--ensemble") == code
    (recordings, out, model, options) = seen[0]
    assert [str(path) for path in recordings] == ["a.wav", "b.flac"]
    assert (out, model, options) == (tmp_path, "on-device", {"smoothed": True})


@pytest.mark.parametrize("arguments", [["no-such-command"], ["distill"], ["animate", "a.wav"], ["prepare", "--fast"]])
def test_wrong_usage_is_2(monkeypatch, capsys, arguments):
    assert run(monkeypatch, *arguments) == 2
    assert "Usage" in capsys.readouterr().err


def test_help_does_not_load_torch():
    code = "import sys, facedistill.cli; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
