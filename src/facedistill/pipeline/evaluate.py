"""Stage `evaluate`: every system on every test set, with confidence intervals, and the comparisons that are claimed."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from functools import partial

import numpy as np

from facedistill.core.files import read_json, write_json
from facedistill.core.manifest import evenly_spaced, read_manifest, select
from facedistill.core.params import Params, with_overrides
from facedistill.core.paths import DATA
from facedistill.core.sections import BASELINE
from facedistill.corpora.recordings import HELD_OUT
from facedistill.measure.bootstrap import aggregate, agreement, compare, rounded
from facedistill.measure.scores import UtteranceScores
from facedistill.measure.systems import System, smoothed_systems, systems, teacher_student_pairs, variant_systems
from facedistill.measure.test_sets import Example, interval_options, load_examples, measure
from facedistill.models.networks import device, workers
from facedistill.models.student import load_student
from facedistill.models.training import prepare_torch
from facedistill.rig.controls import read_controls
from facedistill.rig.curves import read_curves
from facedistill.rig.mesh_pca import FILE, read_basis
from facedistill.speech.audio import read_audio

# question -> (system, what it is compared with)
COMPARISONS = {
    "teacher-against-small-on-paired-data": ("teacher", "small-paired-only"),
    "teacher-against-on-device-on-paired-data": ("teacher", "paired-only"),
    "on-device-against-teacher": ("on-device", "teacher"),
    "distilled-against-paired-only": ("on-device", "paired-only"),
    "ensemble-against-real-time": ("real-time-ensemble", "real-time"),
}
N_TUNING_UTTERANCES = 20
HEADLINES = ("lip_gap_r", "pbm", "pbm_1mm", "lve_mm")

Scores = dict[str, list[UtteranceScores]]  # of every system on one test set, one an utterance
Given = Callable[[], dict[str, object]]  # how intervals are drawn: by voice, and by the same draws every time
Tabulate = Callable[[Scores, Given], dict]
Group = tuple[Iterable[System], dict[str, object], dict[str, Tabulate]]  # systems, facts, and tables of each test set, by file


def evaluate(params: Params) -> None:
    """Writes data/evaluate.

    Of the systems: scores.json, comparisons.json, systems.json and metrics.json (the headlines, for `dvc metrics`). Of the
    ablation's variants: ablations.json, ablation_differences.json (of each from its reference), ablation_seeds.json and
    variants.json. Of the smoothed student: smoothing.json, smoothing_differences.json and smoothers.json. Of the other
    teachers and their students: taught.json, agreement.json (of students with their teachers) and teachers.json (what they are).
    """
    prepare_torch()
    sets = test_sets(params)
    tuning = [example.audio for example in next(iter(sets.values()))[:N_TUNING_UTTERANCES]]
    for group in (systems_group(params), variants_group(params), smoothing_group(params, tuning), teachers_group(params)):
        evaluate_group(params, group, sets)


def evaluate_group(params: Params, group: Group, sets: dict[str, list[Example]]) -> None:
    """Writes the files of a group of systems."""
    members, metadata, tables = group
    found = dict(measure(members, sets))
    for name, content in metadata.items():
        _write(name, content)
    for name, tabulate in tables.items():
        table = {
            one: tabulate({system: scores[one] for system, scores in found.items()}, partial(interval_options, params, examples))
            for one, examples in sets.items()
        }
        _write(name, rounded(table))


def test_sets(params: Params) -> dict[str, list[Example]]:
    """The test splits of the corpus that have phone labels, each cut to `evaluate.max_utterances`, evenly spread."""
    root = DATA / "prepare"
    rows = [row for row in read_manifest(root / "manifest.jsonl") if row.split.startswith("test-") and row.phones]
    splits = {split: [row for row in rows if row.split == split] for split in dict.fromkeys(row.split for row in rows)}
    return {
        split: load_examples(root, evenly_spaced(members, params.evaluate.max_utterances)) for split, members in splits.items()
    }


def systems_group(params: Params) -> Group:
    """Teacher, students, ensembles and baselines."""
    members = systems(params)

    def scored(found: Scores, given: Given) -> dict:
        return {name: aggregate(scores, **given()) for name, scores in found.items()}

    def compared(found: Scores, given: Given) -> dict:
        known = {question: pair for question, pair in COMPARISONS.items() if found.keys() >= set(pair)}
        return {question: compare([found[one]], [found[other]], **given()) for question, (one, other) in known.items()}

    def headlines(found: Scores, given: Given) -> dict:
        values = {name: _values(scores) for name, scores in found.items()}
        return {name: {metric: row[metric] for metric in HEADLINES} for name, row in values.items()}

    tables = {"scores": scored, "comparisons": compared, "metrics": headlines}
    return members, {"systems": {system.name: _facts(system) for system in members}}, tables


def variants_group(params: Params) -> Group:
    """The ablation: the mean of the seeds of a variant, its difference from its reference, and each seed by itself."""
    table = variant_systems(params)
    members = [replace(system, name=f"{name}/{system.name}") for name, seeds in table.items() for system in seeds]
    metadata = {name: _variant_facts(params, name, seeds[0]) for name, seeds in table.items()}

    def runs(found: Scores, name: str) -> list[list[UtteranceScores]]:
        return [found[f"{name}/{system.name}"] for system in table[name]]

    def scored(found: Scores, given: Given) -> dict:
        return {name: aggregate(*runs(found, name), **given()) for name in table}

    def differing(found: Scores, given: Given) -> dict:
        return {name: compare(runs(found, name), runs(found, reference_of(params, name)), **given()) for name in table}

    def seeds(found: Scores, given: Given) -> dict:
        return {
            name: {system.name: _values(scores) for system, scores in zip(table[name], runs(found, name), strict=True)}
            for name in table
        }

    return members, {"variants": metadata}, {"ablations": scored, "ablation_differences": differing, "ablation_seeds": seeds}


def smoothing_group(params: Params, tuning: Sequence[np.ndarray]) -> Group:
    """One student, smoothed in several ways, and how those of a delay differ from the average of that delay."""
    table = smoothed_systems(params, tuning)
    averages = {one.delay_frames: one.name for one in table if one.kind == "average"}
    references = {one.name: "none" if one.kind in ("none", "average") else averages[one.delay_frames] for one in table}
    metadata = {
        one.name: _facts(system) | {"kind": one.kind, "strength": one.strength, "reference": references[one.name]}
        for one, system in table.items()
    }

    def scored(found: Scores, given: Given) -> dict:
        return {name: aggregate(scores, **given()) for name, scores in found.items()}

    def differing(found: Scores, given: Given) -> dict:
        return {name: compare([scores], [found[references[name]]], **given()) for name, scores in found.items()}

    return table.values(), {"smoothers": metadata}, {"smoothing": scored, "smoothing_differences": differing}


def teachers_group(params: Params) -> Group:
    """The other teachers: each and its student against the truth, and each student against its teacher."""
    table = teacher_student_pairs(params)
    members = [replace(system, name=f"{name}/{role}") for name, pair in table.items() for role, system in pair.items()]
    metadata = {
        "agreement": rounded({name: _agreement(params, name) for name in params.teachers}),
        "teachers": {name: read_json(DATA / "teachers" / name / "summary.json") for name in params.teachers},
    }

    def scored(found: Scores, given: Given) -> dict:
        return {name: {role: aggregate(found[f"{name}/{role}"], **given()) for role in pair} for name, pair in table.items()}

    return members, metadata, {"taught": scored}


def _agreement(params: Params, name: str) -> dict[str, dict[str, float]]:
    """Of the student with the labels of what it was not trained on."""
    folder = DATA / "teachers" / name
    labels, basis = folder / "label", folder / FILE
    names = read_controls(labels).names
    student = load_student(folder / "student", names).to(device())
    rows = select(read_manifest(labels / "manifest.jsonl"), HELD_OUT)
    truth = read_curves(labels, rows, len(names))
    with workers() as pool:
        found = list(pool.map(lambda row: student.animate(read_audio(labels / row.audio)), rows))
    scale = np.linalg.norm(read_basis(basis).components, axis=1) if basis.is_file() else np.ones(len(names))
    pairs = [(pred, truth[row.id]) for row, pred in zip(rows, found, strict=True)]
    return agreement(pairs, scale, rng=np.random.default_rng(params.seed), n_boot=params.evaluate.bootstrap)


def _write(name: str, content: object) -> None:
    write_json(DATA / "evaluate" / f"{name}.json", content)


def _values(scores: Sequence[UtteranceScores]) -> dict[str, float]:
    """{metric: value} without intervals."""
    return {name: found["value"] for name, found in aggregate(scores, rng=np.random.default_rng(0), n_boot=0).items()}


def _facts(system: System) -> dict[str, float | int | None]:
    return {"parameters": system.parameters, "weights_bytes": system.weights_bytes, "lookahead_ms": system.lookahead_ms}


def reference_of(params: Params, name: str) -> str:
    """What a variant is compared with: the variant that makes the most of its changes and no other, the baseline at the least."""
    mine, compared = params.ablate.variants[name].set, [BASELINE]
    for other in params.ablate.variants.keys() - params.evaluate.baselines - {name}:
        theirs = params.ablate.variants[other].set
        if theirs.items() < mine.items():
            compared.append(other)
    order = list(params.ablate.variants)
    return min(compared, key=lambda other: (-len(params.ablate.variants[other].set), order.index(other)))


def _variant_facts(params: Params, name: str, system: System) -> dict[str, object]:
    """What a variant changes and why, and what it amounts to, for the axes of the figures."""
    variant, varied = params.ablate.variants[name], with_overrides(params, params.ablate.variants[name].set)
    student, summary = varied.ablate.student, read_json(DATA / "ablate" / name / system.name / "summary.json")
    return {
        "set": variant.set, "why": variant.why or "", "reference": reference_of(params, name), "channels": student.channels,
        "window_ms": student.window_ms, "future_ms": student.future_ms, "guided": varied.distill.losses.feature > 0, **summary,
    }  # fmt: skip
