"""Conversions and overlaps of axis-aligned boxes."""

import torch
from torch import Tensor


def cxcywh_to_xyxy(boxes_cxcywh: Tensor) -> Tensor:
    """Return the corners of boxes given by center and size.

    Args:
        boxes_cxcywh: Center x, center y, width, height in any unit; y points down;
            shape (..., 4).

    Returns:
        Left, top, right, bottom in the same unit, shape (..., 4).
    """
    center_x, center_y, width, height = boxes_cxcywh.unbind(dim=-1)
    half_width, half_height = width / 2, height / 2
    return torch.stack(
        (
            center_x - half_width,
            center_y - half_height,
            center_x + half_width,
            center_y + half_height,
        ),
        dim=-1,
    )


def xyxy_to_cxcywh(boxes_xyxy: Tensor) -> Tensor:
    """Return center and size of boxes given by their corners.

    Args:
        boxes_xyxy: Left, top, right, bottom in any unit; y points down; shape (..., 4).

    Returns:
        Center x, center y, width, height in the same unit, shape (..., 4).
    """
    left, top, right, bottom = boxes_xyxy.unbind(dim=-1)
    return torch.stack(((left + right) / 2, (top + bottom) / 2, right - left, bottom - top), dim=-1)


def box_iou(predicted_xyxy: Tensor, target_xyxy: Tensor) -> Tensor:
    """Return the intersection over union of each predicted box with its own target.

    Args:
        predicted_xyxy: Left, top, right, bottom, shape (N, 4).
        target_xyxy: The same for the targets, in the same unit, shape (N, 4).

    Returns:
        Overlap in [0, 1], shape (N,); 0 where neither box has an area.

    Raises:
        ValueError: If the two are not paired boxes.
    """
    intersection, union = _intersection_and_union(predicted_xyxy, target_xyxy)
    return _ratio_or_zero(intersection, union)


def generalized_box_iou(predicted_xyxy: Tensor, target_xyxy: Tensor) -> Tensor:
    """Return the generalized IoU of each predicted box with its own target.

    A box without an area (or with right < left) has IoU 0 and changes its own row only.

    Args:
        predicted_xyxy: Left, top, right, bottom, shape (N, 4).
        target_xyxy: The same for the targets, in the same unit, shape (N, 4).

    Returns:
        IoU minus the share of the enclosing box that neither covers, in [-1, 1], shape (N,).

    Raises:
        ValueError: If the two are not paired boxes.

    References:
        Rezatofighi et al., "Generalized Intersection over Union", CVPR 2019,
        https://arxiv.org/abs/1902.09630. Rows whose enclosing box has no area get 0, not NaN.
    """
    intersection, union = _intersection_and_union(predicted_xyxy, target_xyxy)
    enclosing = _area(
        torch.cat(
            (
                torch.minimum(predicted_xyxy[:, :2], target_xyxy[:, :2]),
                torch.maximum(predicted_xyxy[:, 2:], target_xyxy[:, 2:]),
            ),
            dim=1,
        )
    )
    iou = _ratio_or_zero(intersection, union)
    return iou - _ratio_or_zero(enclosing - union, enclosing)


def _intersection_and_union(predicted_xyxy: Tensor, target_xyxy: Tensor) -> tuple[Tensor, Tensor]:
    if predicted_xyxy.shape != target_xyxy.shape or predicted_xyxy.shape[1:] != (4,):
        raise ValueError(
            f"predicted and target boxes must both have shape (N, 4), got "
            f"{tuple(predicted_xyxy.shape)} and {tuple(target_xyxy.shape)}."
        )
    intersection = _area(
        torch.cat(
            (
                torch.maximum(predicted_xyxy[:, :2], target_xyxy[:, :2]),
                torch.minimum(predicted_xyxy[:, 2:], target_xyxy[:, 2:]),
            ),
            dim=1,
        )
    )
    return intersection, _area(predicted_xyxy) + _area(target_xyxy) - intersection


def _area(boxes_xyxy: Tensor) -> Tensor:
    # Clamped per side: two negative sides would otherwise make a positive area.
    return (boxes_xyxy[:, 2:] - boxes_xyxy[:, :2]).clamp(min=0).prod(dim=1)


def _ratio_or_zero(numerator: Tensor, denominator: Tensor) -> Tensor:
    # The denominator is replaced before the division: torch.where around a division by zero
    # still sends NaN back through the gradient.
    has_area = denominator > 0
    ratio = numerator / torch.where(has_area, denominator, torch.ones_like(denominator))
    return torch.where(has_area, ratio, torch.zeros_like(ratio))
