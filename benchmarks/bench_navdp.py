"""NavDP: cached against live encoder, sampler steps, one decision, and distances from obstacles.

Run with ``make bench``. Each comparison takes both ways in one run and checks that they give the
same numbers where they should.
"""

import statistics
import tempfile
import time

import numpy as np
import torch

from aquatint.data.navdp_labels import ObstacleField
from aquatint.features.cache import FeatureStore, build_cache
from aquatint.features.navdp import RgbEncoder
from aquatint.models.diffusion import Diffusion
from aquatint.models.navdp import NavDpPolicy
from aquatint.models.teacher_source import TeacherSource
from aquatint.training.navdp_sampling import sample_fan, start_noise

ROUNDS, NUM_FRAMES, BATCH, HORIZON = 3, 256, 32, 12


def main() -> None:
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        encoder(FeatureStore(folder, 1))
    distances()
    decisions()
    shared_conditions()
    steps_against_quality()


def seconds(function) -> float:
    times = []
    for _ in range(ROUNDS):
        start = time.process_time()
        function()
        times.append(time.process_time() - start)
    return statistics.median(times)


def encoder(store: FeatureStore) -> None:
    """Frozen features of all frames of an epoch, read or computed anew."""
    pixels = np.random.default_rng(0).integers(0, 255, (NUM_FRAMES, 72, 72, 3), np.uint8)
    eyes = RgbEncoder(TeacherSource("dino", "world"), 3, "cpu")
    keys = [f"{i:064d}" for i in range(NUM_FRAMES)]
    reader = build_cache(store, {"bench": 2}, keys, lambda rows: eyes(list(pixels[rows]))).open()
    places = reader.places(keys)

    def live() -> np.ndarray:
        return np.concatenate([eyes(list(part)) for part in np.split(pixels, NUM_FRAMES // BATCH)])

    def cached() -> np.ndarray:
        parts = np.split(places, NUM_FRAMES // BATCH)
        return np.concatenate([reader.read(part) for part in parts])

    gap = np.abs(live().astype(float) - cached()).max()
    ratio = seconds(live) / seconds(cached)
    print(f"frozen encoder of the world, {NUM_FRAMES} pictures: difference {gap:.1e}")
    print(f"live against cached features: ratio {ratio:.0f}")


def distances() -> None:
    """L1 distances of an epoch's waypoints from the nearest of a cloud's obstacles."""
    rng = np.random.default_rng(0)
    places, points = rng.uniform(-70, 70, (4000, 2)), rng.uniform(-70, 70, (BATCH, 2, HORIZON, 2))
    field = ObstacleField(places)

    def brute() -> np.ndarray:
        return np.abs(points[..., None, :] - places).sum(-1).min(-1)

    gap = np.abs(brute() - field.distances_m(points)).max()
    ratio = seconds(brute) / seconds(lambda: field.distances_m(points))
    print(f"obstacle distances, {points[..., 0].size} points, {len(places)} obstacles: "
          f"difference {gap:.1e}, brute force against KD-tree: ratio {ratio:.0f}")  # fmt: skip


def policy(**changes) -> NavDpPolicy:
    torch.manual_seed(0)
    encoder = {"kind": "patches", "num_blocks": 1, "num_heads": 2}
    sizes = {
        "rgb_width": 32, "num_rgb_tokens": 10, "memory_size": 3, "depth_px": 48, "picture_px": 48,
        "queries_per_frame": 4, "width": 64, "num_reader_blocks": 2,
        "depth_encoder": {**encoder, "patch_px": 8}, "goal_encoder": {**encoder, "patch_px": 12},
        "decoder": {"horizon": HORIZON, "num_blocks": 3, "num_heads": 2, "feedforward_width": 256,
                    "dropout": 0.0},
        "diffusion": {"num_train_timesteps": 10, "sampler": "ddpm", "prediction_type": "sample"},
    }  # fmt: skip
    return NavDpPolicy(**{**sizes, **changes}).eval()


def seen(size: int) -> dict[str, torch.Tensor]:
    rng = torch.Generator().manual_seed(0)
    return {
        "rgb": torch.randn(size, 3, 10, 32, generator=rng),
        "depth": torch.rand(size, 48, 48, generator=rng),
        "point": torch.tensor([[1.0, 0.0, 1.0]]).repeat(size, 1),
    }


def decisions() -> None:
    """One decision of one agent: look, sample 32 trajectories, judge them."""
    model, batch = policy(), seen(1)
    for count in (1, 8, 32):
        start = start_noise(["a"], count, HORIZON, 0)
        wall = []
        for _ in range(ROUNDS + 2):
            begun = time.perf_counter()
            sample_fan(model, batch, "point", start)
            wall.append(time.perf_counter() - begun)
        print(f"one decision, {count} trajectories: {1e3 * statistics.median(wall):.0f} ms")


def shared_conditions() -> None:
    """A fan whose samples share keys and values of their condition, against one copy for each."""
    model, count = policy(), 32
    condition = torch.randn(BATCH, model.decoder.num_condition_tokens, 64)
    start = torch.randn(BATCH * count, HORIZON, 3)
    repeated, times = condition.repeat_interleave(count, dim=0), torch.zeros(BATCH)

    @torch.inference_mode()
    def shared() -> torch.Tensor:
        return model.decoder.predict(start, times, condition)

    @torch.inference_mode()
    def copied() -> torch.Tensor:
        return model.decoder.predict(start, times.repeat_interleave(count), repeated)

    gap = (shared() - copied()).abs().max()
    rounds = [[seconds(way) for way in (shared, copied)] for _ in range(ROUNDS)]
    fast, slow = (statistics.median(times) for times in zip(*rounds, strict=True))
    print(
        f"a step of {BATCH} fans of {count}: difference {gap:.1e}, {1e3 * fast:.0f} ms with "
        f"shared conditions, {1e3 * slow:.0f} ms with copies: ratio {slow / fast:.2f}"
    )


def steps_against_quality() -> None:
    """How near samplers come to a known distribution, by their steps; exact by formula."""
    rng = torch.Generator().manual_seed(0)
    mean, spread = 0.3, 0.1
    for steps in (1, 2, 5, 10):
        diffusion = Diffusion(10, "ddim", steps, prediction_type="sample")
        alphas = diffusion.scheduler().alphas_cumprod

        def best(noisy: torch.Tensor, timesteps: torch.Tensor) -> torch.Tensor:
            kept = alphas[timesteps].view(-1, 1, 1)  # noqa: B023 - used within the loop
            share = kept.sqrt() * spread**2 / (kept * spread**2 + 1 - kept)
            return mean + share * (noisy - kept.sqrt() * mean)

        found = diffusion.sample(best, torch.randn(4096, 1, 1, generator=rng))
        print(f"ddim, {steps:2d} of 10 steps: mean off by {abs(found.mean() - mean):.3f}, spread "
              f"{found.std() / spread:.2f} of the truth")  # fmt: skip


if __name__ == "__main__":
    main()
