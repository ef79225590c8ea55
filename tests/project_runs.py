"""Runs of the real project in the test environment, for tests that need a finished one."""

from pathlib import Path

from kedro.framework.hooks import hook_impl
from kedro.framework.session import KedroSession
from kedro.framework.startup import bootstrap_project

PROJECT = Path(__file__).parents[1]


class NodeNames:
    """Hook that notes which nodes ran, by bare name."""

    def __init__(self):
        self.ran = set()

    @hook_impl
    def after_node_run(self, node):
        self.ran.add(node.name.rpartition(".")[2])


def run_project(
    data_root, *, pipeline="two_stage", load_versions=None, tags=None, only_missing=False,
    conf=None, **params,
):  # fmt: skip
    """Run a pipeline as the command line does and return the nodes that ran."""
    return run_pipelines(
        data_root, pipeline, params=params, conf=conf, tags=tags, load_versions=load_versions,
        only_missing_outputs=only_missing,
    )  # fmt: skip


def run_pipelines(data_root, *pipelines, params=None, conf=None, **options):
    """Run pipelines with Kedro's own options and return the nodes that ran, by bare name."""
    from aquatint.session import LabelledSession

    bootstrap_project(PROJECT)
    runtime = {"data_root": str(data_root), **(params or {})}
    names = NodeNames()
    with LabelledSession.create(
        PROJECT, env="test", runtime_params=runtime, conf_source=conf
    ) as session:
        session._hook_manager.register(names)
        session.run(pipeline_names=list(pipelines), **options)
    return names.ran


def open_catalog(data_root, env="test", **params):
    """Catalog of the project with its data below ``data_root``."""
    bootstrap_project(PROJECT)
    runtime = {"data_root": str(data_root), **params}
    with KedroSession.create(PROJECT, env=env, runtime_params=runtime) as session:
        return session.load_context().catalog


def call_node(data_root, pipeline, name):
    """Call one node on what lies below ``data_root`` and return its outputs, saving nothing."""
    from kedro.framework.project import pipelines

    catalog = open_catalog(data_root)
    [node] = [n for n in pipelines[pipeline].nodes if n.name.rpartition(".")[2] == name]
    given = node._inputs.items()
    return node.func(**{argument: catalog.load(dataset) for argument, dataset in given})
