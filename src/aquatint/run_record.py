"""One record a run: what was asked for, what was loaded and saved, how long it took."""

from __future__ import annotations

import atexit
import hashlib
import json
import os
import resource
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from kedro.framework.hooks import hook_impl
from kedro.io import DataCatalog
from kedro.pipeline.node import Node

from aquatint.params import Params
from aquatint.storage import publish_file


class RunRecordHooks:
    """Write ``<data_root>/runs/<run>.json`` when a run ends: well, with an error or by a signal.

    Only ``kill -9`` leaves none.
    """

    def __init__(self) -> None:
        self._record: dict[str, Any] = {}
        self._folder: Path | None = None
        self._catalog: DataCatalog | None = None
        self._started: dict[str, float] = {}
        self._machines: list[dict[str, Any]] = []

    @hook_impl
    def before_pipeline_run(self, run_params: dict[str, Any], catalog: DataCatalog) -> None:
        """Note the command, the code and the parameters."""
        self._catalog = catalog
        self._folder = catalog.get("runs").folder
        self._started["run"] = time.monotonic()
        self._machines = []
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
            "parameters": _parameters(catalog),
            "loaded": {},
            "saved": {},
            "node_seconds": {},
        }
        # SystemExit and KeyboardInterrupt pass Kedro's error hook by.
        atexit.register(self._write, {"exit": "interrupted"})

    @hook_impl
    def after_dataset_loaded(self, dataset_name: str) -> None:
        """Note the version that was loaded."""
        if not dataset_name.startswith("params:"):
            self._record["loaded"][dataset_name] = self._describe(dataset_name, "load")

    @hook_impl
    def after_dataset_saved(self, dataset_name: str) -> None:
        """Note the version that was saved."""
        self._record["saved"][dataset_name] = self._describe(dataset_name, "save")

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

    def notes(self) -> dict[str, Any]:
        """What this process loaded, saved and timed, and on which device."""
        parts = ("loaded", "saved", "node_seconds")
        return {**{part: self._record[part] for part in parts}, "machine": describe_machine()}

    def add_notes(self, notes: dict[str, Any]) -> None:
        """Take over what another process noted for nodes of this run."""
        for part in ("loaded", "saved", "node_seconds"):
            self._record[part] |= notes[part]
        self._machines.append(notes["machine"])

    def _describe(self, name: str, kind: str) -> dict[str, str | None]:
        """Version and digest of what was loaded or saved; None where there is none."""
        dataset = self._catalog.get(name) if self._catalog is not None else None
        resolve = getattr(dataset, f"resolve_{kind}_version", None)
        # Raw folders are left to provenance, which reads all their files anyway.
        digest = None
        if dataset is not None and hasattr(dataset, "read_provenance"):
            digest = dataset.content_digest
        return {"version": resolve() if resolve else None, "digest": digest}

    def _write(self, outcome: dict[str, str]) -> None:
        """Write the record once: the first outcome is the run's."""
        if self._folder is None or "exit" in self._record:
            return
        self._record |= {**outcome, **_largest([describe_machine(), *self._machines])}
        seconds = round(time.monotonic() - self._started["run"], 3)
        record = {**self._record, "seconds": seconds}
        content = json.dumps(record, indent=1, default=str)
        publish_file(self._folder / f"{record['run']}.json", content.encode())


def _parameters(catalog: DataCatalog) -> dict[str, Any]:
    """All parameters, as the models that check them hold them."""
    loaded = {name: catalog.load(name) for name in list(catalog) if name.startswith("params:")}
    return {
        name.removeprefix("params:"): value.model_dump(mode="json")
        for name, value in sorted(loaded.items())
        if isinstance(value, Params)
    }


def describe_machine() -> dict[str, Any]:
    """Return the device, and the peak memory of this process and of its largest child."""
    torch = sys.modules.get("torch")  # not imported for this: a run without training needs none
    has_cuda = torch is not None and torch.cuda.is_available()
    peaks = {
        whose: round(resource.getrusage(which).ru_maxrss * 1024 / 1e6, 1)
        for whose, which in (("run", resource.RUSAGE_SELF), ("children", resource.RUSAGE_CHILDREN))
    }
    if has_cuda and torch is not None:
        peaks["cuda"] = round(torch.cuda.max_memory_allocated() / 1e6, 1)
    device = torch.cuda.get_device_name() if has_cuda and torch is not None else "cpu"
    return {"device": device, "num_cores": os.cpu_count(), "peak_memory_mb": peaks}


def _largest(machines: list[dict[str, Any]]) -> dict[str, Any]:
    """What the processes of one machine say together: its device, and the largest peaks."""
    peaks = [machine["peak_memory_mb"] for machine in machines]
    whose = sorted({name for peak in peaks for name in peak})
    return {
        **machines[0],
        "device": next((m["device"] for m in machines if m["device"] != "cpu"), "cpu"),
        "peak_memory_mb": {name: max(peak.get(name, 0.0) for peak in peaks) for name in whose},
    }


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
