"""Reading files that strangers wrote: whatever is wrong with one becomes a single line that names it.

Limits, here and in the modules that read, are far beyond real takes and heads, and so low that no small file takes all memory, or
minutes. They are for what a file unfolds to: one that has bytes for all that it holds may be as large as memory allows.
"""

import csv
import json
import math
from array import array
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from facedistill.core.errors import InputError

MAX_HEADER_BYTES = 2**20  # of a CSV
REQUIRED = object()  # the default of a field that must be there
BEYOND = f"beyond {np.finfo(np.float64).max:.3g}"
_NOUNS = {dict: "an object", list: "a list", str: "a text", int: "a whole number", float: "a number"}


@contextmanager
def reading(path: Path, kind: str) -> Iterator[None]:
    """Wraps the reading of one file.

    Args:
        kind: what the file should be, with its article.

    Raises:
        InputError: the code inside found the file missing or broken, or too large for the memory there is.
    """
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
        raise ValueError(f"it holds {_noun(content)}, not an object")
    return content


def field(content: object, key: str, kind: type, default: object = REQUIRED):
    """`content[key]`, of the type `kind`; a whole number is a `float` too, which is finite, and a bool is neither.

    Raises:
        ValueError: not there and without a default, or of another type.
        OverflowError: a whole number that is greater than any float.
    """
    if not isinstance(content, dict):
        raise ValueError(f"{_noun(content)} stands where an object with {key!r} belongs")
    value = content.get(key, default)
    if value is REQUIRED:
        raise ValueError(f"{key!r} is missing")
    if value is default:
        return value
    if isinstance(value, bool) or not isinstance(value, (int, float) if kind is float else kind):
        raise ValueError(f"{key!r} is {_noun(value)}, not {_NOUNS[kind]}")
    if kind is not float:
        return value
    if not math.isfinite(value):
        raise ValueError(f"{key!r} is {BEYOND}; expected a smaller number")
    return float(value)


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
    """Reads a CSV with commas, whose first columns are texts and whose others are numbers; empty lines do not count.

    Args:
        count_texts: how many of the columns, by the header, are texts; raises ValueError for another file's.

    Returns:
        The header (N,), the texts of each row, and float64 (T, N - texts).

    Raises:
        ValueError: no header, a row of another length, or a cell that is not a finite number; it is named with its row, the first
            below the header being 1, and its column.
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
            found = [_number(cell) for cell in row[n_texts:]]
            if not all(map(math.isfinite, found)):
                column = n_texts + [*map(math.isfinite, found)].index(False)
                cell = repr(row[column].strip()[:40]) if row[column].strip() else "an empty cell"
                raise ValueError(f"data row {number}, column {header[column][:40]!r}: {cell}; expected a number")
            values.extend(found)
    return header, texts, np.frombuffer(values).reshape(len(texts), len(header) - n_texts)


def _number(cell: str) -> float:
    try:
        return float(cell)
    except ValueError:
        return math.nan


def _noun(value: object) -> str:
    return "a truth value" if isinstance(value, bool) else _NOUNS.get(type(value), "nothing")
