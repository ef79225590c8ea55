"""Whether a thread that makes the next batch helps a training, alone and with a second one.

Run with ``make bench``. A System 1 learns ways that each batch encodes anew, and a batch reads a
picture and its depth for each, as in the first epoch of ``dual_system``: many small calls that take
Python's lock and leave it again. One training alone has a core free for its thread on a machine of
two; two at once have none. All ways end with the same weights.
"""

import logging
import multiprocessing
import statistics
import tempfile
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from pathlib import Path

import numpy as np
import torch
import yaml
from PIL import Image
from torch import Tensor

from aquatint.data.trajectories import read_depth
from aquatint.data.trajectory_targets import TargetRule, encode_trajectory
from aquatint.models.system1 import System1
from aquatint.params import OptimizerParams, RunParams, StageParams
from aquatint.processes import count_cores
from aquatint.training.fit import fit
from aquatint.training.navigation_dialogues import read_frame
from aquatint.training.objective import Objective, Opening
from aquatint.training.trajectory_samples import PictureStyle, as_picture

NUM_SAMPLES, BATCH, ROUNDS, POINTS, LATENTS, WIDTH = 1280, 32, 3, 32, 4, 96
DEFAULTS = yaml.safe_load(Path("conf/base/parameters.yml").read_text())["run"]
RULE = TargetRule(POINTS, 1.0, 1.0, 0.4, 2, 4)
STYLE = PictureStyle(32, 60.0, 1000.0)
NUM_FILES, FILE_PX = 64, 96


class Ways:
    """Random latents, winding ways of 16 steps, and pictures with depth in ``folder``."""

    def __init__(self, folder: Path) -> None:
        rng = np.random.default_rng(0)
        self.folder = folder
        for number in range(NUM_FILES):
            pixels = rng.integers(0, 256, (FILE_PX, FILE_PX, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(folder / f"{number}.jpg")
            depth = rng.integers(0, 60_000, (FILE_PX, FILE_PX), dtype=np.uint16)
            Image.fromarray(depth).save(folder / f"{number}.png")
        heading = rng.normal(0, 0.2, (NUM_SAMPLES, 16)).cumsum(1)
        steps = 2.5 * np.stack([np.cos(heading), np.sin(heading)], -1)
        self.places = np.concatenate([steps.cumsum(1), heading[..., None]], -1)
        generator = torch.Generator().manual_seed(0)
        self.latents = torch.randn(NUM_SAMPLES, LATENTS, WIDTH, generator=generator)
        self.noise = torch.randn(NUM_SAMPLES, POINTS, 3, generator=generator)

    def __len__(self) -> int:
        return NUM_SAMPLES

    def batch(self, positions: Tensor) -> dict[str, Tensor]:
        """Encode the ways of a batch and read its pictures."""
        ways = [encode_trajectory(self.places[i], RULE) for i in positions.tolist()]
        return {
            "latents": self.latents[positions],
            "noise": self.noise[positions],
            "actions": torch.from_numpy(np.array(ways, np.float32)),
            "pictures": torch.from_numpy(np.stack([self.look(i) for i in positions.tolist()])),
        }

    def look(self, position: int) -> np.ndarray:
        """Read a picture with its depth."""
        name = self.folder / str(position % NUM_FILES)
        depth_m = read_depth(name.with_suffix(".png"), STYLE.depth_units_per_m)
        return as_picture(read_frame(name.with_suffix(".jpg")), depth_m, STYLE)

    def identify(self, positions: Tensor) -> list[str]:
        """Return the positions as text."""
        return [str(position) for position in positions.tolist()]


def losses(model: System1, batch: dict[str, Tensor]) -> dict[str, Tensor]:
    condition = model.condition(batch["latents"], None)
    timesteps = torch.arange(len(condition)) % model.process.num_train_timesteps
    noisy = model.process.add_noise(batch["actions"], batch["noise"], timesteps)
    said = model.predict(noisy, timesteps, condition)
    return {"action": (said - batch["actions"]).square().mean()}


def train(is_ahead: bool) -> tuple[float, float]:
    """Return milliseconds of a step, and the sum of the weights it ends with."""
    logging.disable(logging.INFO)
    torch.manual_seed(0)
    model = System1(
        backend="nextdit", latent_width=WIDTH, num_latents=LATENTS, width=64, horizon=POINTS,
        num_blocks=3, num_heads=4, pictures={"num_queries": 0}, num_train_timesteps=1000,
        num_inference_steps=5, num_diffusion_timesteps=10, prediction_type="sample",
    )  # fmt: skip
    params = StageParams(
        epochs=1,
        batch_size=BATCH,
        optimizer=OptimizerParams(learning_rate=1e-3, weight_decay=0.0, warmup_fraction=0.1),
        loss_weights={"action": 1.0},
    )
    # More nodes at once than cores: none is free.
    nodes = 1 if is_ahead else count_cores()
    changed = {"device": "cpu", "num_threads": 1, "concurrent_nodes": nodes}
    run = RunParams(**{**DEFAULTS, **changed})
    names = [name for name, _ in model.named_parameters()]
    opening = Opening({"all": names}, lambda epoch: {"all"})
    with tempfile.TemporaryDirectory() as folder:
        samples = Ways(Path(folder))
        states = Path(folder) / "states"
        result = fit(model, Objective(samples, losses), opening, params, run, states)
    total = sum(float(tensor.double().sum()) for tensor in result.last_weights.values())
    return 1000 * result.efficiency["train_seconds"] / result.efficiency["num_steps"], total


def measure(num_trainings: int) -> tuple[float, float]:
    """Return medians of alternating rounds with the thread and without, in milliseconds a step."""
    spent: dict[bool, list[float]] = {True: [], False: []}
    totals = set()
    with ProcessPoolExecutor(num_trainings, multiprocessing.get_context("spawn")) as pool:
        for _ in range(ROUNDS):
            for is_ahead in (True, False):
                found = [pool.submit(partial(train, is_ahead)) for _ in range(num_trainings)]
                spent[is_ahead] += [one.result()[0] for one in found]
                totals |= {one.result()[1] for one in found}
    if len(totals) > 1:
        raise SystemExit("Making batches ahead changed the weights.")
    return statistics.median(spent[True]), statistics.median(spent[False])


def main() -> None:
    print(f"{NUM_SAMPLES // BATCH} steps of {BATCH}, torch {torch.__version__}, same weights,")
    print(f"medians of {ROUNDS} alternating rounds on {count_cores()} cores, ms a step")
    for num_trainings in (1, count_cores()):
        ahead, alone = measure(num_trainings)
        print(
            f"{num_trainings} at once: a thread makes batches ahead {ahead:.0f}, "
            f"made by the training itself {alone:.0f} ({ahead / alone:.2f})"
        )


if __name__ == "__main__":
    main()
