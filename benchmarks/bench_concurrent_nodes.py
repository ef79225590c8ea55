"""Two nodes at a time against one after the other: short trainings of ``two_stage`` in base.

Run with ``make bench``. Needs the features of a finished run (``make run`` first, or
``--data-root`` of one). Both ways must end with the same weights.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import time
from pathlib import Path

ROUNDS = 2
EPOCHS = {"stage1": 1, "stage2": 2, "baseline": 2}
PARTS = ("stage1", "stage2", "baseline")
NODES = ",".join(f"two_stage.{part}.train_{part}" for part in PARTS)


def run(data_root: Path, concurrent_nodes: int, label: str) -> tuple[float, dict[str, str]]:
    """Wall seconds of the command, and the digest of each checkpoint."""
    given = f"data_root={data_root},run.concurrent_nodes={concurrent_nodes},run.label={label}"
    given += "".join(f",two_stage.{part}.train.epochs={EPOCHS[part]}" for part in PARTS)
    command = [sys.executable, "-m", "kedro", "run", "--pipelines=two_stage", f"--nodes={NODES}"]
    begun = time.perf_counter()
    subprocess.run([*command, f"--params={given}"], check=True, capture_output=True)
    spent = time.perf_counter() - begun
    return spent, {part: read_digest(data_root, part, label) for part in PARTS}


def read_digest(data_root: Path, part: str, label: str) -> str:
    versions = data_root / "06_models" / "two_stage" / part / "checkpoint"
    (manifest,) = versions.glob(f"*-{label}/checkpoint/manifest.json")
    return json.loads(manifest.read_text())["digest"]


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--data-root", type=Path, default=Path("data"))
    root = parser.parse_args().data_root
    spent: dict[int, list[float]] = {1: [], 2: []}
    digests = []
    for number in range(ROUNDS):
        for at_once in (1, 2):
            seconds, found = run(root, at_once, f"bench-{os.getpid()}-{number}-{at_once}")
            spent[at_once].append(seconds)
            digests.append(found)
    if any(found != digests[0] for found in digests):
        raise SystemExit(f"The weights differ: {digests}")
    alone, both = (statistics.median(spent[at_once]) for at_once in (1, 2))
    print(f"three trainings of two_stage: {alone:.0f} s one by one, {both:.0f} s two at a time")
    print(f"ratio {both / alone:.2f}; rounds {spent}; checkpoints equal")


if __name__ == "__main__":
    main()
