"""Small file helpers: atomic writes, JSON, and content hashes."""

import hashlib
import json
import os
import secrets
import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from facedistill.core.errors import InputError

unfinished: set[Path] = set()  # temporary files of this process
_beginning = threading.Lock()  # of one of them


@contextmanager
def atomic_path(path: Path) -> Iterator[Path]:
    """Yields a new, empty file beside `path`, which takes its place on success and is removed on failure.

    A file that is there keeps its mode. In the end the content and its name are on the disk, so that they outlast a power cut.
    InputError where `path` is there, and is no regular file: a folder, a device, a pipe.
    """
    if path.exists() and not path.is_file():
        raise InputError(f"{path}: is no regular file; expected the name of a file to write")
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{secrets.token_hex(8)}.tmp")
    mode = path.stat().st_mode & 0o777 if path.exists() else None
    try:
        with _beginning:
            # Never a file or a link that somebody left there; and nobody reads what may not be read in the end.
            os.close(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666 if mode is None else 0o600))
            unfinished.add(temporary)
        yield temporary
        with temporary.open("r+b") as file:
            os.fsync(file.fileno())
        if mode is not None:
            temporary.chmod(mode)
        os.replace(temporary, path)
        with suppress(OSError):  # folders that may not be read, and disks that know no such thing
            _sync_folder(path.parent)
    finally:
        if temporary in unfinished:
            temporary.unlink(missing_ok=True)
            unfinished.discard(temporary)


def remove_unfinished(others: Iterable[Path]) -> None:
    """Removes unfinished and other files, and lets no new one begin: for a process that ends while a thread of it writes."""
    _beginning.acquire()
    for path in (*unfinished, *others):
        with suppress(OSError):
            path.unlink()


def _sync_folder(folder: Path) -> None:
    """Has the disk take the names of files."""
    handle = os.open(folder, os.O_RDONLY)
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
    """Reads JSON; raises InputError where the file is missing or is not JSON."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:  # RecursionError: of lists in lists in lists
        raise InputError(f"{path}: cannot be read as JSON ({error})") from None


def sha256(*parts: bytes | str | Path) -> str:
    """The hex SHA-256 of strings, bytes and the contents of files, in order."""
    digest = hashlib.sha256()
    for part in parts:
        content = part.read_bytes() if isinstance(part, Path) else part.encode() if isinstance(part, str) else part
        digest.update(len(content).to_bytes(8, "little") + content)
    return digest.hexdigest()
