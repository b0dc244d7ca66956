"""What a person is told: one line a message, whatever is in the names of files and other text of strangers."""

import logging
import sys

from tqdm import tqdm


def printable(text: str) -> str:
    """A text in which nothing ends a line or commands a terminal: letters that cannot be printed are written as escapes."""
    return "".join(letter if letter.isprintable() else ascii(letter)[1:-1] for letter in text)


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
