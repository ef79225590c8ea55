"""Ctrl-C and SIGTERM ask a training to write its state and leave."""

from __future__ import annotations

import logging
import signal
import threading
from types import FrameType, TracebackType

logger = logging.getLogger(__name__)


class Interruption:
    """Context in which the first SIGINT or SIGTERM is a request, and the second ends at once."""

    def __init__(self) -> None:
        self._signal: int | None = None
        self._previous: dict[int, object] = {}

    def __enter__(self) -> Interruption:
        # Only the main thread may install handlers; elsewhere signals keep their usual meaning.
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGINT, signal.SIGTERM):
                self._previous[number] = signal.signal(number, self._request)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        for number, handler in self._previous.items():
            signal.signal(number, handler)  # type: ignore[arg-type]

    @property
    def is_requested(self) -> bool:
        """Whether a signal has arrived."""
        return self._signal is not None

    def stop(self, step: int, num_steps: int) -> None:
        """Leave the process with the exit status that the signal asks for.

        Raises:
            SystemExit: Always; 128 plus the signal's number, as shells expect.
        """
        number = self._signal or signal.SIGINT
        logger.warning(
            "Stopped by %s at step %d of %d; the state is saved. Give the same command again to "
            "go on.",
            signal.Signals(number).name,
            step,
            num_steps,
        )
        raise SystemExit(128 + number)

    def _request(self, number: int, frame: FrameType | None) -> None:
        if self.is_requested:
            raise SystemExit(128 + number)
        self._signal = number
        logger.warning("%s: finishing the step and saving the state.", signal.Signals(number).name)
