"""Processes that run nodes for ``runner.ConcurrentRunner``."""

from __future__ import annotations

import contextlib
import ctypes
import logging
import multiprocessing
import os
import signal
import sys
import traceback
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from multiprocessing.connection import Connection, wait
from multiprocessing.context import ForkProcess
from types import TracebackType
from typing import Any, Protocol, runtime_checkable

from kedro.io import CatalogProtocol
from kedro.pipeline.node import Node
from kedro.runner.task import Task
from pluggy import PluginManager

from aquatint.signals import ENDING

logger = logging.getLogger(__name__)

_PR_SET_PDEATHSIG = 1  # of Linux' prctl.h


class NodeProcessError(RuntimeError):
    """The process of a node ended without a word, or its error cannot be handed over as it is."""


@runtime_checkable
class KeepsNotes(Protocol):
    """A hook whose notes of a node are needed after the process that ran the node has ended."""

    def notes(self) -> dict[str, Any]:
        """All that was noted so far, in this process or before it was forked."""

    def add_notes(self, notes: dict[str, Any]) -> None:
        """Take over the notes of another process."""


@dataclass
class _Worker:
    """One process, as its parent sees it.

    Attributes:
        process: The process.
        pipe: This end of the pipe to it.
        node: What it runs; None while it waits.
        written: Datasets that other processes wrote since it last began a node.
    """

    process: ForkProcess
    pipe: Connection
    node: Node | None = None
    written: list[str] = field(default_factory=list)


class NodeWorkers:
    """Forked processes, each of which runs one node at a time.

    A context: at its end every process has ended, by ``SIGTERM`` if it is still at work.

    Args:
        nodes: All that may be started.
        catalog: Whose datasets the nodes load and save; each process has a copy.
        hook_manager: Hooks that run with the nodes; a copy each. Those that are ``KeepsNotes``
            learn here what they noted there.
        run_id: Of the run.
        num_threads: CPU threads of each process.

    Attributes:
        stopped_by: Number of the signal that asked the nodes to stop; 0 before.
    """

    def __init__(
        self,
        nodes: Sequence[Node],
        catalog: CatalogProtocol,
        hook_manager: PluginManager | None,
        run_id: str | None,
        num_threads: int,
    ) -> None:
        self.stopped_by = 0
        self._nodes = {node.name: node for node in nodes}
        self._catalog = catalog
        self._hooks = hook_manager
        self._run_id = run_id
        self._num_threads = num_threads
        self._workers: list[_Worker] = []

    def __enter__(self) -> NodeWorkers:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        for worker in self._workers:
            if worker.node:
                logger.warning("Stopping %s.", worker.node.name)
                worker.process.terminate()
            with contextlib.suppress(ConnectionError):
                worker.pipe.send(None)
        for worker in self._workers:
            worker.process.join()

    @property
    def num_busy(self) -> int:
        """Processes that run a node."""
        return sum(worker.node is not None for worker in self._workers)

    def start(self, node: Node) -> None:
        """Let a free process run a node; a new one if none is free."""
        worker = next((w for w in self._workers if w.node is None), None) or self._fork()
        worker.node = node
        with contextlib.suppress(ConnectionError):  # a signal has ended it, as ``wait`` finds out
            worker.pipe.send((node.name, worker.written))
        worker.written = []

    def wait(self) -> list[tuple[Node, Exception | None]]:
        """Wait until a process has finished its node or has died.

        Returns:
            Each node that ended meanwhile, with its error if it failed. A node that was stopped
            by the signal that was handed to it is left out.
        """
        busy = [worker for worker in self._workers if worker.node]
        ended = wait([worker.pipe for worker in busy])
        outcomes = [self._finish(worker) for worker in busy if worker.pipe in ended]
        return [outcome for outcome in outcomes if outcome]

    def stop(self, number: int) -> None:
        """Hand a signal to every process."""
        self.stopped_by = number
        for worker in self._workers:
            if worker.process.pid and worker.process.is_alive():
                os.kill(worker.process.pid, number)

    def _fork(self) -> _Worker:
        context = multiprocessing.get_context("fork")
        ours, theirs = context.Pipe()
        process = context.Process(target=self._serve, args=(theirs, os.getpid()))
        worker = _Worker(process, ours)
        # A signal that arrives before the process has handlers of its own waits for them.
        before = signal.pthread_sigmask(signal.SIG_BLOCK, ENDING)
        try:
            process.start()
            self._workers.append(worker)  # known before a signal can be handed on
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)
        theirs.close()
        return worker

    def _finish(self, worker: _Worker) -> tuple[Node, Exception | None] | None:
        node, worker.node = worker.node, None
        assert node is not None  # noqa: S101 - only the busy are waited for
        try:
            has_failed, notes = worker.pipe.recv()
            error = _receive_error(worker.pipe) if has_failed else None
        except (EOFError, ConnectionError):
            self._workers.remove(worker)
            worker.process.join()
            if self.stopped_by:
                return None
            return node, NodeProcessError(_describe_death(node.name, worker.process.exitcode))
        for plugin, noted in zip(_keepers(self._hooks), notes, strict=True):
            plugin.add_notes(noted)
        for name in node.outputs:
            self._catalog.release(name)  # or a version from before this run would be loaded
        for other in self._workers:
            other.written += [] if other is worker else node.outputs
        return node, error

    def _serve(self, pipe: Connection, parent: int) -> None:
        """Run nodes in the forked process until there are no more."""
        try:
            _separate_from(parent)
            _limit_threads(self._num_threads)
            while (order := pipe.recv()) is not None:
                self._obey(pipe, *order)
        except KeyboardInterrupt:
            raise SystemExit(128 + signal.SIGINT) from None

    def _obey(self, pipe: Connection, name: str, written: list[str]) -> None:
        for dataset in written:
            self._catalog.release(dataset)
        error = self._run_node(self._nodes[name])
        pipe.send((error is not None, [plugin.notes() for plugin in _keepers(self._hooks)]))
        if error:
            _send_error(pipe, error)

    def _run_node(self, node: Node) -> Exception | None:
        task = Task(node, self._catalog, False, self._hooks, self._run_id)
        with _named_records(node.name):
            try:
                task.execute()
            except Exception as error:  # noqa: BLE001 - raised again by the parent
                return error
        return None


def _keepers(hooks: PluginManager | None) -> list[KeepsNotes]:
    return [p for p in hooks.get_plugins() if isinstance(p, KeepsNotes)] if hooks else []


def _separate_from(parent: int) -> None:
    """Take signals from the parent alone, and end with it in whatever way it ends."""
    os.setpgid(0, 0)  # Ctrl-C of a terminal reaches the parent, which hands it on
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:  # it ended before that
        os._exit(1)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, ENDING)


def _limit_threads(num_threads: int) -> None:
    """Give this process its share of the cores: with more threads they wait for each other."""
    torch = sys.modules.get("torch")
    if torch is not None:
        torch.set_num_threads(num_threads)
    os.environ["OMP_NUM_THREADS"] = str(num_threads)  # read by a torch that is imported later


@contextlib.contextmanager
def _named_records(node: str) -> Iterator[None]:
    """Begin this project's log lines with the node's name: lines of two nodes come mixed."""
    make = logging.getLogRecordFactory()

    def make_named(*arguments: Any, **options: Any) -> logging.LogRecord:  # noqa: ANN401
        record = make(*arguments, **options)
        if record.name.partition(".")[0] == __package__:
            record.msg = f"{node}: {record.msg}"
        return record

    logging.setLogRecordFactory(make_named)
    try:
        yield
    finally:
        logging.setLogRecordFactory(make)


def _send_error(pipe: Connection, error: Exception) -> None:
    """Send the error twice: as text, which always arrives, and as itself if that is possible."""
    told, trace = f"{type(error).__name__}: {error}", "".join(traceback.format_exception(error))
    pipe.send((told, trace))
    try:
        pipe.send(error)
    except Exception:  # noqa: BLE001 - whatever its class may raise
        pipe.send(None)


def _receive_error(pipe: Connection) -> Exception:
    """The error with the trace of its process as a note; text where its class needs more."""
    told, trace = pipe.recv()
    try:
        error = pipe.recv()
    except Exception:  # noqa: BLE001 - whatever its class may raise
        error = None
    error = error or NodeProcessError(told)
    error.add_note(trace)
    return error


def _describe_death(node: str, status: int | None) -> str:
    if status is None or status >= 0:
        return f"The process of {node} ended with status {status} before the node was done."
    hint = (
        " The kernel does so when memory runs out: --params=run.concurrent_nodes=1 needs less."
        if status == -signal.SIGKILL
        else ""
    )
    return f"The process of {node} was ended by {signal.Signals(-status).name}.{hint}"
