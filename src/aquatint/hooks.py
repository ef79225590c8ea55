"""Hooks: what happens around nodes rather than in them."""

from __future__ import annotations

import importlib
import logging
import math
import os
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pandas as pd
from kedro.framework.hooks import hook_impl
from kedro.framework.project import pipelines
from kedro.io import DataCatalog
from kedro.pipeline import Pipeline
from kedro.pipeline.node import Node

from aquatint.catalog import ProvenanceCatalog
from aquatint.params import RunParams
from aquatint.provenance import Provenance
from aquatint.training.checkpoint import Checkpoint

logger = logging.getLogger(__name__)

_SHOWN = (
    ".checkpoint",
    ".merged_backbone",
    ".adapter",
    ".comparison",
    ".report",
    ".zeroshot_results",
    ".training_info_enhanced",
    ".training_log",
    ".labelled",
    ".page",
)


class ProvenanceHooks:
    """Keep with every artefact what it was made from, and let the catalog look at it."""

    def __init__(self) -> None:
        self._catalog: DataCatalog | None = None
        self._pipeline = Pipeline([])
        self._loaded: dict[str, dict[str, dict[str, str | None]]] = {}

    @hook_impl
    def before_pipeline_run(
        self, run_params: dict[str, Any], pipeline: Pipeline, catalog: DataCatalog
    ) -> None:
        """Hand the catalog the whole pipelines that are run, unfiltered.

        Raises:
            ValueError: If a node would overwrite a folder that the user put into the catalog.
        """
        names = run_params.get("pipeline_names") or ["__default__"]
        self._pipeline = sum((pipelines[name] for name in names), Pipeline([]))
        self._catalog = catalog
        if not run_params.get("only_missing_outputs"):
            _refuse_to_overwrite(pipeline, catalog)
        if isinstance(catalog, ProvenanceCatalog):
            catalog.provenance = Provenance(self._pipeline, catalog)

    @hook_impl
    def before_dataset_loaded(self, dataset_name: str, node: Node) -> None:
        """Note which artefact the node is about to read, before another run can replace it."""
        if self._is_artefact(dataset_name):
            self._note(dataset_name, node)

    @hook_impl
    def after_dataset_loaded(self, dataset_name: str, node: Node) -> None:
        """Note an input of the project only now: the embedded ones build themselves on load."""
        if not self._is_artefact(dataset_name):
            self._note(dataset_name, node)

    def _is_artefact(self, name: str) -> bool:
        return self._catalog is not None and hasattr(self._catalog.get(name), "read_provenance")

    def _note(self, dataset_name: str, node: Node) -> None:
        if self._catalog is not None and not dataset_name.startswith("params:"):
            record = Provenance(self._pipeline, self._catalog).input_record(dataset_name)
            self._loaded.setdefault(node.name, {})[dataset_name] = record

    @hook_impl
    def after_dataset_saved(self, dataset_name: str, node: Node) -> None:
        """Write the record beside the artefact; a crash before leaves it stale, never wrong."""
        if self._catalog is None:
            return
        dataset = self._catalog.get(dataset_name)
        if hasattr(dataset, "write_provenance"):
            provenance = Provenance(self._pipeline, self._catalog)
            loaded = self._loaded.get(node.name, {})
            dataset.write_provenance(provenance.record(dataset_name, node, loaded))


def _refuse_to_overwrite(pipeline: Pipeline, catalog: DataCatalog) -> None:
    for node in pipeline.nodes:
        for name in node.outputs:
            dataset = catalog.get(name)
            if getattr(dataset, "is_foreign", False):
                raise ValueError(
                    f"{node.name} would overwrite {name}, which the catalog takes from "
                    f"{dataset.place}. Leave the node out with --tags, or give "
                    "--only-missing-outputs."
                )


class TrainingStateHooks:
    """Discard a training's scratch state once all it was needed for is saved."""

    def __init__(self) -> None:
        self._catalog: DataCatalog | None = None
        self._keys: dict[str, str] = {}

    @hook_impl
    def before_pipeline_run(self, catalog: DataCatalog) -> None:
        """Remember the catalog: the state's folder is one of its entries."""
        self._catalog = catalog

    @hook_impl
    def after_dataset_saved(self, dataset_name: str, data: object, node: Node) -> None:
        """Discard the state after the last of a training node's outputs is on disk."""
        if isinstance(data, Checkpoint) and "training_key" in data.lineage:
            self._keys[node.name] = data.lineage["training_key"]
        states = [name for name in node.inputs if name.endswith(".training_state")]
        if self._catalog is None or node.name not in self._keys or dataset_name != node.outputs[-1]:
            return
        for name in states:
            self._catalog.load(name).discard(self._keys[node.name])


class TrackingHooks:
    """Copy the history of each training to the trackers that ``run.trackers`` names.

    The history itself is always in the catalog; a tracker is one more view of it, imported only
    when it is asked for.
    """

    def __init__(self) -> None:
        self._catalog: DataCatalog | None = None

    @hook_impl
    def before_pipeline_run(self, catalog: DataCatalog) -> None:
        """Remember the catalog, and fail now rather than after hours if a tracker is missing."""
        self._catalog = catalog
        for tracker in _run_params(catalog).trackers:
            _import_tracker(tracker)

    @hook_impl
    def after_dataset_saved(self, dataset_name: str, data: pd.DataFrame) -> None:
        """Log a history, one row a step."""
        if self._catalog is None or not dataset_name.endswith(".history"):
            return
        folder = self._catalog.get("tracking").folder
        version = self._catalog.get(dataset_name).resolve_save_version()
        for tracker in _run_params(self._catalog).trackers:
            folder.mkdir(parents=True, exist_ok=True)
            recipe, part, _ = dataset_name.split(".")
            _TRACKERS[tracker](folder, f"{recipe}-{part}-{version}", part, data)
            logger.info("Logged %s to %s below %s.", dataset_name, tracker, folder)


def _run_params(catalog: DataCatalog) -> RunParams:
    """The run's parameters; plain values where no node of the pipeline reads them."""
    return RunParams.model_validate(catalog.load("params:run"))


def _import_tracker(name: str) -> ModuleType:
    module = {"tensorboard": "torch.utils.tensorboard"}.get(name, name)
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise ImportError(
            f"run.trackers names {name}, which is not installed: pip install -e '.[{name}]'."
        ) from error


def _rows(history: pd.DataFrame) -> Iterator[tuple[int, dict[str, float]]]:
    """Step and the finite values of each row."""
    for row in history.to_dict(orient="records"):
        values = {str(name): float(value) for name, value in row.items() if name != "step"}
        yield int(row["step"]), {n: v for n, v in values.items() if math.isfinite(v)}


def _log_tensorboard(folder: Path, run: str, part: str, history: pd.DataFrame) -> None:
    writer = _import_tracker("tensorboard").SummaryWriter(str(folder / "tensorboard" / run))
    for step, values in _rows(history):
        for name, value in values.items():
            writer.add_scalar(name, value, step)
    writer.close()


def _log_wandb(folder: Path, run: str, part: str, history: pd.DataFrame) -> None:
    # Offline unless WANDB_MODE says otherwise: nothing leaves the machine unasked.
    mode = os.environ.get("WANDB_MODE", "offline")
    project = "drone-navigation-two-stage"  # the source document's
    with _import_tracker("wandb").init(
        project=project, name=run, tags=[part], dir=str(folder), mode=mode
    ) as session:
        for step, values in _rows(history):
            session.log(values, step=step)


def _log_mlflow(folder: Path, run: str, part: str, history: pd.DataFrame) -> None:
    mlflow = _import_tracker("mlflow")
    mlflow.set_tracking_uri(f"sqlite:///{folder.absolute()}/mlflow.db")
    with mlflow.start_run(run_name=run, tags={"part": part}):
        for step, values in _rows(history):
            mlflow.log_metrics(values, step=step)


_TRACKERS = {"tensorboard": _log_tensorboard, "wandb": _log_wandb, "mlflow": _log_mlflow}


class RunSummaryHooks:
    """Say at a run's end which versions it wrote and how to go on."""

    def __init__(self) -> None:
        self._saved: dict[str, None] = {}

    @hook_impl
    def before_pipeline_run(self) -> None:
        """Forget what another run of this process saved."""
        self._saved = {}

    @hook_impl
    def after_dataset_saved(self, dataset_name: str) -> None:
        """Note what was saved, in order."""
        self._saved[dataset_name] = None

    def notes(self) -> dict[str, Any]:
        """What was saved, for a process that runs other nodes."""
        return {"saved": list(self._saved)}

    def add_notes(self, notes: dict[str, Any]) -> None:
        """Add what another process saved."""
        self._saved |= dict.fromkeys(notes["saved"])

    @hook_impl
    def after_pipeline_run(self, catalog: DataCatalog) -> None:
        """Log the run's version, and where its checkpoints and reports are."""
        versions = {name: self._version(catalog, name) for name in self._saved}
        written = [name for name, version in versions.items() if version]
        if not written:
            return
        logger.info(
            "Wrote %d versioned datasets; load them with --load-versions=<name>:%s",
            len(written),
            versions[written[0]],
        )
        for name in written:
            if name.endswith(_SHOWN):
                logger.info("  %s: %s", name, catalog.get(name).place)

    @staticmethod
    def _version(catalog: DataCatalog, name: str) -> str | None:
        resolve = getattr(catalog.get(name), "resolve_save_version", None)
        return resolve() if resolve else None

    @hook_impl
    def on_pipeline_error(self, error: Exception, pipeline: Pipeline) -> None:
        """Say that nothing is lost and how to go on."""
        logger.error(
            "%s: %s. What was saved stays; the same command with --only-missing-outputs goes on.",
            type(error).__name__,
            error,
        )
