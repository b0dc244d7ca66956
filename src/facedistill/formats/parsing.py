"""Reading files that strangers wrote: whatever is wrong with one becomes a single line that names it."""

import csv
import io
import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from facedistill.core.errors import InputError

MAX_HEADER_BYTES = 2**20
REQUIRED = object()  # the default of a field that must be there
_NOUNS = {dict: "an object", list: "a list", str: "a text", int: "a whole number", float: "a number"}


@contextmanager
def reading(path: Path, kind: str) -> Iterator[None]:
    """Wraps the reading of one file.

    Args:
        kind: what the file should be, with its article.

    Raises:
        InputError: the code inside found the file missing or broken.
    """
    try:
        if not path.is_file():  # nor a folder, nor a pipe that would never end
            raise InputError(f"{path}: no such file; allowed: {kind}")
        yield
    except (OSError, ValueError, OverflowError, RecursionError, csv.Error) as error:
        reason = " ".join(str(error).split())
        raise InputError(f"{path}: not {kind} ({reason if len(reason) <= 300 else reason[:300] + '...'})") from None


def parse_json(data: bytes) -> dict:
    """The object in a JSON document.

    Raises:
        ValueError: not JSON (which has no NaN), or not an object.
        RecursionError: too deep to be meant.
    """
    content = json.loads(data.decode("utf-8-sig"), parse_constant=_no_constant)
    if not isinstance(content, dict):
        raise ValueError(f"it holds {_noun(content)}, not an object")
    return content


def field(content: object, key: str, kind: type, default: object = REQUIRED):
    """`content[key]`, of the type `kind`; a whole number is a `float` too, and a bool is neither.

    Raises:
        ValueError: not there and without a default, or of another type.
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
    return float(value) if kind is float else value


def matrix(rows: Sequence[object], n_columns: int, what: str = "frame") -> np.ndarray:
    """(T, n_columns) float64 of rows of JSON.

    Args:
        what: a row is called in the error.

    Raises:
        ValueError: a row is not a list of `n_columns` numbers.
    """
    for number, row in enumerate(rows):
        if not isinstance(row, list) or len(row) != n_columns or not {*map(type, row)} <= {int, float}:
            raise ValueError(f"{what} {number} is not a list of {n_columns} numbers")
    values = np.array(rows, np.float64).reshape(len(rows), n_columns)
    if not np.isfinite(values).all():
        raise ValueError(f"a number is beyond {np.finfo(np.float64).max:.3g}")
    return values


def read_header(path: Path) -> list[str]:
    """The columns of a CSV, without reading the rest.

    Raises:
        ValueError: the first line is empty.
    """
    with path.open("rb") as file:
        header = next(csv.reader([file.readline(MAX_HEADER_BYTES).decode("utf-8-sig")]), [])
    if not header:
        raise ValueError("its first line is empty")
    return header


def read_table(path: Path) -> tuple[list[str], list[list[str]]]:
    """The header and the rows of a CSV with commas; empty lines do not count.

    Raises:
        ValueError: no header, or a row of another length.
    """
    rows = [row for row in csv.reader(io.StringIO(path.read_bytes().decode("utf-8-sig"), newline="")) if row]
    if not rows:
        raise ValueError("it is empty")
    for number, row in enumerate(rows):
        if len(row) != len(rows[0]):
            raise ValueError(f"data row {number} has {len(row)} columns, the header has {len(rows[0])}")
    return rows[0], rows[1:]


def cells(rows: Sequence[Sequence[str]], columns: Sequence[str]) -> np.ndarray:
    """(T, N) float64 of rows of a CSV, and N columns.

    Raises:
        ValueError: a cell is not a finite number; it is named with its row, the first below the header being 1, and its column.
    """
    values = np.array([[_number(cell) for cell in row] for row in rows], np.float64).reshape(len(rows), len(columns))
    bad = np.argwhere(~np.isfinite(values))
    if len(bad):
        row, column = bad[0].tolist()
        cell = rows[row][column].strip()
        found = repr(cell[:40]) if cell else "an empty cell"
        raise ValueError(f"data row {row + 1}, column {columns[column][:40]!r}: {found}; expected a number")
    return values


def _number(cell: str) -> float:
    try:
        return float(cell)
    except ValueError:
        return float("nan")


def _no_constant(name: str) -> None:
    raise ValueError(f"{name} is not a number of JSON")


def _noun(value: object) -> str:
    return "a truth value" if isinstance(value, bool) else _NOUNS.get(type(value), "nothing")
