"""Stage `evaluate`: every system on every test split, with confidence intervals, and the comparisons that the paper claims."""

import math
from collections.abc import Mapping, Sequence

import numpy as np
from tqdm import tqdm

from facedistill.core.files import write_json
from facedistill.core.manifest import Utterance, read_manifest
from facedistill.core.params import Params
from facedistill.core.paths import DATA
from facedistill.face.curves import FPS, read_curves
from facedistill.face.head import head
from facedistill.face.phones import read_phones
from facedistill.measure.scores import UtteranceScores, score_utterance
from facedistill.measure.statistics import aggregate, compare
from facedistill.measure.systems import Animate, System, systems
from facedistill.models.training import prepare_torch
from facedistill.models.workers import workers
from facedistill.speech.audio import read_audio

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
DIGITS = 5


def evaluate(params: Params) -> None:
    """Writes data/evaluate: scores.json, comparisons.json, systems.json and metrics.json (the headlines, for `dvc metrics`)."""
    prepare_torch()
    out = DATA / "evaluate"
    table = systems(params)
    scores, comparisons = {}, {}
    for split, rows in test_splits(params).items():
        measured = score_split(rows, {system.name: system.animate for system in table}, split)
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


def score_split(rows: Sequence[Utterance], systems: Mapping[str, Animate], split: str) -> dict[str, list[UtteranceScores]]:
    """The raw scores of every system, by name, utterance by utterance."""
    truth = read_curves(DATA / "prepare", rows)

    def score(row: Utterance) -> list[UtteranceScores]:
        audio, phones = read_audio(DATA / "prepare" / row.audio), read_phones(DATA / "prepare" / row.phones)
        given = {"fps": FPS, "head": head(), "target": truth.get(row.id)}
        return [score_utterance(animate(audio), phones, **given) for animate in systems.values()]

    with workers() as pool:
        scored = list(tqdm(pool.map(score, rows), total=len(rows), desc=f"evaluate {split}", unit="utterance", mininterval=5))
    return {name: [scores[number] for scores in scored] for number, name in enumerate(systems)}


def headlines(scores: dict) -> dict[str, dict[str, dict[str, float]]]:
    """{split: {system: {metric: value}}} of the few numbers that sum a system up."""
    return {
        split: {name: {metric: values[metric]["value"] for metric in HEADLINES} for name, values in table.items()}
        for split, table in scores.items()
    }


def _facts(system: System) -> dict[str, float | int | None]:
    return {"parameters": system.parameters, "weights_bytes": system.weights_bytes, "lookahead_ms": system.lookahead_ms}


def rounded(value: object) -> object:
    """Rounds every float, and turns NaN (not measurable) into null: JSON has no NaN."""
    if isinstance(value, dict):
        return {key: rounded(item) for key, item in value.items()}
    if isinstance(value, float):
        return None if math.isnan(value) else round(value, DIGITS)
    return value
