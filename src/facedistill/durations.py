"""How long each stage took when it last ran here."""

from facedistill.core.files import read_json, write_json
from facedistill.core.paths import WORK

DURATIONS = WORK / "durations.json"


def record_duration(name: str, seconds: float) -> None:
    """Notes how long a stage took."""
    write_json(DURATIONS, durations() | {name: round(seconds, 1)})


def durations() -> dict[str, float]:
    """{stage: seconds}."""
    return read_json(DURATIONS) if DURATIONS.is_file() else {}
