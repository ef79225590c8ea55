"""Retrieval, matching, grounding and relation heads over the tokens of two towers."""

from __future__ import annotations

import math
from typing import Literal, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from aquatint.models.adapters import Adapter, ResidualAdapter

VisionPooling = Literal["mean", "cls"]
TextPooling = Literal["last", "eos", "mean"]
MIN_TEMPERATURE, MAX_TEMPERATURE = 1e-3, 0.5
_ROI_BINS = 4


class ImageEncoding(NamedTuple):
    """What the heads need of an image.

    Attributes:
        patches: Adapted patch tokens, shape (B, P, E).
        embeds: Projected and L2-normalised vector of the whole image, shape (B, D).
    """

    patches: Tensor
    embeds: Tensor


class TextEncoding(NamedTuple):
    """What the heads need of a text.

    Attributes:
        pooled: Adapted vector of the text, shape (B, E).
        embeds: The same projected and L2-normalised, shape (B, D).
    """

    pooled: Tensor
    embeds: Tensor


class FeatureScaler(nn.Module):
    """Centre and scale the channels of frozen features by statistics of the training split.

    Channels of a frozen tower differ in scale by orders of magnitude and share large offsets;
    adapters that see them raw learn next to nothing in a short training. No parameters: the
    statistics are buffers, set once before stage 1 and kept in every checkpoint.

    Args:
        width: Channels.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, width: int) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(width))
        self.register_buffer("std", torch.ones(width))

    def fit(self, features: Tensor) -> None:
        """Take the statistics of ``features``, shape (N, width)."""
        self.mean.copy_(features.mean(dim=0))
        # A channel that never varies carries nothing; dividing by its zero would make NaN.
        self.std.copy_(features.std(dim=0).clamp(min=1e-3))

    def forward(self, features: Tensor) -> Tensor:
        """Scale features of shape (..., width)."""
        return (features - self.mean) / self.std


class DualEncoder(nn.Module):
    """Adapters, projections and heads of two-stage cross-modal retrieval.

    Exact parameter counts at the published widths (1024 and 896): simple 887,043 with the ITM
    head, enhanced with all heads 1,645,325.

    Args:
        vision_width: Width of the vision tower's tokens.
        text_width: Width of the language model's hidden states.
        is_enhanced: Stage 2's adapters (skip and norm) and its bbox and spatial heads.
        width: Width of adapters, projections and embeddings.
        dropout: Dropout in adapters and heads.
        vision_pooling: ``mean`` of the adapted patch tokens, or the adapted class token.
        text_pooling: State of the ``last`` token of the text, of the ``eos`` after it, or their
            masked ``mean``. Never the first: in a causal model it cannot see the text.
        temperature: Initial softmax temperature.
    """

    def __init__(  # noqa: PLR0913 - flat arguments: the fields of a checkpoint's spec
        self,
        *,
        vision_width: int,
        text_width: int,
        is_enhanced: bool,
        width: int = 256,
        dropout: float = 0.1,
        vision_pooling: VisionPooling = "mean",
        text_pooling: TextPooling = "last",
        temperature: float = 0.07,
    ) -> None:
        super().__init__()
        adapter = ResidualAdapter if is_enhanced else Adapter
        self.vision_pooling, self.text_pooling = vision_pooling, text_pooling
        self.vision_scaler = FeatureScaler(vision_width)
        self.text_scaler = FeatureScaler(text_width)
        self.vision_adapter = adapter(vision_width, width, dropout)
        self.text_adapter = adapter(text_width, width, dropout)
        self.image_projection = nn.Linear(width, width)
        self.text_projection = nn.Linear(width, width)
        self.temperature = nn.Parameter(torch.tensor(float(temperature)))
        self.itm_head = _head(2 * width, width, 2, dropout)
        self.bbox_head = _head(2 * width, width, 4, dropout) if is_enhanced else None
        self.spatial_head = _head(2 * width, width, 6, dropout) if is_enhanced else None

    def encode_image(self, tokens: Tensor) -> ImageEncoding:
        """Adapt, pool and project image tokens.

        Args:
            tokens: Class token, then patch tokens row by row, shape (B, 1 + P, D_vision).
        """
        adapted = self.vision_adapter(self.vision_scaler(tokens))
        patches = adapted[:, 1:]
        pooled = adapted[:, 0] if self.vision_pooling == "cls" else patches.mean(dim=1)
        return ImageEncoding(patches, F.normalize(self.image_projection(pooled).float(), dim=-1))

    def encode_text(self, tokens: Tensor, attention_mask: Tensor) -> TextEncoding:
        """Adapt, pool and project text tokens.

        Args:
            tokens: Hidden states padded on the right, the last real one of the end-of-text token,
                shape (B, T, D_text).
            attention_mask: 1 where a token is real, shape (B, T).
        """
        pooled = self._pool_text(tokens, attention_mask)
        return TextEncoding(pooled, F.normalize(self.text_projection(pooled).float(), dim=-1))

    def _pool_text(self, tokens: Tensor, attention_mask: Tensor) -> Tensor:
        tokens = self.text_scaler(tokens)
        ends = attention_mask.sum(dim=1) - 1
        if self.text_pooling == "mean":
            # Without the end-of-text token, which stands at ``ends``.
            inside = torch.arange(tokens.shape[1], device=tokens.device) < ends[:, None]
            weights = inside.to(tokens.dtype)[..., None]
            adapted = self.text_adapter(tokens)
            return (adapted * weights).sum(dim=1) / weights.sum(dim=1).clamp(min=1)
        positions = ends if self.text_pooling == "eos" else (ends - 1).clamp(min=0)
        rows = torch.arange(len(tokens), device=tokens.device)
        return self.text_adapter(tokens[rows, positions])

    def clamped_temperature(self) -> Tensor:
        """The learnable temperature within [0.001, 0.5], shape ()."""
        return self.temperature.clamp(MIN_TEMPERATURE, MAX_TEMPERATURE)

    def match_logits(
        self, patches: Tensor, text: TextEncoding, image_index: Tensor | None = None
    ) -> Tensor:
        """Score whether image and text belong together.

        Args:
            patches: Adapted patch tokens of B images, shape (B, P, E).
            text: The N texts.
            image_index: Image of each text, shape (N,); None where text i goes with image i.

        Returns:
            Logits of (no match, match), shape (N, 2).
        """
        slots = _Slots.of(image_index, len(patches))
        seen = slots.take(self._attention(slots.put(text.embeds), patches) @ patches)
        image = F.normalize(self.image_projection(seen), dim=-1)
        # Product and distance of the two unit vectors, whose entries are of order 1 / sqrt(D).
        scale = math.sqrt(image.shape[-1])
        relation = torch.cat([image * text.embeds * scale, (image - text.embeds).abs()], dim=-1)
        return self.itm_head(relation * scale)

    def predict_boxes(
        self, patches: Tensor, text: TextEncoding, image_index: Tensor | None = None
    ) -> Tensor:
        """Predict where in its image a text's subject is.

        Args:
            patches: Adapted patch tokens of B images, shape (B, P, E).
            text: The N texts.
            image_index: Image of each text, shape (N,); None where text i goes with image i.

        Returns:
            Boxes as cxcywh in (0, 1), shape (N, 4).
        """
        if self.bbox_head is None:
            raise ValueError("Stage 1's simple model has no bbox head; build it with is_enhanced.")
        slots = _Slots.of(image_index, len(patches))
        attention = self._attention(slots.put(text.embeds), patches)
        located = slots.take(attention @ _with_positions(patches))
        scaled = text.embeds * math.sqrt(text.embeds.shape[-1])
        return torch.sigmoid(self.bbox_head(torch.cat([located, scaled], dim=-1)).float())

    def _attention(self, queries: Tensor, patches: Tensor) -> Tensor:
        """Likeness of each patch to Q queries an image, as weights (B, Q, P) of sum 1.

        Without weights of its own, so that heads keep the 512 inputs and the counts of the source:
        the projections that ITC aligns say which patch a text speaks of.
        """
        # Cosines, by dividing a few products and not every key: keys are most of the memory.
        keys = self.image_projection(patches).float()
        norms = keys.norm(dim=-1).clamp(min=1e-12)
        scores = queries @ keys.transpose(1, 2) / (norms * self.clamped_temperature())[:, None]
        return scores.softmax(dim=-1).to(patches.dtype)

    def relation_logits(
        self, patches: Tensor, boxes_a: Tensor, boxes_b: Tensor, image_index: Tensor | None = None
    ) -> Tensor:
        """Score where region B lies as seen from region A.

        Args:
            patches: Adapted patch tokens of B images, shape (B, P, E).
            boxes_a: Boxes of A as cxcywh in [0, 1], shape (N, 4).
            boxes_b: Boxes of B, shape (N, 4).
            image_index: Image of each pair, shape (N,); None where pair i goes with image i.

        Returns:
            Logits of (left, center, right, upper, middle, lower), shape (N, 6).
        """
        if self.spatial_head is None:
            raise ValueError(
                "Stage 1's simple model has no spatial head; build it with is_enhanced."
            )
        slots = _Slots.of(image_index, len(patches))
        grid = math.isqrt(patches.shape[1])
        weights = torch.cat([region_weights(boxes, grid) for boxes in (boxes_a, boxes_b)], dim=1)
        pairs = slots.put(weights.to(patches.dtype)).unflatten(2, (2, -1))
        regions = pairs.flatten(1, 2) @ _with_positions(patches)
        return self.spatial_head(slots.take(regions.unflatten(1, (-1, 2)).flatten(2)))


class _Slots:
    """Places of N items that belong to B images, as rows of a padded (B, Q) table.

    An image's patches then meet all of its items in one product, and are copied for none.
    """

    def __init__(self, image_index: Tensor, num_images: int) -> None:
        order = torch.argsort(image_index, stable=True)
        counts = torch.bincount(image_index, minlength=num_images)
        first = (counts.cumsum(0) - counts)[image_index[order]]
        places = torch.empty_like(order)
        places[order] = torch.arange(len(order), device=order.device) - first
        self._num_images = num_images
        self._num_slots = int(counts.max()) if len(order) else 0
        self._rows = image_index * self._num_slots + places

    @staticmethod
    def of(image_index: Tensor | None, num_images: int) -> _Slots | _OneEach:
        """Slots of items by image; without an index item i belongs to image i."""
        return _OneEach() if image_index is None else _Slots(image_index, num_images)

    def put(self, items: Tensor) -> Tensor:
        """(N, D) -> (B, Q, D), zero where there is no item."""
        table = items.new_zeros(self._num_images * self._num_slots, items.shape[1])
        # All sizes stated: a rank may have no items, and then none could be inferred.
        shape = self._num_images, self._num_slots, items.shape[1]
        return table.index_copy(0, self._rows, items).reshape(shape)

    def take(self, table: Tensor) -> Tensor:
        """(B, Q, D) -> (N, D)."""
        return table.flatten(0, 1).index_select(0, self._rows)


class _OneEach:
    """The slots where item i belongs to image i."""

    def put(self, items: Tensor) -> Tensor:
        """(N, D) -> (N, 1, D)."""
        return items[:, None]

    def take(self, table: Tensor) -> Tensor:
        """(N, 1, D) -> (N, D)."""
        return table[:, 0]


def _head(input_width: int, width: int, num_outputs: int, dropout: float) -> nn.Sequential:
    return nn.Sequential(
        nn.Linear(input_width, width), nn.ReLU(), nn.Dropout(dropout), nn.Linear(width, num_outputs)
    )


def _with_positions(patches: Tensor) -> Tensor:
    """Add sines and cosines of row and column to patch tokens of a square grid, (N, P, E)."""
    grid = math.isqrt(patches.shape[1])
    encoding = position_encoding(grid, patches.shape[2]).to(patches)
    return patches + encoding


def position_encoding(grid: int, width: int) -> Tensor:
    """Two-dimensional sinusoidal encoding of the centres of a square grid.

    Args:
        grid: Cells per edge.
        width: Width of the encoding, a multiple of 4.

    Returns:
        Encoding in [-1, 1], rows first, shape (grid * grid, width).

    References:
        Carion et al., "End-to-End Object Detection with Transformers" (DETR), ECCV 2020,
        https://arxiv.org/abs/2005.12872. Frequencies in octaves of the image edge here.
    """
    if width % 4:
        raise ValueError(f"width must be a multiple of 4 (sine, cosine, row, column), got {width}.")
    centres = (torch.arange(grid) + 0.5) / grid
    octaves = torch.linspace(-1, math.log2(max(2, grid)), width // 4)
    angles = math.pi * centres[:, None] * 2**octaves
    axis = torch.cat([angles.sin(), angles.cos()], dim=-1)
    rows = axis[:, None].expand(grid, grid, -1)
    columns = axis[None].expand(grid, grid, -1)
    return torch.cat([rows, columns], dim=-1).reshape(grid * grid, width)


def region_weights(boxes_cxcywh: Tensor, grid: int) -> Tensor:
    """Share of each patch in the mean of bilinear samples inside each box (ROI align).

    Args:
        boxes_cxcywh: Boxes in [0, 1], shape (N, 4).
        grid: Patches per edge.

    Returns:
        Weights of sum 1, rows first, shape (N, grid * grid).
    """
    steps = (torch.arange(_ROI_BINS, device=boxes_cxcywh.device) + 0.5) / _ROI_BINS - 0.5
    # Samples lie on a grid in the box, so the weights are a product of those of the two axes.
    centres, sizes = boxes_cxcywh[:, :2, None], boxes_cxcywh[:, 2:, None]
    # In cells, from the centre of the first one; beyond the border counts what lies at it.
    points = ((centres + sizes * steps) * grid - 0.5).clamp(0, grid - 1)
    cells = torch.arange(grid, device=boxes_cxcywh.device)
    axes = (1 - (points[..., None] - cells).abs()).clamp(min=0).mean(dim=2)
    return (axes[:, 1, :, None] * axes[:, 0, None, :]).flatten(1)
