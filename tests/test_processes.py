"""Work shared among processes: order, what all of them take, errors, and their end."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from aquatint.processes import map_in_processes, map_with_shared

SLOW_S = 60.0


def square(task):
    return task**2


def where_from(shared, task):
    shared.append(task)
    return os.getpid(), len(shared)


def fail_at_one(task):
    if task == 1:
        raise ValueError("Task 1 holds no frame.")
    time.sleep(SLOW_S if task else 0)
    return task


def niceness(task):
    return os.nice(0)


def leave(task):
    os._exit(9)


def test_results_come_in_order_whatever_the_number_of_processes():
    tasks = list(range(5))
    for number in (1, 2):
        assert list(map_in_processes(square, tasks, number)) == [0, 1, 4, 9, 16]
    assert list(map_in_processes(square, [], 2)) == []


def test_processes_leave_the_cores_to_trainings():
    found = list(map_in_processes(niceness, [0, 1], 2))
    assert min(found) >= min(19, os.nice(0) + 1)
    assert list(map_in_processes(niceness, [0, 1], 2, is_awaited=True)) == 2 * [os.nice(0)]


def test_each_process_gets_what_all_share_once():
    given = ["start"]
    found = list(map_with_shared(where_from, given, list(range(6)), 2))
    assert given == ["start"]
    assert os.getpid() not in {process for process, _ in found}
    # Whoever did a task kept what it was given: nothing was handed over again.
    assert max(size for _, size in found) >= 1 + 6 // 2


def test_a_failed_task_ends_all_others_with_its_message():
    started = time.monotonic()
    with pytest.raises(ValueError, match="Task 1 holds no frame"):
        list(map_in_processes(fail_at_one, [0, 1, 2, 3], 2))
    assert time.monotonic() - started < SLOW_S / 2


def test_a_process_that_is_ended_from_outside_is_told():
    with pytest.raises(RuntimeError, match="One of 2 processes was ended from outside"):
        list(map_in_processes(leave, [0, 1], 2))


ABANDONED = """
import os, signal, sys, time
from aquatint.processes import map_in_processes

def wait(task):
    print(os.getpid(), flush=True)
    time.sleep(120)

if __name__ == "__main__":
    # In case the tests run in the background of a shell, which ignores Ctrl-C there.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    list(map_in_processes(wait, [0, 1], 2))
"""


@pytest.mark.parametrize("signal_name", ["SIGKILL", "SIGINT"])
def test_no_process_outlives_the_one_that_started_it(tmp_path, signal_name):
    script = tmp_path / "script.py"
    script.write_text(ABANDONED)
    with subprocess.Popen(
        [sys.executable, script], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    ) as parent:
        children = [int(parent.stdout.readline()) for _ in range(2)]
        parent.send_signal(getattr(signal, signal_name))
        parent.wait(timeout=30)
    deadline = time.monotonic() + 30
    while any(is_alive(child) for child in children):
        assert time.monotonic() < deadline
        time.sleep(0.05)


def is_alive(process):
    status = Path(f"/proc/{process}/stat")
    try:
        return status.read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


@pytest.mark.parametrize("module", ["aquatint.settings", "aquatint.training.worker"])
def test_commands_and_ranks_look_for_garbage_seldom(module):
    called = (
        "" if module == "aquatint.settings" else "module._work = lambda *_: None; module.main()"
    )
    code = (
        f"import gc, sys; sys.argv[1:] = ['/nowhere']; import {module} as module\n{called}\n"
        "sys.exit(0 if gc.get_threshold() == (20_000, 20, 20) else str(gc.get_threshold()))"
    )
    environment = {**os.environ, "RANK": "0", "LOCAL_RANK": "0"}
    read, write = os.pipe()  # a rank ends when its input does
    result = subprocess.run(
        [sys.executable, "-c", code], env=environment, stdin=read, capture_output=True
    )
    os.close(read)
    os.close(write)
    assert result.returncode == 0, result.stderr
