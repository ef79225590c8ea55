"""Look before a long tuning: size of the views' cache, and one batch through the model."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pandas as pd
import torch

from aquatint.features.cache import FeatureStore
from aquatint.models.backbone import Backbone
from aquatint.params import RunParams
from aquatint.training.answering_stage import AnsweringPlan, build_answering
from aquatint.training.balance import weigh
from aquatint.training.dialogues import AnswerSamples, Dialogues, InspectionData
from aquatint.training.freezing import open_parameters
from aquatint.training.precision import autocast, peak_memory_mb, prepare_device, to_device


def check_views_disk(
    store: FeatureStore, backbone: Backbone, frames: pd.DataFrame, dtype: str
) -> dict[str, float]:
    """Project the size of the cache of views; compare it with limit and free space.

    Args:
        store: Where caches lie and how large one may grow.
        backbone: Model whose width decides.
        frames: Table of ``frame_views``.
        dtype: Stored type.

    Returns:
        Gigabytes: ``views`` that the cache takes and ``free`` on its disk.

    Raises:
        ValueError: If the cache exceeds its limit or the free space.
    """
    width = backbone.load_config().text_config.hidden_size
    item = 2 if dtype == "float16" else 4
    num_views = frames["view_key"].nunique() + len(frames[["width", "height"]].drop_duplicates())
    # Every view takes the room of the longest.
    needed_gb = num_views * int(frames["num_tokens"].max()) * width * item / 1e9
    root = Path(store.root)
    existing = next(path for path in (root, *root.parents) if path.exists())
    free_gb = shutil.disk_usage(existing).free / 1e9
    if needed_gb > min(free_gb, store.max_gigabytes):
        raise ValueError(
            f"The cache of {num_views} views would need {needed_gb:.2f} GB; {free_gb:.1f} GB are "
            f"free at {existing} and max_gigabytes of one cache is {store.max_gigabytes:g}. Free "
            "space, raise the limit, or lower inspection.features.views.max_pixels."
        )
    return {"views": round(needed_gb, 4), "free": round(free_gb, 1)}


def check_tuning(plan: AnsweringPlan, data: InspectionData, run: RunParams) -> dict[str, Any]:
    """Take one batch of train objects forward and backward through the live model; step nothing.

    Args:
        plan: What would be trained.
        data: Tables, and views of these objects alone.
        run: Seed, device, precision.

    Returns:
        The loss, trainable parameters by group, the longest dialogue in tokens, peak memory.
    """
    device = prepare_device(run)
    model, groups = build_answering(data.backbone, plan.spec, run)
    open_parameters(model, groups, set(groups))
    dialogues = Dialogues(data.rows("train"), data)
    weighing = weigh(dialogues.rows, plan.balance, plan.class_map, run.seed)
    class_ids = dialogues.rows["class_name"].map(list(plan.class_map).index).to_numpy()
    samples = AnswerSamples(dialogues, weighing.shown, weighing.weights, class_ids)
    size = min(plan.params.batch_size, len(samples))
    batch = to_device(samples.batch(torch.arange(size)), device)
    with autocast(device, run):
        loss = plan.losses(model.train(), batch)["answer"]
    loss.backward()
    by_name = dict(model.named_parameters())
    return {
        "loss": round(float(loss.detach()), 4),
        "batch_size": size,
        "trainable": {g: sum(by_name[n].numel() for n in names) for g, names in groups.items()},
        "longest_dialogue_tokens": max(map(len, dialogues.prompts)),
        "peak_memory_mb": peak_memory_mb(device),
    }
