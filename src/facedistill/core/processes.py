"""Work in processes of their own, which never outlive this one."""

import multiprocessing
import os
import pickle
import queue
import signal
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing, contextmanager, suppress
from multiprocessing import resource_tracker
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import TypeVar

from facedistill.core.errors import InputError
from facedistill.core.files import unfinished

Job, Result = TypeVar("Job"), TypeVar("Result")
ENDING = [getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name)]
AHEAD = 4  # jobs for each process that may be begun before the results of earlier ones are taken: bounds memory
LEAVING_S = 1.0  # for the processes to end by themselves


def end_cleanly() -> None:
    """Has SIGTERM and SIGHUP end this process as an exit does, so that nothing is left half done; exit code 128 + signal."""
    for number in ENDING:
        if signal.getsignal(number) is signal.SIG_DFL:  # not where it is ignored, as SIGHUP under `nohup`, or handled already
            signal.signal(number, _exit)


def _exit(number: int, _: object) -> None:
    signal.signal(number, signal.SIG_IGN)  # a second one must not stop the cleaning
    raise SystemExit(128 + number)


@contextmanager
def mapped(function: Callable[[Job], Result], jobs: Iterable[Job], workers: int, *, asked_by: str) -> Iterator[Iterator[Result]]:
    """The results of a function for each of `jobs`, in their order, computed by new processes.

    They end when the block is left, at once and without temporary files, and when this process is killed. `ProcessPoolExecutor`
    waits for what runs, leaves its processes behind a kill, and hangs where one ends while it sends a result.

    Args:
        function: of a module, so that it can be named there; or a `functools.partial` of one.
        asked_by: what the error names: the option or the command that asks for the processes.

    Raises:
        InputError: one of the processes was killed, for want of memory as a rule.
    """
    context = multiprocessing.get_context("spawn")
    started: list[tuple[multiprocessing.Process, Connection]] = []
    try:
        with _signals_held():  # new processes inherit that: signals are for this one, which ends them
            for _ in range(workers):
                ours, theirs = context.Pipe()
                with closing(theirs):
                    process = context.Process(target=_work, args=(theirs, unfinished()))
                    process.start()
                started.append((process, ours))
        for _, pipe in started:
            with suppress(OSError):  # one that was killed is found when its result is awaited
                pipe.send(function)
        yield _results(jobs, [pipe for _, pipe in started], asked_by)
    finally:
        for _, pipe in started:
            with suppress(OSError), closing(pipe):
                pipe.send(None)
        ends_s = time.monotonic() + LEAVING_S
        for process, _ in started:
            process.join(max(0.0, ends_s - time.monotonic()))
            process.kill()
            process.join()


def _results(jobs: Iterable[Job], pipes: list[Connection], asked_by: str) -> Iterator[Result]:
    waiting = enumerate(jobs)
    idle, busy, done, n_given = list(pipes), {}, {}, 0
    while True:
        while idle and len(busy) + len(done) < AHEAD * len(pipes) and (job := next(waiting, None)):
            pipe = idle.pop()
            with suppress(OSError):
                pipe.send((job[1],))
            busy[pipe] = job[0]
        while n_given in done:
            yield done.pop(n_given)
            n_given += 1
        if not busy:
            return
        for pipe in wait(busy):
            try:
                result, error = pipe.recv()
            except (EOFError, OSError):
                raise InputError(f"{asked_by}: a process was killed; expected memory for as much at once") from None
            if error is not None:
                raise error
            done[busy.pop(pipe)] = result
            idle.append(pipe)


@contextmanager
def _signals_held() -> Iterator[None]:
    """Keeps signals that end this process waiting."""
    if os.name == "nt":
        yield
        return
    before = signal.pthread_sigmask(signal.SIG_BLOCK, ENDING)
    try:
        resource_tracker.ensure_running()  # else the first process begins it, which takes up SIGINT and SIGTERM again
        signal.pthread_sigmask(signal.SIG_BLOCK, ENDING)
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _work(pipe: Connection, left: list[Path]) -> None:
    """What a process does until it is ended."""
    for number in ENDING:
        signal.signal(number, signal.SIG_IGN)
    told: queue.SimpleQueue = queue.SimpleQueue()
    threading.Thread(target=_listen, args=(pipe, told, left), daemon=True).start()
    function = told.get()
    while True:
        try:
            outcome = function(*told.get()), None
        except Exception as error:
            outcome = None, error
        with suppress(OSError):
            pipe.send(outcome)


def _listen(pipe: Connection, told: queue.SimpleQueue, left: list[Path]) -> None:
    """Passes on what this process is told, and ends it when that is `None`, or when the one that began it was killed.

    No temporary file stays, nor those that were `left` by a process that was killed.
    """
    try:
        with suppress(EOFError, OSError, pickle.UnpicklingError):
            while (one := pipe.recv()) is not None:
                told.put(one)
            left = []
    finally:
        for path in [*unfinished(), *left]:
            with suppress(OSError):
                path.unlink()
        os._exit(0)
