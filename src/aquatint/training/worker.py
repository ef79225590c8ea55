"""One rank of a training: ``python -m aquatint.training.worker <order>`` under torchrun."""

from __future__ import annotations

import json
import logging
import os
import sys
import threading
import time
import traceback
import warnings
from pathlib import Path
from typing import Any

from torch.distributed.elastic.multiprocessing.errors import record

from aquatint import collective
from aquatint.processes import collect_seldom
from aquatint.storage import publish_file, publish_folder
from aquatint.training.interruption import ORDER_VARIABLE
from aquatint.training.precision import prepare_device
from aquatint.training.work_order import (
    ARGUMENTS,
    ERRORS,
    RESULT,
    STOPPED,
    find_function,
    read_value,
    write_value,
)

logger = logging.getLogger(__name__)


@record
def main() -> None:
    """Do this rank's part of a work order."""
    collect_seldom()
    order = Path(sys.argv[1])
    # The variables are torchrun's, and there before the ranks have met.
    rank, local_rank = int(os.environ["RANK"]), int(os.environ["LOCAL_RANK"])
    threading.Thread(target=_die_with_parent, daemon=True).start()
    logging.basicConfig(level=logging.INFO if rank == 0 else logging.ERROR, format="%(message)s")
    # Deprecated for an argument that does less, says torch itself, and that no old torch knows.
    warnings.filterwarnings("ignore", message="`broadcast_buffers` is deprecated")
    os.environ[ORDER_VARIABLE] = str(order)
    try:
        _work(order, local_rank)
    except Exception as error:
        _write_error(order, rank, error)
        raise


def _work(order: Path, local_rank: int) -> None:
    import torch

    function, arguments, run = read_value(order / ARGUMENTS)
    device = prepare_device(run)
    if device.type == "cuda":
        torch.cuda.set_device(local_rank)
    collective.join_ranks(device)
    # Again, for the random numbers of this rank.
    prepare_device(run)
    try:
        result = find_function(function)(*arguments)
    except SystemExit as stop:
        # A wish, not a failure: torchrun would report its exit status as one.
        if collective.is_first():
            publish_file(order / STOPPED, json.dumps({"status": stop.code}).encode())
        result = None
    else:
        if collective.is_first():
            publish_folder(order / RESULT, lambda folder: write_value(result, folder))
    collective.barrier()
    collective.leave_ranks()


def _write_error(order: Path, rank: int, error: BaseException) -> None:
    record_of_error: dict[str, Any] = {
        "rank": rank,
        "time": time.time(),
        "type": type(error).__name__,
        "message": str(error),
        "trace": traceback.format_exc(),
    }
    publish_file(order / ERRORS / f"rank-{rank}.json", json.dumps(record_of_error).encode())


def _die_with_parent() -> None:
    """End at once when the process that ordered the work is gone, however it ended."""
    # It holds the other end of this pipe and never writes; a second run must find no rank alive.
    # Unbuffered: a lock held at the interpreter's end would abort it.
    os.read(sys.stdin.fileno(), 1)
    os._exit(1)


if __name__ == "__main__":
    main()
    # All is written. To take torch and transformers apart again would last two seconds more, in
    # which whoever waits for this rank has nothing to do.
    logging.shutdown()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(0)
