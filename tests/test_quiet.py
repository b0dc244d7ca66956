"""Nothing phones home: what loads a model leaves no file in an empty home folder, and opens no socket that it should not.

The kernel itself watches the sockets (seccomp), those of libraries' own threads too: it kills who opens one.
"""

import os
import platform
import subprocess
import sys
from pathlib import Path

import pytest
import soundfile as sf
from exported import noise

from facedistill import NO_TELEMETRY
from facedistill.runtime.released import RELEASED

WATCHED = pytest.mark.skipif(
    (sys.platform, platform.machine()) not in {("linux", "x86_64"), ("linux", "aarch64")}, reason="seccomp of Linux"
)
MODEL = pytest.mark.skipif(not RELEASED.is_dir(), reason="no released models")
KILLED = -31  # by SIGSYS
# Runs the rest of the command line as a program of Python whose sockets of the internet kill it; `allowed` ones of type, as those
# that Python opens for UDP and nobody else: glibc's look-up of names and onnxruntime's telemetry open others.
GUARD = """
import ctypes, platform, runpy, struct, sys
AUDIT, SOCKET = {"x86_64": (0xC000003E, 41), "aarch64": (0xC00000B7, 198)}[platform.machine()]
LOAD, EQUAL, RETURN, ALLOW, KILL = 0x20, 0x15, 0x06, 0x7FFF0000, 0x80000000
allowed = int(sys.argv[1])
code = [
    (LOAD, 0, 0, 4), (EQUAL, 0, 8, AUDIT), (LOAD, 0, 0, 0), (EQUAL, 0, 6, SOCKET),
    (LOAD, 0, 0, 16), (EQUAL, 1, 0, 2), (EQUAL, 0, 3, 10), (LOAD, 0, 0, 24), (EQUAL, 1, 0, allowed),
    (RETURN, 0, 0, KILL), (RETURN, 0, 0, ALLOW),
]
program = b"".join(struct.pack("HBBI", *line) for line in code)
held = ctypes.create_string_buffer(program)
told = ctypes.create_string_buffer(struct.pack("HxxxxxxP", len(code), ctypes.addressof(held)))
prctl = ctypes.CDLL(None, use_errno=True).prctl
assert prctl(38, 1, 0, 0, 0) == 0 and prctl(22, 2, told, 0, 0) == 0, ctypes.get_errno()
sys.argv = sys.argv[2:]
exec(sys.argv.pop(0))
"""
UDP_OF_PYTHON = 2 | 0o2000000  # SOCK_DGRAM | SOCK_CLOEXEC
CLI = "import facedistill.cli; sys.argv.insert(0, 'facedistill'); facedistill.cli.main()"
RUNTIME = """
import numpy as np
from facedistill.runtime import Animator, Model, find_model
print(len(Animator(Model(find_model("tiny-real-time")), rate_hz=16_000, fps=60).push(np.zeros(16_000, np.float32)).times_s))
"""
COMMANDS = {
    "animate": (CLI, "animate", "a.wav", "b.wav", "-o", "out", "--workers", "2"),
    "info": (CLI, "info", "tiny-real-time"),
    "bench": (CLI, "bench", "tiny-real-time", "--seconds", "1"),
    "runtime": (RUNTIME,),
    "live": (CLI, "live", "--wav", "a.wav", "--target", "127.0.0.1:9"),
}


def guarded(folder: Path, code: str, *arguments: str, allowed: int = 0) -> subprocess.CompletedProcess:
    """Runs code of Python with an empty home folder."""
    (folder / "home").mkdir(exist_ok=True)
    unset = {*NO_TELEMETRY, "XDG_CACHE_HOME", "XDG_CONFIG_HOME", "XDG_DATA_HOME"}
    message = {name: value for name, value in os.environ.items() if name not in unset} | {"HOME": str(folder / "home")}
    command = [sys.executable, "-c", GUARD, str(allowed), code, *arguments]
    return subprocess.run(command, cwd=folder, env=message, capture_output=True, text=True, check=False)


@WATCHED
def test_the_guard_kills(tmp_path):
    internet = "import socket; socket.socket(socket.AF_INET, socket.SOCK_DGRAM)"
    assert guarded(tmp_path, internet).returncode == KILLED
    assert guarded(tmp_path, internet, allowed=UDP_OF_PYTHON).returncode == 0
    assert guarded(tmp_path, internet.replace("_DGRAM", "_STREAM"), allowed=UDP_OF_PYTHON).returncode == KILLED
    assert guarded(tmp_path, internet.replace("INET", "INET6")).returncode == KILLED
    assert guarded(tmp_path, "import socket; socket.getaddrinfo('facedistill.example', 80)").returncode == KILLED
    assert guarded(tmp_path, "import socket; socket.socketpair()").returncode == 0


@MODEL
@WATCHED
@pytest.mark.parametrize("name", COMMANDS)
def test_no_command_that_loads_a_model_reports_anything(tmp_path, name):
    for recording in ("a.wav", "b.wav"):
        sf.write(tmp_path / recording, noise(1.0), 16_000)
    done = guarded(tmp_path, *COMMANDS[name], allowed=UDP_OF_PYTHON if name == "live" else 0)
    assert done.returncode == 0 and "Warning" not in done.stderr and "Traceback" not in done.stderr, done.stderr
    assert list((tmp_path / "home").rglob("*")) == []


@MODEL
def test_onnxruntime_before_us_is_told(tmp_path):
    done = guarded(tmp_path, "import os; os.environ.pop('ORT_DISABLE_TELEMETRY', None)\nimport onnxruntime\nimport facedistill")
    assert "onnxruntime was imported before facedistill" in done.stderr
    quiet = "import os; os.environ['ORT_DISABLE_TELEMETRY'] = '1'\nimport onnxruntime\nimport facedistill"
    assert guarded(tmp_path, quiet).stderr == ""


def test_this_process_is_quiet():
    assert [os.environ.get(name) for name in NO_TELEMETRY] == ["1"] * len(NO_TELEMETRY)
