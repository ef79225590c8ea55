"""A small two-stage experiment: results of four parts, made from ranks."""

import json
from typing import Any

import numpy as np
import pandas as pd

from aquatint.metrics.ranks import RetrievalRanks
from aquatint.metrics.retrieval import recall_metrics, retrieval_metrics
from aquatint.metrics.spatial import spatial_metrics
from aquatint.reports.comparison import compare_parts
from aquatint.reports.progress import Trainings

PARTS = ("zero_shot", "stage1", "stage2", "baseline")
TRAINED = PARTS[1:]
NUM_BUILDINGS, NUM_IMAGES, NUM_CAPTIONS = 12, 24, 48
IMAGES = [f"{i // 2:04d}/image-{i % 2}.jpeg" for i in range(NUM_IMAGES)]
CAPTIONS = [f"{IMAGES[i // 2]}#c{i % 2}" for i in range(NUM_CAPTIONS)]
BUILDINGS = {name: name.split("/")[0] for name in (*IMAGES, *CAPTIONS)}
# Scale of the ranks: the larger, the worse.
SKILLS = {"zero_shot": 20.0, "stage1": 9.0, "stage2": 3.0, "baseline": 5.0}

ROBUSTNESS = pd.DataFrame(
    [
        {
            "corruption": kind,
            "severity": severity,
            "recall_at_1": 0.2,
            "recall_at_5": 0.4,
            "recall_at_10": 0.6 - severity / 10,
            "recall_at_10_low": 0.5 - severity / 10,
            "recall_at_10_high": 0.7 - severity / 10,
            "n": 48,
        }
        for kind, severity in (("clean", 0), ("blur", 1), ("blur", 5), ("jpeg", 1), ("jpeg", 5))
    ]
)


def make_ranks(scale: float, seed: int = 0) -> pd.DataFrame:
    rng = np.random.default_rng(seed)
    sides = {"image_to_text": (IMAGES, NUM_CAPTIONS), "text_to_image": (CAPTIONS, NUM_IMAGES)}
    rows = [
        {
            "direction": direction,
            "query_id": name,
            "rank": min(int(rng.exponential(scale)) + (level == "image"), num - 1),
            "level": level,
        }
        for level in ("building", "image")
        for direction, (names, num) in sides.items()
        for name in names
    ]
    return pd.DataFrame(rows)


def table_of_ranks(found: dict[str, int], direction: str = "text_to_image") -> pd.DataFrame:
    """Ranks by query id, the same at both levels."""
    return pd.DataFrame(
        [
            {"direction": direction, "query_id": name, "rank": rank, "level": level}
            for level in ("building", "image")
            for name, rank in found.items()
        ]
    )


def metrics_of(ranks: pd.DataFrame) -> dict[str, Any]:
    import torch

    by_level = {}
    for level in ("building", "image"):
        rows = ranks[ranks["level"] == level]
        sides = [
            torch.tensor(rows.loc[rows["direction"] == direction, "rank"].to_numpy())
            for direction in ("image_to_text", "text_to_image")
        ]
        metrics = retrieval_metrics(RetrievalRanks(*sides))
        for direction in ("image_to_text", "text_to_image"):
            metrics[direction] |= {"chance_at_1": 0.04, "chance_at_5": 0.2, "chance_at_10": 0.4}
        by_level[level] = {**metrics, "chance_r_mean": 0.64 / 3}
    return {**by_level["building"], "image_level": by_level["image"]}


def tasks_of(scale: float) -> dict[str, Any]:
    """Metrics of re-ranking, boxes and relations that get better as ``scale`` falls."""
    import torch

    rng = np.random.default_rng(1)
    target = rng.integers(0, 3, (60, 2))
    predicted = np.where(rng.random((60, 2)) < 1 / scale, target, rng.integers(0, 3, (60, 2)))
    ranks = torch.tensor(rng.exponential(scale, NUM_CAPTIONS).astype(int))
    boxes = {
        "mean_iou": 1 / scale,
        "mean_giou": 0.5 / scale,
        "l1_error": scale / 10,
        "accuracy_at_0.5": 0.25,
        "accuracy_at_0.5_interval": [0.18, 0.33],
        "accuracy_at_0.7": 0.125,
        "accuracy_at_0.7_interval": [0.08, 0.19],
        "n": 120,
    }
    return {
        "reranked": {"text_to_image": recall_metrics(ranks), "top_k": 8},
        "bbox": {**boxes, "mean_box_baseline": {**boxes, "mean_iou": 0.11}},
        "spatial": spatial_metrics(predicted[:, 0], target[:, 0], predicted[:, 1], target[:, 1]),
    }


def make_history(scores: list[float], terms: tuple[str, ...], steps_per_epoch: int = 4):
    rows = []
    for epoch, score in enumerate(scores):
        for step in range(steps_per_epoch):
            number = epoch * steps_per_epoch + step
            is_last = step == steps_per_epoch - 1
            rows.append(
                {
                    "step": number,
                    "epoch": epoch,
                    "loss": 1.0,
                    **{f"loss_{name}": 2.0 / (number + 1) for name in terms},
                    "num_samples": 8,
                    "val_r_mean": score if is_last else None,
                }
            )
    return pd.DataFrame(rows).astype({"val_r_mean": float})


def make_lineage(part: str, num_steps: int, seconds: float) -> dict[str, Any]:
    parents = [{"stage": "stage1", "version": "V1", "digest": "d" * 64}]
    return {
        "stage": part,
        "version": "V1",
        "parents": parents if part == "stage2" else [],
        "backbone": {"name": "pocket", "digest": "b" * 64},
        "data": {"images": "i" * 64, "captions": "c" * 64},
        "params": {"epochs": 2},
        "run": {"seed": 0, "precision": "float32"},
        "environment": {"torch": "2.13.0"},
        "efficiency": {
            "num_steps": num_steps,
            "best_step": num_steps,
            "best_score": 0.5,
            "train_seconds": seconds,
            "steps_per_second": num_steps / seconds,
            "peak_memory_mb": {"cpu": 1500.0},
            "num_trainable_parameters": 1000 if part == "stage1" else 2500,
            "num_parameters": 5000,
        },
    }


def make_trainings(
    stage1: tuple[float, ...] = (0.1, 0.2),
    stage2: tuple[float, ...] = (0.3, 0.5),
    baseline: tuple[float, ...] = (0.1, 0.2, 0.3, 0.4),
) -> Trainings:
    tasks = ("itc", "itm", "bbox", "spatial")
    histories = {
        "stage1": make_history([*stage1], tasks[:2]),
        "stage2": make_history([*stage2], tasks),
        "baseline": make_history([*baseline], tasks),
    }
    seconds = {"stage1": 8.0, "stage2": 16.0, "baseline": 64.0}
    return Trainings(
        histories,
        {part: make_lineage(part, len(histories[part]), seconds[part]) for part in TRAINED},
    )


def make_results(skills: dict[str, float] | None = None) -> dict[str, Any]:
    """Metrics, ranks, trainings and comparison, as JSON gives them back."""
    skills = SKILLS | (skills or {})
    ranks = {part: make_ranks(skills[part]) for part in PARTS}
    metrics = {part: metrics_of(ranks[part]) for part in PARTS}
    for part in ("stage2", "baseline"):
        metrics[part] |= tasks_of(skills[part])
    trainings = make_trainings()
    comparison = compare_parts(metrics, ranks, trainings, BUILDINGS, target_r_mean=0.3, seed=0)
    return {
        "ranks": ranks,
        "metrics": json.loads(json.dumps(metrics)),
        "trainings": trainings,
        "comparison": json.loads(json.dumps(comparison)),
    }
