"""A real ``kedro run`` killed at random instants ends as one that nobody touched."""

import os
import random
import shutil
import signal
import subprocess
import sys
import time

import pytest

from aquatint.pipeline_registry import register_pipelines
from aquatint.prune import delete_leftover, leftovers
from project_runs import PROJECT, open_catalog

pytestmark = pytest.mark.slow
_KILLS = os.environ.get("AQUATINT_KILLS", "2")
NUM_KILLS = 30 if _KILLS == "all" else int(_KILLS)
PARTS = ("stage1", "stage2", "baseline")
RESULT_LAYERS = ("06_models", "07_model_output", "08_reporting")


@pytest.fixture
def start(warm_python):
    """Starts the whole recipe below a data root."""
    command = ["-m", "kedro", "run", "--pipelines=two_stage", "--env=test"]

    def start_below(root):
        options = [f"--params=data_root={root}", "--only-missing-outputs"]
        return warm_python.start(*command, *options, cwd=PROJECT)

    return start_below


def without_results(finished, root):
    """A copy of the finished run's inputs and tables, without anything that was trained."""
    shutil.copytree(finished, root, copy_function=shutil.copy2)
    for layer in RESULT_LAYERS:
        shutil.rmtree(root / layer)


def result_files(root):
    # os.walk, not rglob: a folder that the run deletes meanwhile is no error.
    walks = (os.walk(root / layer) for layer in RESULT_LAYERS)
    return {f"{folder}/{name}" for walk in walks for folder, _, names in walk for name in names}


def wait_for_new_files(child, root, number):
    """Until the run has written so many: an instant that no machine's speed puts past its end."""
    before, new = result_files(root), set()
    while child.poll() is None and len(new) < number:
        time.sleep(0.005)
        new |= result_files(root) - before


def test_a_run_killed_again_and_again_ends_bit_for_bit_as_an_uninterrupted_one(
    finished, start, tmp_path
):
    root = tmp_path / "data"
    without_results(finished, root)
    num_files = len(result_files(finished))
    rng = random.Random(0)
    kills = 0
    while kills < NUM_KILLS:
        child = start(root)
        wait_for_new_files(child, root, rng.randint(0, num_files // NUM_KILLS))
        time.sleep(rng.uniform(0.0, 0.3))
        if child.poll() is not None:
            break
        os.killpg(child.pid, signal.SIGKILL)
        child.communicate()
        kills += 1
    child = start(root)
    _, log = child.communicate(timeout=300)
    assert child.returncode == 0, log[-2000:]
    assert kills > 0
    assert_same_results(finished, root, PARTS)
    zero_shot = "two_stage.zero_shot.metrics"
    assert open_catalog(root).load(zero_shot) == open_catalog(finished).load(zero_shot)


def assert_same_results(finished, root, parts):
    expected, found = open_catalog(finished), open_catalog(root)
    for part in parts:
        name = f"two_stage.{part}.checkpoint"
        assert found.load(name).digest == expected.load(name).digest, part
        history = f"two_stage.{part}.history"
        assert found.load(history).equals(expected.load(history)), part
        metrics = f"two_stage.{part}.metrics"
        assert found.load(metrics) == expected.load(metrics), part


def test_killed_before_within_and_after_every_write_ends_the_same(finished, warm_python, tmp_path):
    """Stage 1; with AQUATINT_KILLS=all every instant of each write of all trainings."""
    root, log = tmp_path / "data", tmp_path / "kills.txt"
    without_results(finished, root)
    is_all = os.environ.get("AQUATINT_KILLS") == "all"
    tags, phases = ([], "before within after") if is_all else (["stage1"], "one")
    script = PROJECT / "tests" / "pipelines" / "kill_at_writes.py"
    killed = warm_python.start(
        script, "two_stage", root, log, *tags,
        cwd=PROJECT, env={**os.environ, "AQUATINT_KILL_PHASES": phases},
    )  # fmt: skip
    assert killed.wait() == 0, killed.errors[-3000:]
    points = [line.split() for line in log.read_text().splitlines()]
    names = {name for _, name in points}
    assert len(points) >= (3 if is_all else 1) * len(names), "instants of each write"
    assert {phase for phase, _ in points} == {"before", "within", "after"}
    kinds = ("states", "history.jsonl", "checkpoint", "provenance.json", "metrics.json", "runs")
    for kind in kinds:
        assert any(kind in name for name in names), kind
    assert len(names) >= 12
    assert_same_results(finished, root, ["stage1"] if tags else PARTS)
    delete_what_was_left_behind(root)


def delete_what_was_left_behind(root):
    """Writes cut off, and the state of a training killed after its last save."""
    catalog = open_catalog(root)
    names = register_pipelines()["two_stage"].datasets()
    left = leftovers(catalog, names, root, min_age_s=0.0)
    assert any(".tmp-" in path.name for path in left)
    assert any(path.parent.parent.parent.name == ".states" for path in left)
    assert leftovers(catalog, names, root, min_age_s=3600.0) == []
    for path in left:
        delete_leftover(path)
    assert not list(root.rglob(".tmp-*"))
    assert not list((root / "06_models" / ".states").rglob("step-*"))
    assert catalog.exists("two_stage.stage1.checkpoint")


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
