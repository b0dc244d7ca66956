"""Networks: where they run, how large they are, and how they lie on disk."""

from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from torch import nn

from facedistill.core.errors import InputError
from facedistill.core.files import atomic_path, read_json, write_json

CPU_WORKERS = 2  # of one thread each, which on two cores is faster than sharing operations


def device() -> torch.device:
    """The GPU where there is one."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


@contextmanager
def workers() -> Iterator[ThreadPoolExecutor]:
    """A pool of workers; one feeds a GPU."""
    if device().type == "cuda":
        with ThreadPoolExecutor(1) as pool:
            yield pool
        return
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        with ThreadPoolExecutor(CPU_WORKERS, initializer=torch.set_num_threads, initargs=(1,)) as pool:
            yield pool
    finally:
        torch.set_num_threads(before)


def parallel_map(function: Callable, *columns: Iterable) -> list:
    """What a function makes of every row, on `workers`."""
    with workers() as pool:
        return list(pool.map(function, *columns))


def n_parameters(network: nn.Module) -> int:
    """How many numbers a network has learnt or will learn."""
    return sum(parameter.numel() for parameter in network.parameters())


def save_network(network: nn.Module, config: dict, folder: Path) -> None:
    """Writes model.safetensors, and config.json, from which `load_network` rebuilds the network."""
    with atomic_path(folder / "model.safetensors") as temporary:
        save_file({name: value.contiguous() for name, value in network.state_dict().items()}, temporary)
    write_json(folder / "config.json", config)


def load_network(kind: str, folder: Path, build: Callable[[dict], nn.Module]) -> nn.Module:
    """The saved network that `build` makes of its config.json, in evaluation mode; InputError where it is of another version."""
    config = read_json(folder / "config.json")
    try:
        network = build(config)
        network.load_state_dict(load_file(folder / "model.safetensors"))
    except Exception as error:  # transformers, safetensors and torch have their own, without a common base
        raise InputError(f"{folder}: not a {kind} of this version ({' '.join(str(error).split())[:200]})") from None
    return network.eval()
