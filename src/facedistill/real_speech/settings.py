"""The one reader of the benchmark's params.yaml; checked whole before any work starts."""

import json
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, ValidationError

from facedistill.core.config import read_yaml
from facedistill.core.errors import InputError
from facedistill.core.paths import ROOT
from facedistill.core.sections import Count, Positive, Section
from facedistill.runtime.animator import MAX_FPS

FOLDER = ROOT / "benchmarks" / "real_speech"
Seed = Annotated[int, Field(ge=0)]
Peer = Literal["headaudio", "rhubarb", "wawa-lipsync", "wlipsync"]


class LagSettings(Section):
    """How a tool's lateness is fitted: on labelled recordings of `split`, at most `max_recordings` a source, never on tests."""

    split: str
    max_recordings: Count
    reach_ms: Annotated[int, Field(ge=0, le=1000)]
    step_ms: Count
    fit: Literal["auc", "r"]


class ConditionSettings(Section):
    """What recordings are put through, at most `max_recordings` a source: levels, stationary noise, the telephone band."""

    max_recordings: Count
    levels_db: tuple[Annotated[float, Field(ge=-60, le=40)], ...]
    snr_db: tuple[Annotated[float, Field(ge=-20, le=60)], ...]
    telephone: bool


class QuietSettings(Section):
    """Sound in which nobody speaks: digital silence, and room noise at each level (dB full scale)."""

    duration_s: Annotated[float, Field(ge=1, le=120)]
    levels_db: tuple[Annotated[float, Field(ge=-120, le=0)], ...]


class Settings(Section):
    """All of the benchmark's params.yaml; `manifest` is relative to the file's folder."""

    manifest: str
    split: str
    fps: Annotated[int, Field(ge=10, le=MAX_FPS)]
    seed: Seed
    bootstrap: Count
    chunk_s: Positive
    variants: tuple[str, ...]
    peers: tuple[Peer, ...]
    lag: LagSettings
    conditions: ConditionSettings
    quiet: QuietSettings


def load_settings(folder: Path = FOLDER) -> Settings:
    """Reads and validates `<folder>/params.yaml`.

    Raises:
        InputError: missing, not YAML, or a key that is unknown, missing, of the wrong type or out of range.
    """
    path = folder / "params.yaml"
    values = read_yaml(path)
    try:  # as JSON, strictly, as the pipeline's own parameters are
        return Settings.model_validate_json(json.dumps(values, default=str), strict=True)
    except ValidationError as error:
        first, *others = error.errors()
        key = ".".join(map(str, first["loc"])) or "(whole file)"
        more = f" (and {len(others)} more)" if others else ""
        raise InputError(f"{path}: {key}: {first['msg']}, got {first['input']!r}{more}") from None
