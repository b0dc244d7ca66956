"""Resumable state: one file a value, with its SHA-256 at the end; a file that is not what was written is set aside."""

import hashlib
import logging
import os
from pathlib import Path

import torch

from facedistill.core.files import atomic_path

DIGEST_BYTES = 32


def save_state(path: Path, value: object) -> None:
    """Writes tensors, numbers and texts, in lists and dictionaries, atomically."""
    with atomic_path(path) as temporary:
        torch.save(value, temporary)
        with temporary.open("r+b") as file:
            digest = hashlib.file_digest(file, "sha256").digest()
            file.write(digest)  # a zip archive may have something behind it


def load_state(path: Path) -> object | None:
    """Reads what `save_state` wrote, onto the CPU.

    Returns:
        The value; None where there is none, or where the file is broken, which is told: then it has another name from now on.
    """
    if not path.exists():
        return None
    if _is_whole(path):
        return torch.load(path, weights_only=True, map_location="cpu")
    aside = path.with_name(f"{path.name}.broken")
    os.replace(path, aside)
    logging.getLogger(__name__).warning("%s: broken, so set aside as %s; what it held is made anew", path, aside.name)
    return None


def _is_whole(path: Path) -> bool:
    try:
        content = memoryview(path.read_bytes())
    except PermissionError:  # it may be whole
        raise
    except OSError:  # a disk that has lost it
        return False
    return hashlib.sha256(content[:-DIGEST_BYTES]).digest() == content[-DIGEST_BYTES:]
