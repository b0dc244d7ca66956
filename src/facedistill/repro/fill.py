"""Command `fill`: numbers in texts are those of figures/numbers.json, and of the tables that are kept.

A number stands between two comments, of which the page shows nothing: `<!--=table-1/on-device/pbm-->0.98<!--/-->`. Such a comment
may stand in a paragraph or a table, but begins no line of theirs, where Markdown would end them; alone on its line it may.
"""

import difflib
import re
from collections.abc import Mapping

from facedistill.core.errors import InputError
from facedistill.core.files import read_json, write_text
from facedistill.core.paths import FIGURES, ROOT
from facedistill.figures.kept_numbers import kept_numbers

TEXTS = ("README.md", "benchmarks/*/README.md", "examples/*/README.md", "figures/*/README.md")
NUMBERS = FIGURES / "numbers.json"
MARKER = re.compile(r"<!--(?:=|/-->)")
MARKED = re.compile(r"(<!--=([^<>\n]+)-->\s*)((?:(?!<!--).)*?)(\s*<!--/-->)", re.DOTALL)


def fill() -> list[str]:
    """Writes the numbers anew in all texts that have others.

    Returns:
        A line for each number that changed: text, name, old and new.

    Raises:
        InputError: numbers or a text cannot be read, or see `filled`; then nothing was written.
    """
    numbers = known_numbers()
    done = {}
    for path in (path for pattern in TEXTS for path in sorted(ROOT.glob(pattern))):
        try:
            text = path.read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise InputError(f"{path}: cannot be read ({error}); expected Markdown in UTF-8") from None
        done[path] = filled(text, numbers, path.relative_to(ROOT).as_posix())
    for path, (text, changes) in done.items():
        if changes:
            write_text(path, text)
    return [change for _, changes in done.values() for change in changes]


def known_numbers() -> dict[str, str]:
    """{name: text} of every number that a text may quote; InputError if a file of numbers is missing or broken."""
    try:
        measured = {name: number["text"] for name, number in read_json(NUMBERS).items()}
    except (AttributeError, KeyError, TypeError) as error:
        raise InputError(f"{NUMBERS}: not what `dvc repro 90_numbers` writes ({error!r}); run it again") from None
    return measured | kept_numbers()


def filled(text: str, numbers: Mapping[str, str], source: str) -> tuple[str, list[str]]:
    """A text with these numbers between its markers.

    Args:
        text: Markdown.
        numbers: {name: text}.
        source: what messages call the text.

    Returns:
        The new text; a line for each number that changed.

    Raises:
        InputError: a number has a name that is not known, or a marker has no partner.
    """
    changes = []

    def anew(found: re.Match) -> str:
        begin, name, old, end = found.groups()
        if name not in numbers:
            nearest = difflib.get_close_matches(name, numbers, 1, cutoff=0.0)
            raise InputError(f"{source}: no number is called {name}; expected {nearest[0]}")
        if old != numbers[name]:
            changes.append(f"{source}: {name}: {' '.join(old.split())} -> {numbers[name]}")
        return f"{begin}{numbers[name]}{end}"

    rest = MARKED.sub(lambda found: "\n" * found[0].count("\n"), text)
    if stray := MARKER.search(rest):
        line = rest.count("\n", 0, stray.start()) + 1
        raise InputError(f"{source}: line {line}: a marker without its partner; expected <!--=name-->number<!--/-->")
    return MARKED.sub(anew, text), changes
