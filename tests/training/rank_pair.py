"""Two ranks that stay: ``rank_pair.py <folder>`` in two processes, one work order after the other.

A launch imports torch and transformers anew in three processes, which takes ten times as long as
the trainings of a test; that a launch works, tests/training/test_launch.py shows.
"""

import os
import socket
import sys
import threading
import time
from functools import partial
from pathlib import Path

import torch

from aquatint import collective
from aquatint.storage import is_complete, publish_folder
from aquatint.training.work_order import find_function, name_function, read_value, write_value
from aquatint.training.worker import _die_with_parent

PATIENCE_S = 600
NUM_RANKS = 2


def start_ranks(warm_python, *command):
    """Start the command on two ranks, told of each other as ``torch.distributed.run`` tells."""
    with socket.socket() as probe:
        probe.bind(("localhost", 0))
        port = probe.getsockname()[1]
    shared = {
        **os.environ, "MASTER_ADDR": "localhost", "MASTER_PORT": str(port),
        "WORLD_SIZE": str(NUM_RANKS), "LOCAL_WORLD_SIZE": str(NUM_RANKS),
    }  # fmt: skip
    return [
        warm_python.start(
            *command,
            cwd=Path(__file__).parent,
            env={**shared, "RANK": str(rank), "LOCAL_RANK": str(rank)},
        )
        for rank in range(NUM_RANKS)
    ]


def wait_for_ranks(ranks):
    """Wait until all have ended; the first that fails ends the wait, as the others may hang."""
    deadline = time.monotonic() + PATIENCE_S
    while any(rank.poll() is None for rank in ranks):
        assert time.monotonic() < deadline, _logs(ranks)
        if any(rank.poll() for rank in ranks):
            break
        time.sleep(0.05)
    stop_ranks(ranks)
    assert [rank.returncode for rank in ranks] == [0] * NUM_RANKS, _logs(ranks)


def stop_ranks(ranks):
    for rank in ranks:
        rank.kill()
        rank.wait()


def _logs(ranks):
    return "\n".join(rank.errors[-6000:] for rank in ranks)


class RankPair:
    """Stands for ``launch`` where ``run`` asks for two processes; they start when first needed."""

    def __init__(self, folder, warm_python):
        self._folder = folder
        self._warm_python = warm_python
        self._ranks = []
        self._num_orders = 0

    def __call__(self, function, arguments, run, scratch):
        if run.num_ranks == 1:
            return function(*arguments)
        assert run.num_ranks == NUM_RANKS
        self._ranks = self._ranks or start_ranks(self._warm_python, __file__, self._folder)
        order = self._folder / str(self._num_orders)
        self._num_orders += 1
        value = (name_function(function), arguments)
        publish_folder(order / "arguments", lambda folder: write_value(value, folder))
        deadline = time.monotonic() + PATIENCE_S
        while not is_complete(order / "result"):
            assert all(rank.poll() is None for rank in self._ranks), _logs(self._ranks)
            assert time.monotonic() < deadline, _logs(self._ranks)
            time.sleep(0.05)
        return read_value(order / "result")

    def stop(self):
        if self._ranks:
            (self._folder / "stop").touch()
            wait_for_ranks(self._ranks)


def main():
    threading.Thread(target=_die_with_parent, daemon=True).start()
    torch.set_num_threads(1)
    folder, number = Path(sys.argv[1]), 0
    collective.join_ranks(torch.device("cpu"))
    while True:
        order = folder / str(number)
        while not is_complete(order / "arguments"):
            if (folder / "stop").exists():
                collective.leave_ranks()
                return
            time.sleep(0.05)
        function, arguments = read_value(order / "arguments")
        result = find_function(function)(*arguments)
        if collective.is_first():
            publish_folder(order / "result", partial(write_value, result))
        number += 1


if __name__ == "__main__":
    main()
