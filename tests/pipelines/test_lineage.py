"""Records of runs, chains of lineage, and the command that makes an artefact again."""

import json
import os
import shlex
import shutil
import subprocess
import sys

import pytest

from aquatint.cli import trace
from project_runs import PROJECT, open_catalog, run_project

pytestmark = pytest.mark.slow


def test_a_run_leaves_one_record_with_versions_and_times(finished):
    records = sorted((finished / "runs").glob("*.json"))
    record = json.loads(records[0].read_text())
    assert record["exit"] == "success"
    assert record["env"] == "test"
    assert record["saved"]["two_stage.stage1.checkpoint"] == record["run"]
    assert record["loaded"]["two_stage.stage1.checkpoint"] == record["run"]
    assert record["node_seconds"]["two_stage.stage1.train_stage1"] > 0
    assert record["seconds"] >= max(record["node_seconds"].values())
    assert set(record["code"]) == {"commit", "difference"}


def test_a_failed_run_leaves_a_record_that_says_why(tmp_path):
    world = {"two_stage": {"data": {"ingest": {"mode": "strict"}}}}
    with pytest.raises(ValueError, match="record"):
        run_project(tmp_path, tags=["ingest"], **world)
    record = json.loads(next((tmp_path / "runs").glob("*.json")).read_text())
    assert record["exit"] == "error"
    assert "ValueError" in record["error"]


def test_the_chain_of_a_checkpoint_reaches_the_raw_files(finished):
    steps = trace("two_stage.stage2.checkpoint", None, open_catalog(finished))
    names = {step.name for step in steps}
    assert names >= {"two_stage.stage1.checkpoint", "two_stage.data.images", "two_stage.data.raw"}
    inputs = {step.name for step in steps if step.node is None}
    assert "two_stage.data.raw" in inputs
    assert "backbone" in inputs


def test_the_printed_command_makes_the_same_checkpoint_again(finished, tmp_path):
    root = tmp_path / "data"
    shutil.copytree(finished, root, copy_function=shutil.copy2)
    environment = {**os.environ, "KEDRO_DISABLE_TELEMETRY": "1"}

    def kedro(*arguments):
        result = subprocess.run(
            [sys.executable, "-m", "kedro", *arguments],
            cwd=PROJECT, env=environment, capture_output=True, text=True,
        )  # fmt: skip
        assert result.returncode == 0, result.stderr[-2000:]
        return result.stdout

    name, place = "two_stage.stage2.checkpoint", f"--params=data_root={root}"
    before = open_catalog(root).load(name)
    printed = kedro("lineage", name, "--env=test", place).strip().splitlines()[-1]
    command = shlex.split(printed)
    assert command[:2] == ["kedro", "run"]
    kedro(*command[1:], place)
    after = open_catalog(root).load(name)
    assert after.lineage["version"] != before.lineage["version"]
    assert after.digest == before.digest
