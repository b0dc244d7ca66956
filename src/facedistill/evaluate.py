"""Stage `evaluate`: every system on every test split, with confidence intervals, and the comparisons that are claimed."""

from collections.abc import Callable, Mapping, Sequence

import numpy as np

from facedistill.core.files import read_json, write_json
from facedistill.core.manifest import Utterance, read_manifest, select
from facedistill.core.params import Params, changed
from facedistill.core.paths import DATA
from facedistill.core.sections import BASELINE
from facedistill.face.controls import read_controls
from facedistill.face.curves import read_curves
from facedistill.face.mesh_basis import FILE, read_basis
from facedistill.measure.agreement import agreement
from facedistill.measure.scores import UtteranceScores
from facedistill.measure.splits import rounded, score_split
from facedistill.measure.statistics import aggregate, aggregate_runs, compare, compare_runs
from facedistill.measure.systems import System, smoothed_systems, systems, taught_systems, variant_systems
from facedistill.models.student import load_student
from facedistill.models.training import prepare_torch
from facedistill.models.workers import device, workers
from facedistill.speech.audio import read_audio
from facedistill.speech.recordings import HELD_OUT

# question -> (system, what it is compared with)
COMPARISONS = {
    "teacher-against-small-on-paired-data": ("teacher", "small-paired-only"),
    "teacher-against-on-device-on-paired-data": ("teacher", "paired-only"),
    "on-device-against-teacher": ("on-device", "teacher"),
    "distilled-against-paired-only": ("on-device", "paired-only"),
    "ensemble-against-real-time": ("real-time-ensemble", "real-time"),
}
N_TUNING_UTTERANCES = 20
HEADLINES = ("lip_gap_r", "pbm", "pbm_fixed", "lve_mm")

Splits = dict[str, list[Utterance]]
Measured = dict[str, dict[str, list[UtteranceScores]]]  # split -> name -> a score an utterance


def evaluate(params: Params) -> None:
    """Writes data/evaluate.

    Of the systems: scores.json, comparisons.json, systems.json and metrics.json (the headlines, for `dvc metrics`). Of the
    ablation's variants: ablations.json, ablation_differences.json (of each from its reference), ablation_seeds.json and
    variants.json. Of the smoothed student: smoothing.json, smoothing_differences.json and smoothers.json. Of the other
    teachers and their students: taught.json, agreement.json (of students with their teachers) and teachers.json (what they are).
    """
    prepare_torch()
    splits = test_splits(params)
    evaluate_systems(params, splits)
    evaluate_variants(params, splits)
    evaluate_smoothing(params, splits)
    evaluate_teachers(params, splits)


def evaluate_systems(params: Params, splits: Splits) -> None:
    """Teacher, students, ensembles and baselines."""
    table = systems(params)
    measured = _measured(splits, {system.name: system for system in table})
    scores, comparisons = {}, {}
    for split, found in measured.items():
        given = _resampling(params, splits[split])
        scores[split] = {name: aggregate(values, **given()) for name, values in found.items()}
        comparisons[split] = {
            question: compare(found[one], found[other], **given())
            for question, (one, other) in COMPARISONS.items()
            if one in found and other in found
        }
    write_json(DATA / "evaluate" / "scores.json", rounded(scores))
    write_json(DATA / "evaluate" / "comparisons.json", rounded(comparisons))
    write_json(DATA / "evaluate" / "systems.json", {system.name: _facts(system) for system in table})
    write_json(DATA / "evaluate" / "metrics.json", rounded(headlines(scores)))


def evaluate_variants(params: Params, splits: Splits) -> None:
    """The ablation: the mean of the seeds of a variant, its difference from its reference, and each seed by itself."""
    table = variant_systems(params)
    measured = _measured(splits, {f"{name}/{system.name}": system for name, found in table.items() for system in found})
    scores, differences, seeds = {}, {}, {}
    for split, found in measured.items():
        given = _resampling(params, splits[split])
        runs = {name: {one.name: found[f"{name}/{one.name}"] for one in variants} for name, variants in table.items()}
        scores[split] = {name: aggregate_runs([*seeded.values()], **given()) for name, seeded in runs.items()}
        differences[split] = {
            name: compare_runs([*seeded.values()], [*runs[reference_of(params, name)].values()], **given())
            for name, seeded in runs.items()
        }
        seeds[split] = {name: {seed: _values(values) for seed, values in seeded.items()} for name, seeded in runs.items()}
    write_json(DATA / "evaluate" / "ablations.json", rounded(scores))
    write_json(DATA / "evaluate" / "ablation_differences.json", rounded(differences))
    write_json(DATA / "evaluate" / "ablation_seeds.json", rounded(seeds))
    write_json(
        DATA / "evaluate" / "variants.json", {name: _variant_facts(params, name, found[0]) for name, found in table.items()}
    )


def evaluate_smoothing(params: Params, splits: Splits) -> None:
    """One student, smoothed in several ways, and how those of a delay differ from the average of that delay."""
    heard = [read_audio(DATA / "prepare" / row.audio) for row in next(iter(splits.values()))[:N_TUNING_UTTERANCES]]
    table = smoothed_systems(params, heard)
    averages = {one.delay_frames: one.name for one in table if one.kind == "average"}
    references = {one.name: "none" if one.kind in ("none", "average") else averages[one.delay_frames] for one in table}
    scores, differences = {}, {}
    for split, found in _measured(splits, {system.name: system for system in table.values()}).items():
        given = _resampling(params, splits[split])
        scores[split] = {name: aggregate(values, **given()) for name, values in found.items()}
        differences[split] = {name: compare(values, found[references[name]], **given()) for name, values in found.items()}
    facts = {
        one.name: _facts(system) | {"kind": one.kind, "strength": one.strength, "reference": references[one.name]}
        for one, system in table.items()
    }
    write_json(DATA / "evaluate" / "smoothing.json", rounded(scores))
    write_json(DATA / "evaluate" / "smoothing_differences.json", rounded(differences))
    write_json(DATA / "evaluate" / "smoothers.json", facts)


def evaluate_teachers(params: Params, splits: Splits) -> None:
    """The other teachers: each and its student against the truth, and each student against its teacher."""
    table = {f"{name}/{role}": system for name, pair in taught_systems(params).items() for role, system in pair.items()}
    scores: dict = {}
    for split, found in _measured(splits, table).items():
        for key, values in found.items():
            name, _, role = key.partition("/")
            scored = aggregate(values, **_resampling(params, splits[split])())
            scores.setdefault(split, {}).setdefault(name, {})[role] = scored
    write_json(DATA / "evaluate" / "taught.json", rounded(scores))
    write_json(DATA / "evaluate" / "agreement.json", rounded({name: _agreement(params, name) for name in params.teachers}))
    facts = {name: read_json(DATA / "teachers" / name / "summary.json") for name in params.teachers}
    write_json(DATA / "evaluate" / "teachers.json", facts)


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


def test_splits(params: Params) -> Splits:
    """The test splits of the corpus that have phone labels, each cut to `evaluate.max_utterances`, evenly spread."""
    rows = [row for row in read_manifest(DATA / "prepare" / "manifest.jsonl") if row.split.startswith("test-") and row.phones]
    splits = {}
    for split in dict.fromkeys(row.split for row in rows):
        members = [row for row in rows if row.split == split]
        chosen = np.linspace(0, len(members) - 1, min(len(members), params.evaluate.max_utterances)).round().astype(int)
        splits[split] = [members[index] for index in chosen]
    return splits


def headlines(scores: dict) -> dict[str, dict[str, dict[str, float]]]:
    """{split: {system: {metric: value}}} of the few numbers that sum a system up."""
    return {
        split: {name: {metric: values[metric]["value"] for metric in HEADLINES} for name, values in table.items()}
        for split, table in scores.items()
    }


def _measured(splits: Splits, table: Mapping[str, System]) -> Measured:
    animate = {name: system.animate for name, system in table.items()}
    return {split: score_split(DATA / "prepare", rows, animate, split) for split, rows in splits.items()}


def _resampling(params: Params, rows: Sequence[Utterance]) -> Callable[[], dict[str, object]]:
    """How intervals are drawn: by voice, and by the same draws every time."""
    groups = [(row.source, row.speaker) for row in rows]
    return lambda: {"n_boot": params.evaluate.bootstrap, "groups": groups, "rng": np.random.default_rng(params.seed)}


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
    variant, varied = params.ablate.variants[name], changed(params, params.ablate.variants[name].set)
    student, summary = varied.ablate.student, read_json(DATA / "ablate" / name / system.name / "summary.json")
    return {
        "set": variant.set, "why": variant.why or "", "reference": reference_of(params, name), "channels": student.channels,
        "window_ms": student.window_ms, "future_ms": student.future_ms, "guided": varied.distill.losses.feature > 0, **summary,
    }  # fmt: skip
