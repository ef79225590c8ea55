"""Commands that a warm process forks are processes like others."""

import os
import signal
import sys
import time

import pytest

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(sys.platform != "linux", reason="processes are forked"),
]
TELL = """
import os, sys
print(sys.argv, os.getcwd(), os.environ["COLOUR"], "HOME" in os.environ)
print(os.getsid(0) == os.getpid())
print("an error", file=sys.stderr)
sys.exit(int(sys.argv[1]))
"""
LISTEN = """
import signal, sys, time
signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
print("listening", file=sys.stderr, flush=True)
time.sleep(60)
"""


@pytest.mark.parametrize("status", [0, 7])
def test_a_command_has_its_own_arguments_place_variables_and_files(warm_python, tmp_path, status):
    command = warm_python.start("-c", TELL, status, cwd=tmp_path, env={"COLOUR": "red"})
    output, errors = command.communicate()
    assert command.returncode == command.poll() == status
    assert output == f"['-c', '{status}'] {tmp_path} red False\nTrue\n"
    assert errors == "an error\n"


def test_a_script_is_run_as_python_runs_it(warm_python, tmp_path):
    (tmp_path / "beside.py").write_text("WORD = 'found'")
    script = tmp_path / "script.py"
    script.write_text("import sys, beside\nif __name__ == '__main__': sys.exit(beside.WORD)")
    command = warm_python.start(script, cwd=tmp_path)
    assert command.wait() == 1
    assert command.errors == "found\n"


def test_an_error_ends_a_command_with_its_trace(warm_python, tmp_path):
    command = warm_python.start("-c", "1 / 0", cwd=tmp_path)
    assert command.wait() == 1
    assert "ZeroDivisionError" in command.errors


@pytest.mark.parametrize(
    ("number", "status"), [(signal.SIGTERM, 143), (signal.SIGKILL, -signal.SIGKILL)]
)
def test_a_command_gets_its_signals(warm_python, tmp_path, number, status):
    command = warm_python.start("-c", LISTEN, cwd=tmp_path)
    while "listening" not in command.errors:
        assert command.poll() is None
        time.sleep(0.01)
    os.kill(command.pid, number)
    assert command.wait() == status


def test_a_command_s_input_ends_with_the_process_that_started_it(warm_python, tmp_path):
    code = "import sys; print('waits', file=sys.stderr, flush=True); sys.stdin.read()"
    command = warm_python.start("-c", code, cwd=tmp_path)
    while "waits" not in command.errors:
        time.sleep(0.01)
    assert command.poll() is None
    os.close(command._input)
    command._input = os.open(os.devnull, os.O_RDONLY)
    assert command.wait() == 0
