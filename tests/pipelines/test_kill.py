"""A real ``kedro run`` killed at random instants ends as one that nobody touched."""

import os
import random
import shutil
import signal
import subprocess
import sys
import time

import pytest

from project_runs import PROJECT, open_catalog

pytestmark = pytest.mark.slow
NUM_KILLS = int(os.environ.get("AQUATINT_KILLS", "4"))
PARTS = ("stage1", "stage2", "baseline")


def start(root):
    command = [sys.executable, "-m", "kedro", "run", "--pipelines=two_stage", "--env=test"]
    options = [f"--params=data_root={root}", "--only-missing-outputs"]
    environment = {**os.environ, "KEDRO_DISABLE_TELEMETRY": "1"}
    return subprocess.Popen(
        [*command, *options],
        cwd=PROJECT,
        env=environment,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


def without_results(finished, root):
    """A copy of the finished run's inputs and tables, without anything that was trained."""
    shutil.copytree(finished, root, copy_function=shutil.copy2)
    for layer in ("06_models", "07_model_output", "08_reporting"):
        shutil.rmtree(root / layer)


def test_a_run_killed_again_and_again_ends_bit_for_bit_as_an_uninterrupted_one(finished, tmp_path):
    root = tmp_path / "data"
    without_results(finished, root)
    rng = random.Random(0)
    kills = 0
    while kills < NUM_KILLS:
        child = start(root)
        time.sleep(rng.uniform(3.0, 9.0))
        if child.poll() is not None:
            break
        os.killpg(child.pid, signal.SIGKILL)
        child.communicate()
        kills += 1
    child = start(root)
    _, log = child.communicate(timeout=300)
    assert child.returncode == 0, log[-2000:]
    assert kills > 0
    expected, found = open_catalog(finished), open_catalog(root)
    for part in PARTS:
        name = f"two_stage.{part}.checkpoint"
        assert found.load(name).digest == expected.load(name).digest, part
        history = f"two_stage.{part}.history"
        assert found.load(history).equals(expected.load(history)), part
    for part in ("zero_shot", *PARTS):
        name = f"two_stage.{part}.metrics"
        assert found.load(name) == expected.load(name), part


def test_sigterm_writes_the_state_and_says_how_to_go_on(finished, tmp_path):
    root = tmp_path / "data"
    without_results(finished, root)
    child = subprocess.Popen(
        [
            sys.executable, "-m", "kedro", "run", "--pipelines=two_stage", "--env=test",
            "--nodes=two_stage.stage1.train_stage1",
            f"--params=data_root={root},two_stage.stage1.train.epochs=3000",
        ],
        cwd=PROJECT, stderr=subprocess.PIPE, text=True,
        env={**os.environ, "KEDRO_DISABLE_TELEMETRY": "1"},
    )  # fmt: skip
    states = root / "06_models" / ".states"
    deadline = time.monotonic() + 90
    while not list(states.rglob("manifest.json")) and time.monotonic() < deadline:
        time.sleep(0.2)
    child.send_signal(signal.SIGTERM)
    _, log = child.communicate(timeout=60)
    assert child.returncode == 128 + signal.SIGTERM, log[-2000:]
    assert "Give the same command again to go on" in log
    assert not (root / "06_models" / "two_stage" / "stage1" / "checkpoint").exists()
    assert list(states.rglob("manifest.json"))
