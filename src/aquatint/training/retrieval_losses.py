"""Unweighted loss terms of cross-modal retrieval, of one stage or of all at once."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor

from aquatint.losses.bbox import bbox_loss
from aquatint.losses.itc import itc_loss
from aquatint.losses.itm import itm_loss, pair_negatives, sample_hard_negatives
from aquatint.losses.spatial import spatial_loss
from aquatint.models.dual_encoder import ImageEncoding, TextEncoding
from aquatint.models.retrieval_model import RetrievalModel


@dataclass(frozen=True)
class RetrievalLosses:
    """Callable for ``fit``: the terms that a stage has a weight for.

    Attributes:
        names: Which of ``itc``, ``itm``, ``bbox`` and ``spatial`` to compute.
        negatives: How ITM draws its negatives.
    """

    names: Collection[str]
    negatives: Literal["hard", "random"] = "hard"

    def __call__(self, model: RetrievalModel, batch: dict[str, Any]) -> dict[str, Tensor]:
        """Return each term as a tensor of shape ()."""
        images, texts = encode_batch(model, batch)
        num_captions = len(batch["caption_image"])
        captions = TextEncoding(texts.pooled[:num_captions], texts.embeds[:num_captions])
        terms = {}
        if "itc" in self.names:
            owners = batch["caption_image"]
            terms["itc"] = itc_loss(
                images.embeds[owners],
                captions.embeds,
                batch["image_rows"][owners],
                model.heads.clamped_temperature(),
            )
        if "itm" in self.names:
            terms["itm"] = self._itm(model, images, captions, batch)
        if "bbox" in self.names:
            predicted = model.heads.predict_boxes(
                images.patches[batch["region_image"]],
                TextEncoding(texts.pooled[num_captions:], texts.embeds[num_captions:]),
            )
            terms["bbox"] = bbox_loss(predicted, batch["region_boxes"])
        if "spatial" in self.names:
            boxes, labels = batch["pair_boxes"], batch["pair_labels"]
            logits = model.heads.relation_logits(
                images.patches[batch["pair_image"]], boxes[:, 0], boxes[:, 1]
            )
            terms["spatial"] = spatial_loss(logits, labels[:, 0], labels[:, 1])
        return terms

    def _itm(
        self,
        model: RetrievalModel,
        images: ImageEncoding,
        captions: TextEncoding,
        batch: dict[str, Any],
    ) -> Tensor:
        """Matching with one caption of each image: the first of those drawn for it."""
        owners = batch["caption_image"]
        first = torch.searchsorted(owners, torch.arange(len(images.embeds), device=owners.device))
        text = TextEncoding(captions.pooled[first], captions.embeds[first])
        similarity = images.embeds @ text.embeds.T / model.heads.clamped_temperature()
        # The default generator of the device: its state is part of the training state.
        generator = (
            torch.cuda.default_generators[similarity.device.index or 0]
            if similarity.is_cuda
            else torch.default_generator
        )
        pairs = pair_negatives(
            sample_hard_negatives(similarity, batch["image_rows"], generator, self.negatives)
        )
        logits = model.heads.match_logits(
            images.patches[pairs.image_index],
            TextEncoding(text.pooled[pairs.text_index], text.embeds[pairs.text_index]),
        )
        return itm_loss(logits, pairs.is_match)


def encode_batch(
    model: RetrievalModel, batch: dict[str, Any]
) -> tuple[ImageEncoding, TextEncoding]:
    """Encode images and texts of a batch, from cached tokens or through the backbone."""
    mask = batch["attention_mask"]
    return (
        model.heads.encode_image(model.encode_images(batch).to(_head_dtype(model))),
        model.heads.encode_text(model.encode_texts(batch).to(_head_dtype(model)), mask),
    )


def _head_dtype(model: RetrievalModel) -> torch.dtype:
    return model.heads.image_projection.weight.dtype
