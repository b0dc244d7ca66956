"""Where networks run: on the GPU, or on CPU workers of one thread each, which on two cores is faster than sharing operations."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import torch

CPU_WORKERS = 2


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
