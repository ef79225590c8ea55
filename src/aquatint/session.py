"""The project's session: labelled versions, dry runs, and nodes that run at the same time."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from kedro.config import AbstractConfigLoader
from kedro.framework.project import pipelines
from kedro.framework.session import KedroSession
from kedro.runner import AbstractRunner, SequentialRunner

from aquatint.parameter_names import check_parameter_names, runtime_names
from aquatint.params import RunParams
from aquatint.runner import ConcurrentRunner

DRY_RUN_SUFFIX = "_dry_run"


class LabelledSession(KedroSession):
    """A session whose versions end in ``run.label``, and that can check instead of run.

    ``--params=run.label=ablate-lr`` turns the version ``<timestamp>`` into
    ``<timestamp>-ablate-lr``: still sorted by time, and readable. ``--params=run.dry_run=true``
    runs ``<pipeline>_dry_run`` in the pipeline's place. Above ``run.concurrent_nodes=1``, nodes
    that do not need each other run at the same time, unless ``--runner`` names another way.
    """

    _loader: AbstractConfigLoader | None = None

    def run(
        self,
        pipeline_names: list[str] | None = None,
        **options: Any,  # noqa: ANN401 - Kedro's own options, handed on
    ) -> dict[str, Any]:
        """Run pipelines by name; see ``KedroSession.run``."""
        # Kedro asks for these below, and would make every pipeline a second time.
        pipelines.set_requested(pipeline_names or None)
        # From the files as well as from --params; read raw, for the parameters are not typed yet.
        loader = self._get_config_loader()
        parameters = loader["parameters"]
        # Set, so that the context takes them from here and does not merge every file once more.
        loader["parameters"] = parameters
        check_parameter_names(parameters, _names_read(Path(loader.conf_source)))
        run = parameters.get("run", {})
        label = str(run.get("label") or "")
        if label:
            self._store["session_id"] = f"{self.store['session_id']}-{label}"
        if run.get("dry_run"):
            names = pipeline_names or ["two_stage"]
            pipeline_names = [f"{name}{DRY_RUN_SUFFIX}" for name in names]
            options = {"runner": options.get("runner")}  # filters choose among nodes of the run
            self._check_dry_runs(pipeline_names)
        options["runner"] = _choose_runner(options.get("runner"), RunParams.model_validate(run))
        return super().run(pipeline_names=pipeline_names, **options)

    def _get_config_loader(self) -> AbstractConfigLoader:
        """The session's one loader; Kedro would build another for the context."""
        if self._loader is None:
            self._loader = super()._get_config_loader()
        return self._loader

    @staticmethod
    def _check_dry_runs(names: list[str]) -> None:
        unknown = [name.removesuffix(DRY_RUN_SUFFIX) for name in names if name not in pipelines]
        if unknown:
            known = [
                n.removesuffix(DRY_RUN_SUFFIX) for n in pipelines if n.endswith(DRY_RUN_SUFFIX)
            ]
            raise ValueError(
                f"No dry run of {', '.join(unknown)}; there is one of {', '.join(known)}."
            )


def _choose_runner(runner: AbstractRunner | None, run: RunParams) -> AbstractRunner:
    """The runner that was asked for; Kedro's command gives its default one if none was."""
    if runner is not None and type(runner) is not SequentialRunner:
        return runner
    return ConcurrentRunner(run.nodes_at_once, run.num_threads)


def _names_read(conf: Path) -> set[str]:
    """Parameters that a node of any pipeline, or the catalog, reads."""
    names = {name for pipeline in pipelines.values() for name in pipeline.inputs()}
    read = {name.removeprefix("params:") for name in names if name.startswith("params:")}
    return read | runtime_names(conf)
