"""What each artefact was made from, and whether that still holds."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

from kedro.io import DataCatalog, DatasetError
from kedro.pipeline import Pipeline
from kedro.pipeline.node import Node

from aquatint.params import Params
from aquatint.source_digest import source_digest

State = Literal["fresh", "stale", "missing"]


@dataclass(frozen=True)
class Freshness:
    """Whether a dataset is what the current code, parameters and inputs would give.

    Attributes:
        state: ``fresh``, ``stale`` or ``missing``.
        reasons: Why it is stale: ``parameter run``, ``code``, ``input two_stage.data.raw``, ...
    """

    state: State
    reasons: tuple[str, ...] = ()


class Provenance:
    """Fingerprints of a pipeline's datasets, computed when they are asked for.

    Args:
        pipeline: The whole registered pipeline, whatever part of it runs.
        catalog: Catalog with parameters.
    """

    def __init__(self, pipeline: Pipeline, catalog: DataCatalog) -> None:
        self._catalog = catalog
        self._producers = {output: node for node in pipeline.nodes for output in node.outputs}
        self._expected: dict[str, str] = {}

    def expected(self, name: str) -> str:
        """Fingerprint that ``name`` would get if everything were run now."""
        if name not in self._expected:
            node = None if self._is_given(name) else self._producers.get(name)
            self._expected[name] = (
                self._content_of_input(name)
                if node is None
                else _combine(self._record(node, name, self.expected))
            )
        return self._expected[name]

    def _is_given(self, name: str) -> bool:
        """Whether the user decides what is loaded: a pinned version, or a checkpoint of theirs."""
        dataset = self._catalog.get(name)
        version = getattr(dataset, "_version", None)
        if version is not None:
            return version.load is not None
        return bool(getattr(dataset, "is_foreign", False))

    def input_record(self, name: str) -> dict[str, str | None]:
        """Fingerprint and version of an input as it is now, at the moment it is loaded."""
        return {"fingerprint": self._actual(name), "version": self._version(name)}

    def record(
        self, name: str, node: Node, loaded: dict[str, dict[str, str | None]]
    ) -> dict[str, Any]:
        """What a just saved output was made from.

        Args:
            name: The output.
            node: The node that made it.
            loaded: ``input_record`` of each input, taken when it was loaded: another run may have
                replaced an unversioned table since.
        """
        record = self._record(node, name, lambda dataset: str(loaded[dataset]["fingerprint"]))
        versions = {dataset: loaded[dataset]["version"] for dataset in record["inputs"]}
        values = {name: parameter_value(self._load_parameter(name)) for name in record["params"]}
        fingerprint = _combine(record)
        return {**record, "fingerprint": fingerprint, "versions": versions, "values": values}

    def _load_parameter(self, name: str) -> object:
        return self._catalog.load(name if name == "parameters" else f"params:{name}")

    def freshness(self, name: str) -> Freshness:
        """Compare what is stored under ``name`` with what is expected."""
        dataset = self._catalog.get(name)
        if dataset is None or not dataset.exists():
            return Freshness("missing")
        node = self._producers.get(name)
        if node is None or self._is_given(name) or not hasattr(dataset, "read_provenance"):
            return Freshness("fresh")
        kept = dataset.read_provenance()
        if kept is None:
            return Freshness("stale", ("nothing is known of how it was made",))
        if kept["is_altered"]:
            return Freshness("stale", ("its content was altered after it was written",))
        if kept["fingerprint"] == self.expected(name):
            return Freshness("fresh")
        return Freshness("stale", tuple(self._reasons(kept, node, name)))

    def _reasons(self, kept: dict[str, Any], node: Node, name: str) -> list[str]:
        now = self._record(node, name, self.expected)
        found = [] if kept["code"] == now["code"] else [f"code of {node.func.__name__}"]
        for kind, word in (("params", "parameter"), ("inputs", "input")):
            names = sorted(set(kept[kind]) | set(now[kind]))
            found += [f"{word} {n}" for n in names if kept[kind].get(n) != now[kind].get(n)]
        return found

    def _record(self, node: Node, name: str, of_input: Callable[[str], str]) -> dict[str, Any]:
        params, inputs = {}, {}
        for dataset in node.inputs:
            if dataset.startswith("params:") or dataset == "parameters":
                params[dataset.removeprefix("params:")] = parameter_digest(
                    self._catalog.load(dataset)
                )
            else:
                inputs[dataset] = of_input(dataset)
        code = source_digest(node.func)
        return {
            "dataset": name,
            "node": node.name,
            "code": code,
            "params": params,
            "inputs": inputs,
        }

    def _actual(self, name: str) -> str:
        """Fingerprint of the version of an input that this run loads."""
        dataset = self._catalog.get(name)
        kept = dataset.read_provenance() if hasattr(dataset, "read_provenance") else None
        if kept is not None and not kept["is_altered"]:
            return str(kept["fingerprint"])
        if kept is not None:
            return f"altered-{kept['content']}"
        if getattr(dataset, "is_foreign", False):
            return f"foreign-{dataset.content_digest}"
        return self._content_of_input(name)

    def _version(self, name: str) -> str | None:
        resolve = getattr(self._catalog.get(name), "resolve_load_version", None)
        return resolve() if resolve else None

    def _content_of_input(self, name: str) -> str:
        dataset = self._catalog.get(name)
        if getattr(dataset, "is_foreign", False):
            return f"foreign-{dataset.content_digest}"
        if hasattr(dataset, "read_provenance"):
            # Made by another pipeline, or pinned: what it was made from stands for it.
            try:
                return str((dataset.read_provenance() or {}).get("fingerprint", f"unknown-{name}"))
            except DatasetError:
                return f"missing-{name}"
        digest = getattr(dataset, "content_digest", None)
        return str(digest) if digest is not None else f"unknown-{name}"


def parameter_digest(value: object) -> str:
    """Return a sha256 over what results depend on in a parameter."""
    plain = parameter_value(value)
    return hashlib.sha256(json.dumps(plain, sort_keys=True, default=str).encode()).hexdigest()


def parameter_value(value: object) -> Any:  # noqa: ANN401 - any JSON value
    """Return what results depend on in a parameter, as plain JSON values."""
    return value.result_fields() if isinstance(value, Params) else value


def _combine(record: dict[str, Any]) -> str:
    return hashlib.sha256(json.dumps(record, sort_keys=True).encode()).hexdigest()
