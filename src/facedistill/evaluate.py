"""Stage `evaluate`: every system on every test split, with confidence intervals, and the comparisons that the paper claims."""

import numpy as np

from facedistill.core.files import write_json
from facedistill.core.manifest import Utterance, read_manifest
from facedistill.core.params import Params
from facedistill.core.paths import DATA
from facedistill.measure.splits import rounded, score_split
from facedistill.measure.statistics import aggregate, compare
from facedistill.measure.systems import System, systems
from facedistill.models.training import prepare_torch

# question -> (system, what it is compared with)
COMPARISONS = {
    "teacher-against-small-on-paired-data": ("teacher", "small-paired-only"),
    "teacher-against-on-device-on-paired-data": ("teacher", "paired-only"),
    "on-device-against-teacher": ("on-device", "teacher"),
    "hybrid-against-no-feature-loss": ("on-device", "no-feature-loss"),
    "distilled-against-paired-only": ("on-device", "paired-only"),
    "ensemble-against-real-time": ("real-time-ensemble", "real-time"),
}
HEADLINES = ("lip_gap_r", "pbm", "pbm_fixed", "lve_mm")


def evaluate(params: Params) -> None:
    """Writes data/evaluate: scores.json, comparisons.json, systems.json and metrics.json (the headlines, for `dvc metrics`)."""
    prepare_torch()
    out = DATA / "evaluate"
    table = systems(params)
    scores, comparisons = {}, {}
    for split, rows in test_splits(params).items():
        measured = score_split(DATA / "prepare", rows, {system.name: system.animate for system in table}, split)
        settings = {"n_boot": params.evaluate.bootstrap, "groups": [(row.source, row.speaker) for row in rows]}
        scores[split] = {
            name: aggregate(values, rng=np.random.default_rng(params.seed), **settings) for name, values in measured.items()
        }
        comparisons[split] = {
            question: compare(measured[one], measured[other], rng=np.random.default_rng(params.seed), **settings)
            for question, (one, other) in COMPARISONS.items()
            if one in measured and other in measured
        }
    write_json(out / "scores.json", rounded(scores))
    write_json(out / "comparisons.json", rounded(comparisons))
    write_json(out / "systems.json", {system.name: _facts(system) for system in table})
    write_json(out / "metrics.json", rounded(headlines(scores)))


def test_splits(params: Params) -> dict[str, list[Utterance]]:
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


def _facts(system: System) -> dict[str, float | int | None]:
    return {"parameters": system.parameters, "weights_bytes": system.weights_bytes, "lookahead_ms": system.lookahead_ms}
