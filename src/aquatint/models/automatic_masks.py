"""SAM's everything mode: points on a grid, the best masks that are not the same."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

POINTS_PER_SIDE = 16
_STABILITY_OFFSET = 1.0
_MAX_OVERLAP = 0.7
_CHUNK = 64


@torch.inference_mode()
def automatic_masks(
    model: Any,  # noqa: ANN401 - SamModel
    embedding: Tensor,
    shape: tuple[int, ...],
    points_per_side: int = POINTS_PER_SIDE,
) -> np.ndarray:
    """Find masks everywhere in an image and keep the best.

    Args:
        model: ``SamModel``.
        embedding: Embedding of one image, shape (1, C, h, w).
        shape: Number of masks kept and their size, (K, M, M).
        points_per_side: Points of the grid along an edge.

    Returns:
        The K best by predicted quality times stability that overlap by at most 0.7, empty ones
        behind; bool, shape (K, M, M).

    References:
        Kirillov et al., "Segment Anything", ICCV 2023, https://arxiv.org/abs/2304.02643. Here
        without crops, and without cut-offs of quality: the best eight are taken however good.
    """
    count, size = shape[0], shape[-1]
    edge = model.config.vision_config.image_size
    steps = (torch.arange(points_per_side) + 0.5) * edge / points_per_side
    grid = torch.stack(torch.meshgrid(steps, steps, indexing="xy"), -1).reshape(-1, 1, 2)
    logits, scores = [], []
    for start in range(0, len(grid), _CHUNK):
        points = grid[start : start + _CHUNK].to(embedding.device)
        found = model(image_embeddings=embedding, input_points=points[None], multimask_output=True)
        logits.append(found.pred_masks[0].flatten(0, 1))
        scores.append(found.iou_scores[0].flatten())
    low, quality = torch.cat(logits), torch.cat(scores)
    ranked = (quality * _stability(low)).argsort(descending=True, stable=True)
    kept: list[Tensor] = []
    masks = np.zeros((count, size, size), bool)
    for index in ranked.tolist():
        mask = low[index] > 0
        if bool(mask.any()) and all(_overlap(mask, other) <= _MAX_OVERLAP for other in kept):
            kept.append(mask)
            sized = F.interpolate(low[index][None, None], (size, size), mode="bilinear")
            masks[len(kept) - 1] = (sized[0, 0] > 0).cpu().numpy()
        if len(kept) == count:
            break
    return masks


def _stability(logits: Tensor) -> Tensor:
    """Overlap of a mask cut a little higher with one cut a little lower, shape (N,)."""
    high = (logits > _STABILITY_OFFSET).flatten(1).sum(1)
    low = (logits > -_STABILITY_OFFSET).flatten(1).sum(1)
    return high / low.clamp(min=1)


def _overlap(first: Tensor, second: Tensor) -> float:
    return float((first & second).sum() / (first | second).sum().clamp(min=1))
