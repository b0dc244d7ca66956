"""Step `score`: what the curves of every system are worth, as JSON.

`results.json` is {system: {source, "mean" or "weighted": {metric: {"value", "low", "high"}, "n": ...}, "lag_ms": ...}}, for model
cards to quote; `details.json` has the rest: languages, conditions, sound without speech, the recordings, what was skipped.
"""

from collections.abc import Collection, Sequence
from pathlib import Path

import numpy as np
from tqdm import tqdm

from facedistill.core.files import read_json, write_json
from facedistill.core.manifest import read_manifest
from facedistill.face.arkit import N_CURVES
from facedistill.formats.animation import Animation
from facedistill.measure.metrics import jitter
from facedistill.real_speech.animate import degraded_recordings, read_curves
from facedistill.real_speech.conditions import conditions_of, quiet_sounds
from facedistill.real_speech.gaps import MM_PER_UNIT, Scores, lip_gap
from facedistill.real_speech.gaps import score as score_one
from facedistill.real_speech.inventory import System, recordings_of
from facedistill.real_speech.lags import fit_lag_ms
from facedistill.real_speech.names import (
    AT_LAG,
    CURVES_FOLDER,
    DEGRADED_KINDS,
    DETAILS,
    INVENTORY,
    LAGGED,
    MEAN,
    QUIET,
    RESULTS,
    WEIGHTED,
)
from facedistill.real_speech.pooled import table_of
from facedistill.real_speech.recordings import Recording
from facedistill.real_speech.settings import Settings

DIGITS = 6  # of numbers in files


def score(settings: Settings, folder: Path, systems: Sequence[System]) -> None:
    """Writes `<folder>/results.json` and `<folder>/details.json`.

    Raises:
        InputError: recordings or curves are missing or broken.
    """
    tests, lags = recordings_of(settings, folder)
    results, details = {}, {}
    for system in tqdm(systems, desc="score", unit="system", mininterval=5):
        results[system.name], details[system.name] = score_system(settings, folder / CURVES_FOLDER, system, tests, lags)
    write_json(folder / RESULTS, rounded(results))
    listed = read_json(folder / INVENTORY)
    others = {(row.source, row.speaker) for row in read_manifest(folder / settings.manifest) if row.split != settings.split}
    about = {"recordings": sources_of(tests, others), "lag_recordings": sources_of(lags), "skipped": listed["skipped"]}
    write_json(folder / DETAILS, rounded(about | {"settings": settings.model_dump(mode="json"), "systems": details}))


def score_system(
    settings: Settings, curves: Path, system: System, tests: Sequence[Recording], lags: Sequence[Recording]
) -> tuple[dict, dict]:
    """What `results.json` and `details.json` say of one system."""
    out = curves / system.name
    animations = [read_curves(out / f"{recording.name}.csv") for recording in tests]
    lag_ms = fit_lag_ms(
        lags, [read_curves(out / settings.lag.split / f"{recording.name}.csv") for recording in lags], settings.lag
    )
    boot = {"seed": settings.seed, "n_boot": settings.bootstrap}
    scores = scored(tests, animations, settings.fps)
    late = scored(tests, animations, settings.fps, lag_s=(lag_ms or 0) / 1000)
    table = with_lag(table_of(tests, scores, **boot), table_of(tests, late, **boot))

    def language(recording: Recording) -> str:
        return f"{recording.row.language.split()[0].split('-')[0]} {recording.row.source}"

    languages = {}
    for name in sorted({language(recording).split()[0] for recording in tests}):
        chosen = [index for index, recording in enumerate(tests) if language(recording).split()[0] == name]
        parts = [[values[index] for index in chosen] for values in (tests, scores, late)]
        both = with_lag(table_of(parts[0], parts[1], **boot), table_of(parts[0], parts[2], **boot))
        languages[name] = both.get(WEIGHTED, {})
    facts = {"kind": system.kind, "version": system.version, "bytes": system.bytes, "sha256": system.sha256, "lag_ms": lag_ms}
    details = facts | {"languages": languages, "quiet": _quiet(settings, out, scores)}
    if system.kind in DEGRADED_KINDS:
        details["conditions"] = _conditions(settings, out, tests, scores)
    return {"lag_ms": lag_ms, "sha256": system.sha256} | table, details


def scored(recordings: Sequence[Recording], animations: Sequence[Animation], fps: float, *, lag_s: float = 0.0) -> list[Scores]:
    """The scores of every recording."""
    return [
        score_one(animation.names, animation.weights, animation.times_s, recording, fps=fps, lag_s=lag_s)
        for recording, animation in zip(recordings, animations, strict=True)
    ]


def with_lag(table: dict[str, dict], late: dict[str, dict]) -> dict[str, dict]:
    """A table at lag 0, with `LAGGED` of another at the fitted lag under names that end in `AT_LAG`."""
    return {name: row | {f"{metric}{AT_LAG}": late[name][metric] for metric in LAGGED} for name, row in table.items()}


def sources_of(recordings: Sequence[Recording], others: Collection[tuple[str, str]] = ()) -> dict[str, dict]:
    """{source: what its recordings are}.

    Args:
        others: (source, speaker) of other splits: a speaker who is among them is no new voice.
    """
    found = {}
    for source in sorted({recording.row.source for recording in recordings}):
        rows = [recording.row for recording in recordings if recording.row.source == source]
        found[source] = {
            "n_recordings": len(rows),
            "n_speakers": len({row.speaker for row in rows}),
            "n_speakers_heard": len({row.speaker for row in rows if (row.source, row.speaker) in others}),
            "duration_s": round(sum(row.duration_s for row in rows), 1),
            "languages": sorted({row.language for row in rows}),
            "label_kinds": sorted({row.label_kind or "unknown" for row in rows}),
        }
    return found


def rounded(value: object) -> object:
    """Rounds every float, and turns NaN (not measurable) into null: JSON has no NaN."""
    if isinstance(value, dict):
        return {key: rounded(item) for key, item in value.items()}
    if isinstance(value, float):
        return None if np.isnan(value) else round(value, DIGITS)
    return value


def _conditions(settings: Settings, out: Path, tests: Sequence[Recording], scores: Sequence[Scores]) -> dict[str, dict]:
    """{condition, "clean" first: AUC, r and PBM of the degraded recordings alone}."""
    chosen = degraded_recordings(settings, tests)
    boot = {"seed": settings.seed, "n_boot": settings.bootstrap}
    clean = [one for one, recording in zip(scores, tests, strict=True) if recording in chosen]
    tables = {"clean": table_of(chosen, clean, **boot)}
    for name in conditions_of(settings):
        animations = [read_curves(out / name / f"{recording.name}.csv") for recording in chosen]
        tables[name] = table_of(chosen, scored(chosen, animations, settings.fps), **boot)
    return {
        name: {key: {metric: row[metric] for metric in (*LAGGED, "n")} for key, row in table.items() if key in (MEAN, WEIGHTED)}
        for name, table in tables.items()
    }


def _quiet(settings: Settings, out: Path, scores: Sequence[Scores]) -> dict[str, dict]:
    """{sound: mean |gap - neutral| in mm, jitter, and jitter over that in speech}."""
    n_jerks = sum(one.n_jerks for one in scores)
    in_speech = sum(one.jitter for one in scores) / n_jerks if n_jerks else float("nan")
    found = {}
    for name in quiet_sounds(settings):
        animation = read_curves(out / QUIET / f"{name}.csv")
        still = jitter(animation.weights, fps=settings.fps) * len(animation.names) / N_CURVES
        found[name] = {
            "gap_mm": float(MM_PER_UNIT * np.abs(lip_gap(animation.names, animation.weights)).mean()),
            "jitter": still,
            "jitter_ratio": still / in_speech if in_speech > 0 else float("nan"),
        }
    return found
