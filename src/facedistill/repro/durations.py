"""How long each stage took when it last ran here: a line for each run, added behind those that are there, however they end."""

import json
import logging

from facedistill.core.paths import WORK

DURATIONS = WORK / "durations.jsonl"

log = logging.getLogger(__name__)


def record_duration(name: str, seconds: float) -> None:
    """Notes how long a stage took; a note that cannot be written is told, and no failure of the stage."""
    try:
        DURATIONS.parent.mkdir(parents=True, exist_ok=True)
        if DURATIONS.exists() and not DURATIONS.is_file():  # a pipe would never be read
            raise OSError("it is no file")
        with DURATIONS.open("ab", buffering=0) as file:  # one write at the end: lines of several processes stay whole
            file.write(b"\n" + json.dumps({"name": name, "seconds": round(float(seconds), 1)}).encode())
    except OSError as error:
        log.warning("%s: cannot note how long %s took (%s)", DURATIONS, name, error.strerror or error)


def durations() -> dict[str, float]:
    """{stage: seconds} of the last run of each; lines that are not such notes are left out."""
    lines = DURATIONS.read_bytes().splitlines() if DURATIONS.is_file() else []
    return dict(note for line in lines if (note := _parsed(line)))


def _parsed(line: bytes) -> tuple[str, float] | None:
    try:
        note = json.loads(line)
    except (ValueError, RecursionError):
        return None
    if not isinstance(note, dict) or not isinstance(note.get("name"), str) or not isinstance(note.get("seconds"), float):
        return None
    return note["name"], note["seconds"]
