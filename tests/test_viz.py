"""The built graph of Kedro-Viz: layers, namespaces, tags and styles, without a browser."""

import json
import subprocess
import sys

import pytest

from project_runs import PROJECT

pytestmark = pytest.mark.slow
LAYERS = ["raw", "intermediate", "primary", "feature", "models", "model_output", "reporting"]


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    """``kedro viz build`` in a copy of what it reads, so that no build folder is left behind."""
    import shutil

    copy = tmp_path_factory.mktemp("viz") / "project"
    kept = ("conf", "src", ".viz", "pyproject.toml", "README.md", ".telemetry")
    for name in kept:
        source = PROJECT / name
        (shutil.copytree if source.is_dir() else shutil.copy)(source, _parent(copy) / name)
    result = subprocess.run(
        [sys.executable, "-m", "kedro", "viz", "build"], cwd=copy, capture_output=True, text=True
    )
    assert result.returncode == 0, result.stdout + result.stderr
    return copy / "build"


@pytest.fixture(scope="module")
def graph(built):
    """The default pipeline as the browser gets it."""
    return json.loads((built / "api" / "main").read_text())


def _parent(folder):
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def test_all_layers_are_drawn(graph):
    """A cycle between layers makes Kedro-Viz drop every one of them."""
    assert graph["layers"] == LAYERS


def test_no_recipe_has_layers_in_a_circle(built):
    for path in (built / "api" / "pipelines").iterdir():
        assert json.loads(path.read_text())["layers"], path.name


def test_the_namespaces_are_the_parts_of_the_method(graph):
    parts = {name.removeprefix("two_stage.") for name in graph["modular_pipelines"]}
    assert parts >= {"data", "features", "zero_shot", "stage1", "stage2", "baseline", "reporting"}


def test_every_dataset_has_a_layer(graph):
    datasets = [node for node in graph["nodes"] if node["type"] == "data"]
    assert len(datasets) > 50
    assert [node["name"] for node in datasets if not node["layer"]] == []


def test_tags_can_be_filtered(graph):
    assert {"stage1", "stage2", "features", "eval", "report"} <= {t["id"] for t in graph["tags"]}


def test_every_style_names_a_node():
    styles = json.loads((PROJECT / ".viz" / "styles.json").read_text())
    from aquatint.pipeline_registry import register_pipelines

    names = {node.name.rpartition(".")[2] for node in register_pipelines()["two_stage"].nodes}
    assert styles
    assert set(styles) <= names
