"""Vision-language-action: cached against live features, sensor windows, decisions.

Run with ``make bench``. On a random pocket Qwen2.5-VL (96 wide, 2 blocks a tower, 64 px): a stage-1
epoch from the cache against one that runs the frozen backbone in every step, with equal losses; one
hour of 650 Hz sensor data cut into windows once, against decoding the file for each window; a
decision of the diffusion expert with 10 DDIM steps, against 100 DDPM steps and the regression.
CPU seconds, one thread, medians of alternating rounds.
"""

import statistics
import tempfile
import time
from pathlib import Path

import numpy as np
import torch

from aquatint.data.sensor_files import read_sensor_rows
from aquatint.data.sensor_windows import cut_window, window_rows
from aquatint.models.architectures import require_architecture
from aquatint.models.pocket import qwen_config, random_qwen, train_tokenizer
from aquatint.models.qwen_vl import encode_views
from aquatint.models.vl_reader import PromptEncoder, ViewGrid, read_tokens
from aquatint.models.vla_policy import VlaPolicy

NUM_SAMPLES, BATCH, ROUNDS, WIDTH, EDGE_PX = 256, 32, 3, 96, 64
HOUR_S, SENSOR_HZ, WINDOW, ACTION_HZ = 3600, 650, 65, 10
DECODED_WINDOWS = 6
TEXT = "Fly to the red pad and face north."


def policy(kind: str, sampler: str = "ddim") -> VlaPolicy:
    torch.manual_seed(0)
    return VlaPolicy(
        kind,
        vl_width=WIDTH,
        sensor={"temporal_length": 13, "channels": [64] * 4, "num_heads": 4,
                "feedforward_width": 128, "num_blocks": 1, "out_width": 128, "dropout": 0.0},
        state={"num_values": 15, "widths": [64, 64], "num_heads": 4, "num_blocks": 0,
               "dropout": 0.0},
        fusion={"strategy": "cross_attention", "num_heads": 4, "num_positions": 64},
        expert={"width": 128, "horizon": 8, "action_width": 7, "num_blocks": 3, "num_heads": 4,
                "feedforward_width": 256, "dropout": 0.0},
        diffusion={"num_train_timesteps": 100, "sampler": sampler} if kind == "diffusion" else None,
    )  # fmt: skip


def cpu_seconds(function) -> tuple[float, object]:
    started = time.process_time()
    result = function()
    return time.process_time() - started, result


def bench_cache() -> None:
    kind = require_architecture("qwen2_5_vl")
    tokenizer = train_tokenizer([f"user\n{TEXT}\nassistant\n"] * 50, 640, kind)
    config = qwen_config(kind, width=WIDTH, num_blocks=2, image_size_px=EDGE_PX, patch_size_px=8,
                         tokenizer=tokenizer)  # fmt: skip
    model = random_qwen(kind, config, 0).eval().requires_grad_(False)
    grid = ViewGrid(4, 4, 2)
    marks = (kind.image_start, kind.image_token, kind.image_end)
    prompt = PromptEncoder(tokenizer, marks, 1, grid).batch([TEXT] * BATCH)
    images = torch.randn(NUM_SAMPLES, 3, EDGE_PX, EDGE_PX)
    states, windows = torch.randn(NUM_SAMPLES, 1, 15), torch.randn(NUM_SAMPLES, WINDOW, 1026)
    targets = torch.randn(NUM_SAMPLES, 8, 7)

    @torch.inference_mode()
    def read(rows: slice) -> torch.Tensor:
        features = encode_views(model, images[rows])[:, None]
        return read_tokens(model, prompt, features, grid, (4, 4))[0]

    batches = [slice(start, start + BATCH) for start in range(0, NUM_SAMPLES, BATCH)]
    cached = torch.cat([read(rows) for rows in batches]).clone()

    def epoch(is_cached: bool) -> list[float]:
        expert = policy("regression")
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
    print(f"stage-1 epoch of {NUM_SAMPLES} samples: cached {fast:.2f} s, live {slow:.2f} s, "
          f"ratio {slow / fast:.1f}")  # fmt: skip
    seconds = statistics.median([cpu_seconds(lambda: read(batches[0]))[0] for _ in range(ROUNDS)])
    print(f"  of which the frozen backbone: {1000 * seconds / BATCH:.1f} ms a sample")


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


def bench_decision() -> None:
    batch = {
        "tokens": torch.randn(1, 50, WIDTH), "token_is_pad": torch.zeros(1, 50, dtype=torch.bool),
        "states": torch.randn(1, 1, 15), "windows": torch.randn(1, WINDOW, 1026),
        "has_sensor": torch.ones(1, dtype=torch.bool), "prior": torch.zeros(1, 8, 7),
        "start_noise": torch.randn(1, 8, 7),
    }  # fmt: skip
    models = {
        "regression": policy("regression").eval(),
        "diffusion, DDIM 10": policy("diffusion").eval(),
        "diffusion, DDPM 100": policy("diffusion", "ddpm").eval(),
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
    bench_cache()
    bench_windows()
    bench_decision()
