"""Work shared among processes: its results in their order, the same whatever their number."""

from __future__ import annotations

import contextlib
import gc
import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from functools import partial
from multiprocessing.connection import Connection
from typing import Any, TypeVar

# A new process imports for a second, in which a scene or two are rendered here.
_TASKS_WORTH_A_PROCESS = 8
# Of processes beside a training that runs at the same time: it must not wait for its core.
_NICENESS = 5
T = TypeVar("T")
R = TypeVar("R")
C = TypeVar("C")


def map_in_processes(
    function: Callable[[T], R],
    tasks: Sequence[T],
    num_processes: int | None = None,
    *,
    is_awaited: bool = False,
) -> Iterator[R]:
    """Yield ``function(task)`` for every task, in order.

    New processes import the calling script, which therefore needs
    ``if __name__ == "__main__":``. They end with this process, in whatever way it ends, and when a
    task fails or nobody wants the rest.

    Args:
        function: A module's own function.
        tasks: What it takes, one for each call.
        num_processes: How many at once; by default one for each available core, as far as there
            is enough to do.
        is_awaited: Whether a training waits for the results. Others leave the cores to trainings
            that run at the same time.

    Raises:
        RuntimeError: If a process was ended from outside.
    """
    if num_processes is None:
        num_processes = min(count_cores(), len(tasks) // _TASKS_WORTH_A_PROCESS)
    num_processes = min(num_processes, len(tasks))
    if num_processes <= 1:
        yield from map(function, tasks)
    else:
        yield from _map(function, tasks, num_processes, None, 0 if is_awaited else _NICENESS)


def map_with_shared(
    function: Callable[[C, T], R], shared: C, tasks: Sequence[T], num_processes: int
) -> Iterator[R]:
    """Yield ``function(shared, task)`` for every task, as ``map_in_processes`` does.

    Args:
        function: A module's own function.
        shared: What all calls take; each process gets a copy of its own, once.
        tasks: What else it takes, one for each call.
        num_processes: How many at once.
    """
    num_processes = min(num_processes, len(tasks))
    if num_processes <= 1:
        yield from map(partial(function, shared), tasks)
    else:
        yield from _map(partial(_call, function), tasks, num_processes, shared, _NICENESS)


def count_cores() -> int:
    """How many cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def collect_seldom() -> None:
    """Let Python look for garbage after 20,000 new containers, where by default it is 700.

    It looks in what was just imported, too: 0.4 of 4.4 s until a training begins, and 2 to 4 % of
    the training itself. What holds memory is freed without it; peaks are the same.
    """
    gc.set_threshold(20_000, 20, 20)


def _map(
    function: Callable[[T], R],
    tasks: Sequence[T],
    num_processes: int,
    shared: object,
    niceness: int,
) -> Iterator[R]:
    # Spawned: a forked child would inherit threads of numpy and torch in any state.
    context = multiprocessing.get_context("spawn")
    # Nothing is ever sent. Its end closes when this process closes it or is gone.
    listening, lifeline = context.Pipe(duplex=False)
    pool = ProcessPoolExecutor(
        num_processes,
        mp_context=context,
        initializer=_begin,
        initargs=(listening, shared, niceness),
    )
    with _one_thread_each(), lifeline, listening:
        try:
            yield from pool.map(function, tasks)
        except BrokenProcessPool as error:
            raise RuntimeError(
                f"One of {num_processes} processes was ended from outside, often for want of "
                "memory. With fewer cores there are fewer processes: taskset -c 0 <command>."
            ) from error
        except BaseException:
            # An error, an interrupt, or nobody wants the rest: what is under way ends too.
            lifeline.close()
            raise
        finally:
            pool.shutdown(cancel_futures=True)


_shared: Any = None


def _begin(listening: Connection, shared: object, niceness: int) -> None:
    global _shared
    _shared = shared
    if hasattr(os, "nice"):
        os.nice(niceness)
    # Ctrl-C reaches all processes of a terminal; the parent decides what it means.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_end_with_parent, args=(listening,), daemon=True).start()


def _end_with_parent(listening: Connection) -> None:
    with contextlib.suppress(EOFError, OSError):
        listening.recv_bytes()
    # Not sys.exit, which would end this thread alone.
    os._exit(1)


def _call(function: Callable[[Any, T], R], task: T) -> R:
    return function(_shared, task)


@contextlib.contextmanager
def _one_thread_each() -> Iterator[None]:
    """Let processes that start meanwhile use one thread: with more, they only wait for cores."""
    names = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")
    before = {name: os.environ.get(name) for name in names}
    os.environ.update(dict.fromkeys(names, "1"))
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value
