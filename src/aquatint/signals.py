"""Ctrl-C and SIGTERM: handlers that are put back afterwards."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

ENDING = (signal.SIGINT, signal.SIGTERM)


@contextmanager
def handled_signals(handle: Callable[[int, FrameType | None], None]) -> Iterator[None]:
    """Let SIGINT and SIGTERM call ``handle`` inside; outside of the main thread nothing changes.

    Only the main thread may install handlers; elsewhere signals keep their usual meaning.
    """
    is_main = threading.current_thread() is threading.main_thread()
    previous = {number: signal.signal(number, handle) for number in ENDING if is_main}
    try:
        yield
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)
