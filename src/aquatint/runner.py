"""A runner that runs nodes at the same time where none needs another's output."""

from __future__ import annotations

import contextlib
import logging
import sys

from kedro.io import CatalogProtocol, DatasetError, MemoryDataset
from kedro.pipeline import Pipeline
from kedro.pipeline.node import Node
from kedro.runner import SequentialRunner
from pluggy import PluginManager

from aquatint.node_workers import NodeWorkers
from aquatint.signals import handled_signals

logger = logging.getLogger(__name__)

# Of nodes that take longer than others, those that take longest first.
_LONG_TAGS = ("train", "rollout")


class ConcurrentRunner(SequentialRunner):
    """Run up to ``max_nodes`` nodes at once, each in a forked process, and hooks with them.

    Kedro's ``ParallelRunner`` replaces the project's catalog, builds hooks anew for each node and
    leaves running trainings behind when it is stopped. Here a few processes are forked once, take
    one node after the other, and tell this one what their hooks noted. Of the nodes that could
    start, the one with the longest way to the end comes first. Nodes have the numbers that they
    have one after the other.

    Args:
        max_nodes: How many nodes at once.
        num_threads: CPU threads of each process, as ``run.num_threads``.
    """

    def __init__(self, max_nodes: int, num_threads: int) -> None:
        super().__init__()
        self._max_nodes = max_nodes
        self._num_threads = num_threads

    def _run(
        self,
        pipeline: Pipeline,
        catalog: CatalogProtocol,
        hook_manager: PluginManager | None = None,
        run_id: str | None = None,
    ) -> None:
        """Run the nodes.

        Raises:
            SystemExit: If a signal stopped the run; 128 plus its number.
            NodeProcessError: If the process of a node died.
            Exception: That of the first node that failed; the others are asked to stop first.
        """
        obstacle = _find_obstacle(pipeline, catalog)
        if obstacle:
            logger.info("Nodes run one after the other: %s.", obstacle)
        if obstacle or self._max_nodes == 1 or len(pipeline.nodes) == 1:
            super()._run(pipeline, catalog, hook_manager, run_id)
            return
        _pin_inputs(pipeline, catalog)
        workers = NodeWorkers(pipeline.nodes, catalog, hook_manager, run_id, self._num_threads)
        # A training that gets the signal saves its state and leaves.
        with workers, handled_signals(lambda number, frame: workers.stop(number)):
            self._schedule(pipeline, catalog, workers)

    def _schedule(self, pipeline: Pipeline, catalog: CatalogProtocol, workers: NodeWorkers) -> None:
        waiting, num_nodes = sort_by_way_to_end(pipeline), len(pipeline.nodes)
        done: set[Node] = set()
        try:
            while waiting or workers.num_busy:
                ready = [node for node in waiting if pipeline.node_dependencies[node] <= done]
                for node in ready[: self._num_free(workers)]:
                    waiting.remove(node)
                    workers.start(node)
                if workers.num_busy == 0:
                    break  # stopped: otherwise some node could have started
                outcomes = workers.wait()
                done |= {node for node, error in outcomes if error is None}
                for node, error in outcomes:
                    if error:
                        raise error
                    logger.info("Completed %s; %d of %d nodes", node.name, len(done), num_nodes)
        except Exception:
            self._suggest_resume_scenario(pipeline, done, catalog)
            raise
        if workers.stopped_by:
            raise SystemExit(128 + workers.stopped_by)

    def _num_free(self, workers: NodeWorkers) -> int:
        return 0 if workers.stopped_by else self._max_nodes - workers.num_busy


def sort_by_way_to_end(pipeline: Pipeline) -> list[Node]:
    """Nodes in an order of the graph, those first behind which the longest work waits.

    How long a node takes, nobody knows before its first run; but a training takes longer than
    anything else, and flights longer than what is left, so a node's way to the end is as long as
    the trainings on it, then as the flights, then as its nodes. Of equal ways that comes first on
    which most other nodes wait.
    """
    ways: dict[Node, tuple[int, ...]] = {}
    dependents: dict[Node, set[Node]] = {node: set() for node in pipeline.nodes}
    for node in reversed(pipeline.nodes):
        own = (*(tag in node.tags for tag in _LONG_TAGS), 1)
        longest = max((ways[later] for later in dependents[node]), default=(0,) * len(own))
        ways[node] = tuple(before + here for before, here in zip(longest, own, strict=True))
        for needed in pipeline.node_dependencies[node]:
            dependents[needed] |= {node} | dependents[node]
    return sorted(
        pipeline.nodes, key=lambda node: (*ways[node], len(dependents[node])), reverse=True
    )


def _find_obstacle(pipeline: Pipeline, catalog: CatalogProtocol) -> str:
    """Why the nodes cannot be shared among processes; empty if they can."""
    if sys.platform != "linux":
        return f"processes are forked on Linux alone, and this is {sys.platform}"
    outputs = pipeline.all_outputs()
    in_memory = sorted(n for n in outputs if isinstance(catalog.get(n), MemoryDataset))
    if in_memory:
        return f"{', '.join(in_memory)} would be in the memory of one process alone"
    torch = sys.modules.get("torch")
    if torch is not None and torch.cuda.is_initialized():
        return "CUDA is in use in this process, and a forked one could not use it"
    return ""


def _pin_inputs(pipeline: Pipeline, catalog: CatalogProtocol) -> None:
    """Choose the version of every input once, before another run can write a newer one."""
    for name in pipeline.inputs():
        resolve = getattr(catalog.get(name), "resolve_load_version", None)
        if resolve:
            with contextlib.suppress(DatasetError):  # the node that loads it says what is missing
                resolve()
