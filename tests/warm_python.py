"""Commands of ``python`` that start in a tenth of a second, for tests that start many.

A command imports for ten seconds what the process of ``warm_server`` holds already; forked from
there it is a process like another: its own arguments, variables, files, signals and end. Only the
import is not repeated, for which each kind of command has a test of its own that starts an
interpreter.
"""

import json
import os
import select
import signal
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from aquatint.locks import one_builder

HERE = Path(__file__).parent
PATIENCE_S = 300


def main_process():
    """The process that outlives all workers of this run of the tests."""
    return os.getppid() if "PYTEST_XDIST_WORKER" in os.environ else os.getpid()


class WarmPython:
    """Starts commands, all workers' from one server, which begins when it is first needed."""

    def __init__(self, folder):
        self._folder = folder
        self._socket = folder / "warm"

    def start(self, *arguments, cwd, env=None):
        """As ``subprocess.Popen([sys.executable, *arguments], ...)``, in a session of its own."""
        self._serve()
        variables = {**(env or os.environ), "KEDRO_DISABLE_TELEMETRY": "1"}
        return WarmProcess(self._socket, list(map(str, arguments)), str(cwd), variables)

    def _serve(self):
        if self._socket.exists():
            return
        with one_builder(self._socket):
            if not self._socket.exists():
                self._start_server()

    def _start_server(self):
        place = self._folder / "warm-new"
        with (self._folder / "warm.log").open("w") as log:
            server = subprocess.Popen(
                [sys.executable, HERE / "warm_server.py", place, str(main_process())],
                stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=log, text=True,
                start_new_session=True,
            )  # fmt: skip
        assert server.stdout.readline() == "ready\n", (self._folder / "warm.log").read_text()
        server.stdout.close()
        place.rename(self._socket)


class WarmProcess:
    """As ``subprocess.Popen`` of a command, of which it has what tests ask for.

    In a session of its own, with a pipe as input that ends with this process. What it writes goes
    to files, which nobody needs to empty while it runs.
    """

    def __init__(self, place, arguments, cwd, env):
        self.returncode = None
        self._output, self._errors = (tempfile.mkstemp(dir=place.parent)[0] for _ in range(2))
        read, self._input = os.pipe()
        self._server, self._told = socket.socket(socket.AF_UNIX), b""
        self._server.connect(str(place))
        socket.send_fds(self._server, [b"!"], [read, self._output, self._errors])
        os.close(read)
        request = {"arguments": arguments, "cwd": cwd, "env": env}
        self._server.sendall(json.dumps(request).encode() + b"\n")
        self.pid = self._next_number(PATIENCE_S)

    def _next_number(self, timeout):
        """What the server tells next; None if it does not within these seconds."""
        self._server.settimeout(timeout)
        try:
            while b"\n" not in self._told:
                more = self._server.recv(64)
                assert more, "the server of warm commands is gone"
                self._told += more
        except (TimeoutError, BlockingIOError):
            return None
        number, _, self._told = self._told.partition(b"\n")
        return int(number)

    def poll(self):
        if self.returncode is None:
            self.returncode = self._next_number(0.0)
            if self.returncode is not None:
                self._close()
        return self.returncode

    def wait(self, timeout=PATIENCE_S):
        deadline = time.monotonic() + timeout
        while self.poll() is None:
            if time.monotonic() > deadline:
                raise subprocess.TimeoutExpired("a warm command", timeout)
            select.select([self._server], [], [], 0.2)
        return self.returncode

    def communicate(self, timeout=PATIENCE_S):
        """Wait for the end; return what was written to output and error."""
        self.wait(timeout)
        return self.output, self.errors

    @property
    def output(self):
        return _content(self._output)

    @property
    def errors(self):
        """What stands in standard error so far."""
        return _content(self._errors)

    def send_signal(self, number):
        if self.poll() is None:
            os.kill(self.pid, number)

    def kill(self):
        self.send_signal(signal.SIGKILL)

    def _close(self):
        self._server.close()
        os.close(self._input)


def _content(file):
    return os.pread(file, os.fstat(file).st_size, 0).decode()
