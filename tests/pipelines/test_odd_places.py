"""A run in an odd place: unicode and spaces in paths, no home, no network, another locale."""

import os
import subprocess
import sys

import pytest

from project_runs import PROJECT, open_catalog

pytestmark = pytest.mark.slow
# Takes the place of every way out; a run that asks for the network would end here.
NO_NETWORK = """
import socket, sys
def refuse(*arguments, **options):
    raise OSError("no network in this test")
socket.socket.connect = refuse
socket.create_connection = refuse
socket.getaddrinfo = refuse
from kedro.framework.cli.cli import main
sys.argv[0] = "kedro"
sys.exit(main())
"""


def test_a_run_needs_neither_home_nor_network_nor_a_plain_path(finished, tmp_path):
    root = tmp_path / "données d'été [1] 航空"
    home = tmp_path / "home"
    home.mkdir(mode=0o500)
    environment = {
        "PATH": os.environ["PATH"],
        "HOME": str(home),
        "LC_ALL": "C",
        "TZ": "Asia/Kathmandu",
        "KEDRO_DISABLE_TELEMETRY": "1",
        **{k: v for k, v in os.environ.items() if k in ("PYTHONPATH", "VIRTUAL_ENV")},
    }
    result = subprocess.run(
        [
            sys.executable, "-c", NO_NETWORK, "run", "--pipelines=two_stage", "--env=test",
            f"--params=data_root={root}", "--tags=ingest,split,features,stage1",
        ],
        cwd=PROJECT, env=environment, capture_output=True, text=True, umask=0o077,
    )  # fmt: skip
    assert result.returncode == 0, result.stderr[-3000:]
    assert list(home.iterdir()) == []
    name = "two_stage.stage1.checkpoint"
    assert open_catalog(root).load(name).digest == open_catalog(finished).load(name).digest
