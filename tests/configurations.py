"""All configurations, each made whole once."""

from functools import cache
from pathlib import Path

import yaml

from facedistill.core.params import Params, checked
from facedistill.core.paths import CONFIGS, FIGURES, ROOT
from facedistill.repro.config import config

NAMES = sorted(path.stem for path in CONFIGS.glob("*.yaml"))
RUNS = sorted(path.relative_to(ROOT).as_posix() for path in (FIGURES / "release").rglob("config.yaml"))  # whose tables are kept


@cache
def values_of(name: str) -> dict:
    """What stands in the params.yaml of a configuration."""
    return yaml.safe_load(config(str(ROOT / name) if name in RUNS else name))


@cache
def params_of(name: str) -> Params:
    """The same, checked."""
    return checked(values_of(name), Path(name))
