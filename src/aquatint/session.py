"""The project's session: labelled versions and dry runs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from kedro.framework.project import pipelines
from kedro.framework.session import KedroSession

from aquatint.parameter_names import check_parameter_names, runtime_names

DRY_RUN_SUFFIX = "_dry_run"


class LabelledSession(KedroSession):
    """A session whose versions end in ``run.label``, and that can check instead of run.

    ``--params=run.label=ablate-lr`` turns the version ``<timestamp>`` into
    ``<timestamp>-ablate-lr``: still sorted by time, and readable. ``--params=run.dry_run=true``
    runs ``<pipeline>_dry_run`` in the pipeline's place.
    """

    def run(
        self,
        pipeline_names: list[str] | None = None,
        **options: Any,  # noqa: ANN401 - Kedro's own options, handed on
    ) -> dict[str, Any]:
        """Run pipelines by name; see ``KedroSession.run``."""
        # From the files as well as from --params; read raw, for the parameters are not typed yet.
        loader = self._get_config_loader()
        parameters = loader["parameters"]
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
        return super().run(pipeline_names=pipeline_names, **options)

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


def _names_read(conf: Path) -> set[str]:
    """Parameters that a node of any pipeline, or the catalog, reads."""
    names = {name for pipeline in pipelines.values() for name in pipeline.inputs()}
    read = {name.removeprefix("params:") for name in names if name.startswith("params:")}
    return read | runtime_names(conf)
