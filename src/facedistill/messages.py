"""What a person is told when something is wrong: one line, whatever is in the names of files."""

import sys

from tqdm import tqdm


def tell_error(text: str) -> None:
    """Prints `error: ...` on standard error as one line, above any progress bar."""
    line = "".join(letter if letter.isprintable() else ascii(letter)[1:-1] for letter in text)
    tqdm.write(f"error: {line}", file=sys.stderr)
