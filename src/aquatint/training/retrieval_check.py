"""Look before a long run: files, disk, device, and one batch through every stage."""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from aquatint.data.sources import GeoTextFolder
from aquatint.features.cache import FeatureStore
from aquatint.features.images import load_image
from aquatint.features.text import TextEncoder
from aquatint.models.backbone import Backbone
from aquatint.training.freezing import open_parameters
from aquatint.training.retrieval_losses import RetrievalLosses
from aquatint.training.retrieval_stage import StagePlan, build_model

_BATCH = 2


@dataclass(frozen=True)
class DataSummary:
    """What the annotation files hold, without decoding every image.

    Attributes:
        num_records: Records of both files.
        num_images: Distinct images named.
        num_missing: Of these, files that do not exist.
        sample: Image file and caption of a few records whose image exists.
    """

    num_records: int
    num_images: int
    num_missing: int
    sample: list[tuple[Path, str]]


def summarise_data(folder: GeoTextFolder, num_samples: int = _BATCH) -> DataSummary:
    """Read both annotation files and look for every image.

    Raises:
        ValueError: If a file is no JSON list, or fewer than ``num_samples`` images exist.
    """
    records: list[dict[str, Any]] = []
    for file in (folder.train_file, folder.test_file):
        content = json.loads(Path(file).read_text())
        if not isinstance(content, list):
            raise ValueError(f"{file} must hold a JSON list of records, got {type(content)}.")
        records += content
    root = Path(folder.image_root)
    names = {str(record.get("image")): record for record in records}
    found = {name: record for name, record in names.items() if (root / name).is_file()}
    if len(found) < num_samples:
        raise ValueError(
            f"Of {len(names)} images named in {folder.train_file} and {folder.test_file}, "
            f"{len(found)} lie below {root}; check image_folder of the catalog entry."
        )
    sample = [(root / name, _caption(record)) for name, record in list(found.items())]
    captioned = [(path, caption) for path, caption in sample if caption][:num_samples]
    return DataSummary(len(records), len(names), len(names) - len(found), captioned)


def _caption(record: dict[str, Any]) -> str:
    caption = record.get("caption")
    return str(caption[0] if isinstance(caption, list) and caption else caption or "")


def check_disk(
    store: FeatureStore, backbone: Backbone, num_images: int, num_texts: int, max_tokens: int
) -> dict[str, float]:
    """Project the size of the feature caches in fp16 and compare it with the free space.

    Raises:
        ValueError: If the caches would not fit.
    """
    sizes = backbone.sizes
    image_bytes = 2 * (sizes.grid**2 + 1) * sizes.vision_width + 3 * sizes.image_size_px**2
    text_bytes = 2 * max_tokens * sizes.text_width
    needed_gb = (num_images * image_bytes + num_texts * text_bytes) / 1e9
    root = Path(store.root)
    existing = next(path for path in (root, *root.parents) if path.exists())
    free_gb = shutil.disk_usage(existing).free / 1e9
    if needed_gb > min(free_gb, store.max_gigabytes):
        raise ValueError(
            f"The feature caches would need {needed_gb:.1f} GB; {free_gb:.1f} GB are free at "
            f"{existing} and max_gigabytes is {store.max_gigabytes:g}. Free space, raise the limit "
            "or lower token_grid and max_tokens."
        )
    return {"needed_gb": round(needed_gb, 4), "free_gb": round(free_gb, 1)}


def check_stages(
    plans: Sequence[StagePlan],
    backbone: Backbone,
    sample: list[tuple[Path, str]],
    device: torch.device,
) -> dict[str, Any]:
    """Take one batch forward and backward through the live model of each stage; step nothing.

    Returns:
        By stage: unweighted losses, trainable parameters by group, widths of the embeddings.
    """
    encoder = TextEncoder(backbone.load_tokenizer(), plans[0].spec.max_tokens)
    edge = backbone.sizes.image_size_px
    pixels = np.stack([load_image(path, edge) for path, _ in sample])
    input_ids, mask = encoder([caption for _, caption in sample])
    report = {}
    for plan in plans:
        model, groups = build_model(backbone, plan.spec)
        model.to(device).train()
        open_parameters(model, groups, {name for names in plan.opening for name in names})
        batch = _example_batch(torch.from_numpy(pixels), input_ids, mask)
        batch = {name: tensor.to(device) for name, tensor in batch.items()}
        losses = RetrievalLosses(tuple(plan.params.loss_weights), plan.negatives)(model, batch)
        total = torch.stack(list(losses.values())).sum()
        total.backward()
        by_name = dict(model.named_parameters())
        report[plan.name] = {
            "losses": {name: round(float(loss.detach()), 4) for name, loss in losses.items()},
            "trainable": {g: sum(by_name[n].numel() for n in names) for g, names in groups.items()},
        }
    return report


def _example_batch(
    pixels: torch.Tensor, input_ids: torch.Tensor, mask: torch.Tensor
) -> dict[str, torch.Tensor]:
    """Each image with its caption, which stands for a region's sentence too."""
    rows = torch.arange(len(pixels))
    box = torch.tensor([0.5, 0.5, 0.5, 0.5]).expand(len(rows), 4)
    return {
        "pixels": pixels,
        "input_ids": input_ids.repeat(2, 1),
        "attention_mask": mask.repeat(2, 1),
        "image_rows": rows,
        "caption_image": rows,
        "region_image": rows,
        "region_boxes": box,
        "pair_image": rows,
        "pair_boxes": box[:, None].expand(-1, 2, -1),
        "pair_labels": torch.ones(len(rows), 2, dtype=torch.long),
    }
