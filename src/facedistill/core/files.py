"""Small file helpers: atomic writes, JSON and JSON Lines, and content hashes."""

import hashlib
import json
import os
import secrets
import stat
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from facedistill.core.errors import InputError

_unfinished: set[Path] = set()  # temporary files of this process


@contextmanager
def atomic_path(path: Path) -> Iterator[Path]:
    """Yields a new, empty file beside `path`, which takes its place on success and is removed on failure.

    A file that is there keeps its mode. In the end the content and its name are on the disk, so that they outlast a power cut.

    Raises:
        InputError: `path` is there, and is no regular file: a folder, a device, a pipe.
    """
    if path.exists() and not path.is_file():
        raise InputError(f"{path}: is no regular file; expected the name of a file to write")
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{secrets.token_hex(8)}.tmp")
    os.close(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666))  # never a file or a link that somebody left there
    _unfinished.add(temporary)
    try:
        if path.exists():
            temporary.chmod(stat.S_IMODE(path.stat().st_mode))
        yield temporary
        _sync(temporary)
        os.replace(temporary, path)
        _sync(path.parent)
    finally:
        temporary.unlink(missing_ok=True)
        _unfinished.discard(temporary)


def unfinished() -> list[Path]:
    """The temporary files that this process has not finished."""
    return list(_unfinished)


def _sync(path: Path) -> None:
    """Has the disk take what a file, or the list of files in a folder, holds."""
    if path.is_dir() and os.name == "nt":  # which has no such call
        return
    handle = os.open(path, os.O_RDWR if os.name == "nt" else os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def write_text(path: Path, text: str) -> None:
    """Writes UTF-8 text atomically, with LF line ends."""
    with atomic_path(path) as temporary:
        temporary.write_text(text, encoding="utf-8", newline="\n")


def write_json(path: Path, value: object) -> None:
    """Writes indented JSON atomically; keys keep their order."""
    write_text(path, json.dumps(value, indent=2, ensure_ascii=False) + "\n")


def read_json(path: Path) -> object:
    """Reads JSON.

    Raises:
        InputError: the file is missing or is not JSON.
    """
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:  # RecursionError: of lists in lists in lists
        raise InputError(f"{path}: cannot be read as JSON ({error})") from None


def write_jsonl(path: Path, rows: Iterable[dict]) -> None:
    """Writes one JSON object a line, atomically."""
    write_text(path, "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows))


def sha256(*parts: bytes | str | Path) -> str:
    """The hex SHA-256 of strings, bytes and the contents of files, in order."""
    digest = hashlib.sha256()
    for part in parts:
        content = part.read_bytes() if isinstance(part, Path) else part.encode() if isinstance(part, str) else part
        digest.update(len(content).to_bytes(8, "little") + content)
    return digest.hexdigest()
