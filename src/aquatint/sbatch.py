"""Slurm jobs from a pipeline's graph: one for each part, in the order that the graph asks for."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from graphlib import CycleError, TopologicalSorter

from kedro.pipeline import Pipeline
from kedro.pipeline.node import Node

SUBMIT = "submit.sh"


@dataclass(frozen=True)
class Cluster:
    """What a job asks of Slurm.

    Attributes:
        partition: Partition; empty for the cluster's own default.
        time: Longest run of a job, as ``hours:minutes:seconds``.
        num_gpus: GPUs of each host of a job that uses any.
        num_cpus: CPU cores of each host.
        num_nodes: Hosts of a job that uses GPUs.
    """

    partition: str
    time: str
    num_gpus: int
    num_cpus: int
    num_nodes: int


@dataclass(frozen=True)
class Job:
    """One part of a pipeline.

    Attributes:
        name: Namespace, ``two_stage.stage1``, or the name of a node without one.
        nodes: Names of its nodes.
        parents: Jobs whose results it reads.
        uses_gpu: Whether a node has the tag ``gpu``.
    """

    name: str
    nodes: tuple[str, ...]
    parents: tuple[str, ...]
    uses_gpu: bool


def group_jobs(pipeline: Pipeline) -> list[Job]:
    """Return the jobs of a pipeline, each after those it depends on.

    Raises:
        ValueError: If two namespaces need results of each other.
    """
    members: dict[str, list[Node]] = {}
    parents: dict[str, set[str]] = {}
    for node in pipeline.nodes:
        name = node.namespace or node.name
        members.setdefault(name, []).append(node)
        needed = {parent.namespace or parent.name for parent in pipeline.node_dependencies[node]}
        parents.setdefault(name, set()).update(needed - {name})
    try:
        # Sorted, so that the same graph gives the same scripts in every process.
        ordered = {name: sorted(needed) for name, needed in parents.items()}
        order = list(TopologicalSorter(ordered).static_order())
    except CycleError as error:
        raise ValueError(
            f"Jobs must not need each other's results, but {' needs '.join(error.args[1])}. Move a "
            "node into another namespace."
        ) from error
    return [
        Job(
            name,
            tuple(node.name for node in members[name]),
            tuple(sorted(parents[name])),
            any("gpu" in node.tags for node in members[name]),
        )
        for name in order
    ]


def job_script(job: Job, command: Sequence[str], params: str, cluster: Cluster) -> str:
    """Return the batch script of a job.

    Args:
        job: The part to run.
        command: ``kedro run`` with the options that all jobs share, without parameters.
        params: Parameters of all jobs, ``key=value,key=value``; may be empty.
        cluster: What to ask of Slurm.
    """
    num_nodes = cluster.num_nodes if job.uses_gpu else 1
    wanted = {
        "job-name": job.name,
        "partition": cluster.partition,
        "time": cluster.time,
        "nodes": num_nodes,
        "ntasks-per-node": 1,
        "cpus-per-task": cluster.num_cpus,
        "gpus-per-node": cluster.num_gpus if job.uses_gpu else "",
        "output": "%x-%j.log",
        # Two minutes before the end: a training writes its state; the same job later goes on.
        "signal": "B:TERM@120",
    }
    # In jobs that start no processes too: with other parameters all before them would be stale.
    given = [*([params] if params else []), f"run.num_processes={max(1, cluster.num_gpus)}"]
    lines = ["#!/bin/bash"]
    lines += [f"#SBATCH --{key}={value}" for key, value in wanted.items() if value != ""]
    lines += ["#SBATCH --requeue", "set -euo pipefail"]
    if cluster.num_nodes > 1:
        # The port by job, for two jobs may share a host.
        lines += [
            # No pipe into head: it would end scontrol, and pipefail the job.
            'read -r host < <(scontrol show hostnames "$SLURM_JOB_NODELIST")',
            "endpoint=$host:$((20000 + SLURM_JOB_ID % 20000))",
        ]
        given += [f"run.num_nodes={cluster.num_nodes}", "run.rdzv_endpoint="]
    options = shlex.quote(f"--params={','.join(given)}")
    options += '"$endpoint"' if cluster.num_nodes > 1 else ""
    # exec, so that Slurm's signal reaches the run and not a shell that waits for it.
    return "\n".join([*lines, f"exec {shlex.join([*command, *_selection(job)])} {options}", ""])


def submit_script(jobs: Sequence[Job]) -> str:
    """Return the script that submits all jobs from the folder it stands in.

    A job starts when all its parents have ended well.
    """
    variables = {job.name: f"job_{number}" for number, job in enumerate(jobs)}
    lines = ["#!/bin/bash", "set -euo pipefail", 'folder=$(dirname "$0")']
    for job in jobs:
        needed = "".join(f":${variables[parent]}" for parent in job.parents)
        dependency = f" --dependency=afterok{needed}" if needed else ""
        script = f'"$folder"/{shlex.quote(job.name)}.sbatch'
        lines.append(f"{variables[job.name]}=$(sbatch --parsable{dependency} {script})")
        lines.append(f"echo {shlex.quote(job.name)} ${variables[job.name]}")
    return "\n".join([*lines, ""])


def _selection(job: Job) -> list[str]:
    is_node = job.nodes == (job.name,)
    return [f"--nodes={job.name}"] if is_node else [f"--namespaces={job.name}"]
