"""Metrics of predicted boxes."""

from typing import Any

from torch import Tensor

from aquatint.geometry.boxes import box_iou, cxcywh_to_xyxy, generalized_box_iou
from aquatint.metrics.intervals import confidence_interval

IOU_THRESHOLDS = (0.5, 0.7)


def bbox_metrics(predicted_cxcywh: Tensor, target_cxcywh: Tensor) -> dict[str, Any]:
    """Return how well each predicted box covers its own target.

    Args:
        predicted_cxcywh: Center x, center y, width, height in [0, 1], shape (N, 4).
        target_cxcywh: The same for the targets, shape (N, 4).

    Returns:
        ``mean_iou`` in [0, 1]; ``mean_giou`` in [-1, 1]; ``l1_error``: mean over the boxes of the
        sum of four absolute differences; ``accuracy_at_0.5`` and ``accuracy_at_0.7``: share of
        boxes with at least that IoU, each with its 95 % ``_interval``; ``n``. None where n is 0.

    Raises:
        ValueError: If the two are not paired boxes.
    """
    predicted, target = predicted_cxcywh.detach().double(), target_cxcywh.detach().double()
    iou = box_iou(cxcywh_to_xyxy(predicted), cxcywh_to_xyxy(target))
    giou = generalized_box_iou(cxcywh_to_xyxy(predicted), cxcywh_to_xyxy(target))
    n = len(iou)
    metrics: dict[str, Any] = {
        "mean_iou": float(iou.mean()) if n else None,
        "mean_giou": float(giou.mean()) if n else None,
        "l1_error": float((predicted - target).abs().sum() / n) if n else None,
    }
    for threshold in IOU_THRESHOLDS:
        num_found = int((iou >= threshold).sum())
        metrics[f"accuracy_at_{threshold}"] = num_found / n if n else None
        metrics[f"accuracy_at_{threshold}_interval"] = confidence_interval(num_found, n)
    return metrics | {"n": n}
