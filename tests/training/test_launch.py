"""Several processes from the command line: result, resume, signals, and the error of one rank."""

import os
import shutil
import signal
import stat
import subprocess
import sys
import time

import pytest
import torch

from aquatint.features.cache import FeatureStore
from aquatint.features.frozen import Encoding, cache_text_tokens
from aquatint.training import launch as launching
from aquatint.training.launch import RankError, launch, torchrun_command
from aquatint.training.precision import (
    check_devices,
    has_free_core,
    share_on_cpu,
    threads_per_rank,
)
from project_runs import PROJECT, open_catalog, run_pipelines

NODE = "two_stage.stage1.train_stage1"
EPOCHS = 14


FAKE_SRUN = """#!{python}
# As srun does: the same command once on each of the hosts, here twice on this one.
import subprocess, sys
from pathlib import Path
Path({log!r}).write_text("2 hosts\\n")
arguments = sys.argv[1:]
assert "--nodes=2" in arguments and "--ntasks=2" in arguments, arguments
command = [a for a in arguments if not a.startswith("--n") or a.startswith(("--nn", "--nproc"))]
command = [a for a in command if not a.startswith("--kill")]
children = [subprocess.Popen(command) for _ in range(2)]
sys.exit(max(abs(child.wait()) for child in children))
"""


@pytest.fixture
def srun(tmp_path, monkeypatch):
    """An ``srun`` on the path; the file tells that it was called."""
    log, program = tmp_path / "hosts.txt", tmp_path / "bin" / "srun"
    program.parent.mkdir()
    program.write_text(FAKE_SRUN.format(python=sys.executable, log=str(log)))
    program.chmod(program.stat().st_mode | stat.S_IXUSR)
    monkeypatch.setenv("PATH", f"{program.parent}{os.pathsep}{os.environ['PATH']}")
    return log


@pytest.fixture
def start(warm_python):
    """Starts stage 1 on two ranks, which begin with an interpreter of their own as always."""

    def start_below(root, **run):
        run = {"num_processes": 2, **run}
        params = {f"run.{key}": value for key, value in run.items()}
        params |= {"data_root": root, "two_stage.stage1.train.epochs": EPOCHS}
        joined = ",".join(f"{key}={value}" for key, value in params.items())
        command = ["-m", "kedro", "run", "--pipelines=two_stage", "--env=test"]
        return warm_python.start(*command, f"--nodes={NODE}", f"--params={joined}", cwd=PROJECT)

    return start_below


def train_untouched(root, launch_on_pair, monkeypatch):
    """The same training on two ranks that are there already: starting two takes much longer."""
    monkeypatch.setattr("aquatint.training.launch.launch", launch_on_pair)
    params = {"run": {"num_processes": 2}, "two_stage": {"stage1": {"train": {"epochs": EPOCHS}}}}
    run_pipelines(root, "two_stage", params=params, node_names=[NODE])


def untrained(finished, root):
    shutil.copytree(finished, root, copy_function=shutil.copy2)
    shutil.rmtree(root / "06_models")
    return root


def newest_step(root):
    found = root.glob("06_models/.states/two_stage/stage1/*/step-*/manifest.json")
    return max((int(path.parent.name.split("-")[1]) for path in found), default=0)


def wait_for_step(root, step):
    deadline = time.monotonic() + 60
    while newest_step(root) < step:
        assert time.monotonic() < deadline, "no state was written"
        time.sleep(0.05)


def ranks_alive(root):
    """Processes that work on an order below this folder."""
    listed = subprocess.run(["ps", "-eo", "args"], capture_output=True, text=True, check=True)
    return [line for line in listed.stdout.splitlines() if str(root) in line and "worker" in line]


@pytest.mark.slow
def test_killed_and_stopped_two_processes_end_bit_for_bit_as_if_untouched(
    finished, start, tmp_path, launch_on_pair, monkeypatch, srun
):
    """Two on one host, then one on each of two."""
    whole, root = (untrained(finished, tmp_path / name) for name in ("whole", "stopped"))
    train_untouched(whole, launch_on_pair, monkeypatch)

    child = start(root)
    wait_for_step(root, 4)
    child.kill()  # the process that started the ranks, and nobody else
    child.communicate()
    time.sleep(1.0)
    assert ranks_alive(root) == [], "a second run would meet them"
    killed_at = newest_step(root)
    assert killed_at < 28

    child = start(root)
    wait_for_step(root, killed_at + 4)
    child.send_signal(signal.SIGTERM)
    _, log = child.communicate(timeout=60)
    assert child.returncode == 128 + signal.SIGTERM, log[-3000:]
    assert "Give the same command again to go on" in log
    assert newest_step(root) < 28

    child = start(root, num_processes=1, num_nodes=2, rdzv_endpoint="localhost:29431")
    _, log = child.communicate(timeout=120)
    assert child.returncode == 0, log[-3000:]
    assert srun.read_text() == "2 hosts\n"
    name = "two_stage.stage1.checkpoint"
    found, expected = (open_catalog(place).load(name) for place in (root, whole))
    assert found.digest == expected.digest
    assert found.lineage["efficiency"]["num_processes"] == 2
    history = "two_stage.stage1.history"
    assert open_catalog(root).load(history).equals(open_catalog(whole).load(history))
    left = list((root / "06_models" / ".states").rglob("order-*"))
    assert left == [], "orders are removed, those of killed runs too"


@pytest.mark.slow
def test_the_error_of_one_rank_is_the_error_of_the_run(backbone, run_params, tmp_path):
    # Two shards of 512: the text without a token stands in that of the second rank.
    texts = [f"A house, number {i}." for i in range(600)] + [""]
    store = FeatureStore(str(tmp_path), max_gigabytes=1)
    arguments = (store, backbone, texts, 24, Encoding(64, "float32", "cpu"))
    run = run_params.model_copy(update={"num_processes": 2})
    with pytest.raises(RankError, match="Rank 1 of 2 failed with ValueError: A text must have"):
        launch(cache_text_tokens, arguments, run, tmp_path)
    assert list(tmp_path.glob("order-*")) == []


@pytest.mark.slow
def test_two_ranks_share_the_texts_of_a_cache(backbone, run_params, tmp_path, launch_on_pair):
    texts = [f"A house, number {i}." for i in range(600)]
    encoding = Encoding(64, "float32", "cpu")
    caches = []
    for count in (2, 1):
        store = FeatureStore(str(tmp_path / str(count)), max_gigabytes=1)
        run = run_params.model_copy(update={"num_processes": count})
        arguments = (store, backbone, texts, 24, encoding)
        caches.append(launch_on_pair(cache_text_tokens, arguments, run, tmp_path / str(count)))
    rows = [cache.open() for cache in caches]
    keys = sorted(rows[1]._places)
    assert len(keys) == 600
    assert (rows[0].read(rows[0].places(keys)) == rows[1].read(rows[1].places(keys))).all()
    assert len(list((tmp_path / "2").rglob("shard-*"))) == 2


def test_one_process_starts_no_other(run_params, tmp_path, monkeypatch):
    monkeypatch.setattr(launching.subprocess, "Popen", None)
    assert launch(threads_per_rank, (run_params,), run_params, tmp_path) == 1


def test_more_processes_than_devices_are_refused(run_params, monkeypatch):
    monkeypatch.setattr("torch.cuda.device_count", lambda: 2)
    run = run_params.model_copy(update={"device": "auto", "num_processes": 3})
    with pytest.raises(ValueError, match=r"num_processes 3 .* sees 2"):
        check_devices(run)
    check_devices(run.model_copy(update={"num_processes": 2}))
    check_devices(run.model_copy(update={"device": "cpu"}))


def test_a_stage_is_shared_on_cpus_alone_and_where_the_run_asks_for_one(run_params, monkeypatch):
    assert share_on_cpu(run_params, 2).num_processes == 2
    asked = run_params.model_copy(update={"num_processes": 4})
    assert share_on_cpu(asked, 2) == asked
    monkeypatch.setattr("torch.cuda.is_available", lambda: True)
    on_gpu = run_params.model_copy(update={"device": "auto"})
    assert share_on_cpu(on_gpu, 2) == on_gpu


def test_hosts_without_slurm_are_refused(run_params, monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    run = run_params.model_copy(update={"num_nodes": 2, "rdzv_endpoint": "node01:29400"})
    with pytest.raises(ValueError, match="srun"):
        torchrun_command(run)


def test_processes_and_hosts_reach_torchrun(run_params, monkeypatch):
    monkeypatch.setattr("shutil.which", lambda name: f"/usr/bin/{name}")
    run = run_params.model_copy(
        update={"num_nodes": 2, "num_processes": 8, "rdzv_endpoint": "node01:29400"}
    )
    command = torchrun_command(run)
    assert command[0] == "srun"
    wanted = {"--nodes=2", "--nnodes=2", "--nproc-per-node=8", "--rdzv-endpoint=node01:29400"}
    assert wanted <= set(command)
    assert command[-2:] == ["-m", "aquatint.training.worker"]


@pytest.mark.parametrize(
    ("num_threads", "num_processes", "each"), [(2, 1, 2), (8, 3, 2), (2, 4, 1)]
)
def test_processes_share_the_threads(run_params, num_threads, num_processes, each):
    update = {"num_threads": num_threads, "num_processes": num_processes}
    assert threads_per_rank(run_params.model_copy(update=update)) == each


@pytest.mark.parametrize(
    ("update", "num_cores", "is_free"),
    [
        ({"concurrent_nodes": 2}, 2, False),
        ({"concurrent_nodes": 2}, 3, True),
        ({"concurrent_nodes": 2, "num_threads": 4}, 8, False),
        ({"concurrent_nodes": 2, "num_processes": 2}, 3, True),  # no other node beside ranks
        ({"concurrent_nodes": 1, "num_processes": 4}, 4, False),
    ],
)
def test_a_core_is_free_where_no_training_uses_it(
    run_params, monkeypatch, update, num_cores, is_free
):
    monkeypatch.setattr("aquatint.training.precision.count_cores", lambda: num_cores)
    run = run_params.model_copy(update=update)
    assert has_free_core(run, torch.device("cpu")) is is_free
    assert has_free_core(run, torch.device("cuda"))
