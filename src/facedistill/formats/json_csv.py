"""JSON and CSV, read as strangers wrote them, and written row by row, since the text of a take is far larger than its numbers."""

import csv
import itertools
import json
import math
import re
import unicodedata
from array import array
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from facedistill.core.errors import InputError
from facedistill.core.files import atomic_path

# Limits, here and in the modules that read, are for what a file unfolds to: far beyond real takes and heads, and so low that no
# small file takes all memory, or minutes. A file that has bytes for all that it holds may be as large as memory allows.
MAX_HEADER_BYTES = 2**20  # of a CSV
REQUIRED = object()  # the default of a field that must be there
BEYOND = f"beyond {np.finfo(np.float64).max:.3g}"
FORMULA = re.compile(r"(^|;)[\s\"]*[=+\-@]")  # a cell that spreadsheets may run; some take ; for the comma
_NOUNS = {dict: "an object", list: "a list", str: "a text", int: "a whole number", float: "a number", bool: "a truth value"}
_NOUNS |= {type(None): "nothing"}
_json = json.JSONEncoder(ensure_ascii=False).encode


@contextmanager
def reading(path: Path, kind: str) -> Iterator[None]:
    """Makes a line that names the file, an InputError, of whatever is wrong as it is read; `kind` is what it should be."""
    try:
        if not path.is_file():  # nor a folder, nor a pipe that would never end
            raise InputError(f"{path}: no such file; expected {kind}")
        yield
    except (OSError, ValueError, OverflowError, RecursionError, csv.Error) as error:
        reason = " ".join(str(error).split())
        raise InputError(f"{path}: not {kind} ({reason if len(reason) <= 300 else reason[:300] + '...'})") from None
    except MemoryError:
        raise InputError(f"{path}: holds more than there is memory for; expected a smaller file") from None


def parse_json(data: bytes) -> dict:
    """The object in a JSON document, which has no NaN; ValueError if it is none, RecursionError if it is too deep to be meant."""

    def refuse(name: str) -> None:
        raise ValueError(f"{name} is not a number of JSON")

    content = json.loads(data.decode("utf-8-sig"), parse_constant=refuse)
    if not isinstance(content, dict):
        raise ValueError(f"it holds {_NOUNS[type(content)]}, not an object")
    return content


def field(content: object, key: str, kind: type, default: object = REQUIRED):
    """`content[key]` of a type, whole numbers as finite floats too; ValueError if there is none, OverflowError beyond floats."""
    if not isinstance(content, dict):
        raise ValueError(f"{_NOUNS[type(content)]} stands where an object with {key!r} belongs")
    value = content.get(key, default)
    if value is REQUIRED:
        raise ValueError(f"{key!r} is missing")
    if value is default:
        return value
    if isinstance(value, bool) or not isinstance(value, (int, float) if kind is float else kind):
        raise ValueError(f"{key!r} is {_NOUNS[type(value)]}, not {_NOUNS[kind]}")
    if kind is float and not math.isfinite(value):
        raise ValueError(f"{key!r} is {BEYOND}; expected a smaller number")
    return float(value) if kind is float else value


def matrix(rows: Sequence[object], n_columns: int, what: str = "frame") -> np.ndarray:
    """(T, n_columns) float64 of rows of JSON; ValueError, in which a row is called `what`, unless they are lists of numbers."""
    for number, row in enumerate(rows):
        if not isinstance(row, list) or len(row) != n_columns or not {*map(type, row)} <= {int, float}:
            raise ValueError(f"{what} {number} is not a list of {n_columns} numbers")
    values = np.array(rows, np.float64).reshape(len(rows), n_columns)
    if not np.isfinite(values).all():
        raise ValueError(f"a number is {BEYOND}")
    return values


def read_header(path: Path) -> list[str]:
    """The columns of a CSV, without reading the rest; ValueError if its first line is empty."""
    with path.open("rb") as file:
        header = next(csv.reader([file.readline(MAX_HEADER_BYTES).decode("utf-8-sig")]), [])
    if not header:
        raise ValueError("its first line is empty")
    return header


def read_table(path: Path, count_texts: Callable[[list[str]], int]) -> tuple[list[str], list[list[str]], np.ndarray]:
    """Reads a CSV with commas, whose first `count_texts(header)` columns are texts and whose others are numbers.

    Returned are the header (N,), the texts of each row, and float64 (T, N - texts). A ValueError tells row, from 1, and column.
    """
    with path.open(encoding="utf-8-sig", newline="") as file:
        table = filter(None, csv.reader(file))
        header = next(table, None)
        if header is None:
            raise ValueError("it is empty")
        n_texts, texts, values = count_texts(header), [], array("d")
        for number, row in enumerate(table, 1):
            if len(row) != len(header):
                raise ValueError(f"data row {number} has {len(row)} columns, the header has {len(header)}")
            texts.append(row[:n_texts])
            found = [*map(_number, row[n_texts:])]
            if not all(map(math.isfinite, found)):
                column = n_texts + [*map(math.isfinite, found)].index(False)
                cell = repr(row[column].strip()[:40]) if row[column].strip() else "an empty cell"
                raise ValueError(f"data row {number}, column {header[column][:40]!r}: {cell}; expected a number")
            values.extend(found)
    return header, texts, np.frombuffer(values).reshape(len(texts), len(header) - n_texts)


def write_table(path: Path, header: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    """Writes a CSV with LF line ends, atomically, floats as short as comes back the same; InputError if names are formulas."""
    for name in header:
        if FORMULA.search(unicodedata.normalize("NFKC", name)):  # wide letters too; a spreadsheet would run it
            allowed = "expected names that do not begin with = + - or @, or another format, JSON say"
            raise InputError(f"{path}: spreadsheets would take the name {name!r} for a formula; {allowed}")
    with atomic_path(path) as temporary, temporary.open("w", encoding="utf-8", newline="\n") as file:
        csv.writer(file, lineterminator="\n").writerows(itertools.chain([header], rows))


def write_object(path: Path, content: Mapping[str, object]) -> None:
    """Writes one line of JSON, atomically; iterators become lists."""
    with atomic_path(path) as temporary, temporary.open("w", encoding="utf-8", newline="\n") as file:
        for number, (key, value) in enumerate(content.items()):
            file.write(f"{', ' if number else '{'}{_json(key)}: ")
            if isinstance(value, Iterator):
                items = (f"{', ' if place else ''}{_json(item)}" for place, item in enumerate(value))
                file.writelines(itertools.chain("[", items, "]"))
            else:
                file.write(_json(value))
        file.write("}\n" if content else "{}\n")


def _number(cell: str) -> float:
    try:
        return float(cell)
    except ValueError:
        return math.nan
