"""What dense training saves: seconds of audio a second, trained on densely and window by window.

Run `python benchmarks/training_throughput.py --out benchmarks/training_throughput.json` on a quiet machine; for a quick look
`--seconds 1 --repeats 1`. Both ways train on the same 62.5 frames a second of audio with the same loss: dense runs the network
once over the crop, window by window runs it on one 512 ms window a frame. Prints a Markdown table; `--out` keeps it.
"""

import argparse
import statistics
import time
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import torch
from torch import Tensor

from facedistill.app.bench import machine
from facedistill.core.files import write_json
from facedistill.core.params import load_params
from facedistill.models.filterbank import GRID_FPS, HOP_SAMPLES
from facedistill.models.student import Student, StudentConfig
from facedistill.pipeline.distill import student_config
from facedistill.rig.arkit import N_CURVES

STUDENTS = ("small", "on-device")
TOLERANCE = 1e-4  # between the two ways' curves in evaluation mode

Forward = Callable[[Student, Tensor], Tensor]


def dense(student: Student, audio: Tensor) -> Tensor:
    """(B, S) -> (B, L, K) in one pass."""
    return student(audio)


def window_by_window(student: Student, audio: Tensor) -> Tensor:
    """(B, S) -> (B, L, K), every frame from its own window, all windows as one batch."""
    windows = audio.unfold(1, student.config.window_samples, HOP_SAMPLES)  # (B, L, window)
    return student(windows.reshape(-1, student.config.window_samples)).reshape(*windows.shape[:2], N_CURVES)


def make_inputs(config: StudentConfig, *, batch_size: int, n_frames: int) -> tuple[Tensor, Tensor]:
    """(B, S) seeded noise and (B, L, K) seeded targets."""
    generator = torch.Generator().manual_seed(0)
    audio = 0.1 * torch.randn(batch_size, config.window_samples + HOP_SAMPLES * (n_frames - 1), generator=generator)
    return audio, torch.rand(batch_size, n_frames, N_CURVES, generator=generator)


def check_same(config: StudentConfig, audio: Tensor) -> None:
    """Both ways compute the same curves; otherwise their speeds say nothing.

    Raises:
        RuntimeError: they do not.
    """
    torch.manual_seed(0)
    student = Student(config).eval()
    with torch.inference_mode():
        error = (dense(student, audio) - window_by_window(student, audio)).abs().max().item()
    if error > TOLERANCE:
        raise RuntimeError(f"dense and window by window differ by {error:.2g}; expected {TOLERANCE}")


def step_s(config: StudentConfig, forward: Forward, audio: Tensor, target: Tensor, repeats: int) -> float:
    """Median seconds of a training step: forward, backward and update; the first step is not counted."""
    torch.manual_seed(0)
    student = Student(config).train()
    optimizer = torch.optim.AdamW(student.parameters(), lr=1e-3)
    durations_s = []
    for _ in range(repeats + 1):
        start_s = time.perf_counter()
        optimizer.zero_grad(set_to_none=True)
        (forward(student, audio) - target).square().mean().backward()
        optimizer.step()
        durations_s.append(time.perf_counter() - start_s)
    return statistics.median(durations_s[1:])


def measure(config: StudentConfig, *, seconds: float, batch_size: int, repeats: int) -> dict[str, float]:
    """One row of the table."""
    n_frames = max(1, round(seconds * GRID_FPS))
    audio, target = make_inputs(config, batch_size=batch_size, n_frames=n_frames)
    check_same(config, audio[:1])
    audio_s = batch_size * n_frames / GRID_FPS
    rates = [audio_s / step_s(config, forward, audio, target, repeats) for forward in (dense, window_by_window)]
    return {
        "dense (audio s/s)": round(rates[0], 1),
        "window by window (audio s/s)": round(rates[1], 2),
        "ratio": round(rates[0] / rates[1], 1),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=float, default=4.0, help="length of a crop (default: %(default)s)")
    parser.add_argument("--batch-size", type=int, default=2, help="crops a step (default: %(default)s)")
    parser.add_argument("--repeats", type=int, default=5, help="timed steps, whose median counts (default: %(default)s)")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads(), help="CPU threads (default: %(default)s)")
    parser.add_argument("--out", type=Path, metavar="OUT.json")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    settings = {"seconds": arguments.seconds, "batch_size": arguments.batch_size, "repeats": arguments.repeats}
    params = load_params().distill
    rows = [{"student": name, **measure(student_config(params, params.students[name]), **settings)} for name in STUDENTS]
    print(pd.DataFrame(rows).to_markdown(index=False, disable_numparse=True))
    print(
        f"\n{arguments.batch_size} crops of {arguments.seconds:g} s a step, {arguments.threads} CPU threads, "
        f"torch {torch.__version__}"
    )
    if arguments.out:
        write_json(arguments.out, {"machine": machine(), "rows": rows})


if __name__ == "__main__":
    main()
