"""Runs of the real project in the test environment, for tests that need a finished one."""

import copy
import json
from functools import partial
from pathlib import Path

import pandas as pd
from kedro.framework.hooks import hook_impl
from kedro.framework.session import KedroSession
from kedro.framework.startup import bootstrap_project
from kedro.io import DataCatalog
from kedro.runner import AbstractRunner

from remembered import remembering

PROJECT = Path(__file__).parents[1]


class NodeNames:
    """Hook that notes which nodes ran, by bare name."""

    def __init__(self):
        self.ran = set()

    @hook_impl
    def after_node_run(self, node):
        self.ran.add(node.name.rpartition(".")[2])


class NodesToRun(AbstractRunner):
    """Runner that notes which nodes are left to run, by bare name, and runs none."""

    def __init__(self):
        super().__init__()
        self.found = set()

    def _get_executor(self, max_workers):
        return None

    def _run(self, pipeline, catalog, hook_manager=None, run_id=None):
        self.found |= {node.name.rpartition(".")[2] for node in pipeline.nodes}


def run_project(
    data_root, *, pipeline="two_stage", load_versions=None, tags=None, only_missing=False,
    conf=None, **params,
):  # fmt: skip
    """Run a pipeline as the command line does and return the nodes that ran."""
    return run_pipelines(
        data_root, pipeline, params=params, conf=conf, tags=tags, load_versions=load_versions,
        only_missing_outputs=only_missing,
    )  # fmt: skip


def find_missing(data_root, *, pipeline="two_stage", **params):
    """The nodes that a run with ``--only-missing-outputs`` would run, by bare name."""
    runner = NodesToRun()
    run_pipelines(data_root, pipeline, params=params, runner=runner, only_missing_outputs=True)
    return runner.found


def run_pipelines(data_root, *pipelines, params=None, conf=None, **options):
    """Run pipelines with Kedro's own options and return the nodes that ran, by bare name."""
    from aquatint.session import LabelledSession

    bootstrap_project(PROJECT)
    runtime = {"data_root": str(data_root), **(params or {})}
    names = NodeNames()
    with (
        remembering(),
        LabelledSession.create(
            PROJECT, env="test", runtime_params=runtime, conf_source=conf
        ) as session,
    ):
        session._hook_manager.register(names)
        session.run(pipeline_names=list(pipelines), **options)
    return names.ran


def open_catalog(data_root, load_versions=None):
    """Datasets of the test environment below ``data_root``; no parameters: three times faster."""
    bootstrap_project(PROJECT)
    with remembering(), _open_session(data_root) as session:
        # The loader with its arguments of settings.py; a context would read all parameters too.
        catalog = session._get_config_loader()["catalog"]
        return DataCatalog.from_config(catalog, load_versions=load_versions)


def open_whole_catalog(data_root):
    """As ``open_catalog``, with the parameters of all recipes."""
    bootstrap_project(PROJECT)
    with remembering(), _open_session(data_root) as session:
        return session.load_context().catalog


def _open_session(data_root):
    return KedroSession.create(PROJECT, env="test", runtime_params={"data_root": str(data_root)})


def call_node(data_root, pipeline, name):
    """Call one node on what lies below ``data_root`` and return its outputs, saving nothing."""
    from kedro.framework.project import pipelines

    catalog = open_whole_catalog(data_root)
    [node] = [n for n in pipelines[pipeline].nodes if n.name.rpartition(".")[2] == name]
    given = node._inputs.items()
    return node.func(**{argument: catalog.load(dataset) for argument, dataset in given})


def hand_over_here(monkeypatch):
    """Let pilots get their arguments as another process would, but fly in this one.

    Starting processes takes longer than the flights of a test; other tests do.
    """
    monkeypatch.setattr(
        "aquatint.training.shared_flights.map_with_shared",
        lambda fly, crew, groups, _: map(partial(fly, copy.deepcopy(crew)), groups),
    )


def assert_flies_the_same(data_root, recipe, node, tmp_path):
    """Let a closed loop fly once more, and compare episodes and metrics with the saved ones."""
    catalog = open_catalog(data_root)
    episodes, metrics = call_node(data_root, recipe, node)
    episodes.to_parquet(tmp_path / "episodes.parquet")  # types are those of the file
    again = pd.read_parquet(tmp_path / "episodes.parquet")
    pd.testing.assert_frame_equal(again, catalog.load(f"{recipe}.rollout.episodes"))
    assert json.loads(json.dumps(metrics)) == catalog.load(f"{recipe}.rollout.metrics")
