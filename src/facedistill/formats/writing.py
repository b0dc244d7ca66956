"""Tables and objects as text, written row by row: the text of a long take would need many times the memory of its numbers."""

import csv
import json
import re
import unicodedata
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TextIO

from facedistill.core.errors import InputError
from facedistill.core.files import atomic_path

FORMULA = re.compile(r"(^|;)[\s\"]*[=+\-@]")  # a cell that spreadsheets may run; some take ; for the comma
_json = json.JSONEncoder(ensure_ascii=False).encode


def write_table(path: Path, header: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    """Writes a CSV with LF line ends, atomically; floats as short as comes back the same.

    Raises:
        InputError: a spreadsheet would take a name in the header for a formula, and run it.
    """
    for name in header:
        if FORMULA.search(unicodedata.normalize("NFKC", name)):  # wide letters too
            allowed = "expected names that do not begin with = + - or @, or another format, JSON say"
            raise InputError(f"{path}: spreadsheets would take the name {name!r} for a formula; {allowed}")
    with _text(path) as file:
        table = csv.writer(file, lineterminator="\n")
        table.writerow(header)
        table.writerows(rows)


def write_object(path: Path, content: Mapping[str, object]) -> None:
    """Writes one line of JSON, atomically; iterators become lists."""
    with _text(path) as file:
        for number, (key, value) in enumerate(content.items()):
            file.write(f"{', ' if number else '{'}{_json(key)}: ")
            if isinstance(value, Iterator):
                file.write("[")
                file.writelines(f"{', ' if place else ''}{_json(item)}" for place, item in enumerate(value))
                file.write("]")
            else:
                file.write(_json(value))
        file.write("}\n" if content else "{}\n")


@contextmanager
def _text(path: Path) -> Iterator[TextIO]:
    with atomic_path(path) as temporary, temporary.open("w", encoding="utf-8", newline="\n") as file:
        yield file
