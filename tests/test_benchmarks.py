"""The benchmark runs, and compares what is equal; how fast it is, is measured on a quiet machine."""

import subprocess
import sys

from facedistill.core.paths import ROOT


def test_training_throughput_runs_and_checks_that_both_ways_agree():
    command = [sys.executable, "benchmarks/training_throughput.py", "--seconds", "1", "--repeats", "1"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "on-device" in done.stdout and "small" in done.stdout
