"""What Kedro and this project's hooks add to calling a function, and to starting a run.

Run with ``make bench``. A chain of nodes that pass a small table through versioned Parquet is
compared with a loop that calls the same functions and writes the same files; then ``kedro run``
with nothing to do is compared with ``python -c pass`` and with a finished recipe.
"""

import logging
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pandas as pd
from kedro.io import DataCatalog
from kedro.pipeline import Pipeline, node
from kedro.runner import SequentialRunner

from aquatint.io.tables import TableDataset

NUM_NODES, ROUNDS = 50, 5


def step(table: pd.DataFrame) -> pd.DataFrame:
    """Add one to every number."""
    return table + 1


def as_pipeline(folder: Path, table: pd.DataFrame) -> float:
    names = [f"t{i}" for i in range(NUM_NODES + 1)]
    pipeline = Pipeline(
        [node(step, names[i], names[i + 1], name=f"n{i}") for i in range(NUM_NODES)]
    )
    entries = {name: TableDataset(filepath=str(folder / f"{name}.parquet")) for name in names}
    catalog = DataCatalog(entries)
    catalog.save(names[0], table)
    start = time.perf_counter()
    SequentialRunner().run(pipeline, catalog)
    return time.perf_counter() - start


def as_loop(folder: Path, table: pd.DataFrame) -> float:
    start = time.perf_counter()
    for i in range(NUM_NODES):
        table = step(table)
        entry = TableDataset(filepath=str(folder / f"l{i}.parquet"))
        entry.save(table)
        table = entry.load()
    return time.perf_counter() - start


def seconds_of(*command: str) -> float:
    start = time.perf_counter()
    environment = {**os.environ, "KEDRO_DISABLE_TELEMETRY": "1"}
    environment.pop("PYTHONDONTWRITEBYTECODE", None)  # with it every process parses the project
    subprocess.run([sys.executable, *command], check=True, capture_output=True, env=environment)
    return time.perf_counter() - start


def main() -> None:
    logging.disable(logging.INFO)  # a line for each node
    table = pd.DataFrame({"x": range(100)})
    with tempfile.TemporaryDirectory() as folder:
        as_pipeline(Path(folder), table)
        rounds = [
            (as_pipeline(Path(folder), table), as_loop(Path(folder), table)) for _ in range(ROUNDS)
        ]
        nodes, loop = (statistics.median(r[way] for r in rounds) / NUM_NODES for way in (0, 1))
        print(f"one node with its table  {1e3 * nodes:.2f} ms")
        print(f"the same in a loop       {1e3 * loop:.2f} ms")
        print(f"overhead of a node       {1e3 * (nodes - loop):.2f} ms")
        run = ["-m", "kedro", "run", "--pipelines=two_stage", "--env=test"]
        run.append(f"--params=data_root={folder}/data")
        whole = seconds_of(*run)
        run.append("--only-missing-outputs")
        nothing, bare = (
            statistics.median(seconds_of(*command) for _ in range(ROUNDS))
            for command in (run, ["-m", "kedro", "--version"])
        )
        print(f"tiny recipe, everything  {whole:.2f} s")
        print(f"the same, nothing to do  {nothing:.2f} s ({whole / nothing:.1f} times less)")
        print(f"kedro --version          {bare:.2f} s")


if __name__ == "__main__":
    main()
