"""Next-token training of an InternVL on captioned images: how a pocket backbone is made."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from aquatint.models.pixels import PixelNormalizer
from aquatint.models.pocket import IMAGE_TOKEN

if TYPE_CHECKING:
    from transformers import InternVLForConditionalGeneration, PreTrainedTokenizerBase

IGNORE_INDEX = -100
_IMAGE_SHARE = 2 / 3


@dataclass(frozen=True)
class CaptionedImages:
    """Images with their texts.

    Attributes:
        pixels: Images as uint8, shape (N, S, S, 3).
        texts: Captions and region sentences of each image, in any number but zero.
    """

    pixels: np.ndarray
    texts: Sequence[Sequence[str]]


class CaptioningSamples:
    """Documents: an image with one of its texts, or two texts of an image without it.

    One text only behind an image: a second one could be guessed from the first, and the image
    would hardly be looked at. Without the image, the end of one text is all there is to predict
    the next one from, so that the states of a text learn to hold its content.

    Args:
        images: Images and texts.
        tokenizer: Tokenizer with InternVL's special tokens.
        num_image_tokens: Image tokens of the language model.
        max_tokens: Longer documents are cut.
        seed: Decides the orders.
    """

    def __init__(
        self,
        images: CaptionedImages,
        tokenizer: PreTrainedTokenizerBase,
        num_image_tokens: int,
        max_tokens: int,
        seed: int,
    ) -> None:
        self._images = images
        self._ids = [[tokenizer(text)["input_ids"] for text in texts] for texts in images.texts]
        start, end, image = (
            tokenizer.convert_tokens_to_ids(token) for token in ("<img>", "</img>", IMAGE_TOKEN)
        )
        self._prefix = [start, *[image] * num_image_tokens, end]
        self._eos, self._pad = tokenizer.eos_token_id, tokenizer.pad_token_id
        self._max_tokens = max_tokens
        self._seed = seed

    def __len__(self) -> int:
        """Number of images."""
        return len(self._ids)

    def batch(self, positions: Tensor) -> dict[str, Any]:
        """Return ids, labels and mask (B, T), and the pixels of the documents with an image."""
        documents, labels, with_image = [], [], []
        # A function of seed and positions: a resumed training sees the same documents.
        rng = np.random.default_rng([self._seed, *positions.tolist()])
        for position in positions.tolist():
            has_image = rng.random() < _IMAGE_SHARE
            texts = self._ids[position]
            chosen = rng.permutation(len(texts))[: 1 if has_image else 2]
            body = [token for i in chosen for token in (*texts[i], self._eos)]
            prefix = self._prefix if has_image else []
            documents.append((prefix + body)[: self._max_tokens])
            labels.append(([IGNORE_INDEX] * len(prefix) + body)[: self._max_tokens])
            with_image.append(has_image)
        rows = positions[torch.tensor(with_image)].numpy()
        return {
            "input_ids": _padded(documents, self._pad),
            "labels": _padded(labels, IGNORE_INDEX),
            "pixels": torch.from_numpy(self._images.pixels[rows]),
        }

    def identify(self, positions: Tensor) -> list[str]:
        """Return the numbers of the images."""
        return [f"image {position}" for position in positions.tolist()]


def _padded(rows: list[list[int]], value: int) -> Tensor:
    width = max(map(len, rows))
    return torch.tensor([row + [value] * (width - len(row)) for row in rows])


class CaptioningModel(nn.Module):
    """An InternVL whose every weight trains, fed with uint8 images.

    Args:
        backbone: InternVL.
        image_mean: Channel means, in [0, 1].
        image_std: Channel standard deviations.
    """

    def __init__(
        self,
        backbone: InternVLForConditionalGeneration,
        image_mean: tuple[float, ...],
        image_std: tuple[float, ...],
    ) -> None:
        super().__init__()
        self.backbone = backbone
        self.normalize = PixelNormalizer(image_mean, image_std)


def captioning_losses(model: CaptioningModel, batch: dict[str, Tensor]) -> dict[str, Tensor]:
    """Mean next-token cross-entropy in nats over the labelled tokens, as ``caption``."""
    inner = model.backbone.model
    embeddings = inner.get_input_embeddings()(batch["input_ids"])
    if len(batch["pixels"]):
        images = model.normalize(batch["pixels"])
        features = inner.get_image_features(pixel_values=images).pooler_output
        is_image = batch["input_ids"] == model.backbone.config.image_token_id
        embeddings = embeddings.masked_scatter(is_image[..., None], features.to(embeddings.dtype))
    states = inner.language_model(inputs_embeds=embeddings).last_hidden_state
    targets = batch["labels"][:, 1:]
    is_labelled = targets != IGNORE_INDEX
    # Logits only where a label asks for them: the vocabulary is most of the work otherwise.
    logits = model.backbone.lm_head(states[:, :-1][is_labelled])
    return {"caption": F.cross_entropy(logits.float(), targets[is_labelled])}
