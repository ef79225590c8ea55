"""What an artefact descends from, and with which parameters it was made."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import click
from kedro.io import DataCatalog, DatasetError

from aquatint.provenance import parameter_digest, parameter_value


@dataclass(frozen=True)
class LineageStep:
    """One artefact of a chain.

    Attributes:
        name: Dataset.
        version: Version, None for an unversioned one.
        depth: Steps from the artefact that was asked for.
        node: Node that made it; None for an input of the project.
    """

    name: str
    version: str | None
    depth: int
    node: str | None


def trace(
    name: str, version: str | None, catalog: DataCatalog, depth: int = 0
) -> list[LineageStep]:
    """Follow provenance records from one artefact back to the inputs of the project.

    Raises:
        UsageError: If there is no such dataset or version.
    """
    dataset = catalog.get(name)
    if dataset is None:
        raise click.UsageError(f"No dataset {name!r} in the catalog.")
    if not hasattr(dataset, "read_provenance"):
        return [LineageStep(name, None, depth, None)]
    try:
        record = dataset.read_provenance(version)
        found = version or dataset.resolve_load_version()
    except DatasetError as error:
        raise click.UsageError(str(error)) from error
    if record is None:
        return [LineageStep(name, found, depth, None)]
    steps = [LineageStep(name, found, depth, record["node"])]
    for parent, parent_version in record.get("versions", {}).items():
        steps += trace(parent, parent_version, catalog, depth + 1)
    return steps


def differing_parameters(
    name: str, version: str | None, catalog: DataCatalog
) -> dict[str, dict[str, Any]]:
    """Return the values that an artefact was made with, of every parameter that differs now.

    Args:
        name: Dataset.
        version: Version, None for the one that would be loaded.
        catalog: Catalog with the parameters as they are now.

    Returns:
        By parameter, the fields that differ with the value of then.
    """
    dataset = catalog.get(name)
    record = dataset.read_provenance(version) if hasattr(dataset, "read_provenance") else None
    found = {}
    for parameter, digest in (record or {}).get("params", {}).items():
        now = catalog.load(f"params:{parameter}")
        if parameter_digest(now) != digest:
            found[parameter] = _changed((record or {})["values"][parameter], parameter_value(now))
    return found


def _changed(then: Any, now: Any) -> Any:  # noqa: ANN401 - any JSON value
    """The parts of ``then`` that ``now`` does not hold."""
    if not isinstance(then, dict) or not isinstance(now, dict):
        return then
    return {k: _changed(v, now.get(k)) for k, v in then.items() if k not in now or v != now[k]}


def flatten(values: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Return nested values by dotted name."""
    flat: dict[str, Any] = {}
    for key, value in values.items():
        name = f"{prefix}{key}"
        flat |= flatten(value, f"{name}.") if isinstance(value, dict) else {name: value}
    return flat


def nest(values: Mapping[str, Any]) -> dict[str, Any]:
    """Return values by dotted name as nested ones; the reverse of ``flatten``."""
    nested: dict[str, Any] = {}
    for name, value in values.items():
        *parents, last = name.split(".")
        level = nested
        for parent in parents:
            level = level.setdefault(parent, {})
        level[last] = value
    return nested


def split_writable(values: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Tell values that ``--params`` can carry from those that need a file.

    Kedro splits ``--params`` at commas and reads numbers and booleans; lists and null it cannot.
    """
    given = {
        name: str(value).lower() if isinstance(value, bool) else value
        for name, value in values.items()
        if isinstance(value, int | float) or (isinstance(value, str) and "," not in value)
    }
    return given, {name: value for name, value in values.items() if name not in given}
