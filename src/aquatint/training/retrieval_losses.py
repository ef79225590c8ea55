"""Unweighted loss terms of cross-modal retrieval, of one stage or of all at once."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

import torch
from torch import Tensor

from aquatint.collective import from_first, gather_json, rank, share_rows, weigh
from aquatint.losses.bbox import bbox_loss
from aquatint.losses.itc import itc_loss
from aquatint.losses.itm import Negatives, itm_loss, pair_negatives, sample_hard_negatives
from aquatint.losses.spatial import spatial_loss
from aquatint.models.dual_encoder import ImageEncoding, TextEncoding
from aquatint.models.retrieval_model import RetrievalModel
from aquatint.training.gathering import gather_rows


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
        """Return each term as a tensor of shape ().

        On several ranks a batch is one rank's share. ITC and ITM see the images and captions of
        all shares, and the mean over ranks of each term is the term of the whole batch.
        """
        images, texts = encode_batch(model, batch)
        num_captions = len(batch["caption_image"])
        captions = TextEncoding(texts.pooled[:num_captions], texts.embeds[:num_captions])
        is_counted = batch["is_counted"]
        terms = {}
        if "itc" in self.names or "itm" in self.names:
            pool = Contrasted.of_all_ranks(images, captions, batch)
        if "itc" in self.names:
            # The whole matrix on every rank: each is given the whole gradient, and they are equal.
            terms["itc"] = itc_loss(
                pool.images.embeds[pool.owners],
                pool.captions.embeds,
                pool.image_rows[pool.owners],
                model.heads.clamped_temperature(),
            )
        if "itm" in self.names:
            terms["itm"] = self._itm(model, pool)
        if "bbox" in self.names:
            predicted = model.heads.predict_boxes(
                images.patches,
                TextEncoding(texts.pooled[num_captions:], texts.embeds[num_captions:]),
                batch["region_image"],
            )
            loss = bbox_loss(predicted, batch["region_boxes"])
            terms["bbox"] = weigh(loss, len(predicted) * is_counted)
        if "spatial" in self.names:
            boxes, labels = batch["pair_boxes"], batch["pair_labels"]
            logits = model.heads.relation_logits(
                images.patches, boxes[:, 0], boxes[:, 1], batch["pair_image"]
            )
            loss = spatial_loss(logits, labels[:, 0], labels[:, 1])
            terms["spatial"] = weigh(loss, len(labels) * is_counted)
        return terms

    def _itm(self, model: RetrievalModel, pool: Contrasted) -> Tensor:
        """Matching with one caption of each image: the first of those drawn for it."""
        images, owners = pool.images, pool.owners
        first = torch.searchsorted(owners, torch.arange(len(images.embeds), device=owners.device))
        text = TextEncoding(pool.captions.pooled[first], pool.captions.embeds[first])
        similarity = images.embeds @ text.embeds.T / model.heads.clamped_temperature()
        # The default generator of the device: its state is part of the training state.
        generator = (
            torch.cuda.default_generators[similarity.device.index or 0]
            if similarity.is_cuda
            else torch.default_generator
        )
        drawn = sample_hard_negatives(similarity, pool.image_rows, generator, self.negatives)
        pairs = pair_negatives(Negatives(*(from_first(indices) for indices in drawn)))
        mine = share_rows(len(pairs.is_match))
        image_index, text_index, is_match = (indices[mine] for indices in pairs)
        # A rank scores its share of the pairs, which need not touch every image.
        used, image_index = image_index.unique(return_inverse=True)
        patches = images.patches if len(used) == len(images.patches) else images.patches[used]
        logits = model.heads.match_logits(
            patches, TextEncoding(text.pooled[text_index], text.embeds[text_index]), image_index
        )
        return weigh(itm_loss(logits, is_match), len(is_match))


class Contrasted(NamedTuple):
    """Images and captions of a whole batch, whichever ranks encoded them.

    Attributes:
        images: Encoded images, B of them.
        captions: Encoded captions, C of them.
        image_rows: Number of each image, equal for equal images, shape (B,).
        owners: Position in the batch of each caption's image, shape (C,).
    """

    images: ImageEncoding
    captions: TextEncoding
    image_rows: Tensor
    owners: Tensor

    @classmethod
    def of_all_ranks(
        cls, images: ImageEncoding, captions: TextEncoding, batch: dict[str, Any]
    ) -> Contrasted:
        """Gather the shares of all ranks, with gradients; stand-ins are left out."""
        num_images = len(images.embeds) if batch["is_counted"] else 0
        num_captions = len(captions.embeds) if batch["is_counted"] else 0
        counts = gather_json([num_images, num_captions])
        of_images, of_captions = (list(column) for column in zip(*counts, strict=True))
        owners = batch["caption_image"][:num_captions] + sum(of_images[: rank()])
        return cls(
            ImageEncoding(*(gather_rows(v[:num_images], of_images) for v in images)),
            TextEncoding(*(gather_rows(v[:num_captions], of_captions) for v in captions)),
            gather_rows(batch["image_rows"][:num_images], of_images),
            gather_rows(owners, of_captions),
        )


def encode_batch(
    model: RetrievalModel, batch: dict[str, Any]
) -> tuple[ImageEncoding, TextEncoding]:
    """Encode images and texts of a batch, from cached tokens or through the backbone."""
    dtype = model.heads.image_projection.weight.dtype
    images = model.heads.encode_image(model.encode_images(batch).to(dtype))
    return images, model.embed_texts(batch)
