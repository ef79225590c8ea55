"""Look before a long run: files, disk, device, and one batch through every stage."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from aquatint.data.geotext_records import read_raw_records
from aquatint.data.image_files import is_plain_relative_path
from aquatint.data.sources import GeoTextFolder
from aquatint.features.cache import FeatureStore
from aquatint.features.images import load_image
from aquatint.features.text import TextEncoder
from aquatint.models.backbone import Backbone
from aquatint.training.freezing import open_parameters
from aquatint.training.retrieval_losses import RetrievalLosses
from aquatint.training.retrieval_models import RetrievalSpec, build_model
from aquatint.training.retrieval_stage import StagePlan

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
    records = [
        record
        for file in (folder.train_file, folder.test_file)
        for record in read_raw_records(Path(file))
        if isinstance(record, dict)
    ]
    root = Path(folder.image_root)
    names = {str(record.get("image")): record for record in records}
    found = {
        name: record
        for name, record in names.items()
        if is_plain_relative_path(name) and (root / name).is_file()
    }
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
    store: FeatureStore, backbone: Backbone, num_images: int, num_texts: int, spec: RetrievalSpec
) -> dict[str, float]:
    """Project the size of each feature cache in fp16; compare it with limit and free space.

    Args:
        store: Where caches lie and how large one may grow.
        backbone: Model whose widths decide.
        num_images: Images of all splits.
        num_texts: Captions and sentences of all splits.
        spec: Token grid and longest text.

    Raises:
        ValueError: If a cache exceeds its limit, or all together the free space.
    """
    sizes = backbone.sizes
    each_gb = {
        "pixels": num_images * 3 * sizes.image_size_px**2 / 1e9,
        "image_features": num_images * 2 * (spec.token_grid**2 + 1) * sizes.vision_width / 1e9,
        "text_features": num_texts * 2 * spec.max_tokens * sizes.text_width / 1e9,
    }
    needed_gb = sum(each_gb.values())
    root = Path(store.root)
    existing = next(path for path in (root, *root.parents) if path.exists())
    free_gb = shutil.disk_usage(existing).free / 1e9
    if needed_gb > free_gb or max(each_gb.values()) > store.max_gigabytes:
        listed = ", ".join(f"{name} {value:.1f} GB" for name, value in each_gb.items())
        raise ValueError(
            f"The feature caches would need {listed}; {free_gb:.1f} GB are free at {existing} and "
            f"max_gigabytes of one cache is {store.max_gigabytes:g}. Free space, raise the limit "
            "or lower token_grid and max_tokens."
        )
    return {**{k: round(v, 4) for k, v in each_gb.items()}, "free": round(free_gb, 1)}


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
