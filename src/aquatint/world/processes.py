"""Scenes rendered by several processes, in their order and the same whatever their number."""

from __future__ import annotations

import contextlib
import multiprocessing
import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from typing import TypeVar

# A new process imports for a second, in which a scene or two are rendered here.
_TASKS_WORTH_A_PROCESS = 8
T = TypeVar("T")
R = TypeVar("R")


def map_in_processes(
    function: Callable[[T], R], tasks: Sequence[T], num_processes: int | None = None
) -> Iterator[R]:
    """Yield ``function(task)`` for every task, in order.

    New processes import the calling script, which therefore needs
    ``if __name__ == "__main__":``.

    Args:
        function: A module's own function.
        tasks: What it takes, one for each call.
        num_processes: How many at once; by default one for each available core, as far as there
            is enough to do.
    """
    if num_processes is None:
        num_processes = min(_count_cores(), len(tasks) // _TASKS_WORTH_A_PROCESS)
    num_processes = min(num_processes, len(tasks))
    if num_processes <= 1:
        yield from map(function, tasks)
        return
    # Spawned: a forked child would inherit threads of numpy and torch in any state.
    context = multiprocessing.get_context("spawn")
    pool = ProcessPoolExecutor(num_processes, mp_context=context)
    with _one_thread_each():
        try:
            yield from pool.map(function, tasks)
        finally:
            # Without cancelling, an interrupt would wait for all scenes.
            pool.shutdown(cancel_futures=True)


def _count_cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


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
