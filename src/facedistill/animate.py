"""The job the students exist for: recordings in, ARKit curves out."""

import sys
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from tqdm import tqdm

from facedistill.core.errors import InputError
from facedistill.core.files import write_text
from facedistill.core.paths import DATA
from facedistill.face.arkit import CURVES
from facedistill.models.ensemble import ensemble
from facedistill.models.student import Student, load_student
from facedistill.speech.audio import read_audio

RENDER_FPS = 30


def find_model(model: str) -> Path:
    """The folder of a student: a path, or the name of one that this checkout has distilled.

    Raises:
        InputError: neither.
    """
    for folder in (Path(model), DATA / "distill" / model):
        if (folder / "config.json").is_file():
            return folder
    distilled = sorted(path.parent.name for path in (DATA / "distill").glob("*/config.json"))
    allowed = ", ".join(distilled) if distilled else "none is distilled yet: run `make repro`"
    raise InputError(f"--model {model}: neither a student's folder nor one of: {allowed}")


def write_csv(path: Path, curves: np.ndarray, fps: float) -> None:
    """Writes time_s and the 52 named ARKit columns, one row a frame.

    Args:
        curves: (T, K) in the order of `arkit.CURVES`.
    """
    rows = [",".join(("time_s", *CURVES))]
    rows += [",".join([f"{frame / fps:.4f}", *(f"{weight:.4f}" for weight in weights)]) for frame, weights in enumerate(curves)]
    write_text(path, "\n".join(rows) + "\n")


def animate_one(recording: Path, path: Path, student: Student, *, smoothed: bool = False) -> None:
    """Animates one recording at 30 fps into a CSV.

    Args:
        smoothed: by the ensemble, which costs 16.7 ms of look-ahead.

    Raises:
        InputError: the recording cannot be used.
    """
    audio = read_audio(recording)
    curves = ensemble(student.animate(audio)) if smoothed else student.animate(audio, RENDER_FPS)
    write_csv(path, curves, RENDER_FPS)


def animate_batch(recordings: Sequence[Path], out: Path, model: str, *, smoothed: bool = False) -> int:
    """Animates recordings into OUT/<name>.csv; a bad one is reported in one line and the batch goes on.

    Args:
        smoothed: see `animate_one`.

    Returns:
        How many recordings failed.

    Raises:
        InputError: no such model, `out` cannot be a folder, or two recordings would write the same CSV.
    """
    twice = [stem for stem, count in Counter(path.stem for path in recordings).items() if count > 1]
    if twice:
        raise InputError(f"{twice[0]}: several recordings would write {out / twice[0]}.csv; allowed: one recording a name")
    student = load_student(find_model(model))
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"{out}: cannot be a folder for the curves ({error.strerror})") from None
    failed = 0
    for recording in tqdm(recordings, desc="animate", unit="file", disable=len(recordings) < 2):
        try:
            animate_one(recording, out / f"{recording.stem}.csv", student, smoothed=smoothed)
        except (InputError, OSError) as error:  # one that cannot be written must not stop the others either
            failed += 1
            tqdm.write(f"error: {error}", file=sys.stderr)
    if len(recordings) > 1 or failed:
        print(f"animated {len(recordings) - failed} of {len(recordings)} recordings into {out}", file=sys.stderr)
    return failed
