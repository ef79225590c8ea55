"""``kedro run`` with two nodes at a time ends as one node after the other does."""

import json
import shutil
import signal
import subprocess
import sys
import time

import pytest

from project_runs import PROJECT, open_catalog
from warm_server import is_alive

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(sys.platform != "linux", reason="processes are forked"),
]
PARTS = ("stage1", "stage2", "baseline")
PATIENCE = 120


LONG = "two_stage.baseline.train.epochs=12"
TRAININGS = "--nodes=two_stage.stage1.train_stage1,two_stage.baseline.train_baseline"


@pytest.fixture
def start(warm_python, untrained):
    """Starts two nodes at a time on the data root that holds nothing that was trained."""
    command = ["-m", "kedro", "run", "--pipelines=two_stage", "--env=test"]

    def start_with(*params, options=("--only-missing-outputs",)):
        given = ",".join((f"data_root={untrained}", "run.concurrent_nodes=2", *params))
        return warm_python.start(*command, f"--params={given}", *options, cwd=PROJECT)

    return start_with


@pytest.fixture
def untrained(finished, tmp_path):
    """A copy of the finished run's inputs and tables, without anything that was trained."""
    root = tmp_path / "data"
    shutil.copytree(finished, root, copy_function=shutil.copy2)
    for layer in ("06_models", "07_model_output", "08_reporting"):
        shutil.rmtree(root / layer)
    shutil.rmtree(root / "runs")
    return root


def assert_same_checkpoints(finished, root):
    expected, found = open_catalog(finished), open_catalog(root)
    for part in PARTS:
        name = f"two_stage.{part}.checkpoint"
        assert found.load(name).digest == expected.load(name).digest, part


def finish(child):
    _, log = child.communicate(timeout=400)
    assert child.returncode == 0, log[-3000:]
    return log


def wait_for_line(child, text):
    """Wait until the run says this."""
    deadline = time.monotonic() + PATIENCE
    while text not in child.errors:
        assert child.poll() is None, f"ended without saying {text!r}: {child.errors[-3000:]}"
        assert time.monotonic() < deadline, child.errors[-3000:]
        time.sleep(0.02)


def children_of(process):
    listed = subprocess.run(
        ["ps", "--ppid", str(process), "-o", "pid="], capture_output=True, text=True, check=False
    )
    return [int(pid) for pid in listed.stdout.split()]


def test_the_same_checkpoints_and_a_whole_record(finished, untrained, start):
    log = finish(start())
    assert_same_checkpoints(finished, untrained)
    (path,) = (untrained / "runs").glob("*.json")
    record = json.loads(path.read_text())
    assert record["exit"] == "success"
    assert "two_stage.stage1.checkpoint" in record["loaded"]
    assert "two_stage.reporting.report" in record["saved"]
    assert {f"two_stage.{part}.train_{part}" for part in PARTS} <= set(record["node_seconds"])
    assert record["peak_memory_mb"]["run"] > 100
    assert "Wrote " in log
    catalog = open_catalog(untrained)
    metrics = "two_stage.stage2.metrics"
    assert catalog.load(metrics) == open_catalog(finished).load(metrics)


def test_a_signal_saves_states_the_command_goes_on_and_a_kill_leaves_no_process(untrained, start):
    child = start(LONG, options=[TRAININGS])
    wait_for_line(child, "train_baseline: epoch 1/12")
    child.send_signal(signal.SIGTERM)
    _, log = child.communicate(timeout=PATIENCE)
    assert child.returncode == 128 + signal.SIGTERM, log[-3000:]
    assert "train_baseline: Stopped by SIGTERM" in log
    (path,) = (untrained / "runs").glob("*.json")
    assert json.loads(path.read_text())["exit"] == "interrupted"

    child = start(LONG, options=[TRAININGS])
    wait_for_line(child, "train_baseline: Resuming at step")
    processes = children_of(child.pid)
    assert processes
    child.kill()
    child.communicate(timeout=PATIENCE)
    deadline = time.monotonic() + PATIENCE
    while any(is_alive(process) for process in processes):
        assert time.monotonic() < deadline, "a process outlived the run"
        time.sleep(0.1)
