"""Work in processes of their own."""

import multiprocessing
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager

from facedistill.core.errors import InputError


@contextmanager
def processes(
    workers: int, asked_by: str, *, begin: Callable[..., None] | None = None, arguments: tuple = ()
) -> Iterator[ProcessPoolExecutor]:
    """A pool of new processes; where its block is left early, what has not begun is dropped.

    Args:
        workers: how many.
        asked_by: what the error names: the option or the command that asks for the processes.
        begin: what each process calls first, with `arguments`.

    Raises:
        InputError: one of them was killed, for want of memory as a rule.
    """
    pool = ProcessPoolExecutor(workers, multiprocessing.get_context("spawn"), begin, arguments)
    try:
        yield pool
    except BrokenProcessPool:
        raise InputError(f"{asked_by}: a process was killed; allowed: as much at once as there is memory for") from None
    finally:
        pool.shutdown(cancel_futures=True)
