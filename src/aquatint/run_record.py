"""One record a run: what was asked for, what was loaded and saved, how long it took."""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from kedro.framework.hooks import hook_impl
from kedro.io import DataCatalog
from kedro.pipeline.node import Node

from aquatint.storage import publish_file


class RunRecordHooks:
    """Write ``<data_root>/runs/<run>.json`` when a run ends, well or with an error.

    A run that a signal ends leaves none: its trainings say in the log how to go on.
    """

    def __init__(self) -> None:
        self._record: dict[str, Any] = {}
        self._folder: Path | None = None
        self._catalog: DataCatalog | None = None
        self._started: dict[str, float] = {}

    @hook_impl
    def before_pipeline_run(self, run_params: dict[str, Any], catalog: DataCatalog) -> None:
        """Note the command, the code and the parameters."""
        self._catalog = catalog
        self._folder = catalog.get("runs").folder
        self._started["run"] = time.monotonic()
        project = Path(run_params["project_path"])
        self._record = {
            "run": run_params["run_id"],
            "command": " ".join(["kedro", *sys.argv[1:]]),
            "env": run_params["env"],
            "pipelines": run_params["pipeline_names"],
            "runtime_params": run_params["runtime_params"],
            "load_versions": run_params["load_versions"],
            "code": describe_code(project),
            "python": sys.version.split()[0],
            "loaded": {},
            "saved": {},
            "node_seconds": {},
        }

    @hook_impl
    def after_dataset_loaded(self, dataset_name: str) -> None:
        """Note the version that was loaded."""
        if not dataset_name.startswith("params:"):
            self._record["loaded"][dataset_name] = self._version(dataset_name, "load")

    @hook_impl
    def after_dataset_saved(self, dataset_name: str) -> None:
        """Note the version that was saved."""
        self._record["saved"][dataset_name] = self._version(dataset_name, "save")

    @hook_impl
    def before_node_run(self, node: Node) -> None:
        """Start the node's clock."""
        self._started[node.name] = time.monotonic()

    @hook_impl
    def after_node_run(self, node: Node) -> None:
        """Stop the node's clock."""
        seconds = time.monotonic() - self._started[node.name]
        self._record["node_seconds"][node.name] = round(seconds, 3)

    @hook_impl
    def after_pipeline_run(self) -> None:
        """Write the record of a run that succeeded."""
        self._write({"exit": "success"})

    @hook_impl
    def on_pipeline_error(self, error: Exception) -> None:
        """Write the record of a run that failed."""
        self._write({"exit": "error", "error": f"{type(error).__name__}: {error}"})

    def _version(self, name: str, kind: str) -> str | None:
        dataset = self._catalog.get(name) if self._catalog is not None else None
        resolve = getattr(dataset, f"resolve_{kind}_version", None)
        return resolve() if resolve else None

    def _write(self, outcome: dict[str, str]) -> None:
        if self._folder is None:
            return
        seconds = round(time.monotonic() - self._started["run"], 3)
        record = {**self._record, "seconds": seconds, **outcome}
        content = json.dumps(record, indent=1, default=str)
        publish_file(self._folder / f"{record['run']}.json", content.encode())


def describe_code(project: Path) -> dict[str, str | None]:
    """Return the git commit of a project and a digest of what differs from it; None without git."""

    def git(*arguments: str) -> str | None:
        result = subprocess.run(
            ["git", "-C", str(project), *arguments], capture_output=True, text=True, check=False
        )
        return result.stdout if result.returncode == 0 else None

    try:
        commit, difference = git("rev-parse", "HEAD"), git("diff", "HEAD")
    except FileNotFoundError:
        return {"commit": None, "difference": None}
    digest = hashlib.sha256(difference.encode()).hexdigest() if difference else None
    return {"commit": commit.strip() if commit else None, "difference": digest}
