"""Slurm scripts and Airflow DAGs hold every node once, in the order of the graph."""

import ast
import os
import re
import stat
import subprocess
import sys
import types

import pytest
from click.testing import CliRunner
from kedro.framework.project import pipelines
from kedro.framework.startup import bootstrap_project
from kedro.pipeline import Node, Pipeline

from aquatint.cli import cli
from aquatint.sbatch import group_jobs
from project_runs import PROJECT

PARTS = {"data", "features", "zero_shot", "stage1", "stage2", "baseline", "reporting"}
FAKE_SBATCH = """#!/bin/bash
# Notes its arguments and answers as sbatch --parsable does.
echo "$@" >> "$SUBMITTED"
wc -l < "$SUBMITTED"
"""


@pytest.fixture(scope="module", autouse=True)
def _project():
    bootstrap_project(PROJECT)


def write_scripts(folder, *options):
    result = CliRunner().invoke(cli, ["sbatch", "--folder", str(folder), *options])
    assert result.exit_code == 0, result.output
    return {path.name: path.read_text() for path in folder.iterdir()}


@pytest.mark.parametrize("name", ["two_stage", "robosense"])
def test_every_node_is_in_one_job_and_its_parents_are_in_earlier_ones(name):
    jobs = group_jobs(pipelines[name])
    names = [node for job in jobs for node in job.nodes]
    assert sorted(names) == sorted(node.name for node in pipelines[name].nodes)
    place = {node: i for i, job in enumerate(jobs) for node in job.nodes}
    for node, parents in pipelines[name].node_dependencies.items():
        for parent in parents:
            assert place[parent.name] <= place[node.name]
            job = jobs[place[node.name]]
            assert jobs[place[parent.name]].name in {job.name, *job.parents}
    # What a script asks kedro run for is what the job counts as its own.
    for job in jobs:
        selected = pipelines[name].filter(node_namespaces=[job.name]).nodes
        assert {node.name for node in selected} == set(job.nodes)


@pytest.mark.parametrize("options", [(), ("--num-nodes", "2"), ("--gpus", "0", "--params", "a=1")])
def test_scripts_are_valid_bash(options, tmp_path):
    scripts = write_scripts(tmp_path / "jobs", *options)
    assert set(scripts) == {f"two_stage.{part}.sbatch" for part in PARTS} | {"submit.sh"}
    for path in (tmp_path / "jobs").iterdir():
        subprocess.run(["bash", "-n", path], check=True)


def test_trainings_get_gpus_hosts_and_an_endpoint_and_tables_do_not(tmp_path):
    options = ("--num-nodes", "2", "--gpus", "4", "--partition", "a100", "--time", "01:00:00")
    options += ("--only-missing-outputs",)
    scripts = write_scripts(tmp_path, *options, "--env", "test", "--params", "run.label=x")
    training = scripts["two_stage.stage1.sbatch"]
    for line in ("nodes=2", "gpus-per-node=4", "partition=a100", "time=01:00:00", "cpus-per-task"):
        assert f"#SBATCH --{line}" in training
    assert "--env=test --only-missing-outputs --namespaces=two_stage.stage1" in training
    assert "run.label=x,run.num_processes=4,run.num_nodes=2,run.rdzv_endpoint=" in training
    tables = scripts["two_stage.data.sbatch"]
    assert "#SBATCH --nodes=1" in tables
    assert "gpus" not in tables
    # The same parameters everywhere: they decide what --only-missing-outputs finds stale.
    assert tables.split("run.label")[1] == training.split("run.label")[1]


def test_a_script_starts_kedro_with_the_allocation_s_first_host(tmp_path):
    write_scripts(tmp_path / "jobs", "--num-nodes", "2")
    answers = {"scontrol": "echo node07; echo node08", "kedro": 'printf "%s\\n" "$@"'}
    for name, answer in answers.items():
        program = tmp_path / name
        program.write_text(f"#!/bin/bash\n{answer}\n")
        program.chmod(program.stat().st_mode | stat.S_IXUSR)
    slurm = {"SLURM_JOB_NODELIST": "node[07-08]", "SLURM_JOB_ID": "41"}
    done = subprocess.run(
        ["bash", tmp_path / "jobs" / "two_stage.stage2.sbatch"],
        env={**os.environ, "PATH": f"{tmp_path}:{os.environ['PATH']}", **slurm},
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert done.stdout.splitlines()[-1].endswith("run.num_nodes=2,run.rdzv_endpoint=node07:20041")


def test_jobs_are_submitted_with_their_parents_as_dependencies(tmp_path):
    write_scripts(tmp_path / "jobs")
    program = tmp_path / "sbatch"
    program.write_text(FAKE_SBATCH)
    program.chmod(program.stat().st_mode | stat.S_IXUSR)
    submitted = tmp_path / "submitted"
    submitted.touch()
    environment = {
        **os.environ, "PATH": f"{tmp_path}:{os.environ['PATH']}", "SUBMITTED": str(submitted),
    }  # fmt: skip
    subprocess.run(["bash", tmp_path / "jobs" / "submit.sh"], env=environment, check=True)
    lines = submitted.read_text().splitlines()
    ids = {re.search(r"two_stage\.(\w+)\.sbatch", line)[1]: i + 1 for i, line in enumerate(lines)}
    assert set(ids) == PARTS
    needed = {
        part: set(map(int, re.findall(r":(\d+)", lines[number - 1])))
        for part, number in ids.items()
    }
    assert needed["data"] == set()
    assert needed["stage2"] == {ids["data"], ids["features"], ids["stage1"]}
    assert all(parent < ids[part] for part, parents in needed.items() for parent in parents)


def test_parts_that_need_each_other_are_an_error():
    def node(inputs, outputs, namespace, name):
        return Node(
            lambda value: value, inputs=inputs, outputs=outputs, name=name, namespace=namespace
        )

    crossed = Pipeline(
        [node("x", "a.y", "a", "first"), node("a.y", "b.z", "b", "second")]
        + [node("b.z", "a.w", "a", "third")]
    )
    with pytest.raises(ValueError, match="another namespace"):
        group_jobs(crossed)


def generate_dag(folder, *options):
    command = [sys.executable, "-m", "kedro", "airflow", "create", "--group-by=namespace"]
    subprocess.run(
        [*command, "--pipelines=two_stage", f"--target-dir={folder}", *options],
        cwd=PROJECT, check=True, capture_output=True,
    )  # fmt: skip
    [path] = folder.iterdir()
    return ast.parse(path.read_text()), path


@pytest.mark.slow
def test_the_plugin_s_own_dag_parses(tmp_path):
    tree, _ = generate_dag(tmp_path)
    functions = [node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)]
    # One task for the whole recipe: it groups by the outermost namespace.
    assert "two_stage" in functions
    assert "two_stage_stage1" not in functions


class Task:
    """What a DAG file does with a task of Airflow's: call it, and say what follows it."""

    edges: list = []

    def __init__(self, name):
        self.name = name

    def __call__(self):
        return self

    def __rshift__(self, other):
        Task.edges.append((self.name, other.name))


@pytest.mark.slow
def test_our_dag_has_one_task_a_part_in_the_graph_s_order(tmp_path, monkeypatch):
    tree, path = generate_dag(tmp_path, f"--jinja-file={PROJECT}/conf/airflow_dag.j2")
    tasks, edges = [], []
    monkeypatch.setattr(Task, "edges", edges)

    def task(task_id):
        tasks.append(task_id)
        return lambda function: Task(task_id)

    sdk = types.ModuleType("airflow.sdk")
    sdk.dag, sdk.task = lambda **options: lambda function: function, task
    monkeypatch.setitem(sys.modules, "airflow", types.ModuleType("airflow"))
    monkeypatch.setitem(sys.modules, "airflow.sdk", sdk)
    exec(compile(tree, path, "exec"), {"__name__": "dag"})
    jobs = group_jobs(pipelines["two_stage"])
    assert sorted(tasks) == sorted(job.name for job in jobs)
    assert sorted(edges) == sorted((parent, job.name) for job in jobs for parent in job.parents)
