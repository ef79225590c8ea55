"""Image-text contrastive loss."""

import torch
from torch import Tensor


def itc_loss(
    image_embeds: Tensor, text_embeds: Tensor, image_ids: Tensor, temperature: float | Tensor
) -> Tensor:
    """Symmetric contrastive loss in which every caption of an image is a positive for it.

    Args:
        image_embeds: L2-normalised image embeddings, shape (B, D).
        text_embeds: L2-normalised text embeddings, shape (B, D); row i describes image row i.
        image_ids: Image of each row, shape (B,); rows that share one are all positives.
        temperature: Softmax temperature (0.07 in CLIP), above 0; not its inverse ``logit_scale``.

    Returns:
        Mean of the image-to-text and text-to-image cross-entropy in nats, fp32, shape ();
        0 for an empty batch.

    Raises:
        ValueError: If the embeddings and ids do not pair up, row by row.

    References:
        Zeng et al., "Multi-Grained Vision Language Pre-Training" (X-VLM), ICML 2022,
        https://arxiv.org/abs/2111.08276. Targets shared evenly between equal ids: its published
        code; the temperature may be learned, and is clamped by the model, not here.
    """
    if image_embeds.shape != text_embeds.shape or image_embeds.shape[:1] != image_ids.shape:
        raise ValueError(
            f"image_embeds, text_embeds and image_ids must pair up row by row, got shapes "
            f"{tuple(image_embeds.shape)}, {tuple(text_embeds.shape)} and "
            f"{tuple(image_ids.shape)}."
        )
    if len(image_ids) == 0:
        return (image_embeds.float() * text_embeds.float()).sum() * 0
    # fp32 and outside autocast, because bf16 rounds a logit near 1 / 0.07 to the nearest sixteenth.
    with torch.autocast(image_embeds.device.type, enabled=False):
        logits = image_embeds.float() @ text_embeds.float().T / temperature
    is_positive = image_ids[:, None] == image_ids[None, :]
    image_to_text = _cross_entropy_of_shared_targets(logits, is_positive)
    text_to_image = _cross_entropy_of_shared_targets(logits.T, is_positive)
    return (image_to_text + text_to_image) / 2


def _cross_entropy_of_shared_targets(logits: Tensor, is_positive: Tensor) -> Tensor:
    share = is_positive / is_positive.sum(dim=1, keepdim=True)
    return -(share * logits.log_softmax(dim=1)).sum(dim=1).mean()
