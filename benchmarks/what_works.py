"""What works on real speech: small students that differ by one change each, measured on held-out training recordings.

Run `python benchmarks/what_works.py` after `facedistill align` with `prepare.recordings.path`; `params.yaml` is the baseline.
Every student is trained on paired data alone, so that no teacher is needed and one change is one short run. Prints a Markdown
table and writes it to benchmarks/what_works.md and .csv. Stopped, it goes on where it was. No test recording takes part.
"""

import argparse
import json
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial

import numpy as np
import pandas as pd

from facedistill.align import ALIGNED
from facedistill.core.errors import InputError
from facedistill.core.files import read_json, write_json, write_text
from facedistill.core.manifest import Utterance, read_manifest, seen_from, select, write_manifest
from facedistill.core.params import Params, load_params
from facedistill.core.paths import DATA, PARAMS, ROOT
from facedistill.distill import Recipe, train_student
from facedistill.face.arkit import CURVES
from facedistill.messages import tell_error
from facedistill.models.student import Student, load_student
from facedistill.models.training import work_folder
from facedistill.models.workers import workers
from facedistill.real_speech.conditions import conditions_of, degraded, quiet_sounds
from facedistill.real_speech.gaps import MM_PER_UNIT, Scores, lip_gap
from facedistill.real_speech.gaps import score as score_one
from facedistill.real_speech.names import MEAN, WEIGHTED
from facedistill.real_speech.pooled import table_of
from facedistill.real_speech.recordings import Recording, read_recordings
from facedistill.real_speech.score import rounded
from facedistill.real_speech.settings import Settings, load_settings
from facedistill.real_speech.tables import text
from facedistill.speech.audio import read_audio
from facedistill.speech.recordings import HELD_OUT
from facedistill.speech.synthetic import SOURCE

STAGE = "what-works"
TABLE = ROOT / "benchmarks" / "what_works"
STEPS = 2500
CONDITIONS = ("level-30db", "noise-snr10db", "telephone")
METRICS = {"auc": "AUC", "pbm": "PBM", "r": "r"}
ABOUT = """# What works

Students of `on-device`'s size unless a row says otherwise, {steps:,} steps each on paired data alone, one change from the
baseline a row (`python benchmarks/what_works.py --steps {steps}`, with the parameters of profiles/release.yaml). Measured on {n}
training recordings that were held out, {new} of them by speakers of whom none is trained on; {aligned} are timed by this
project's own forced alignment. Weighted by their /p b m/, with 95 % intervals. The last two columns are the mean distance of
the lip gap from rest where nobody speaks.

"""
SOUNDS = ("silence", "room-50dbfs")


@dataclass(frozen=True)
class Change:
    """One difference from the baseline.

    Attributes:
        set: {dotted key of params.yaml: value}.
        keep: which of the paired utterances are trained on.
        student: key of distill.students.
    """

    set: Mapping[str, object] = field(default_factory=dict)
    keep: Callable[[Utterance], bool] = lambda row: True
    student: str = "on-device"


def _augment(**values: object) -> dict[str, object]:
    return {f"distill.augment.{name}": value for name, value in values.items()}


CHANGES = {
    "baseline": Change(),
    "synthetic speech alone": Change(keep=lambda row: row.source == SOURCE),
    "without aligned recordings": Change(keep=lambda row: row.label_kind != ALIGNED),
    "without synthetic speech": Change(keep=lambda row: row.source != SOURCE),
    "three of 19 languages": Change(keep=lambda row: row.source != SOURCE or row.language in ("en-us", "de", "pt-br")),
    "no augmentation": Change(
        _augment(speed=[1.0, 1.0], gain_db=[0.0, 0.0], equalise=0.0, room=0.0, noise=0.0, telephone=0.0, clip=0.0, quiet=0.0)
    ),
    "all of the level in every band": Change({"distill.level": 1.0}),
    "no changes of speed and pitch": Change(_augment(speed=[1.0, 1.0])),
    "no equaliser": Change(_augment(equalise=0.0)),
    "no noise, no rooms": Change(_augment(noise=0.0, room=0.0)),
    "levels of -12..+6 dB": Change(_augment(gain_db=[-12.0, 6.0])),
    "no crops of silence": Change(_augment(quiet=0.0)),
    "no closure loss": Change({"distill.losses.closure": 0.0}),
    "no lip gap loss": Change({"distill.losses.lip_gap": 0.0}),
    "two degradations agree, of half the crops": Change({"distill.losses.consistency": 1.0, "distill.optimizer.batch_size": 4}),
    "no phone task": Change({"distill.losses.phones": 0.0}),
    "four times the channels": Change(student="small"),
}


def changed(values: Mapping, change: Mapping[str, object]) -> Params:
    """Parameters with some values set, checked as a file is."""
    values = json.loads(json.dumps(values))
    for key, value in change.items():
        *path, last = key.split(".")
        section = values
        for name in path:
            section = section[name]
        section[last] = value
    return Params.model_validate_json(json.dumps(values), strict=True)


def result_of(name: str, values: Mapping, recordings: list[Recording], settings: Settings) -> dict:
    """What the student of a change is worth; trained and measured unless that was done with the same data, settings and code."""
    change, folder = CHANGES[name], DATA / "align"
    params, known = changed(values, change.set), read_manifest(folder / "manifest.jsonl")
    rows = [seen_from(row, "../../align") for row in select(known, "paired") if change.keep(row)]
    if not rows:
        raise InputError(f"{name}: nothing to train on; prepare.recordings.path names no transcribed recordings")
    out = DATA / STAGE / name.replace(" ", "-")
    work = work_folder(
        f"{STAGE}-scores-{out.name}",
        settings=f"{params.model_dump_json()}{settings.model_dump_json()}{rows}",
        inputs=[folder / "manifest.jsonl", *sorted({folder / row.curves for row in known if row.curves})],
    )
    if not (work / "scores.json").is_file():
        write_manifest(out / "manifest.jsonl", rows)
        losses = params.distill.losses.model_copy(update={"feature": 0.0})
        train_student(params, Recipe(STAGE, out.name, change.student, out, None, losses, None))
        write_json(work / "scores.json", rounded(measure(load_student(out), recordings, settings)))
    return read_json(work / "scores.json")


def measure(student: Student, recordings: list[Recording], settings: Settings) -> dict:
    """What a student is worth: clean, in conditions, and where nobody speaks."""
    audio = {recording.name: read_audio(recording.audio) for recording in recordings}
    score = partial(_score, student, settings.fps)
    boot = {"seed": settings.seed, "n_boot": settings.bootstrap}
    conditions = {"clean": lambda sound, rng: sound} | {name: conditions_of(settings)[name] for name in CONDITIONS}
    found = {}
    for name, condition in conditions.items():
        heard = [degraded(audio[one.name], condition, name=one.name, seed=settings.seed) for one in recordings]
        with workers() as pool:
            found[name] = table_of(recordings, list(pool.map(score, heard, recordings)), **boot)
    gaps = {name: lip_gap(CURVES, student.animate(quiet_sounds(settings)[name], settings.fps)) for name in SOUNDS}
    return found | {"rest_mm": {name: MM_PER_UNIT * float(np.abs(gap).mean()) for name, gap in gaps.items()}}


def _score(student: Student, fps: int, audio: np.ndarray, recording: Recording) -> Scores:
    weights = student.animate(audio, fps)
    return score_one(CURVES, weights, np.arange(len(weights)) / fps, recording, fps=fps)


def row_of(name: str, measured: Mapping[str, Mapping]) -> dict[str, str]:
    """One row of the table, to read."""
    clean = measured["clean"]
    row = {"change": name} | {heading: text(clean, WEIGHTED, metric) for metric, heading in METRICS.items()}
    row["AUC, mean of sources"] = f"{clean[MEAN]['auc']['value']:.3f}"
    row |= {f"AUC, {condition}": f"{measured[condition][WEIGHTED]['auc']['value']:.3f}" for condition in CONDITIONS}
    return row | {f"gap off rest, {sound} (mm)": f"{gap_mm:.2f}" for sound, gap_mm in measured["rest_mm"].items()}


def about(recordings: list[Recording], steps: int) -> str:
    """What the table says above its rows."""
    heard = {(row.source, row.speaker) for row in select(read_manifest(DATA / "align" / "manifest.jsonl"), "paired")}
    new = sum((recording.row.source, recording.row.speaker) not in heard for recording in recordings)
    aligned = sum(recording.row.label_kind == ALIGNED for recording in recordings)
    return ABOUT.format(steps=steps, n=len(recordings), new=new, aligned=aligned)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--steps", type=int, default=STEPS, help="training steps of each student (default: %(default)s)")
    parser.add_argument("--only", nargs="+", choices=CHANGES, default=list(CHANGES), metavar="CHANGE", help="some changes alone")
    arguments = parser.parse_args()
    try:
        compare(arguments.only, arguments.steps)
    except InputError as error:
        tell_error(str(error))
        sys.exit(2)


def compare(names: list[str], steps: int) -> None:
    """Trains and measures the students of some changes, and writes the table."""
    values = load_params().model_dump(mode="json")
    missing = {CHANGES[name].student for name in names} - set(values["distill"]["students"])
    if missing:
        raise InputError(f"{PARAMS}: distill.students: no {', '.join(sorted(missing))}, which is to be compared")
    for name in names:
        values["distill"]["students"][CHANGES[name].student]["steps"] = steps
    recordings, settings = read_recordings(DATA / "align" / "manifest.jsonl", HELD_OUT), load_settings()
    if not recordings:
        raise InputError(f"{DATA / 'align'}: nothing held out to measure on; prepare.recordings.held_out names what is")
    rows = []
    for name in names:
        rows.append(row_of(name, result_of(name, values, recordings, settings)))
        print(rows[-1], flush=True)
    table = pd.DataFrame(rows)
    write_text(TABLE.with_suffix(".csv"), table.to_csv(index=False))
    shown = table.to_markdown(index=False, disable_numparse=True)
    write_text(TABLE.with_suffix(".md"), f"{about(recordings, steps)}{shown}\n")
    print(shown)


if __name__ == "__main__":
    main()
