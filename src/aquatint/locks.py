"""One builder at a time of what several runs would otherwise build at once."""

from __future__ import annotations

import contextlib
import fcntl
import logging
import multiprocessing
import os
import socket
from collections.abc import Iterator
from pathlib import Path

logger = logging.getLogger(__name__)


@contextlib.contextmanager
def one_builder(final: Path) -> Iterator[None]:
    """Hold the lock of an artefact while it is built; wait for another builder to finish or die.

    The lock is the operating system's: it ends with its process, even by ``kill -9``, and a file
    that is left means nothing. Two hosts on one NFS share it where that offers ``flock``.

    Args:
        final: Where the artefact will stand; the lock is a hidden file beside it.

    Raises:
        RuntimeError: In a process that the builder started and that imports the calling script
            once more: it would wait for the builder, which waits for it.
    """
    if getattr(multiprocessing.current_process(), "_inheriting", False):
        raise RuntimeError(
            f"{final.name} is built by several processes, each of which imports this script again. "
            'Put what the script does below `if __name__ == "__main__":`.'
        )
    final.parent.mkdir(parents=True, exist_ok=True)
    with (final.parent / f".{final.name}.lock").open("a+") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            file.seek(0)
            logger.info("Waiting: %s is being built by %s.", final.name, file.read() or "a run")
            fcntl.flock(file, fcntl.LOCK_EX)
        file.truncate(0)
        file.write(f"process {os.getpid()} on {socket.gethostname()}")
        file.flush()
        yield
