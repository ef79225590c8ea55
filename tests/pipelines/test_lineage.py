"""Records of runs, chains of lineage, and the command that makes an artefact again."""

import json
import shlex
import shutil

import pytest

from aquatint.ancestry import flatten, nest, split_writable, trace
from project_runs import PROJECT, open_catalog, run_project

pytestmark = pytest.mark.slow


def test_a_run_leaves_one_record_with_versions_and_times(finished):
    records = sorted((finished / "runs").glob("*.json"))
    record = json.loads(records[0].read_text())
    assert record["exit"] == "success"
    assert record["env"] == "test"
    saved = record["saved"]["two_stage.stage1.checkpoint"]
    assert saved["version"] == record["run"]
    assert record["loaded"]["two_stage.stage1.checkpoint"] == saved
    kept = open_catalog(finished).get("two_stage.stage1.checkpoint").read_provenance()
    assert saved["digest"] == kept["content"]
    assert record["parameters"]["two_stage.stage1.train"]["epochs"] == 2
    assert record["parameters"]["run"]["seed"] == 0
    assert record["device"] == "cpu"
    assert 100 < record["peak_memory_mb"]["run"] < 10_000
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


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"learning_rate": 1.5e-3, "betas": [0.8, 0.9]},
    ],
    ids=["same parameters", "another rate and a list"],
)
def test_the_printed_command_makes_the_same_checkpoint_again(
    finished, warm_python, tmp_path, changes
):
    root = tmp_path / "data"
    shutil.copytree(finished, root, copy_function=shutil.copy2)
    name, place = "two_stage.stage1.checkpoint", f"--params=data_root={root}"
    if changes:
        run_project(root, tags=["train"], two_stage={"stage1": {"train": {"optimizer": changes}}})
    before = open_catalog(root).load(name)
    printed = kedro(warm_python, "lineage", name, "--env=test", place).strip()
    command = shlex.split(printed.splitlines()[-1])
    assert command[:2] == ["kedro", "run"]
    assert ("conf/local" in printed) == ("betas" in changes)
    assert ("learning_rate=0.0015" in printed) == ("learning_rate" in changes)
    if "betas" in changes:
        lines = printed.partition("conf/local/parameters.yml:")[2].rpartition("kedro run")[0]
        conf = tmp_path / "conf"
        shutil.copytree(PROJECT / "conf", conf)
        (conf / "test" / "parameters_then.yml").write_text(lines)
        command.append(f"--conf-source={conf}")
    kedro(warm_python, *command[1:])
    after = open_catalog(root).load(name)
    assert after.lineage["version"] != before.lineage["version"]
    assert after.digest == before.digest


def kedro(warm_python, *arguments):
    command = warm_python.start("-m", "kedro", *arguments, cwd=PROJECT)
    assert command.wait() == 0, command.errors[-2000:]
    return command.output


def test_values_are_split_by_what_the_command_line_can_carry():
    values = {"a": {"b": 1, "c": [1, 2]}, "d": True, "e": None, "f": "x,y", "g": "z"}
    given, unwritable = split_writable(flatten(values))
    assert given == {"a.b": 1, "d": "true", "g": "z"}
    assert nest(unwritable) == {"a": {"c": [1, 2]}, "e": None, "f": "x,y"}


def test_a_run_that_a_signal_ends_leaves_a_record(warm_python, tmp_path):
    code = (
        "import sys; sys.path.insert(0, 'tests'); import aquatint.nodes.ingest as i, os, signal;"
        "from project_runs import run_project;"
        "from aquatint.training.interruption import Interruption;"
        "stop = lambda *a: sys.exit(143);"
        "signal.signal(signal.SIGTERM, stop);"
        "import aquatint.io.world as w;"
        "original = w.GeoTextWorldDataset.load;"
        "w.GeoTextWorldDataset.load = lambda self: os.kill(os.getpid(), signal.SIGTERM);"
        f"run_project({str(tmp_path)!r}, tags=['ingest'])"
    )
    assert warm_python.start("-c", code, cwd=PROJECT).wait() == 143
    record = json.loads(next((tmp_path / "runs").glob("*.json")).read_text())
    assert record["exit"] == "interrupted"
