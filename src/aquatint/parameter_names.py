"""Names of parameters: one that nothing reads is a mistake, and the nearest one is named."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

_RUNTIME = re.compile(r"\$\{runtime_params:\s*([\w.]+)")


def suggest(name: str, known: Iterable[str]) -> str:
    """Return ``did you mean 'x'? `` for the nearest known name, or nothing."""
    near = difflib.get_close_matches(name, list(known), n=1)
    return f"did you mean {near[0]!r}? " if near else ""


def check_parameter_names(parameters: Mapping[str, Any], read: Iterable[str]) -> None:
    """Check that some node reads every parameter; what lies below one is its model's to check.

    Args:
        parameters: Nested parameters, as the files and ``--params`` give them together.
        read: Dotted names that nodes or the catalog read: ``two_stage.stage1.train``, ``run``.

    Raises:
        ValueError: Naming the first parameter that nothing reads, and the nearest that is read.
    """
    known = set(read)
    parents = {name[:i] for name in known for i, char in enumerate(name) if char == "."}
    _check_level(parameters, "", known, parents)


def _check_level(
    parameters: Mapping[str, Any], prefix: str, known: set[str], parents: set[str]
) -> None:
    siblings = sorted(
        {
            name[len(prefix) :].partition(".")[0]
            for name in known | parents
            if name.startswith(prefix)
        }
    )
    for key, value in parameters.items():
        name = f"{prefix}{key}"
        if name in known:
            continue
        if name not in parents:
            raise ValueError(
                f"Nothing reads the parameter {name!r}; {suggest(str(key), siblings)}"
                f"{f'Below {prefix[:-1]!r} there' if prefix else 'There'} are "
                f"{', '.join(siblings)}."
            )
        if not isinstance(value, Mapping):
            raise ValueError(
                f"The parameter {name!r} holds others and has no value of its own, got {value!r}."
            )
        _check_level(value, f"{name}.", known, parents)


def runtime_names(conf: Path) -> set[str]:
    """Names that configuration files read from ``--params`` as ``${runtime_params:name}``."""
    return {
        name for path in sorted(conf.rglob("*.yml")) for name in _RUNTIME.findall(path.read_text())
    }
