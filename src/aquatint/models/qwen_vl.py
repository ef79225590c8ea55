"""Qwen2-VL and Qwen2.5-VL: images to patches, patches to features, positions in three dimensions.

Feeding cached features as ``inputs_embeds`` loses M-RoPE without a word in transformers 5; every
such path takes its positions from ``rope_positions``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor

from aquatint.models.vision_tower import image_features

if TYPE_CHECKING:
    from transformers import PreTrainedModel

TEMPORAL_PATCHES = 2


def patchify(images: Tensor, patch_size_px: int, merge_size: int) -> tuple[Tensor, Tensor]:
    """Cut normalised images of one size into the rows that Qwen's vision tower takes.

    Args:
        images: Normalised images, shape (B, 3, H, W); H and W multiples of patch times merge.
        patch_size_px: Edge of a patch.
        merge_size: Patches per edge that the tower merges into one token.

    Returns:
        Patches in the order of the tower, shape (B * gh * gw, 3 * 2 * patch ** 2), and the grid of
        each image as (1, gh, gw), shape (B, 3).

    Raises:
        ValueError: If a side is no multiple of ``patch_size_px * merge_size``.
    """
    batch, channels, height, width = images.shape
    factor = patch_size_px * merge_size
    if height % factor or width % factor:
        raise ValueError(f"Images must have sides that {factor} divides, got {height} x {width}.")
    rows, columns = height // patch_size_px, width // patch_size_px
    tiles = images.reshape(
        batch,
        channels,
        rows // merge_size,
        merge_size,
        patch_size_px,
        columns // merge_size,
        merge_size,
        patch_size_px,
    ).permute(0, 2, 5, 3, 6, 1, 4, 7)
    # A still image fills both frames of a temporal patch.
    tiles = tiles.unsqueeze(6).expand(-1, -1, -1, -1, -1, -1, TEMPORAL_PATCHES, -1, -1)
    grid = torch.tensor([[1, rows, columns]], device=images.device).expand(batch, 3)
    return tiles.reshape(batch * rows * columns, -1), grid


def encode_views(model: PreTrainedModel, images: Tensor) -> Tensor:
    """Run the vision tower and its merger on images of one size.

    Args:
        model: Qwen2-VL or Qwen2.5-VL.
        images: Normalised images, shape (B, 3, H, W).

    Returns:
        Features in the language model's width, row by row, shape (B, N, D).
    """
    vision = model.config.vision_config
    merge = vision.spatial_merge_size
    patches, grid = patchify(images, vision.patch_size, merge)
    return image_features(model, patches, grid).unflatten(0, (len(images), -1))


def rope_positions(
    model: PreTrainedModel, input_ids: Tensor, attention_mask: Tensor, grids: Tensor
) -> Tensor:
    """Positions of text and image tokens as the model itself would number them.

    An image's tokens keep the position at which it begins, plus their row and column; the text
    behind it goes on after its longer side. All rows at once: the model's own ``get_rope_index``
    goes from token to token, which took a tenth of a small model's step.

    Args:
        model: Qwen2-VL or Qwen2.5-VL.
        input_ids: Token ids padded on the right, shape (B, T).
        attention_mask: 1 where a token is real, shape (B, T).
        grids: Grid (1, gh, gw) in patches of each image in order, shape (N, 3).

    Returns:
        Temporal, height and width position of each token, 0 for padding, shape (3, B, T).

    Raises:
        ValueError: If there are more or fewer image tokens than the grids have.
    """
    is_image = input_ids == model.config.image_token_id
    sides = grids[:, 1:].to(input_ids.device) // model.config.vision_config.spatial_merge_size
    counts = sides.prod(1)
    _check_places(int(is_image.sum()), int(counts.sum()))
    image = torch.repeat_interleave(counts)
    ends = counts.cumsum(0)
    place = torch.arange(len(image), device=image.device) - (ends - counts)[image]
    advance = attention_mask.long().masked_fill(is_image, 0)
    # Each image moves what follows on by its longer side, all at its last token.
    is_last = place == counts[image] - 1
    advance[is_image] = torch.where(is_last, sides.amax(1)[image], 0)
    positions = (advance.cumsum(1) - advance).expand(3, -1, -1).clone()
    columns = sides[image, 1]
    positions[1, is_image] += place // columns
    positions[2, is_image] += place % columns
    return positions.masked_fill(attention_mask == 0, 0)


def _check_places(num_places: int, num_features: int) -> None:
    if num_places != num_features:
        raise ValueError(f"{num_places} image tokens need as many features, got {num_features}.")


def embed_with_images(model: PreTrainedModel, input_ids: Tensor, features: Tensor) -> Tensor:
    """Embed tokens, image features in the places that wait for them.

    Args:
        model: Any of the architectures; its ``image_token_id`` marks the places.
        input_ids: Token ids, shape (B, T).
        features: Image features in the order of the places, shape (N, D).

    Returns:
        Embeddings, shape (B, T, D).

    Raises:
        ValueError: If there are more or fewer places than features.
    """
    embeddings = model.get_input_embeddings()(input_ids)
    is_image = input_ids == model.config.image_token_id
    _check_places(int(is_image.sum()), len(features))
    return embeddings.masked_scatter(is_image[..., None], features.to(embeddings.dtype))
