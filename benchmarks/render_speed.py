"""How fast clips are rendered: a face of 512 x 512 pixels, as H.264 with its sound, with and without a strip of sound below.

Run `python benchmarks/render_speed.py --out benchmarks/render_speed.json` on a quiet machine. Prints a Markdown table; `--out`
keeps it. The time is that of the whole film.
"""

import argparse
import tempfile
import time
from pathlib import Path

import numpy as np
import pandas as pd

from facedistill.app.bench import machine
from facedistill.core.files import write_json
from facedistill.render.film import Look, Panel, Strip, render
from facedistill.render.portrait import load_head
from facedistill.rig.arkit import N_CURVES

WORKERS = (1, 2)
RATE_HZ = 16_000


def moving(n_frames: int) -> np.ndarray:
    """(T, K) weights of a face that moves everywhere."""
    phases = np.random.default_rng(0).uniform(0, 2 * np.pi, N_CURVES)
    return (0.25 + 0.25 * np.sin(phases + np.arange(n_frames)[:, None] / 5)).astype(np.float32)


def seconds(n_frames: int, *, workers: int, strip: bool) -> float:
    """What a film takes."""
    look = Look()
    sound = Strip(0.1 * np.random.default_rng(0).standard_normal(int(n_frames / look.fps * RATE_HZ)), RATE_HZ)
    with tempfile.TemporaryDirectory() as folder:
        started = time.perf_counter()
        render([Panel("", moving(n_frames))], Path(folder) / "a.mp4", look, sound=sound, strip=strip, workers=workers, quiet=True)
        return time.perf_counter() - started


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--frames", type=int, default=300)
    parser.add_argument("--out", type=Path, metavar="OUT.json")
    arguments = parser.parse_args()
    n_frames = arguments.frames
    load_head(None)  # is built once, and is no part of a film
    rows = [
        {"processes": workers, "strip": "yes" if strip else "no", "frames/s": round(n_frames / taken, 1)}
        for workers in WORKERS for strip in (False, True)
        if (taken := seconds(n_frames, workers=workers, strip=strip))
    ]  # fmt: skip
    print(pd.DataFrame(rows).to_markdown(index=False))
    if arguments.out:
        write_json(arguments.out, {"machine": machine(), "rows": rows})


if __name__ == "__main__":
    main()
