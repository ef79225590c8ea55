"""A builder waits for another one, and a dead one holds nothing."""

import os
import signal
import subprocess
import sys
import threading
import time

from aquatint import locks
from aquatint.locks import one_builder

HOLD = """
import sys, time
from pathlib import Path
from aquatint.locks import one_builder
with one_builder(Path(sys.argv[1])):
    print("held", flush=True)
    time.sleep(60)
"""


def test_the_second_builder_waits_and_is_told_for_whom(tmp_path, monkeypatch):
    order, told = [], []
    # Not caplog: a run of another test may have set the project's log level.
    monkeypatch.setattr(locks.logger, "info", lambda text, *values: told.append(text % values))

    def second():
        with one_builder(tmp_path / "thing"):
            order.append("second")

    with one_builder(tmp_path / "thing"):
        thread = threading.Thread(target=second)
        thread.start()
        deadline = time.monotonic() + 30
        while not told and time.monotonic() < deadline:
            time.sleep(0.02)
        order.append("first")
    thread.join(timeout=10)
    assert order == ["first", "second"]
    assert f"thing is being built by process {os.getpid()} on " in told[0]


def test_the_lock_of_a_killed_process_is_free(tmp_path):
    child = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(tmp_path / "thing")], stdout=subprocess.PIPE, text=True
    )
    assert child.stdout.readline() == "held\n"
    child.send_signal(signal.SIGKILL)
    child.wait()
    started = time.monotonic()
    with one_builder(tmp_path / "thing"):
        assert time.monotonic() - started < 5


def test_other_artefacts_are_not_held_up(tmp_path):
    with one_builder(tmp_path / "one"), one_builder(tmp_path / "other"):
        pass


UNGUARDED = """
import sys
from pathlib import Path
from aquatint.locks import one_builder
from aquatint.processes import map_in_processes
with one_builder(Path(sys.argv[1])):
    print(list(map_in_processes(abs, [-1, -2], 2)))
"""


def test_a_script_without_a_main_guard_is_told_so_and_does_not_wait_for_itself(tmp_path):
    script = tmp_path / "script.py"
    script.write_text(UNGUARDED)
    run = subprocess.run(
        [sys.executable, script, tmp_path / "thing"], capture_output=True, text=True, timeout=60
    )
    assert run.returncode
    assert 'Put what the script does below `if __name__ == "__main__":`' in run.stderr
