"""What a person is told: one line a message, whatever is in the names of files."""

import logging
import sys

from tqdm import tqdm

from facedistill.core.text import printable


def print_error(text: str) -> None:
    """Prints `error: ...` on standard error as one line, above any progress bar."""
    _tell("error", text)


class _Notes(logging.Handler):
    def emit(self, record: logging.LogRecord) -> None:
        _tell("note", record.getMessage())


_notes = _Notes(logging.WARNING)


def show_notes() -> None:
    """Has this process print `note: ...` for whatever the package had to decide by itself, and so has logged."""
    logging.getLogger("facedistill").addHandler(_notes)


def _tell(kind: str, text: str) -> None:
    tqdm.write(f"{kind}: {printable(text)}", file=sys.stderr)
