"""What a training was made from: fingerprints of inputs, and the record kept in its checkpoint."""

from __future__ import annotations

import hashlib
import json
import platform
from collections.abc import Callable, Mapping
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel

from aquatint.params import RunParams, StageParams

if TYPE_CHECKING:
    import pandas as pd

    from aquatint.models.backbone import Backbone
    from aquatint.models.teacher_source import TeacherSource
    from aquatint.training.objective import FitResult

_LIBRARIES = ("torch", "transformers", "peft", "numpy", "pandas", "kedro")


def table_digest(table: pd.DataFrame) -> str:
    """Return a sha256 over columns and values of a table, in row order."""
    import pandas as pd

    total = hashlib.sha256(json.dumps([str(name) for name in table.columns]).encode())
    total.update(pd.util.hash_pandas_object(table, index=False).to_numpy().tobytes())
    return total.hexdigest()


def fingerprint(parts: Mapping[str, Any]) -> str:
    """Return a sha256 over named parts: JSON values, parameter models and digests.

    Raises:
        TypeError: If a part is none of these; a silent ``repr`` could hide a difference.
    """
    return hashlib.sha256(json.dumps(parts, sort_keys=True, default=_plain).encode()).hexdigest()


def _plain(value: object) -> object:
    if isinstance(value, BaseModel):
        return value.model_dump(mode="json")
    raise TypeError(f"A fingerprint takes JSON values and parameter models, got {type(value)}.")


def environment() -> dict[str, str]:
    """Versions that a number may depend on."""
    return {name: version(name) for name in _LIBRARIES} | {
        "python": platform.python_version(),
        "machine": platform.machine(),
    }


def conditions(run: RunParams, code: Callable[..., object]) -> dict[str, Any]:
    """What decides a training's numbers beside its plan and data, for its fingerprint.

    Args:
        run: Seed, precision, threads, processes.
        code: Function that trains; its module and all it imports of this project count.
    """
    from aquatint.source_digest import source_digest
    from aquatint.training.precision import prepare_device

    return {
        "run": run_key(run),
        "device": prepare_device(run).type,
        "code": source_digest(code),
        "environment": environment(),
    }


def stage_record(
    stage: str,
    params: StageParams,
    backbone: Backbone | TeacherSource,
    run: RunParams,
    result: FitResult,
) -> dict[str, Any]:
    """What every trained checkpoint says about itself; parents and data come on top."""
    return {
        "stage": stage,
        "parents": [],
        "backbone": {"name": backbone.name, "digest": backbone.digest},
        "params": params.model_dump(mode="json"),
        "run": run.model_dump(mode="json"),
        "efficiency": result.efficiency,
        "environment": environment(),
    }


def run_key(run: RunParams) -> dict[str, Any]:
    """What of a run decides a training's numbers to the last bit, for its fingerprint."""
    names = ("seed", "precision", "num_threads", "num_processes", "num_nodes")
    key = {name: getattr(run, name) for name in names}
    return {**key, "parallelism": run.parallelism if run.num_ranks > 1 else None}
