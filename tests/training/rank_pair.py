"""Two ranks that stay: ``torchrun rank_pair.py <folder>`` does one work order after the other.

A launch imports torch and transformers anew in three processes, which takes ten times as long as
the trainings of a test; that a launch works, tests/training/test_launch.py shows.
"""

import os
import subprocess
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


class RankPair:
    """Stands for ``launch`` where ``run`` asks for two processes; they start when first needed."""

    def __init__(self, folder):
        self._folder = folder
        self._log = folder / "log.txt"
        self._process = None
        self._num_orders = 0

    def __call__(self, function, arguments, run, scratch):
        if run.num_ranks == 1:
            return function(*arguments)
        assert run.num_ranks == 2
        self._process = self._process or self._start()
        order = self._folder / str(self._num_orders)
        self._num_orders += 1
        value = (name_function(function), arguments)
        publish_folder(order / "arguments", lambda folder: write_value(value, folder))
        deadline = time.monotonic() + PATIENCE_S
        while not is_complete(order / "result"):
            assert self._process.poll() is None, self._log.read_text()[-6000:]
            assert time.monotonic() < deadline, self._log.read_text()[-6000:]
            time.sleep(0.05)
        return read_value(order / "result")

    def _start(self):
        command = [
            sys.executable, "-m", "torch.distributed.run", "--nproc-per-node=2",
            "--rdzv-backend=c10d", "--rdzv-endpoint=localhost:0", "--local-addr=localhost",
            __file__, str(self._folder),
        ]  # fmt: skip
        with self._log.open("w") as log:
            return subprocess.Popen(
                command, stdin=subprocess.PIPE, stdout=log, stderr=log,
                env={**os.environ, "OMP_NUM_THREADS": "1"},
            )  # fmt: skip

    def stop(self):
        if self._process:
            (self._folder / "stop").touch()
            assert self._process.wait(PATIENCE_S) == 0, self._log.read_text()[-6000:]


def main():
    threading.Thread(target=_die_with_parent, daemon=True).start()
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
