"""Processes: results in order, one that is killed is told, and none outlives the block or the process that began it."""

import os
import signal
import subprocess
import sys
import time
from functools import partial
from pathlib import Path

import numpy as np
import psutil
import pytest

from facedistill.core.errors import InputError
from facedistill.core.files import atomic_path
from facedistill.core.processes import AHEAD, mapped

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
        assert len(list(tmp_path.iterdir())) <= AHEAD


def test_one_that_is_killed_is_told():
    with pytest.raises(InputError, match="^--workers 1: a process was killed; expected "):
        with mapped(os._exit, [9], 1, asked_by="--workers 1") as results:
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
from test_processes import half_written
from facedistill.core.files import atomic_path
from facedistill.core.processes import end_cleanly, mapped
if __name__ == "__main__":
    signal.signal(signal.SIGINT, signal.default_int_handler)  # under `nohup` and `&` some are ignored
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_DFL)
    end_cleanly()
    with atomic_path(Path("own")) as path, mapped(partial(half_written, Path()), "ab", 2, asked_by="x") as results:
        next(results)
"""


@pytest.mark.skipif(os.name == "nt", reason="signals of POSIX")
@pytest.mark.parametrize("whole_group", [False, True], ids=["one", "group"])
@pytest.mark.parametrize("name", ["SIGINT", "SIGTERM", "SIGHUP", "SIGKILL"])
def test_a_signal_ends_all_processes_and_leaves_no_temporary_file(tmp_path, name, whole_group):
    if name == "SIGKILL" and whole_group:
        pytest.skip("nobody is left to clean")
    script = tmp_path / "parent.py"
    script.write_text(PARENT.format(tests=str(Path(__file__).parent)))
    parent = subprocess.Popen([sys.executable, script], cwd=tmp_path, start_new_session=True, stderr=subprocess.PIPE, text=True)
    while len(list(tmp_path.glob("*has begun"))) < 2:
        assert parent.poll() is None, parent.stderr.read()
        time.sleep(0.05)
    children = psutil.Process(parent.pid).children(recursive=True)
    assert len(children) >= 2
    assert len(list(tmp_path.glob(".*.tmp"))) == 3
    (os.killpg if whole_group else os.kill)(parent.pid, getattr(signal, name))
    _, alive = psutil.wait_procs(children, timeout=2 * ENDED_S)
    try:
        _, told = parent.communicate(timeout=2 * ENDED_S)
    finally:
        for process in (parent, *alive):
            process.kill()
    assert not alive
    assert not list(tmp_path.glob(".*.tmp"))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a has begun", "b has begun", "parent.py"]
    number = getattr(signal, name)
    assert parent.returncode == (-number if name in ("SIGINT", "SIGKILL") else 128 + number), told
