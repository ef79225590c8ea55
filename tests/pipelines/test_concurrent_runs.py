"""Two runs at once in one checkout: each loads what it saved itself, shared work is done once."""

import json
import shutil

import pandas as pd
import pytest

from project_runs import PROJECT, open_catalog

pytestmark = pytest.mark.slow
PARTS = ("zero_shot", "stage1", "stage2", "baseline")


@pytest.fixture
def start(warm_python, tmp_path):
    """Starts a recipe below ``tmp_path / "data"``."""

    def start_recipe(recipe, *params, options=()):
        given = ",".join((f"data_root={tmp_path / 'data'}", *params))
        command = ["-m", "kedro", "run", f"--pipelines={recipe}", "--env=test"]
        return warm_python.start(*command, f"--params={given}", *options, cwd=PROJECT)

    return start_recipe


def finish(*children):
    logs = ["".join(child.communicate(timeout=400)) for child in children]
    for child, log in zip(children, logs, strict=True):
        assert child.returncode == 0, log[-3000:]
    return logs


def record_of(root, label):
    (path,) = (root / "runs").glob(f"*{label}.json")
    return json.loads(path.read_text())


def test_the_same_recipe_twice_from_nothing(finished, start, tmp_path):
    """Both build the world, the backbone and the caches; the second has another split.

    The first is the finished run again, in another folder and process, and gives the same.
    """
    root = tmp_path / "data"
    logs = finish(
        start("two_stage", "run.label=first"),
        start("two_stage", "run.label=second", "two_stage.data.split.seed=7"),
    )
    told = "\n".join(logs)
    assert told.count("Building the pocket backbone") == 1
    assert told.count("Rendering the embedded world") == 1
    assert "is being built by process" in told
    records = {label: record_of(root, label) for label in ("first", "second")}
    for label, record in records.items():
        versions = {entry["version"] for entry in record["loaded"].values()} - {None}
        assert versions == {record["run"]}, label
        assert len(record["loaded"]) > 30
    folder = root / "03_primary" / "two_stage" / "images.parquet"
    tables = [
        pd.read_parquet(folder / record["run"] / "images.parquet") for record in records.values()
    ]
    assert not tables[0]["split"].equals(tables[1]["split"])
    first, second = (results_of(root, record["run"]) for record in records.values())
    assert first == results_of(finished), "as if it had run alone"
    name = "two_stage.stage2.checkpoint"
    assert second[name] != first[name]


def results_of(root, version=None):
    """Metrics and digests of weights of all parts, of one run or the newest."""
    metrics = [f"two_stage.{part}.metrics" for part in PARTS]
    checkpoints = [f"two_stage.{part}.checkpoint" for part in PARTS[1:]]
    names = [*metrics, *checkpoints]
    catalog = open_catalog(root, dict.fromkeys(names, version) if version else None)
    loaded = {name: catalog.load(name) for name in names}
    return loaded | {name: loaded[name].digest for name in checkpoints}


def test_different_recipes_at_once(finished, start, tmp_path):
    """One trains the checkpoint again that the other reads."""
    root = tmp_path / "data"
    shutil.copytree(finished, root, copy_function=shutil.copy2)
    finish(
        start("two_stage", "run.label=first", options=["--tags=stage2"]),
        start("robosense", "run.label=second"),
    )
    first, second = (record_of(root, label) for label in ("first", "second"))
    assert first["exit"] == second["exit"] == "success"
    versions = {name: entry["version"] for name, entry in second["loaded"].items()}
    assert versions["robosense.data.queries"] == second["run"]
    assert versions["two_stage.stage2.checkpoint"] in (
        open_catalog(finished).get("two_stage.stage2.checkpoint").resolve_load_version(),
        first["run"],
    )
    before, after = open_catalog(finished), open_catalog(root)
    name = "two_stage.stage2.checkpoint"
    assert first["saved"][name]["version"] == first["run"]
    assert after.load(name).digest == before.load(name).digest
