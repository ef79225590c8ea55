"""Versions that nothing kept descends from, and only those, can be deleted."""

import shutil

import pytest

from aquatint.prune import delete_version, prunable_versions
from project_runs import open_catalog, run_project

pytestmark = pytest.mark.slow
STAGE1, STAGE2 = "two_stage.stage1.checkpoint", "two_stage.stage2.checkpoint"


@pytest.fixture(scope="module")
def three_runs(finished, tmp_path_factory):
    """Stage 1 twice and stage 2 twice: the second stage 2 still descends from the first stage 1."""
    root = tmp_path_factory.mktemp("prune") / "data"
    shutil.copytree(finished, root, copy_function=shutil.copy2)
    nodes = {"two_stage": {"stage2": {"train": {"epochs": 1}}}}
    run_project(root, tags=["stage2"], **nodes)
    run_project(root, tags=["stage1"])
    return root


def stored(root, name):
    folder = root / "06_models" / "/".join(name.split(".")[:2]) / "checkpoint"
    return sorted(path.name for path in folder.iterdir() if not path.name.startswith("."))


def found(root, keep=1, age=0.0):
    catalog = open_catalog(root)
    return prunable_versions(catalog, [STAGE1, STAGE2, "two_stage.stage2.metrics"], keep, age)


def test_the_first_of_two_goes_unless_something_kept_descends_from_it(three_runs):
    first_stage1, _ = stored(three_runs, STAGE1)
    first_stage2, second_stage2 = stored(three_runs, STAGE2)
    named = {(version.name, version.version) for version in found(three_runs)}
    assert (STAGE2, first_stage2) in named
    assert (STAGE2, second_stage2) not in named
    assert (STAGE1, first_stage1) not in named, "the kept stage 2 was trained from it"
    assert all(version.megabytes > 0 for version in found(three_runs))


def test_more_can_be_kept(three_runs):
    assert found(three_runs, keep=2) == []


def test_young_versions_stay(three_runs):
    assert found(three_runs, age=3600.0) == []


def test_deleting_leaves_what_is_kept_loadable(three_runs, tmp_path):
    root = tmp_path / "data"
    shutil.copytree(three_runs, root, copy_function=shutil.copy2)
    first_stage2 = stored(root, STAGE2)[0]
    for version in found(root):
        delete_version(version)
    assert first_stage2 not in stored(root, STAGE2)
    assert len(stored(root, STAGE1)) == 2
    catalog = open_catalog(root)
    assert catalog.load(STAGE2).lineage["parents"][0]["version"] == stored(root, STAGE1)[0]
    assert found(root) == []


def test_a_version_whose_writing_was_cut_off_goes(three_runs, tmp_path):
    root = tmp_path / "data"
    shutil.copytree(three_runs, root, copy_function=shutil.copy2)
    torn = root / "06_models/two_stage/stage1/checkpoint/2099-01-01T00.00.00.000Z"
    (torn / "checkpoint").mkdir(parents=True)
    (torn / "checkpoint" / "weights.safetensors").write_bytes(b"x")
    assert (STAGE1, torn.name) in {(version.name, version.version) for version in found(root)}


def test_the_command_deletes_only_when_told(three_runs, tmp_path):
    from click.testing import CliRunner
    from kedro.framework.startup import bootstrap_project

    from aquatint.cli import cli
    from project_runs import PROJECT

    root = tmp_path / "data"
    shutil.copytree(three_runs, root, copy_function=shutil.copy2)
    bootstrap_project(PROJECT)
    # The report was not made anew, so the first stage 2 stays as its ancestor; its merge can go.
    name = "two_stage.stage2.merged_backbone"
    folder = root / "06_models/two_stage/stage2/merged_backbone"
    before = sorted(path.name for path in folder.iterdir())
    arguments = ["prune", "--env=test", f"--params=data_root={root}", "--older-than-hours=0"]
    listed = CliRunner().invoke(cli, arguments)
    assert listed.exit_code == 0, listed.output
    assert listed.output.startswith(f"{name} @ {before[0]}")
    assert "1 versions, 0 leftovers" in listed.output
    assert "nothing deleted" in listed.output
    assert sorted(path.name for path in folder.iterdir()) == before
    told = CliRunner().invoke(cli, [*arguments, "--yes"])
    assert told.exit_code == 0, told.output
    assert sorted(path.name for path in folder.iterdir()) == before[1:]
