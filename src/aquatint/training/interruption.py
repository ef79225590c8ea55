"""Ctrl-C and SIGTERM ask a training to write its state and leave."""

from __future__ import annotations

import logging
import os
import signal
import time
from contextlib import ExitStack
from pathlib import Path
from types import FrameType, TracebackType

from aquatint.collective import is_first, largest
from aquatint.signals import handled_signals

logger = logging.getLogger(__name__)

# Set in a rank: the folder in which the process that started the ranks asks them to stop. Signals
# would not do: torch.distributed.run kills a rank that needs longer than half a minute.
ORDER_VARIABLE = "AQUATINT_WORK_ORDER"
STOP, LISTENING = "stop", "listening"


# A scheduler signals every process of a job, and a process hands its own signal on: one wish.
_ONE_WISH_SECONDS = 0.5


class Interruption:
    """Context in which the first SIGINT or SIGTERM is a request, and a later one ends at once."""

    def __init__(self) -> None:
        self._signal: int | None = None
        self._requested_at = 0.0
        self._handled = ExitStack()
        order = os.environ.get(ORDER_VARIABLE)
        self._order = Path(order) if order else None

    def __enter__(self) -> Interruption:
        self._handled.enter_context(handled_signals(self._request))
        if self._order and is_first():
            (self._order / LISTENING).touch()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._handled.close()
        if self._order and is_first():
            (self._order / LISTENING).unlink(missing_ok=True)

    @property
    def is_requested(self) -> bool:
        """Whether a signal has arrived."""
        return self._signal is not None

    def agree(self, is_late: bool = False) -> bool:
        """Let a request that reached any rank be a request to all; all ranks must call this.

        Args:
            is_late: Whether this rank finds that a state is due.

        Returns:
            Whether any rank does.
        """
        request, any_late = largest([self._signal or self._asked_by_file(), is_late])
        if request and not self._signal:
            self._signal = int(request)
        return bool(any_late)

    def _asked_by_file(self) -> int:
        if self._order is None or not is_first():
            return 0
        try:
            return int((self._order / STOP).read_text())
        except FileNotFoundError:
            return 0

    def stop(self, step: int, num_steps: int) -> None:
        """Leave the process with the exit status that the signal asks for.

        Raises:
            SystemExit: Always; 128 plus the signal's number, as shells expect.
        """
        number = self._signal or signal.SIGINT
        logger.log(
            logging.WARNING if is_first() else logging.DEBUG,
            "Stopped by %s at step %d of %d; the state is saved. Give the same command again to "
            "go on.",
            signal.Signals(number).name,
            step,
            num_steps,
        )
        raise SystemExit(128 + number)

    def _request(self, number: int, frame: FrameType | None) -> None:
        if self.is_requested:
            # Ranks are also signalled by torch.distributed.run, at any time.
            is_repeated = time.monotonic() - self._requested_at < _ONE_WISH_SECONDS
            if self._order is None and not is_repeated:
                raise SystemExit(128 + number)
            return
        self._signal, self._requested_at = number, time.monotonic()
        logger.warning("%s: finishing the step and saving the state.", signal.Signals(number).name)
