"""Work in processes of their own, which never outlive this one."""

import math
import multiprocessing
import os
import pickle
import queue
import signal
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import closing, contextmanager, suppress
from multiprocessing import resource_tracker
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import TypeVar

from tqdm import tqdm

from facedistill.core.errors import InputError
from facedistill.core.files import remove_unfinished, unfinished

Job, Result = TypeVar("Job"), TypeVar("Result")
ENDING = [getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name)]
LEAVING_S = 1.0  # for the processes to end by themselves


def end_cleanly() -> None:
    """Has SIGTERM and SIGHUP end this process as an exit does, so that nothing is left half done; exit code 128 + signal."""
    begun_s = -math.inf

    def end(number: int, _: object) -> None:
        nonlocal begun_s
        if time.monotonic() > begun_s + 2.0:  # what comes while the process ends must not stop the cleaning
            begun_s = time.monotonic()
            raise SystemExit(128 + number)

    for number in ENDING:
        if signal.getsignal(number) is signal.SIG_DFL:  # not where it is ignored, as SIGHUP under `nohup`, or handled already
            signal.signal(number, end)


@contextmanager
def mapped(
    function: Callable[[Job], Result], jobs: Iterable[Job], workers: int, *, asked_by: str, ahead: int = 4
) -> Iterator[Iterator[Result]]:
    """The results of a function for each of `jobs`, in their order, computed by new processes.

    They end when the block is left, at once and without temporary files, and when this process is killed. `ProcessPoolExecutor`
    waits for what runs, leaves its processes behind a kill, and hangs where one ends while it sends a result. The function is one
    of a module, or a `functools.partial` of one; `ahead` results for each process may wait for an earlier one: bounds memory.
    InputError where one was killed, for want of memory as a rule, which names what the processes are `asked_by`; RuntimeError
    where one ended in another way, or what it raised cannot be sent.
    """
    context = multiprocessing.get_context("spawn")
    started: dict[Connection, multiprocessing.Process] = {}
    try:
        with _signals_held():  # new processes inherit that: signals are for this one, which ends them
            for _ in range(workers):
                ours, theirs = context.Pipe()
                with closing(theirs):
                    process = context.Process(target=_work, args=(theirs, list(unfinished)))
                    process.start()
                started[ours] = process
        for pipe in started:
            with suppress(OSError):  # one that was killed is found when its result is awaited
                pipe.send(function)
        yield _results(jobs, started, ahead * workers, asked_by)
    finally:
        for pipe in started:
            with suppress(OSError), closing(pipe):
                pipe.send(None)
        ends_s = time.monotonic() + LEAVING_S
        for process in started.values():
            process.join(max(0.0, ends_s - time.monotonic()))
            process.kill()
            process.join()


def _results(
    jobs: Iterable[Job], started: Mapping[Connection, multiprocessing.Process], most: int, asked_by: str
) -> Iterator[Result]:
    waiting = enumerate(jobs)
    idle, busy, done, n_given = list(started), {}, {}, 0
    while True:
        while n_given in done:
            yield done.pop(n_given)
            n_given += 1
        while idle and len(busy) + len(done) < most and (job := next(waiting, None)):
            pipe = idle.pop()
            with suppress(OSError):
                pipe.send((job[1],))
            busy[pipe] = job[0]
        if not busy:
            return
        for pipe in wait(busy):
            try:
                result, error = pipe.recv()
            except (EOFError, OSError):
                raise _ended(started[pipe], asked_by) from None
            if error is not None:
                raise error
            done[busy.pop(pipe)] = result
            idle.append(pipe)


def _ended(process: multiprocessing.Process, asked_by: str) -> Exception:
    process.join(LEAVING_S)
    if process.exitcode is not None and process.exitcode >= 0:
        return RuntimeError(f"{asked_by}: a process ended with exit code {process.exitcode}")
    return InputError(f"{asked_by}: a process was killed; expected memory for as much at once")


@contextmanager
def _signals_held() -> Iterator[None]:
    """Keeps signals that end this process waiting, as far as they are for this thread."""
    if not hasattr(signal, "pthread_sigmask"):  # Windows
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
    for number in ENDING:  # where they are not held already
        signal.signal(number, signal.SIG_IGN)
    tqdm.set_lock(threading.RLock())  # its own would be one of several processes, and left behind
    inbox: queue.SimpleQueue = queue.SimpleQueue()
    threading.Thread(target=_listen, args=(pipe, inbox, left), daemon=True).start()
    function = inbox.get()
    while True:
        try:
            outcome = function(*inbox.get()), None
        except BaseException as error:
            outcome = None, _portable(error)
        try:
            pipe.send(outcome)
        except OSError:  # nobody is there: `_listen` ends this process
            pass
        except Exception as error:
            pipe.send((None, RuntimeError(f"a result that cannot be sent ({error})")))


def _portable(error: BaseException) -> BaseException:
    """An error as it comes out of a pipe, or one of a kind that does."""
    try:
        pickle.loads(pickle.dumps(error))
    except Exception:
        return RuntimeError(f"{type(error).__name__}: {error}")
    return error


def _listen(pipe: Connection, inbox: queue.SimpleQueue, left: list[Path]) -> None:
    """Passes on what this process is told; at `None`, or when its parent was killed, ends it, without temporary files."""
    try:
        with suppress(EOFError, OSError):
            while (one := _heard(pipe)) is not None:
                inbox.put(one)
            left = []
    finally:
        remove_unfinished(left)
        os._exit(0)


def _heard(pipe: Connection) -> object:
    """The next thing that comes out of a pipe; what cannot be had in this process is said to be so."""
    while True:
        try:
            return pipe.recv()
        except (EOFError, OSError):
            raise
        except Exception as error:
            pipe.send((None, RuntimeError(f"{type(error).__name__}: {error}")))
