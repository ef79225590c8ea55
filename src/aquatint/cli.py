"""Commands that the project adds to Kedro's: what is fresh, and what came out."""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click
from kedro.framework.cli.utils import _split_params, env_option
from kedro.framework.context import KedroContext
from kedro.framework.project import pipelines
from kedro.framework.session import KedroSession
from kedro.io import DataCatalog
from kedro.pipeline.node import Node

from aquatint.provenance import Freshness, Provenance


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
