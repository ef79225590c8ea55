"""Run a function in this process, or on several processes and hosts through torchrun."""

from __future__ import annotations

import json
import logging
import os
import shutil
import signal
import socket
import subprocess
import sys
import uuid
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from types import FrameType
from typing import TypeVar, cast

from aquatint.params import RunParams
from aquatint.signals import handled_signals
from aquatint.storage import is_complete
from aquatint.training.interruption import LISTENING, STOP
from aquatint.training.precision import check_devices, threads_per_rank
from aquatint.training.work_order import (
    ARGUMENTS,
    ERRORS,
    RESULT,
    STOPPED,
    name_function,
    read_value,
    write_value,
)

T = TypeVar("T")
logger = logging.getLogger(__name__)

_POLL_SECONDS = 0.2


class RankError(RuntimeError):
    """A rank failed; the message is that of the first one that did."""


def launch(
    function: Callable[..., T], arguments: tuple[object, ...], run: RunParams, scratch: Path
) -> T:
    """Return ``function(*arguments)``, computed by as many ranks as ``run`` asks for.

    One process is this one. Several are children under ``torch.distributed.run``, which share the
    work as the function says, and of which the first gives the result. SIGINT and SIGTERM reach a
    training there as they would here.

    Args:
        function: A module's own function of this package.
        arguments: What ``work_order.write_value`` takes.
        run: Processes, hosts, device, threads.
        scratch: Folder for the order and its result; on storage that all hosts share.

    Raises:
        RankError: If a rank failed, with its number, type and message.
        ValueError: If there are too few devices, or no way to reach the hosts.
        SystemExit: If a signal ended the work.
    """
    if run.num_ranks == 1:
        return function(*arguments)
    check_devices(run)
    command = torchrun_command(run)
    with _order_folder(scratch) as order:
        _write_order(order, function, arguments, run)
        logger.info(
            "%s on %d processes of %d host(s), %d CPU thread(s) each.",
            function.__name__,
            run.num_ranks,
            run.num_nodes,
            threads_per_rank(run),
        )
        status = _run_child([*command, str(order)], order, run)
        return cast("T", _result(order, status, run))


def torchrun_command(run: RunParams) -> list[str]:
    """Return the command that starts the ranks, up to the folder of the order.

    Raises:
        ValueError: If several hosts are asked for outside of a Slurm allocation.
    """
    command = [
        *(sys.executable, "-m", "torch.distributed.run"),
        f"--nnodes={run.num_nodes}",
        f"--nproc-per-node={run.num_processes}",
        "--rdzv-backend=c10d",
        f"--rdzv-endpoint={run.rdzv_endpoint or 'localhost:0'}",
        f"--rdzv-id={uuid.uuid4().hex}",
        "--max-restarts=0",
        "--monitor-interval=0.2",
        *("-m", "aquatint.training.worker"),
    ]
    if run.num_nodes == 1:
        return [*command[:-2], "--local-addr=localhost", *command[-2:]]
    if shutil.which("srun") is None:
        raise ValueError(
            f"run.num_nodes {run.num_nodes} needs Slurm's srun to start processes on the other "
            "hosts, and there is none on PATH. Submit the scripts of kedro sbatch, or give "
            "--params=run.num_nodes=1."
        )
    hosts = [f"--nodes={run.num_nodes}", f"--ntasks={run.num_nodes}", "--ntasks-per-node=1"]
    return ["srun", *hosts, "--kill-on-bad-exit=1", *command]


@contextmanager
def _order_folder(scratch: Path) -> Iterator[Path]:
    """A folder of this order alone; those that killed processes left on this host are removed."""
    host = socket.gethostname()
    for old in scratch.glob(f"order-{host}-*"):
        if not _is_alive(int(old.name.split("-")[-2])):
            shutil.rmtree(old, ignore_errors=True)
    order = scratch.absolute() / f"order-{host}-{os.getpid()}-{uuid.uuid4().hex[:8]}"
    order.mkdir(parents=True)
    try:
        yield order
    finally:
        shutil.rmtree(order, ignore_errors=True)


def _is_alive(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True  # another user's
    return True


def _write_order(
    order: Path, function: Callable[..., object], arguments: tuple[object, ...], run: RunParams
) -> None:
    (order / ARGUMENTS).mkdir()
    write_value((name_function(function), arguments, run), order / ARGUMENTS)


def _run_child(command: list[str], order: Path, run: RunParams) -> int:
    """Run the ranks to their end and return the exit status of what started them."""
    paths = [str(Path(__file__).parents[2]), os.environ.get("PYTHONPATH", "")]
    environment = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join(filter(None, paths)),
        "OMP_NUM_THREADS": str(threads_per_rank(run)),
        # DDP warns that it searches for unused parameters, which is meant (training/replica.py).
        "TORCH_CPP_LOG_LEVEL": os.environ.get("TORCH_CPP_LOG_LEVEL", "ERROR"),
    }
    # In a session of its own: Ctrl-C reaches this process alone, which asks the ranks to stop. The
    # pipe closes when this process ends in whatever way, and the ranks end with it.
    with (
        subprocess.Popen(
            command, env=environment, stdin=subprocess.PIPE, start_new_session=True
        ) as child,
        _forwarded_signals(order),
    ):
        try:
            while True:
                try:
                    return child.wait(timeout=_POLL_SECONDS)
                except subprocess.TimeoutExpired:
                    continue
        finally:
            if child.poll() is None:
                os.killpg(child.pid, signal.SIGKILL)


def _forwarded_signals(order: Path) -> AbstractContextManager[None]:
    """Hand the first SIGINT or SIGTERM to a training that listens; else leave as it asks."""

    def forward(number: int, frame: FrameType | None) -> None:
        if (order / STOP).exists() or not (order / LISTENING).exists():
            raise SystemExit(128 + number)
        (order / STOP).write_text(str(int(number)))
        logger.warning("%s: finishing the step and saving the state.", signal.Signals(number).name)

    return handled_signals(forward)


def _result(order: Path, status: int, run: RunParams) -> object:
    """What the first rank left: a result, a wish to stop, or an error."""
    if (order / STOPPED).exists():
        raise SystemExit(json.loads((order / STOPPED).read_text())["status"])
    if status == 0 and is_complete(order / RESULT):
        return read_value(order / RESULT)
    errors = [json.loads(path.read_text()) for path in (order / ERRORS).glob("*.json")]
    if not errors:
        raise RankError(
            f"torch.distributed.run ended with status {status} and no rank left an error. A rank "
            "that is killed (its report above names it) has usually used up the memory: give "
            f"fewer than run.num_processes {run.num_processes}, or a smaller batch_size. The same "
            "command resumes."
        )
    # The others fail for want of this one.
    first = min(errors, key=lambda error: error["time"])
    logger.error("Rank %d:\n%s", first["rank"], first["trace"])
    raise RankError(
        f"Rank {first['rank']} of {run.num_ranks} failed with {first['type']}: {first['message']}"
    )
