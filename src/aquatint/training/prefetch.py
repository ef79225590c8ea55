"""The next batch is made while the model learns from the last one."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

Key = TypeVar("Key")
Value = TypeVar("Value")


def one_ahead(make: Callable[[Key], Value], keys: Iterable[Key]) -> Generator[Value]:
    """Yield ``make(key)`` of each key in order; the one after it is made meanwhile, in a thread.

    A thread, not a process: what decodes a picture, reads a file or multiplies matrices does not
    hold Python's lock, and nothing has to be copied.

    Args:
        make: Function of a key alone; calls of it never overlap.
        keys: Read one key ahead.

    Raises:
        Exception: What ``make`` raises, when its value is asked for.
    """
    with ThreadPoolExecutor(1, thread_name_prefix="one_ahead") as thread:
        coming = None
        for key in keys:
            following = thread.submit(make, key)
            if coming is not None:
                yield coming.result()
            coming = following
        if coming is not None:
            yield coming.result()
