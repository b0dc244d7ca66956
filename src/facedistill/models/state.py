"""Networks and resumable state on disk."""

import hashlib
import logging
import os
from collections.abc import Callable
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from torch import nn

from facedistill.core.errors import InputError
from facedistill.core.files import atomic_path, read_json, write_json

DIGEST_BYTES = 32


def save_network(network: nn.Module, config: dict, folder: Path) -> None:
    """Writes model.safetensors, and config.json, from which `load_network` rebuilds the network."""
    with atomic_path(folder / "model.safetensors") as temporary:
        save_file({name: value.contiguous() for name, value in network.state_dict().items()}, temporary)
    write_json(folder / "config.json", config)


def load_network(kind: str, folder: Path, build: Callable[[dict], nn.Module]) -> nn.Module:
    """The saved network that `build` makes of its config.json, in evaluation mode.

    Raises:
        InputError: files missing, broken, or of another network.
    """
    config = read_json(folder / "config.json")
    try:
        network = build(config)
        network.load_state_dict(load_file(folder / "model.safetensors"))
    except Exception as error:  # transformers, safetensors and torch have their own, without a common base
        raise InputError(f"{folder}: not a {kind} of this version ({' '.join(str(error).split())[:200]})") from None
    return network.eval()


def save_state(path: Path, value: object) -> None:
    """Writes tensors, numbers and texts, in lists and dictionaries, atomically, with their SHA-256 at the end."""
    with atomic_path(path) as temporary:
        torch.save(value, temporary)
        with temporary.open("r+b") as file:
            digest = hashlib.file_digest(file, "sha256").digest()
            file.write(digest)  # a zip archive may have something behind it


def load_state(path: Path) -> object | None:
    """Reads what `save_state` wrote, onto the CPU; None where there is none, or a broken file, which is logged and set aside."""
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
