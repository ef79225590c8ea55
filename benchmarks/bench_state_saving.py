"""What saving states costs a training at the default interval.

Run with ``make bench``. The enhanced heads at the published widths (1.6 M parameters) train on
random cached features; both ways take the same steps and end with the same weights.
"""

import logging
import statistics
import tempfile
import time
from pathlib import Path

import torch
import yaml
from torch import Tensor, nn

from aquatint.models.dual_encoder import DualEncoder
from aquatint.params import OptimizerParams, RunParams, StageParams
from aquatint.training.fit import fit
from aquatint.training.objective import Objective, Opening

NUM_SAMPLES, BATCH, EPOCHS, ROUNDS, PATCHES, TOKENS = 6400, 8, 1, 3, 64, 24
DEFAULTS = yaml.safe_load(Path("conf/base/parameters.yml").read_text())["run"]
NEVER = {"save_state_every_steps": 10**9, "save_state_every_minutes": 1e9}


class Features:
    """Random tokens of images and texts."""

    def __init__(self) -> None:
        generator = torch.Generator().manual_seed(0)
        self.images = torch.randn(64, 1 + PATCHES, 1024, generator=generator)
        self.texts = torch.randn(64, TOKENS, 896, generator=generator)

    def __len__(self) -> int:
        return NUM_SAMPLES

    def batch(self, positions: Tensor) -> dict[str, Tensor]:
        """Return tokens by name."""
        rows = positions % 64
        return {"images": self.images[rows], "texts": self.texts[rows]}

    def identify(self, positions: Tensor) -> list[str]:
        """Return the positions as text."""
        return [str(position) for position in positions.tolist()]


def losses(model: nn.Module, batch: dict[str, Tensor]) -> dict[str, Tensor]:
    image = model.encode_image(batch["images"]).embeds
    mask = torch.ones(batch["texts"].shape[:2], dtype=torch.long)
    text = model.encode_text(batch["texts"], mask).embeds
    return {"itc": (image - text).pow(2).sum(dim=1).mean()}


def train(**intervals: float) -> tuple[float, dict[str, Tensor]]:
    torch.manual_seed(0)
    model = DualEncoder(vision_width=1024, text_width=896, is_enhanced=True)
    names = [n for n, _ in model.named_parameters() if "_head" not in n and "temperature" not in n]
    optimizer = OptimizerParams(learning_rate=1e-3, weight_decay=0.01, warmup_fraction=0.1)
    params = StageParams(
        epochs=EPOCHS, batch_size=BATCH, optimizer=optimizer, loss_weights={"itc": 1.0}
    )
    run = RunParams(**{**DEFAULTS, "device": "cpu", "num_threads": 1, **intervals})
    opening = Opening({"all": names}, lambda epoch: {"all"})
    with tempfile.TemporaryDirectory() as folder:
        start = time.process_time(), time.perf_counter()
        result = fit(model, Objective(Features(), losses), opening, params, run, Path(folder))
        spent = time.process_time() - start[0]
    return spent, result.last_weights


def main() -> None:
    logging.disable(logging.INFO)
    rounds = [(train(), train(**NEVER)) for _ in range(ROUNDS)]
    first, second = (weights for _, weights in rounds[0])
    if not all(torch.equal(tensor, second[name]) for name, tensor in first.items()):
        raise SystemExit("Saving states changed the weights.")
    saving, without = (statistics.median(r[way][0] for r in rounds) for way in (0, 1))
    steps = NUM_SAMPLES // BATCH * EPOCHS
    every = DEFAULTS["save_state_every_steps"]
    print(f"{steps} steps, a state every {every} steps and at each epoch's end, same weights")
    print(f"torch {torch.__version__}, medians of {ROUNDS} alternating rounds")
    print(f"with states    {saving:.2f} CPU s")
    print(f"without        {without:.2f} CPU s (one state at the end)")
    print(f"cost of saving {100 * (saving / without - 1):.1f} %")


if __name__ == "__main__":
    main()
