"""Commands that the project adds to Kedro's: what is fresh, and what came out."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click
from kedro.framework.cli.utils import _split_params, env_option
from kedro.framework.context import KedroContext
from kedro.framework.project import pipelines
from kedro.framework.session import KedroSession
from kedro.io import DataCatalog, DatasetError
from kedro.pipeline.node import Node

from aquatint.provenance import Freshness, Provenance, parameter_digest


def _run_options(command: Callable[..., None]) -> Callable[..., None]:
    """The options of ``kedro run`` that decide which artefacts are meant."""
    command = click.option(
        "--params", default="", callback=_split_params, help="As for kedro run."
    )(command)
    command = click.option("--pipeline", "--pipelines", "pipeline", default="two_stage")(command)
    return env_option(command)


@click.group(name="aquatint")
def cli() -> None:
    """Commands of the project."""


@cli.command()
@_run_options
def status(env: str | None, pipeline: str, params: dict[str, Any]) -> None:
    """Say of each node whether its outputs are fresh, stale and why, missing or resumable."""
    catalog = _context(env, params).catalog
    if pipeline not in pipelines:
        raise click.UsageError(f"No pipeline {pipeline!r}; there are {', '.join(pipelines)}.")
    provenance = Provenance(pipelines[pipeline], catalog)
    for node in pipelines[pipeline].nodes:
        click.echo(f"{node.name:<46} {_node_status(node, provenance, catalog)}")


@cli.command()
@_run_options
def headline(env: str | None, pipeline: str, params: dict[str, Any]) -> None:
    """Print the headline table of a finished run, and where its report is."""
    catalog = _context(env, params).catalog
    click.echo(catalog.load(f"{pipeline}.reporting.summary"))
    report = Path(catalog.get(f"{pipeline}.reporting.report").place)
    click.echo(f"Report: {report.absolute()}")


@cli.command()
@_run_options
@click.argument("dataset")
def lineage(env: str | None, pipeline: str, params: dict[str, Any], dataset: str) -> None:
    """Print what DATASET[@VERSION] was made from, back to the raw files.

    Ends with the command that makes it again from the same versions.
    """
    name, _, version = dataset.partition("@")
    context = _context(env, params)
    chain = trace(name, version or None, context.catalog)
    for step in chain:
        click.echo(f"{'  ' * step.depth}{step.name}{f' @ {step.version}' if step.version else ''}")
    differing = _differing_parameters(context, name, version or None)
    if differing:
        click.echo(f"\nMade with other values of: {', '.join(differing)} (see data/runs).")
    if chain[0].node:
        pins = {step.name: step.version for step in chain if step.depth == 1 and step.version}
        options = [f"--nodes={chain[0].node}"]
        options += [f"--env={env}"] if env else []
        versions = ",".join(f"{key}:{value}" for key, value in pins.items())
        options += [f"--load-versions={versions}"] if versions else []
        click.echo(f"\nkedro run --pipelines={pipeline} {' '.join(options)}")


def _differing_parameters(context: KedroContext, name: str, version: str | None) -> list[str]:
    """Parameters whose value is no longer the one that an artefact was made with."""
    dataset = context.catalog.get(name)
    record = dataset.read_provenance(version) if hasattr(dataset, "read_provenance") else None
    kept = (record or {}).get("params", {})
    return [
        parameter
        for parameter, digest in kept.items()
        if parameter_digest(context.catalog.load(f"params:{parameter}")) != digest
    ]


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


def _context(env: str | None, params: dict[str, Any]) -> KedroContext:
    # What a table shows would drown in the loader's messages.
    logging.getLogger("aquatint").setLevel(logging.WARNING)
    with KedroSession.create(env=env, runtime_params=params) as session:
        return session.load_context()


def _node_status(node: Node, provenance: Provenance, catalog: DataCatalog) -> str:
    states = [provenance.freshness(output) for output in node.outputs]
    worst = _worst(states)
    if worst.state == "fresh":
        return "fresh"
    step = _resumable_step(node, catalog)
    hint = "" if step is None else f"; resumable at step {step}"
    reasons = f": {', '.join(worst.reasons)}" if worst.reasons else ""
    return f"{worst.state}{reasons}{hint}"


def _worst(states: list[Freshness]) -> Freshness:
    order = ("missing", "stale", "fresh")
    return min(states, key=lambda freshness: order.index(freshness.state))


def _resumable_step(node: Node, catalog: DataCatalog) -> int | None:
    names = [name for name in node.inputs if name.endswith(".training_state")]
    return catalog.load(names[0]).last_step if names else None
