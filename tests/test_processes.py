"""Processes: one that is killed is told, and what has not begun when the block is left never runs."""

import os
import time
from pathlib import Path

import pytest

from facedistill.core.errors import InputError
from facedistill.core.processes import processes


def leave(folder: Path, name: str) -> str:
    time.sleep(0.05)
    (folder / name).touch()
    return name


def test_results_come_in_their_order(tmp_path):
    with processes(2, "--workers 2") as pool:
        assert list(pool.map(leave, [tmp_path] * 3, "abc")) == ["a", "b", "c"]


def test_one_that_is_killed_is_told():
    with pytest.raises(InputError, match="^--workers 1: a process was killed; allowed: "), processes(1, "--workers 1") as pool:
        pool.submit(os._exit, 9).result()


def test_what_has_not_begun_is_dropped(tmp_path):
    with pytest.raises(KeyboardInterrupt), processes(1, "bench") as pool:
        jobs = [pool.submit(leave, tmp_path, str(number)) for number in range(100)]
        jobs[0].result()
        raise KeyboardInterrupt
    assert 1 <= len(list(tmp_path.iterdir())) < 10
