"""Tiny robot episodes whose actions need picture, instruction and sensor, for training tests."""

import csv
import hashlib
import json

import numpy as np
import pytest
from PIL import Image

FRAME_PX = 48
COLORS = {"red": (220, 30, 30), "blue": (30, 30, 220)}
STEPS = 10


def write_robot_world(root, num_episodes=12, seed=0):
    """A square of a color to the left or right; the sensor's loudest sample says how far to go."""
    rng = np.random.default_rng(seed)
    for number in range(num_episodes):
        color, side = ("red", "blue")[number % 2], rng.choice([-1.0, 1.0])
        height = float(rng.uniform(0.2, 0.8))
        folder = root / f"go_to_{color}" / f"episode_{number:02d}"
        (folder / "images" / "cam").mkdir(parents=True)
        start = 1761551500.0 + 60 * number
        for frame in range(4):
            pixels = rng.integers(90, 110, (FRAME_PX, FRAME_PX, 3), dtype=np.uint8)
            for other, place in ((color, side), ("blue" if color == "red" else "red", -side)):
                left = 6 if place < 0 else 30
                pixels[18:30, left : left + 12] = COLORS[other]
            path = folder / "images" / "cam" / f"{start + 0.3 * frame:.3f}.png"
            Image.fromarray(pixels).save(path)
        times = np.arange(-0.1, 1.05, 0.01)
        speed = np.array([100 * side, 20.0, -100 * height, 0, 0, 40.0])
        with (folder / "robot_states.csv").open("w", newline="") as file:
            writer = csv.writer(file)
            names = [f"joint_{i}" for i in range(1, 7)] + [f"pose_{a}" for a in "xyzabr"]
            writer.writerow(["timestamp", *names])
            for moment in times:
                pose = speed * moment + (0, 0, 0, 0, 0, 170)
                pose[5] = 180 - (180 - pose[5]) % 360
                joints = rng.normal(50, 1, 6)
                writer.writerow([f"{start + moment:.4f}", *joints, *pose])
        if number % 3:
            sensor_times = np.arange(-0.1, 1.0, 1 / 650)
            rows = np.abs(rng.normal(0, 1, (len(sensor_times), 1026)))
            rows[:, 1 + int(1000 * height)] = 500
            stops = np.arange(65, len(rows), 65)
            windows = np.stack([rows[stop - 65 : stop] for stop in stops]).astype(np.float16)
            ends = start + sensor_times[stops - 1]
            np.savez(folder / "sensor_data.npz", timestamps=ends, data=windows)
        metadata = {"robot_hz": 100, "sensor_hz": 650, "sensor_window_size": 65,
                    "camera_views": ["cam"]}  # fmt: skip
        (folder / "metadata.json").write_text(json.dumps(metadata))


def write_backbone(folder):
    from aquatint.models.architectures import require_architecture
    from aquatint.models.pocket import qwen_config, random_qwen, train_tokenizer

    kind = require_architecture("qwen2_5_vl")
    texts = [f"user\nGo to {color}.\nassistant\n" for color in COLORS] * 20
    tokenizer = train_tokenizer(texts, 400, kind)
    config = qwen_config(kind, width=32, num_blocks=2, image_size_px=FRAME_PX, patch_size_px=12,
                         tokenizer=tokenizer)  # fmt: skip
    random_qwen(kind, config, seed=0).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def rules_of(**changes):
    from aquatint.training.vla_data import ChunkRules

    values = {"horizon": 4, "state_window": 1, "prior": "zeros", "mixture": {"episode": 1.0},
              "priority_tasks": (), "priority_factor": 2.0, "sensor_loss_weight": 2.0}  # fmt: skip
    return ChunkRules(**{**values, **changes})


def make_vla_data(backbone, root, action_mode="min_max"):
    from aquatint.data.episode_tables import ReadingRules, read_episodes, split_episodes
    from aquatint.data.time_alignment import AlignmentRules
    from aquatint.features.cache import FeatureStore
    from aquatint.features.frozen import Encoding
    from aquatint.features.robot_frames import (
        FrameStyle,
        cache_frames,
        cache_prompts,
        cache_windows,
    )
    from aquatint.features.robot_scales import fit_scales
    from aquatint.training.vla_data import VlaData

    raw = root / "raw"
    write_robot_world(raw)
    reading = ReadingRules("strict", 0.0, 10_000, "{task}.")
    steps, _, _ = read_episodes(raw, reading, AlignmentRules(10, 0.02, 1.0, 0.1, 65, "end"))
    steps = split_episodes(steps, 0.25, 0.25, 0)
    store = FeatureStore(str(root / "store"), 1)
    style = FrameStyle((), FRAME_PX, FRAME_PX, (2, 2), 40)
    encoding = Encoding(16, "float32", "cpu")
    frames = cache_frames(store, backbone, steps, str(raw), style, encoding)
    prompts = cache_prompts(store, backbone, steps, frames, style, encoding)
    windows = cache_windows(store, steps, raw, 65, 650.0)
    scales = fit_scales(steps, windows, action_mode, 64, 0)
    return VlaData(backbone, steps, frames, prompts, windows, scales, style, rules_of())


def policy_sizes(kind="regression", *, sees=True, strategy="cross_attention"):
    hears = sees and strategy != "none"
    return {
        "kind": kind,
        "vl_width": 32 if sees else 0,
        "sensor": {"temporal_length": 13, "channels": [16, 16], "num_heads": 2,
                   "feedforward_width": 16, "num_blocks": 1, "out_width": 16, "dropout": 0.0}
        if hears else None,
        "state": {"num_values": 15, "widths": [16], "num_heads": 2, "num_blocks": 0,
                  "dropout": 0.0},
        "fusion": {"strategy": strategy if sees else "none", "num_heads": 2, "places": [44, 32]},
        "expert": {"action_width": 7, "width": 32, "horizon": 4, "num_blocks": 1, "num_heads": 2,
                   "feedforward_width": 32, "dropout": 0.0},
        "diffusion": {"num_train_timesteps": 20, "num_inference_steps": 5, "num_draws": 2,
                      "min_snr_gamma": 2.0}
        if kind == "diffusion" else None,
    }  # fmt: skip


def plan_of(stage="stage1", kind="regression", mode=None, epochs=2, **changes):
    from aquatint.params import OptimizerParams, StageParams
    from aquatint.training.vla_stage import VlaPlan

    mode = mode or ("lora" if stage == "stage2" else "none")
    factors = {"sensor": 1.0} | ({"vl": 1.0} if mode != "none" else {})
    if stage == "state_only":
        factors = {}
    values = {"batch_size": 8, "gradient_accumulation_steps": 1, **changes}
    optimizer = OptimizerParams(learning_rate=3e-3, weight_decay=0.01, warmup_fraction=0.03,
                                hold_fraction=0.02, min_learning_rate=1e-6,
                                group_factors=factors)  # fmt: skip
    params = StageParams(epochs=epochs, optimizer=optimizer, loss_weights={"action": 1.0}, **values)
    lora = {"r": 4, "lora_alpha": 8, "lora_dropout": 0.0}
    opening = {"mode": mode, "lora": lora, "num_blocks": 1}
    return VlaPlan(stage, params, policy_sizes(kind, sees=stage != "state_only"), opening, 16)


def digest_of(values):
    return hashlib.sha256(np.ascontiguousarray(values).tobytes()).hexdigest()


@pytest.fixture(scope="session")
def vla_backbone(tmp_path_factory):
    from aquatint.models.backbone import Backbone, folder_digest

    folder = write_backbone(tmp_path_factory.mktemp("qwen25"))
    return Backbone(str(folder), folder_digest(folder), "pocket")


@pytest.fixture(scope="session")
def vla_data(vla_backbone, tmp_path_factory):
    return make_vla_data(vla_backbone, tmp_path_factory.mktemp("robot"))
