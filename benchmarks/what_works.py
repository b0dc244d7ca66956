"""What works on real speech: short runs that differ by one change each, measured on held-out training recordings.

Run `python benchmarks/what_works.py` after `facedistill align` with recordings in `prepare.corpora`; params.yaml is the baseline.
Students learn from paired data alone but where a row names a teacher, which is one of this table too. Prints a Markdown table and
writes it to benchmarks/what_works.md and .csv. Stopped, it goes on in the row where it was. No test recording takes part.
"""

import argparse
import shutil
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import pandas as pd

from facedistill.core.errors import InputError
from facedistill.core.files import read_json, write_json, write_text
from facedistill.core.imports import import_closure, imported
from facedistill.core.manifest import SYNTHETIC, Utterance, read_manifest, rebase_paths, select, write_manifest
from facedistill.core.messages import print_error
from facedistill.core.params import Params, load_params, with_overrides
from facedistill.core.paths import DATA, PARAMS, ROOT
from facedistill.corpora.recordings import HELD_OUT
from facedistill.figures.recordings import text
from facedistill.measure.bootstrap import MEAN, WEIGHTED, by_source, rounded
from facedistill.measure.scores import UtteranceScores
from facedistill.measure.systems import AnimateAll, each
from facedistill.measure.test_sets import Example, conditions, degraded, load_examples, non_speech, score
from facedistill.models.encoder import SCRATCH
from facedistill.models.networks import device
from facedistill.models.student import load_student
from facedistill.models.teacher import load_teacher
from facedistill.models.training import remove_checkpoints, work_folder
from facedistill.pipeline.align import ALIGNED
from facedistill.pipeline.distill import train_student
from facedistill.pipeline.label import write_labels
from facedistill.pipeline.teach import train_teacher

STAGE = "what-works"
TABLE = ROOT / "benchmarks" / "what_works"
STEPS, TEACHER_STEPS = 2500, 1200
TEACHER = "teacher"
LABELS = "labels"  # below a teacher's folder; they go when it is trained anew
CONDITIONS = conditions([-30.0], [10.0])
NON_SPEECH_S, NON_SPEECH_DB = 10.0, [-50.0]
METRICS = {"closure_auc": "AUC", "pbm": "PBM at 5 % false closures", "pbm_1mm": "PBM at 1 mm", "opening_r": "r"}
ABOUT = """# What works

Students of `on-device`'s size unless a row says otherwise, {steps:,} steps each on paired data alone, one change from the
baseline a row; teachers, {teacher_steps:,} steps each, one change from "a teacher"
(`python benchmarks/what_works.py --steps {steps} --teacher-steps {teacher_steps}`, with the parameters of configs/release.yaml).
A teacher starts from `data/encoder`, which has learnt from five more hours of synthetic speech, hears whole utterances at one
loudness, and is augmented as `teach.augment` says: it is to be compared with teachers. Pseudo-labels are a teacher's curves and
phones of the paired utterances in place of their own.
Measured on {n} training recordings that were held out, {new} of them by speakers of whom none is trained on; {aligned} are timed
by this project's own forced alignment. Weighted by their /p b m/, with 95 % intervals. The last two columns are the mean distance
of the lip gap from rest on non-speech audio.

"""


@dataclass(frozen=True)
class Change:
    """One difference from the baseline.

    Attributes:
        set: {dotted key of params.yaml: value}.
        keep: which of the paired utterances are trained on.
        network: key of distill.students; or TEACHER.
        labels: the teacher, another row, whose pseudo-labels of the paired utterances are learnt from.
    """

    set: Mapping[str, object] = field(default_factory=dict)
    keep: Callable[[Utterance], bool] = lambda row: True
    network: str = "on-device"
    labels: str | None = None


def _augment(**values: object) -> dict[str, object]:
    return {f"distill.augment.{name}": value for name, value in values.items()}


TEN_VOICES = ("Alex", "Annie", "Mario", "Storm", "adam", "f1", "grandma", "klatt3", "m2", "victor")
CHANGES = {
    "baseline": Change(),
    "synthetic speech alone": Change(keep=lambda row: row.source == SYNTHETIC),
    "without aligned recordings": Change(keep=lambda row: row.label_kind != ALIGNED),
    "without synthetic speech": Change(keep=lambda row: row.source != SYNTHETIC),
    "three of 19 languages": Change(keep=lambda row: row.source != SYNTHETIC or row.language in ("en-us", "de", "pt-br")),
    "ten of 60 synthetic voices": Change(keep=lambda row: row.source != SYNTHETIC or row.speaker in TEN_VOICES),
    "no augmentation": Change(
        _augment(speed=[1.0, 1.0], gain_db=[0.0, 0.0], equalise=0.0, room=0.0, noise=0.0, telephone=0.0, clip=0.0, non_speech=0.0)
    ),
    "all of the level in every band": Change({"distill.level_keep_ratio": 1.0}),
    "no changes of speed and pitch": Change(_augment(speed=[1.0, 1.0])),
    "no equaliser": Change(_augment(equalise=0.0)),
    "no noise, no rooms": Change(_augment(noise=0.0, room=0.0)),
    "no telephone, no codec, no clipping": Change(_augment(telephone=0.0, clip=0.0)),
    "levels of -12..+6 dB": Change(_augment(gain_db=[-12.0, 6.0])),
    "no crops of silence": Change(_augment(non_speech=0.0)),
    "no closure loss": Change({"distill.losses.closure": 0.0}),
    "no lip gap loss": Change({"distill.losses.lip_gap": 0.0}),
    "two degradations agree, of half the crops": Change({"distill.losses.consistency": 1.0, "distill.optimizer.batch_size": 4}),
    "no phone task": Change({"distill.losses.phones": 0.0}),
    "four times the channels": Change(network="small"),
    "pseudo-labels of a teacher": Change(labels="a teacher"),
    "pseudo-labels of a self-trained teacher": Change(labels="a self-trained teacher"),
    "pseudo-labels of a teacher from random weights": Change(labels="a teacher from random weights"),
    "a teacher": Change(network=TEACHER),
    "a self-trained teacher": Change(network=TEACHER, labels="a teacher"),
    "a teacher from random weights": Change({"teach.encoder.source": SCRATCH}, network=TEACHER),
}


def result_of(name: str, baseline: Params, examples: list[Example]) -> dict:
    """What the network of a change is worth; trained and measured unless that was done with this package, data and settings."""
    change, folder = CHANGES[name], DATA / "align"
    params, known = with_overrides(baseline, change.set), read_manifest(folder / "manifest.jsonl")
    encoder = sorted((ROOT / params.teach.encoder.source).glob("*.safetensors")) if change.network == TEACHER else []
    rows = [rebase_paths(row, "../../align") for row in select(known, "paired") if change.keep(row)]
    if not rows:
        raise InputError(f"{name}: nothing to train on; prepare.corpora names no transcribed recordings")
    out = folder_of(name)
    work = work_folder(
        f"{STAGE}-scores-{out.name}",
        code=[Path(__file__), *import_closure(*imported(Path(__file__).read_text(encoding="utf-8"), Path(__file__)))],
        settings=f"{settings_of(name, baseline)}{baseline.evaluate.bootstrap}{rows}",
        inputs=[folder / "manifest.jsonl", *sorted({folder / row.curves for row in known if row.curves}), *encoder],
    )
    if not ((work / "scores.json").is_file() and (out / "model.safetensors").is_file()):
        write_manifest(out / "manifest.jsonl", rows)
        corpus = labels_of(change.labels, baseline, examples) if change.labels else out
        animate = train(change, params, corpus, out)
        write_json(work / "scores.json", rounded(measure(animate, examples, baseline)))
    return read_json(work / "scores.json")


def settings_of(name: str, baseline: Params) -> str:
    """The parameters that decide a row, and those of the teachers that it learns from."""
    change = CHANGES[name]
    params = with_overrides(baseline, change.set)
    own = params.teach if change.network == TEACHER else params.distill
    others = f"{params.label.model_dump_json()}{settings_of(change.labels, baseline)}" if change.labels else ""
    return f"{params.seed}{change.network}{own.model_dump_json()}{others}"


def folder_of(name: str) -> Path:
    """The folder of a row's network."""
    return DATA / STAGE / name.replace(" ", "-")


def labels_of(teacher: str, baseline: Params, examples: list[Example]) -> Path:
    """A folder with a teacher's pseudo-labels of the paired utterances; the teacher is trained if it is not there."""
    result_of(teacher, baseline, examples)
    out = folder_of(teacher) / LABELS
    if not out.is_dir():
        labels = with_overrides(baseline, {"label.keep_paired": False, "label.splits": ["paired"]}).label
        write_labels(labels, folder_of(teacher), out)
    return out


def train(change: Change, params: Params, corpus: Path, out: Path) -> AnimateAll:
    """Trains the network of a change on a folder with a manifest and curves."""
    if change.network != TEACHER:
        unguided, rows = with_overrides(params, {"distill.losses.feature": 0.0}), read_manifest(corpus / "manifest.jsonl")
        remove_checkpoints(train_student(unguided, params.distill.students[change.network], out, folder=corpus, rows=rows))
        return each(load_student(out).to(device()).animate)
    shutil.rmtree(out / LABELS, ignore_errors=True)
    remove_checkpoints(train_teacher(params, corpus, None, out))
    return each(load_teacher(out).to(device()).animate)


def measure(animate: AnimateAll, examples: list[Example], params: Params) -> dict:
    """What a network is worth: clean, in conditions, and on non-speech audio."""
    sources, speakers = ([getattr(example.row, name) for example in examples] for name in ("source", "speaker"))

    def scored(some: list[Example]) -> list[UtteranceScores]:
        return score(some, animate([example.audio for example in some]))

    tests = {"clean": examples} | {name: degraded(examples, one, seed=params.seed) for name, one in CONDITIONS.items()}
    found = {
        name: by_source(scored(some), sources, speakers, seed=params.seed, n_boot=params.evaluate.bootstrap)
        for name, some in tests.items()
    }
    sounds = non_speech(NON_SPEECH_S, NON_SPEECH_DB, seed=params.seed)
    still = {name: scored(sound)[0].rest_error_mm for name, sound in sounds.items()}
    return found | {"rest_mm": still}


def row_of(name: str, measured: Mapping[str, Mapping]) -> dict[str, str]:
    """One row of the table, to read."""
    clean = measured["clean"]
    row = {"change": name} | {heading: text(clean[WEIGHTED], metric) for metric, heading in METRICS.items()}
    row["AUC, mean of sources"] = f"{clean[MEAN]['closure_auc']['value']:.3f}"
    row |= {f"AUC, {condition}": f"{measured[condition][WEIGHTED]['closure_auc']['value']:.3f}" for condition in CONDITIONS}
    return row | {f"gap off rest, {sound} (mm)": f"{gap_mm:.2f}" for sound, gap_mm in measured["rest_mm"].items()}


def about(recordings: list[Utterance], steps: int, teacher_steps: int) -> str:
    """What the table says above its rows."""
    received = {(row.source, row.speaker) for row in select(read_manifest(DATA / "align" / "manifest.jsonl"), "paired")}
    new = sum((recording.source, recording.speaker) not in received for recording in recordings)
    aligned = sum(recording.label_kind == ALIGNED for recording in recordings)
    return ABOUT.format(steps=steps, teacher_steps=teacher_steps, n=len(recordings), new=new, aligned=aligned)


def _count(written: str) -> int:
    """A number of steps, for argparse, which names what it refuses."""
    if not written.isdecimal() or int(written) < 1:
        raise argparse.ArgumentTypeError(f"{written!r}; expected whole numbers from 1")
    return int(written)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--steps", type=_count, default=STEPS, help="training steps of each student (default: %(default)s)")
    parser.add_argument("--teacher-steps", type=_count, default=TEACHER_STEPS, help="and of each teacher (default: %(default)s)")
    parser.add_argument("--only", nargs="+", choices=CHANGES, default=list(CHANGES), metavar="CHANGE", help="some changes alone")
    arguments = parser.parse_args()
    try:
        compare(arguments.only, arguments.steps, arguments.teacher_steps)
    except InputError as error:
        print_error(str(error))
        sys.exit(2)


def compare(names: list[str], steps: int, teacher_steps: int) -> None:
    """Trains and measures the networks of some changes, and writes the table."""
    params = load_params()
    students = params.distill.students
    missing = {CHANGES[name].network for name in names} - {TEACHER, *students}
    if missing:
        raise InputError(f"{PARAMS}: distill.students: no {', '.join(sorted(missing))}, which is to be compared")
    baseline = with_overrides(
        params, {"teach.steps": teacher_steps} | {f"distill.students.{name}.steps": steps for name in students}
    )
    recordings = [row for row in select(read_manifest(DATA / "align" / "manifest.jsonl"), HELD_OUT) if row.phones]
    if not recordings:
        raise InputError(f"{DATA / 'align'}: nothing held out to measure on; `held_out` in prepare.corpora names what is")
    rows, examples = [], load_examples(DATA / "align", recordings)
    for name in names:
        rows.append(row_of(name, result_of(name, baseline, examples)))
        print(rows[-1], flush=True)
    table = pd.DataFrame(rows)
    write_text(TABLE.with_suffix(".csv"), table.to_csv(index=False))
    shown = table.to_markdown(index=False, disable_numparse=True)
    write_text(TABLE.with_suffix(".md"), f"{about(recordings, steps, teacher_steps)}{shown}\n")
    print(shown)


if __name__ == "__main__":
    main()
