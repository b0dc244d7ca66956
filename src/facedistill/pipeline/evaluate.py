"""Stage `evaluate`: every system on every test set, with confidence intervals, and the comparisons that are claimed."""

from collections.abc import Callable, Collection, Mapping, Sequence
from functools import partial
from itertools import islice

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
from facedistill.models.networks import device, parallel_map
from facedistill.models.student import load_student
from facedistill.models.training import prepare_torch
from facedistill.rig.controls import MESH_FILE, read_basis, read_controls
from facedistill.rig.curves import read_curves
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

TestSets = Mapping[str, Sequence[Example]]  # by split
Rows = dict[str, dict[str, list[UtteranceScores]]]  # {row: {system: a score an utterance}} of one test set
Resampling = Callable[[], dict[str, object]]  # see `interval_options`


def evaluate(params: Params) -> None:
    """Writes the tables of data/evaluate."""
    prepare_torch()
    sets = test_sets(params)
    for evaluate_some in (evaluate_systems, evaluate_variants, evaluate_smoothing, evaluate_teachers):
        evaluate_some(params, sets)


def test_sets(params: Params) -> dict[str, list[Example]]:
    """The test splits of the corpus that have phone labels, each cut to `evaluate.max_utterances`, evenly spread."""
    root, most = DATA / "prepare", params.evaluate.max_utterances
    rows = [row for row in read_manifest(root / "manifest.jsonl") if row.split.startswith("test-") and row.phones]
    splits = dict.fromkeys(row.split for row in rows)
    return {split: load_examples(root, evenly_spaced(select(rows, split), most)) for split in splits}


def evaluate_systems(params: Params, sets: TestSets) -> None:
    """Teacher, students, ensembles and baselines; metrics.json has the headlines, for `dvc metrics`."""
    members = {system.name: system for system in systems(params)}
    known = {question: pair for question, pair in COMPARISONS.items() if members.keys() >= set(pair)}
    rows = {name: [system] for name, system in members.items()}
    _write("systems", {name: _facts(system) for name, system in members.items()})
    _measure(params, sets, rows, scores=_means, comparisons=partial(_differences, known), metrics=_headlines)


def evaluate_variants(params: Params, sets: TestSets) -> None:
    """The ablation: the mean of the seeds of a variant, its difference from its reference, and each seed by itself."""
    rows = variant_systems(params)
    differences = partial(_differences, {name: (name, reference_of(params, name)) for name in rows})
    _write("variants", {name: _variant_facts(params, name, seeds[0]) for name, seeds in rows.items()})
    _measure(params, sets, rows, ablations=_means, ablation_differences=differences, ablation_seeds=partial(_each, _values))


def evaluate_smoothing(params: Params, sets: TestSets) -> None:
    """One student, smoothed in several ways, and how those of a delay differ from the average of that delay."""
    tuning = [example.audio for example in next(iter(sets.values()))[:N_TUNING_UTTERANCES]]
    ways = smoothed_systems(params, tuning)
    averages = {way.delay_frames: way.name for way in ways if way.kind == "average"}
    pairs = {way.name: (way.name, "none" if way.kind in ("none", "average") else averages[way.delay_frames]) for way in ways}
    smoothers = {
        way.name: _facts(system) | {"kind": way.kind, "strength": way.strength, "reference": pairs[way.name][1]}
        for way, system in ways.items()
    }
    rows = {way.name: [system] for way, system in ways.items()}
    _write("smoothers", smoothers)
    _measure(params, sets, rows, smoothing=_means, smoothing_differences=partial(_differences, pairs))


def evaluate_teachers(params: Params, sets: TestSets) -> None:
    """The other teachers: each and its student against the truth, and each student against its teacher."""
    rows = {name: pair.values() for name, pair in teacher_student_pairs(params).items()}
    _write("agreement", rounded({name: _agreement(params, name) for name in params.teachers}))
    _write("teachers", {name: read_json(DATA / "teachers" / name / "summary.json") for name in params.teachers})
    _measure(params, sets, rows, taught=partial(_each, aggregate))


def _measure(
    params: Params, sets: TestSets, rows: Mapping[str, Collection[System]], **tables: Callable[[Rows, Resampling], dict]
) -> None:
    """Measures systems, of which a row has one or several, and writes {test set: table} for each way to tabulate their scores."""
    measured = measure([system for members in rows.values() for system in members], sets)
    found = {row: dict(islice(measured, len(members))) for row, members in rows.items()}
    for file, tabulate in tables.items():
        table = {}
        for split, examples in sets.items():
            scores = {row: {name: of_sets[split] for name, of_sets in runs.items()} for row, runs in found.items()}
            table[split] = tabulate(scores, partial(interval_options, params, examples))
        _write(file, rounded(table))


def _means(rows: Rows, resampling: Resampling) -> dict:
    return {row: aggregate(*runs.values(), **resampling()) for row, runs in rows.items()}


def _differences(pairs: Mapping[str, tuple[str, str]], rows: Rows, resampling: Resampling) -> dict:
    return {name: compare(*([*rows[row].values()] for row in pair), **resampling()) for name, pair in pairs.items()}


def _each(tabulate: Callable[..., dict], rows: Rows, resampling: Resampling) -> dict:
    return {row: {name: tabulate(scores, **resampling()) for name, scores in runs.items()} for row, runs in rows.items()}


def _headlines(rows: Rows, _: Resampling) -> dict:
    values = {row: _values(runs[row]) for row, runs in rows.items()}
    return {row: {metric: found[metric] for metric in HEADLINES} for row, found in values.items()}


def _write(name: str, content: object) -> None:
    write_json(DATA / "evaluate" / f"{name}.json", content)


def _agreement(params: Params, name: str) -> dict[str, dict[str, float]]:
    """How well a student does what its teacher does, on what it was not trained on."""
    folder = DATA / "teachers" / name
    labels, basis = folder / "label", folder / MESH_FILE
    names = read_controls(labels).names
    student = load_student(folder / "student", names).to(device())
    rows = select(read_manifest(labels / "manifest.jsonl"), HELD_OUT)
    truth = read_curves(labels, rows, len(names))
    found = parallel_map(lambda row: student.animate(read_audio(labels / row.audio)), rows)
    scale = np.linalg.norm(read_basis(basis).components, axis=1) if basis.is_file() else np.ones(len(names))
    pairs = [(pred, truth[row.id]) for row, pred in zip(rows, found, strict=True)]
    return agreement(pairs, scale, rng=np.random.default_rng(params.seed), n_boot=params.evaluate.bootstrap)


def _values(scores: Sequence[UtteranceScores], **_: object) -> dict[str, float]:
    """{metric: value} without intervals."""
    return {metric: found["value"] for metric, found in aggregate(scores, rng=np.random.default_rng(0), n_boot=0).items()}


def _facts(system: System) -> dict[str, float | int | None]:
    return {"parameters": system.parameters, "weights_bytes": system.weights_bytes, "lookahead_ms": system.lookahead_ms}


def reference_of(params: Params, name: str) -> str:
    """What a variant is compared with: the variant that makes the most of its changes and no other, the baseline at the least."""
    variants, mine = params.ablate.variants, params.ablate.variants[name].set
    fewer = [other for other in variants if variants[other].set.items() < mine.items()]
    compared = [BASELINE, *(other for other in fewer if other not in params.evaluate.baselines)]
    return max(compared, key=lambda other: len(variants[other].set))  # the first of several


def _variant_facts(params: Params, name: str, system: System) -> dict[str, object]:
    """What a variant changes and why, and what it amounts to, for the axes of the figures."""
    variant = params.ablate.variants[name]
    varied, summary = with_overrides(params, variant.set), read_json(DATA / "ablate" / name / system.name / "summary.json")
    student = varied.ablate.student
    return {
        "set": variant.set, "why": variant.why or "", "reference": reference_of(params, name), "channels": student.channels,
        "window_ms": student.window_ms, "future_ms": student.future_ms, "guided": varied.distill.losses.feature > 0, **summary,
    }  # fmt: skip
