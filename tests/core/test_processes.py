"""Processes: results in order, one that is killed is told, and none outlives the block or the process that began it."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import psutil
import pytest

from facedistill.core.errors import InputError
from facedistill.core.files import atomic_path
from facedistill.core.processes import mapped

ENDED_S = 2.0  # in which all processes must have ended; twice that for a machine that is busy with other tests


def waited(seconds: float) -> float:
    time.sleep(seconds)
    return seconds


def left(folder: Path, name: str) -> str:
    (folder / name).touch()
    return name


def large(number: int) -> np.ndarray:
    return np.full(10_000_000, number, np.uint8)


def refused(name: str) -> None:
    raise InputError(f"{name}: refused")


class Strange(Exception):
    """An error that does not come out of a pipe."""

    def __init__(self, one: object, _: object) -> None:
        super().__init__(one)


class Unreadable:
    """What goes into a pipe and does not come out."""

    def __reduce__(self) -> tuple:
        return refused_to_read, ()


def refused_to_read() -> None:
    raise ZeroDivisionError("read")


def strange(number: int) -> None:
    raise Strange(number, None)


def local(_: object) -> object:
    return lambda: None


def many_written(folder: Path, name: str) -> None:
    (folder / f"{name} has begun").touch()
    while True:
        with atomic_path(folder / name) as path:
            path.write_text("x")


def half_written(folder: Path, name: str) -> None:
    with atomic_path(folder / name) as path:
        path.write_text("half")
        (folder / f"{name} has begun").touch()
        time.sleep(600)


def test_results_come_in_their_order():
    with mapped(waited, [0.2, 0.0, 0.1, 0.0], 2, asked_by="--workers 2") as results:
        assert list(results) == [0.2, 0.0, 0.1, 0.0]


def test_there_may_be_no_jobs_and_more_processes_than_jobs():
    with mapped(waited, [], 1, asked_by="x") as results:
        assert list(results) == []
    with mapped(waited, [0.0], 3, asked_by="x") as results:
        assert list(results) == [0.0]


def test_jobs_wait_until_results_are_taken(tmp_path):
    with mapped(partial(left, tmp_path), map(str, range(100)), 1, asked_by="x") as results:
        assert next(results) == "0"
        time.sleep(0.3)
        assert len(list(tmp_path.iterdir())) <= 4


def test_no_job_is_lost_behind_a_slow_one():
    with mapped(waited, [1.0, *[0.0] * 50], 2, asked_by="x") as results:
        assert list(results) == [1.0, *[0.0] * 50]


def killed(_: object) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def ended(_: object) -> None:
    os._exit(3)


@pytest.mark.parametrize(
    ("function", "error", "message"),
    [
        (killed, InputError, "^x: a process was killed; expected memory"),
        (ended, RuntimeError, "^x: a process ended with exit code 3"),
        (sys.exit, SystemExit, "^7$"),
        (strange, RuntimeError, "^Strange: 7"),
        (local, RuntimeError, "a result that cannot be sent"),
        (partial(waited, Unreadable()), RuntimeError, "ZeroDivisionError: read"),
    ],
    ids=["killed", "ended", "exits", "strange", "local", "unreadable"],
)
def test_what_goes_wrong_in_a_process_is_told(function, error, message):
    with pytest.raises(error, match=message), mapped(function, [7], 1, asked_by="x") as results:
        next(results)


def test_what_a_job_raises_is_raised_here():
    with pytest.raises(InputError, match="^x: refused$"), mapped(refused, ["x"], 2, asked_by="x") as results:
        next(results)


def test_what_has_not_begun_is_dropped(tmp_path):
    with pytest.raises(KeyboardInterrupt), mapped(partial(left, tmp_path), map(str, range(100)), 1, asked_by="x") as results:
        next(results)
        raise KeyboardInterrupt
    assert 1 <= len(list(tmp_path.iterdir())) < 10


@pytest.mark.parametrize(("function", "jobs"), [(waited, [0, 600, 600]), (large, range(8))], ids=["working", "sending"])
def test_leaving_ends_every_process(function, jobs):
    for _ in range(3):
        with mapped(function, jobs, 2, asked_by="x") as results:
            next(results)
            begun = [child for child in psutil.Process().children() if "spawn_main" in " ".join(child.cmdline())]
        assert len(begun) == 2
        assert not any(child.is_running() for child in begun)


PARENT = """
import signal, sys
from pathlib import Path
from functools import partial
sys.path.insert(0, {tests!r})
from test_processes import {job}
from facedistill.core.files import atomic_path
from facedistill.core.processes import end_cleanly, mapped
if __name__ == "__main__":
    signal.signal(signal.SIGINT, signal.default_int_handler)  # under `nohup` and `&` some are ignored
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_DFL)
    end_cleanly()
    with atomic_path(Path("own")) as path, mapped(partial({job}, Path()), "ab", 2, asked_by="x") as results:
        next(results)
"""


def begun(folder: Path, job: Callable) -> subprocess.Popen:
    """A process with two others that do a job."""
    folder.mkdir(exist_ok=True)
    (folder / "parent.py").write_text(PARENT.format(tests=str(Path(__file__).parent), job=job.__name__))
    parent = subprocess.Popen(
        [sys.executable, "parent.py"], cwd=folder, start_new_session=True, stderr=subprocess.PIPE, text=True
    )
    for _ in range(1200):
        if len(list(folder.glob("*has begun"))) == 2:
            return parent
        assert parent.poll() is None, parent.stderr.read()
        time.sleep(0.05)
    raise AssertionError("nothing has begun")


def ended_by(parent: subprocess.Popen, number: int, *, group: bool = False) -> str:
    """What a process says that a signal ends, with all its children."""
    children = psutil.Process(parent.pid).children(recursive=True)
    assert len(children) >= 2
    (os.killpg if group else os.kill)(parent.pid, number)
    _, alive = psutil.wait_procs(children, timeout=2 * ENDED_S)
    try:
        _, message = parent.communicate(timeout=2 * ENDED_S)
    finally:
        for process in (parent, *alive):
            process.kill()
    assert not alive
    return message


@pytest.mark.skipif(os.name == "nt", reason="signals of POSIX")
@pytest.mark.parametrize("whole_group", [False, True], ids=["one", "group"])
@pytest.mark.parametrize("name", ["SIGINT", "SIGTERM", "SIGHUP", "SIGKILL"])
def test_a_signal_ends_all_processes_and_leaves_no_temporary_file(tmp_path, name, whole_group):
    if name == "SIGKILL" and whole_group:
        pytest.skip("nobody is left to clean")
    parent, number = begun(tmp_path, half_written), getattr(signal, name)
    assert len(list(tmp_path.glob(".*.tmp"))) == 3
    message = ended_by(parent, number, group=whole_group)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a has begun", "b has begun", "parent.py"]
    assert parent.returncode == (-number if name in ("SIGINT", "SIGKILL") else 128 + number), message


@pytest.mark.skipif(os.name == "nt", reason="signals of POSIX")
@pytest.mark.parametrize("name", ["SIGTERM", "SIGKILL"])
def test_no_temporary_file_is_begun_while_a_process_ends(tmp_path, name):
    for number in range(3):
        folder = tmp_path / str(number)
        ended_by(begun(folder, many_written), getattr(signal, name))
        assert not list(folder.glob(".*.tmp"))
