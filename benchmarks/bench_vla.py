"""Vision-language-action: cached against live features, sensor windows, decisions.

Run with ``make bench``. On random Qwen2.5-VLs for images of 64 px (the pocket's, 96 wide with 2
blocks a tower, and one 768 wide with 12): a stage-1 epoch from the cache against one that runs the
frozen backbone in every step, with equal losses. With the pocket's: one hour of 650 Hz sensor data
cut into windows once, against decoding the file for each window; a step of the diffusion expert
whose condition is read once for four draws, or for each; its decision with 10 DDIM steps, against
100 DDPM steps and the regression. CPU seconds, one thread, medians of alternating rounds. For
Qwen2.5-VL-3B and the published policy the arithmetic of both is counted, block by block with random
weights: an estimate, not a run.
"""

import statistics
import tempfile
import time
from pathlib import Path

import numpy as np
import torch
import transformers
from torch.utils.flop_counter import FlopCounterMode

from aquatint.data.sensor_files import read_sensor_rows
from aquatint.data.sensor_windows import cut_window, window_rows
from aquatint.models.architectures import require_architecture
from aquatint.models.fusion import Condition
from aquatint.models.pocket import qwen_config, random_qwen, train_tokenizer
from aquatint.models.qwen_vl import encode_views
from aquatint.models.vl_reader import PromptEncoder, ViewGrid, read_tokens
from aquatint.models.vla_policy import VlaPolicy

BATCH, ROUNDS, WIDTH, EDGE_PX = 32, 3, 96, 64
# Width, blocks a tower, samples of an epoch.
BACKBONES = ((WIDTH, 2, 256), (768, 12, 64))
HOUR_S, SENSOR_HZ, WINDOW, ACTION_HZ = 3600, 650, 65, 10
DECODED_WINDOWS, TOKENS, DRAWS = 6, 50, 4
KIND = require_architecture("qwen2_5_vl")
MARKS = (KIND.image_start, KIND.image_token, KIND.image_end)
TEXT = "Fly to the red pad and face north."


def policy(kind: str, num_tokens: int, sampler: str = "ddim", vl_width: int = WIDTH) -> VlaPolicy:
    torch.manual_seed(0)
    return VlaPolicy(
        kind,
        vl_width=vl_width,
        sensor={"temporal_length": 13, "channels": [64] * 4, "num_heads": 4,
                "feedforward_width": 128, "num_blocks": 1, "out_width": 128, "dropout": 0.0},
        state={"num_values": 15, "widths": [64, 64], "num_heads": 4, "num_blocks": 0,
               "dropout": 0.0},
        fusion={"strategy": "cross_attention", "num_heads": 4, "places": (num_tokens, 16)},
        expert={"width": 128, "horizon": 8, "action_width": 7, "num_blocks": 3, "num_heads": 4,
                "feedforward_width": 256, "dropout": 0.0},
        diffusion={"num_train_timesteps": 100, "sampler": sampler} if kind == "diffusion" else None,
    )  # fmt: skip


def cpu_seconds(function) -> tuple[float, object]:
    started = time.process_time()
    result = function()
    return time.process_time() - started, result


def bench_cache(width: int, num_blocks: int, num_samples: int) -> None:
    tokenizer = train_tokenizer([f"user\n{TEXT}\nassistant\n"] * 50, 640, KIND)
    config = qwen_config(KIND, width=width, num_blocks=num_blocks, image_size_px=EDGE_PX,
                         patch_size_px=8, tokenizer=tokenizer)  # fmt: skip
    model = random_qwen(KIND, config, 0).eval().requires_grad_(False)
    grid = ViewGrid(4, 4, 2)
    prompt = PromptEncoder(tokenizer, MARKS, 1, grid).batch([TEXT] * BATCH)
    images = torch.randn(num_samples, 3, EDGE_PX, EDGE_PX)
    states, windows = torch.randn(num_samples, 1, 15), torch.randn(num_samples, WINDOW, 1026)
    targets = torch.randn(num_samples, 8, 7)

    @torch.inference_mode()
    def read(rows: slice) -> torch.Tensor:
        features = encode_views(model, images[rows])[:, None]
        return read_tokens(model, prompt, features, grid, (4, 4))[0]

    batches = [slice(start, start + BATCH) for start in range(0, num_samples, BATCH)]
    cached = torch.cat([read(rows) for rows in batches]).clone()

    def epoch(is_cached: bool) -> list[float]:
        expert = policy("regression", cached.shape[1], vl_width=width)
        optimizer = torch.optim.AdamW(expert.parameters(), lr=1e-3, fused=True)
        losses = []
        for rows in batches:
            tokens = cached[rows] if is_cached else read(rows).clone()
            batch = {
                "tokens": tokens, "token_is_pad": torch.zeros(tokens.shape[:2], dtype=torch.bool),
                "states": states[rows], "windows": windows[rows],
                "has_sensor": torch.ones(BATCH, dtype=torch.bool),
                "prior": torch.zeros(BATCH, 8, 7),
            }  # fmt: skip
            loss = (expert.act(batch) - targets[rows]).square().mean()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            losses.append(loss.item())
        return losses

    times: dict[bool, list[float]] = {True: [], False: []}
    for _ in range(ROUNDS):
        found = {}
        for is_cached in (True, False):
            seconds, found[is_cached] = cpu_seconds(lambda is_cached=is_cached: epoch(is_cached))
            times[is_cached].append(seconds)
        if not np.allclose(found[True], found[False], rtol=1e-5):
            raise SystemExit("Cached and live epochs must have the same losses.")
    fast, slow = (statistics.median(times[key]) for key in (True, False))
    print(f"backbone {width} wide, {num_blocks} blocks a tower: stage-1 epoch of {num_samples} "
          f"samples: cached {fast:.2f} s, live {slow:.2f} s, "
          f"ratio {slow / fast:.1f}")  # fmt: skip
    seconds = statistics.median([cpu_seconds(lambda: read(batches[0]))[0] for _ in range(ROUNDS)])
    print(f"  of which the frozen backbone: {1000 * seconds / BATCH:.1f} ms a sample")


def estimate_3b() -> None:
    """Operations of one sample of stage 1 at published sizes: two views of 644 x 364 px."""
    tokenizer = train_tokenizer([f"user\n{TEXT}\nassistant\n"] * 50, 640, KIND)
    grid = ViewGrid(13, 23, 2)
    prompt = PromptEncoder(tokenizer, MARKS, 2, grid).batch([TEXT])
    images = torch.randn(2, 3, 364, 644)

    def see(num_windowed: int, num_full: int) -> int:
        model = published_backbone(tokenizer, num_windowed, num_full, 1)
        return count_flops(lambda: encode_views(model, images))

    def read(num_blocks: int) -> int:
        model = published_backbone(tokenizer, 1, 0, num_blocks)
        features = torch.zeros(1, 2, grid.num_tokens, 2048)
        return count_flops(lambda: read_tokens(model, prompt, features, grid, (4, 7)))

    one, windowed, full = see(1, 0), see(2, 0), see(1, 1)
    vision = one + 27 * (windowed - one) + 4 * (full - one)
    one = read(1)
    frozen = vision + one + 35 * (read(2) - one)
    trained = count_flops(lambda: published_policy_step(2 * 4 * 7 + 64))
    print(
        f"Qwen2.5-VL-3B and the published policy, operations of a sample: frozen "
        f"{frozen / 1e12:.2f} T, trained {trained / 1e12:.3f} T forward and back: a cached epoch "
        f"computes {(frozen + trained) / trained:.0f} times less"
    )


def count_flops(function) -> int:
    with FlopCounterMode(display=False) as counter:
        function()
    return counter.get_total_flops()


def published_backbone(tokenizer, num_windowed: int, num_full: int, num_blocks: int):
    """Qwen2.5-VL-3B's widths with fewer blocks, and a small vocabulary, which costs nothing."""
    small = qwen_config(KIND, width=96, num_blocks=1, image_size_px=EDGE_PX, patch_size_px=8,
                        tokenizer=tokenizer).to_dict()  # fmt: skip
    small["vision_config"] |= {
        "depth": num_windowed + num_full, "hidden_size": 1280, "intermediate_size": 3420,
        "num_heads": 16, "patch_size": 14, "out_hidden_size": 2048, "window_size": 112,
        "fullatt_block_indexes": list(range(num_windowed, num_windowed + num_full)),
    }  # fmt: skip
    small["text_config"] |= {
        "hidden_size": 2048, "intermediate_size": 11008, "num_attention_heads": 16,
        "num_key_value_heads": 2, "num_hidden_layers": num_blocks, "head_dim": 128,
        "layer_types": ["full_attention"] * num_blocks,
        "rope_parameters": {
            "rope_type": "default", "rope_theta": 1e6, "mrope_section": [16, 24, 24],
        },
    }  # fmt: skip
    config = transformers.Qwen2_5_VLConfig(**small)
    return random_qwen(KIND, config, 0).eval().requires_grad_(False)


def published_policy_step(num_tokens: int) -> None:
    published = VlaPolicy(
        "regression",
        vl_width=2048,
        sensor={"temporal_length": 650, "channels": [512, 1024, 1024, 1024], "num_heads": 8,
                "feedforward_width": 4096, "num_blocks": 2, "out_width": 3072, "dropout": 0.1},
        state={"num_values": 15, "widths": [256, 512, 512], "num_heads": 8, "num_blocks": 2,
               "dropout": 0.1},
        fusion={"strategy": "concat", "num_heads": 8, "places": (num_tokens, 2 * 4 * 7)},
        expert={"width": 1024, "horizon": 8, "action_width": 7, "num_blocks": 4, "num_heads": 8,
                "feedforward_width": 4096, "dropout": 0.1},
    )  # fmt: skip
    batch = {
        "tokens": torch.randn(1, num_tokens, 2048), "states": torch.randn(1, 1, 15),
        "token_is_pad": torch.zeros(1, num_tokens, dtype=torch.bool),
        "windows": torch.randn(1, 650, 1026), "has_sensor": torch.ones(1, dtype=torch.bool),
        "prior": torch.zeros(1, 8, 7),
    }  # fmt: skip
    published.act(batch).square().mean().backward()


def bench_windows() -> None:
    rng = np.random.default_rng(0)
    minutes = 2  # written, then counted up to the hour: an hour is 4.8 GB
    num = minutes * 60 * SENSOR_HZ
    times = np.arange(num) / SENSOR_HZ
    rows = rng.integers(0, 900, (num, 1026)).astype(np.float16)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "sensor.npz"
        np.savez(path, timestamps=times, forces=rows[:, 0], alines=rows[:, 1:])
        ends = np.arange(1, minutes * 60 * ACTION_HZ) / ACTION_HZ
        spans = window_rows(times, np.full(len(ends), -np.inf), ends, WINDOW, 0.1)

        def once() -> np.ndarray:
            read_sensor_rows.cache_clear()
            whole = read_sensor_rows(path, SENSOR_HZ)
            cuts = [cut_window(whole, start, stop, WINDOW).astype(np.float16)
                    for start, stop in spans]  # fmt: skip
            return np.stack(cuts)

        def each(chosen: np.ndarray) -> np.ndarray:
            found = []
            for start, stop in chosen:
                read_sensor_rows.cache_clear()
                found.append(cut_window(read_sensor_rows(path, SENSOR_HZ), start, stop, WINDOW))
            return np.stack(found).astype(np.float16)

        seconds, windows = cpu_seconds(once)
        chosen = np.linspace(0, len(spans) - 1, DECODED_WINDOWS).astype(int)
        slow, decoded = cpu_seconds(lambda: each(spans[chosen]))
        if not np.array_equal(decoded, windows[chosen]):
            raise SystemExit("Both ways must cut the same windows.")
        whole, single = seconds * 60 / minutes, slow / DECODED_WINDOWS
        num_windows = len(spans) * 60 // minutes
        print(f"one hour of {SENSOR_HZ} Hz: {whole:.0f} s for {num_windows} windows, "
              f"{1000 * seconds / len(spans):.2f} ms each; decoding {minutes} minutes for each "
              f"{1000 * single:.0f} ms, ratio {single * len(spans) / seconds:.0f}")  # fmt: skip


def bench_draws() -> None:
    """A step of the expert for several chunks of each sample, their condition read once."""
    torch.manual_seed(0)
    expert = policy("diffusion", TOKENS).action_expert.expert
    memory = torch.randn(BATCH, 1 + TOKENS, 128)
    condition = Condition(memory[:, 0], memory, torch.zeros(memory.shape[:2], dtype=torch.bool))
    repeated = Condition(
        *(part.repeat_interleave(DRAWS, 0)
          for part in (condition.summary, condition.memory, condition.is_pad))
    )  # fmt: skip
    noisy, steps = torch.randn(BATCH * DRAWS, 8, 7), torch.randint(100, (BATCH * DRAWS,))

    def step(given: Condition) -> torch.Tensor:
        expert.zero_grad()
        found = expert(given, noisy, steps)
        found.square().mean().backward()
        return found.detach()

    once, each = [], []
    for _ in range(4 * ROUNDS):
        seconds, found = cpu_seconds(lambda: step(condition))
        once.append(seconds)
        seconds, expected = cpu_seconds(lambda: step(repeated))
        each.append(seconds)
    if not torch.allclose(found, expected, atol=1e-5):
        raise SystemExit("Chunks must not depend on how often their condition is read.")
    fast, slow = (1000 * statistics.median(times[1:]) for times in (once, each))
    print(f"a step of the expert, {BATCH} samples with {DRAWS} draws each: condition read once "
          f"{fast:.0f} ms, for each draw {slow:.0f} ms, ratio {slow / fast:.1f}")  # fmt: skip


def bench_decision() -> None:
    batch = {
        "tokens": torch.randn(1, TOKENS, WIDTH),
        "token_is_pad": torch.zeros(1, TOKENS, dtype=torch.bool),
        "states": torch.randn(1, 1, 15), "windows": torch.randn(1, WINDOW, 1026),
        "has_sensor": torch.ones(1, dtype=torch.bool), "prior": torch.zeros(1, 8, 7),
        "start_noise": torch.randn(1, 8, 7),
    }  # fmt: skip
    models = {
        "regression": policy("regression", TOKENS).eval(),
        "diffusion, DDIM 10": policy("diffusion", TOKENS).eval(),
        "diffusion, DDPM 100": policy("diffusion", TOKENS, "ddpm").eval(),
    }
    times: dict[str, list[float]] = {name: [] for name in models}
    with torch.inference_mode():
        for _ in range(4 * ROUNDS):
            for name, model in models.items():
                times[name].append(cpu_seconds(lambda model=model: model.act(batch))[0])
    for name, values in times.items():
        print(f"{name}: {1000 * statistics.median(values[1:]):.1f} ms a chunk, tokens given")


if __name__ == "__main__":
    torch.set_num_threads(1)
    for sizes in BACKBONES:
        bench_cache(*sizes)
    estimate_3b()
    bench_windows()
    bench_draws()
    bench_decision()
