"""Commands that the project adds to Kedro's: what is fresh, and what came out."""

from __future__ import annotations

import logging
import shlex
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click
import yaml
from kedro.framework.cli.utils import _split_params, env_option
from kedro.framework.context import KedroContext
from kedro.framework.project import pipelines
from kedro.framework.session import KedroSession
from kedro.io import DataCatalog
from kedro.pipeline.node import Node

from aquatint.ancestry import differing_parameters, flatten, nest, split_writable, trace
from aquatint.provenance import Freshness, Provenance
from aquatint.prune import (
    delete_leftover,
    delete_version,
    leftovers,
    megabytes,
    prunable_versions,
)
from aquatint.remote import is_remote
from aquatint.sbatch import SUBMIT, Cluster, group_jobs, job_script, submit_script


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
    place = catalog.get(f"{pipeline}.reporting.report").place
    click.echo(f"Report: {place if is_remote(place) else Path(place).absolute()}")


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
    if not chain[0].node:
        return
    given, unwritable = split_writable(
        {**params, **flatten(differing_parameters(name, version or None, context.catalog))}
    )
    if unwritable:
        click.echo("\nWith these lines in conf/local/parameters.yml:\n")
        click.echo(yaml.safe_dump(nest(unwritable), sort_keys=False).rstrip())
    owner = _pipeline_of(chain[0].node, pipeline)
    pins = {step.name: step.version for step in chain if step.depth == 1 and step.version}
    options = [f"--nodes={chain[0].node}"]
    options += [f"--env={env}"] if env else []
    options += [f"--params={shlex.quote(_joined(given, '='))}"] if given else []
    options += [f"--load-versions={_joined(pins, ':')}"] if pins else []
    click.echo(f"\nkedro run --pipelines={owner} {' '.join(options)}")


def _pipeline_of(node: str, preferred: str) -> str:
    """A pipeline that has the node: the one that was asked for, if it is one of them."""
    owners = [name for name, found in pipelines.items() if node in {n.name for n in found.nodes}]
    return preferred if preferred in owners else owners[-1]


def _joined(values: dict[str, Any], sign: str) -> str:
    return ",".join(f"{name}{sign}{value}" for name, value in values.items())


@cli.command()
@env_option
@click.option("--pipeline", "--pipelines", "pipeline", default="two_stage")
@click.option("--params", default="", help="As for kedro run; given to every job.")
@click.option("--partition", default="", help="Slurm partition.")
@click.option("--time", "time_limit", default="24:00:00", help="Longest run of a job.")
@click.option("--gpus", "num_gpus", default=8, help="GPUs of each host, one process each.")
@click.option("--cpus", "num_cpus", default=16, help="CPU cores of each host.")
@click.option("--num-nodes", default=1, help="Hosts of a job that uses GPUs.")
@click.option("--only-missing-outputs", is_flag=True, help="As for kedro run.")
@click.option("--folder", type=click.Path(path_type=Path), help="Write here; else print.")
def sbatch(
    env: str | None,
    pipeline: str,
    params: str,
    folder: Path | None,
    only_missing_outputs: bool,
    **options: Any,  # noqa: ANN401 - the fields of Cluster
) -> None:
    """Write one Slurm script for each part of a pipeline, and one that submits them in order."""
    if pipeline not in pipelines:
        raise click.UsageError(f"No pipeline {pipeline!r}; there are {', '.join(pipelines)}.")
    jobs = group_jobs(pipelines[pipeline])
    cluster = Cluster(time=options.pop("time_limit"), **options)
    command = ["kedro", "run", f"--pipelines={pipeline}", *([f"--env={env}"] if env else [])]
    command += ["--only-missing-outputs"] if only_missing_outputs else []
    scripts = {f"{job.name}.sbatch": job_script(job, command, params, cluster) for job in jobs}
    scripts[SUBMIT] = submit_script(jobs)
    for name, script in scripts.items():
        if folder is None:
            click.echo(f"# {name}\n{script}")
            continue
        folder.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(script)
    if folder is not None:
        click.echo(
            f"{len(jobs)} jobs; submit them from the project's folder: bash {folder}/{SUBMIT}"
        )


@cli.command()
@_run_options
@click.option("--keep", default=1, type=click.IntRange(1), help="Newest versions of each to keep.")
@click.option(
    "--older-than-hours",
    default=24.0,
    type=click.FloatRange(0),
    help="Younger versions stay: a run that goes on now may need them.",
)
@click.option("--yes", is_flag=True, help="Delete; without it, versions are only listed.")
def prune(
    env: str | None,
    pipeline: str,
    params: dict[str, Any],
    keep: int,
    older_than_hours: float,
    yes: bool,
) -> None:
    """List versions that nothing kept descends from, and with --yes delete them.

    Kept are the newest complete versions of each dataset of every pipeline, and all that these were
    made from. What killed runs left behind is listed and deleted as well.
    """
    catalog = _context(env, params).catalog
    store = catalog.get("feature_store").load().root
    if is_remote(store):
        raise click.UsageError(f"Only a local data_root can be pruned, got one with {store}.")
    data_root = catalog.get("runs").folder.parent
    names = {name for pipe in pipelines.values() for name in pipe.datasets()}
    found = prunable_versions(catalog, names, keep, older_than_hours * 3600)
    left = leftovers(catalog, names, data_root, older_than_hours * 3600)
    sizes = {f"{version.name} @ {version.version}": version.megabytes for version in found}
    sizes |= {f"left over: {path}": megabytes(path) for path in left}
    for what, size in sizes.items():
        click.echo(f"{what}  {size:.1f} MB")
    total = f"{len(found)} versions, {len(left)} leftovers, {sum(sizes.values()):.1f} MB"
    if not yes:
        click.echo(f"{total}; nothing deleted. Give --yes to delete them.")
        return
    for version in found:
        delete_version(version)
    for path in left:
        delete_leftover(path)
    click.echo(f"{total} deleted.")


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
