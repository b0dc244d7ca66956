"""Recorded speech as test sets: every model and tool that is here on recordings with timed phones and with measured lips."""

import math
import re
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Annotated, Literal

import numpy as np
from pydantic import Field
from tqdm import tqdm

from facedistill.core.errors import InputError
from facedistill.core.files import sha256, write_json
from facedistill.core.manifest import Utterance, evenly_spaced, read_manifest
from facedistill.core.params import Params, read_yaml, validated
from facedistill.core.paths import DATA, DETAILS, RESULTS
from facedistill.core.sections import Count, Section
from facedistill.measure import peers
from facedistill.measure.bootstrap import MEAN, WEIGHTED, aggregate, by_source, rounded
from facedistill.measure.closures import fit_lag_ms
from facedistill.measure.scores import UtteranceScores
from facedistill.measure.systems import System, envelopes, exported_system, student_system, teacher_system
from facedistill.measure.test_sets import Example, conditions, degraded, load_examples, non_speech, score
from facedistill.models.training import prepare_torch
from facedistill.rig.head import head
from facedistill.runtime.released import RELEASED, WINDOW_SUFFIX

FOLDER = RESULTS.parent
TEACHER, STUDENT, TORCH, ENVELOPE, PEER = KINDS = ("teacher", "student", "torch", "envelope", "peer")  # of systems
TORCH_SUFFIX = "-torch"  # of a student before its export
DEGRADED_KINDS = (STUDENT, ENVELOPE)  # systems that are tried in every condition
TESTS, LAGS, LIPS, NON_SPEECH, CONDITION = "recordings", "lags", "lips", "non-speech", "conditions"
LAGGED = ("closure_auc", "opening_r", "pbm", "pbm_1mm")  # what depends on the lag
AT_LAG = "_at_lag"  # of the names of `LAGGED` at the fitted lag
METRICS = (*LAGGED, "false_closures", "false_closures_1mm", "closure_lag_ms", "jitter", "jitter_silence")
LIP_METRICS = ("measured_gap_r", "measured_width_r", "measured_auc", "measured_spread")


class LagSettings(Section):
    """Labelled recordings on which a tool's lateness is fitted: at most `max_recordings` a source of a split, never tests."""

    split: str
    max_recordings: Count


class LipSettings(Section):
    """Recordings with measured lips; `manifest` is relative to the file's folder."""

    manifest: str
    splits: tuple[str, ...]


class ConditionSettings(Section):
    """What recordings are put through, at most `max_recordings` a source: levels, stationary noise, the telephone band."""

    max_recordings: Count
    levels_db: tuple[Annotated[float, Field(ge=-60, le=40)], ...]
    snr_db: tuple[Annotated[float, Field(ge=-20, le=60)], ...]


class NonSpeechSettings(Section):
    """Digital silence, and room noise at each level (dB full scale)."""

    duration_s: Annotated[float, Field(ge=1, le=120)]
    levels_db: tuple[Annotated[float, Field(ge=-120, le=0)], ...]


class Settings(Section):
    """All of the benchmark's params.yaml; `manifest` is relative to the file's folder."""

    manifest: str
    split: str
    lips: LipSettings
    variants: tuple[str, ...]
    peers: tuple[Literal["headaudio", "rhubarb", "wawa-lipsync", "wlipsync"], ...]
    lag: LagSettings
    conditions: ConditionSettings
    non_speech: NonSpeechSettings


@dataclass(frozen=True)
class Entrant:
    """A system, its kind, the SHA-256 of its file, and the version of a tool."""

    system: System
    kind: str
    sha256: str | None = None
    version: str | None = None


def benchmark(params: Params, folder: Path = FOLDER, *, data: Path = DATA, released: Path = RELEASED) -> None:
    """Writes results.json and details.json of every system here, and says what is not here.

    `results.json` is {system: {source, "mean" or "weighted": {metric: {"value", "low", "high", "n"}}, "lag_ms", "sha256"}};
    `details.json` has the rest: measured lips, languages, conditions, non-speech audio, the recordings, what was skipped.

    Args:
        folder: holds params.yaml, and the packages of peers.
        data: holds teach, distill, ablate and export, as far as they were made.
        released: holds released models; an exported one of the same name goes before it.
    """
    prepare_torch()
    settings = load_settings(folder)
    sets, sources = _test_sets(params, settings, folder)
    entrants, skipped = _entrants(params, settings, folder, sets[LAGS], data=data, released=released)
    for name, why in skipped.items():
        tqdm.write(f"skipped: {name}: {why}")
    results, details = {}, {}
    for entrant in tqdm(entrants, desc="benchmark", unit="system", mininterval=5):
        name = entrant.system.name
        results[name], details[name] = _evaluated(params, entrant, sets)
    write_json(folder / RESULTS.name, rounded(results))
    about = {"recordings": sources, "rest_gap_mm": head().gap_neutral_mm, "skipped": skipped, "settings": settings.model_dump()}
    write_json(folder / DETAILS.name, rounded(about | {"systems": details}))


def load_settings(folder: Path = FOLDER) -> Settings:
    """Reads and validates `<folder>/params.yaml`."""
    path = folder / "params.yaml"
    try:
        settings = validated(Settings, read_yaml(path))
        if settings.lag.split == settings.split:
            raise InputError(f"lag.split: {settings.lag.split!r}; expected another split than that of the test")
    except InputError as error:
        raise InputError(f"{path}: {error}") from None
    return settings


def _test_sets(params: Params, settings: Settings, folder: Path) -> tuple[dict[str, list[Example]], dict[str, dict]]:
    """All test sets by name, and what the recordings with phones are, by source; InputError for what cannot be read."""
    manifest, lips = folder / settings.manifest, folder / settings.lips.manifest
    if not manifest.is_file():
        raise InputError(f"{manifest}: no such manifest; expected that of {folder / 'params.yaml'}, manifest")
    rows = read_manifest(manifest)
    tested = _rows(manifest, settings.split, "phones", "no recordings with phones in split %r; expected some to test on")
    fitted = _rows(manifest, settings.lag.split, "phones", "no recordings with phones in split %r; expected some to fit lags on")
    tests = load_examples(manifest.parent, tested)
    lags = load_examples(manifest.parent, _of_each_source(fitted, settings.lag.max_recordings))
    few = {row.id for row in _of_each_source(tested, settings.conditions.max_recordings)}
    clean = [example for example in tests if example.row.id in few]
    tried = conditions(settings.conditions.levels_db, settings.conditions.snr_db)
    groups = {
        LIPS: {},
        NON_SPEECH: non_speech(**settings.non_speech.model_dump(), seed=params.seed),
        CONDITION: {"clean": clean} | {name: degraded(clean, one, seed=params.seed) for name, one in tried.items()},
    }
    if not lips.is_file():
        tqdm.write(f"skipped: measured lips: no {settings.lips.manifest}")
    for split in settings.lips.splits if lips.is_file() else ():
        filmed = _rows(lips, split, "measured", "no measured lips in split %r; expected some, or another lips.splits")
        groups[LIPS][split] = load_examples(lips.parent, filmed)
    sets = {f"{group}/{name}": examples for group, found in groups.items() for name, examples in found.items()}
    others = {(row.source, row.speaker) for row in rows if row.split != settings.split}
    return {TESTS: tests, LAGS: lags} | sets, _sources(tested, others)


def _rows(manifest: Path, split: str, column: str, message: str) -> list[Utterance]:
    """Those of a split that have something in a column; InputError if there are none."""
    rows = [row for row in read_manifest(manifest) if row.split == split and getattr(row, column)]
    if not rows:
        raise InputError(f"{manifest}: {message % split}")
    return rows


def _of_each_source(rows: Sequence[Utterance], most: int) -> list[Utterance]:
    """At most so many of every source, evenly spaced."""
    sources = dict.fromkeys(row.source for row in rows)
    return [row for source in sources for row in evenly_spaced([row for row in rows if row.source == source], most)]


def _sources(rows: Sequence[Utterance], others: Collection[tuple[str, str]]) -> dict[str, dict]:
    """{source: what its recordings are}; a speaker who is among `others`, (source, speaker), is no new voice."""
    found = {}
    for source in sorted({row.source for row in rows}):
        members = [row for row in rows if row.source == source]
        found[source] = {
            "n_recordings": len(members),
            "n_speakers": len({row.speaker for row in members}),
            "n_speakers_heard": len({row.speaker for row in members if (row.source, row.speaker) in others}),
            "duration_s": round(sum(row.duration_s for row in members), 1),
            "languages": sorted({row.language for row in members}),
            "label_kinds": sorted({row.label_kind or "unknown" for row in members}),
        }
    return found


def _entrants(
    params: Params, settings: Settings, folder: Path, lags: Sequence[Example], *, data: Path, released: Path
) -> tuple[list[Entrant], dict[str, str]]:
    """(the systems here in the order of the table, {what is not: why})."""
    found, skipped = [], {}

    def add(name: str, kind: str, path: Path, system: Callable[[], System]) -> None:
        if path.is_file():
            found.append(Entrant(system(), kind, sha256(path)))
        else:
            skipped[name] = f"no {path.relative_to(data.parent)}"

    teacher, file = data / "teach", "model.safetensors"
    add(TEACHER, TEACHER, teacher / file, partial(teacher_system, teacher, params.label.chunk_s))
    exported = {path.stem: path for place in (released, data / "export") for path in sorted(place.glob("*/*.onnx"))}
    students = {stem: path for stem, path in sorted(exported.items()) if not stem.endswith(WINDOW_SUFFIX)}
    for stem, path in students.items():
        add(stem, STUDENT, path, partial(exported_system, path))
    if not students:
        skipped["students"] = "neither in data/export nor released"
    trained = {f"{path.parent.name}{TORCH_SUFFIX}": path.parent for path in sorted((data / "distill").glob(f"*/{file}"))}
    trained |= {place.split("/")[0]: data / "ablate" / place for place in settings.variants}
    for name, place in trained.items():
        add(name, TORCH, place / file, partial(student_system, place, name))
    found += [Entrant(system, ENVELOPE) for system in envelopes()]
    calibration = [(example.audio, example.phones) for example in lags]
    for name in settings.peers:
        try:
            animate = partial(peers.animate, name, folder=folder, calibration=calibration)
            found.append(Entrant(System(name, lambda animate=animate: animate), PEER, version=peers.version(name, folder)))
        except InputError as error:
            skipped[name] = str(error)
    return found, skipped


def _evaluated(params: Params, entrant: Entrant, sets: Mapping[str, list[Example]]) -> tuple[dict, dict]:
    """What `results.json` and `details.json` say of one system."""
    animate = entrant.system.load()
    tried = {
        name: examples for name, examples in sets.items() if entrant.kind in DEGRADED_KINDS or not name.startswith(CONDITION)
    }
    curves = {name: animate([example.audio for example in examples]) for name, examples in tried.items()}
    scores = {name: score(examples, curves[name]) for name, examples in tried.items()}
    lags, tests = sets[LAGS], sets[TESTS]
    gaps_mm = [head().lip_gap_mm(one) for one in curves[LAGS]]
    lag_ms = fit_lag_ms(gaps_mm, [example.phones for example in lags], [example.row.source for example in lags])
    late = score(tests, curves[TESTS], lag_s=(lag_ms or 0) / 1000)

    def table(indices: Iterable[int]) -> dict[str, dict]:
        now, then = (
            _by_source(params, [tests[i] for i in indices], [given[i] for i in indices]) for given in (scores[TESTS], late)
        )
        return {name: row | {f"{metric}{AT_LAG}": then[name][metric] for metric in LAGGED} for name, row in now.items()}

    in_speech = _pooled(scores[TESTS])["jitter"]["value"]
    by_language: dict[str, list[int]] = {}
    for index, example in enumerate(tests):
        by_language.setdefault(re.split("[ -]", example.row.language)[0], []).append(index)
    degraded_tables = {word: _by_source(params, tried[name], scores[name]) for name, word in _below(CONDITION, tried)}
    details = {
        "kind": entrant.kind, "version": entrant.version, "bytes": entrant.system.weights_bytes or None, "sha256": entrant.sha256,
        "lag_ms": lag_ms, "languages": {name: table(indices)[WEIGHTED] for name, indices in sorted(by_language.items())},
        LIPS: {split: _lips_table(params, tried[name], scores[name]) for name, split in _below(LIPS, tried)},
        NON_SPEECH: {sound: _still(_pooled(scores[name]), in_speech) for name, sound in _below(NON_SPEECH, tried)},
        CONDITION: {
            word: {group: {metric: found[group][metric] for metric in LAGGED} for group in (MEAN, WEIGHTED)}
            for word, found in degraded_tables.items()
        },
    }  # fmt: skip
    return {"lag_ms": lag_ms, "sha256": entrant.sha256} | table(range(len(tests))), details


def _below(group: str, names: Iterable[str]) -> list[tuple[str, str]]:
    """(name, its last part) of the test sets of a group."""
    return [(name, name.removeprefix(f"{group}/")) for name in names if name.startswith(f"{group}/")]


def _by_source(params: Params, examples: Sequence[Example], scores: Sequence[UtteranceScores]) -> dict[str, dict]:
    """`bootstrap.by_source` of the metrics that are reported."""
    sources, speakers = ([getattr(example.row, name) for example in examples] for name in ("source", "speaker"))
    table = by_source(scores, sources, speakers, seed=params.seed, n_boot=params.evaluate.bootstrap)
    return {name: {metric: row[metric] for metric in METRICS} for name, row in table.items()}


def _pooled(scores: Sequence[UtteranceScores]) -> dict[str, dict]:
    return aggregate(scores, rng=np.random.default_rng(0), n_boot=0)


def _lips_table(params: Params, examples: Sequence[Example], scores: Sequence[UtteranceScores]) -> dict[str, dict]:
    """Means over talkers, who are resampled; the utterances are, where there is one talker."""
    talkers, rng = [example.row.speaker for example in examples], np.random.default_rng(params.seed)
    groups = talkers if len(set(talkers)) > 1 else None
    table = aggregate(scores, rng=rng, n_boot=params.evaluate.bootstrap, groups=groups)
    return {metric: table[metric] for metric in LIP_METRICS} | {"n_talkers": len(set(talkers)), "n_recordings": len(talkers)}


def _still(pooled: Mapping[str, dict], in_speech: float) -> dict[str, float]:
    """Of non-speech audio: mean distance of the lip gap from rest in mm, jitter, and jitter over that in speech."""
    gap_mm, jitter = (pooled[metric]["value"] for metric in ("rest_error_mm", "jitter"))
    return {"gap_mm": gap_mm, "jitter": jitter, "jitter_ratio": jitter / in_speech if in_speech else math.nan}
