"""What a training was made from: fingerprints of inputs, and the record kept in its checkpoint."""

from __future__ import annotations

import hashlib
import json
import platform
from collections.abc import Mapping
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel

from aquatint.params import RunParams

if TYPE_CHECKING:
    import pandas as pd

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


def run_key(run: RunParams) -> dict[str, Any]:
    """What of a run decides a training's numbers to the last bit, for its fingerprint."""
    names = ("seed", "precision", "num_threads", "num_processes", "num_nodes")
    key = {name: getattr(run, name) for name in names}
    return {**key, "parallelism": run.parallelism if run.num_ranks > 1 else None}
