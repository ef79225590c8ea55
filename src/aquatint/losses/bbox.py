"""Losses of a predicted box against its target."""

from torch import Tensor

from aquatint.geometry.boxes import cxcywh_to_xyxy, generalized_box_iou


def bbox_losses(predicted_cxcywh: Tensor, target_cxcywh: Tensor) -> dict[str, Tensor]:
    """Return the two terms of the box loss, each averaged over the boxes.

    Args:
        predicted_cxcywh: Center x, center y, width, height in [0, 1], shape (N, 4).
        target_cxcywh: The same for the targets, shape (N, 4); rows without a target are the
            caller's to leave out.

    Returns:
        ``l1``: sum of the four absolute differences; ``giou``: 1 - generalized IoU, in [0, 2].
        Both fp32, shape (), and 0 without boxes.

    Raises:
        ValueError: If the two are not paired boxes.

    References:
        Carion et al., "End-to-End Object Detection with Transformers" (DETR), ECCV 2020,
        https://arxiv.org/abs/2005.12872. A degenerate box affects its own GIoU only.
    """
    if predicted_cxcywh.shape != target_cxcywh.shape or predicted_cxcywh.shape[1:] != (4,):
        raise ValueError(
            f"predicted and target boxes must both have shape (N, 4), got "
            f"{tuple(predicted_cxcywh.shape)} and {tuple(target_cxcywh.shape)}."
        )
    # fp32, because the area of a small box underflows in half precision.
    predicted, target = predicted_cxcywh.float(), target_cxcywh.float()
    giou = generalized_box_iou(cxcywh_to_xyxy(predicted), cxcywh_to_xyxy(target))
    # sum / count, not mean: the mean of no boxes is NaN and kills training.
    num_boxes = max(len(predicted), 1)
    return {
        "l1": (predicted - target).abs().sum() / num_boxes,
        "giou": (1 - giou).sum() / num_boxes,
    }


def bbox_loss(predicted_cxcywh: Tensor, target_cxcywh: Tensor) -> Tensor:
    """Sum of the L1 and the generalized IoU loss of boxes.

    Args:
        predicted_cxcywh: Center x, center y, width, height in [0, 1], shape (N, 4).
        target_cxcywh: The same for the targets, shape (N, 4).

    Returns:
        Mean over the boxes, fp32, shape (); 0 without boxes.

    Raises:
        ValueError: If the two are not paired boxes.

    References:
        Zeng et al., "Multi-Grained Vision Language Pre-Training" (X-VLM), ICML 2022,
        https://arxiv.org/abs/2111.08276.
    """
    terms = bbox_losses(predicted_cxcywh, target_cxcywh)
    return terms["l1"] + terms["giou"]
