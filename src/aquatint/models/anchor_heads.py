"""From the hidden states of an anchor's tokens to masks, depth, edges and features.

Legend: B samples, n tokens of an anchor, D width of the language model, P width of prompts,
C width of a map's features, h and w its grid, M edge of a predicted map, F width of features.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, Protocol

import torch
import torch.nn.functional as F
from torch import Tensor, nn

NUM_MASKS = 8
_NUM_HEADS = {"sam": 8, "pidinet": 4}


@dataclass(frozen=True)
class AnchorShape:
    """What a head must know of its teacher.

    Attributes:
        name: Anchor.
        target: Shape of one target: masks (8, M, M), a map (M, M), features (N, F) or (F,).
        context: Shape of what the teacher knows of an image and the head looks into; () for none.
        prompt_width: Width of a mask decoder's prompts; 0 where there is none.
        offset: Added to a map's prediction: a usual depth in the teacher's unit.
        scale: Factor of a map's prediction: a usual spread of depths.
    """

    name: str
    target: tuple[int, ...]
    context: tuple[int, ...] = ()
    prompt_width: int = 0
    offset: float = 0.0
    scale: float = 1.0


class MaskDecoder(Protocol):
    """Turns prompts into masks."""

    def __call__(self, prompts: Tensor, context: Tensor, size: int) -> Tensor:
        """Map prompts (B, K, P) and a teacher's context to logits (B, K, size, size)."""


def decode_by_kernels(prompts: Tensor, context: Tensor, size: int) -> Tensor:
    """Take each prompt as a kernel over the features of every place.

    Args:
        prompts: Shape (B, K, C + 6).
        context: Features by place, shape (B, C, h, w); six channels that place them are added.
        size: Edge of the masks.

    Returns:
        Logits, shape (B, K, size, size).
    """
    maps = torch.einsum("bkc,bchw->bkhw", prompts, with_places(context))
    return F.interpolate(maps, (size, size), mode="bilinear", align_corners=False)


def with_places(features: Tensor) -> Tensor:
    """Add 1, x, y and their products to features (B, C, h, w), shape (B, C + 6, h, w)."""
    height, width = features.shape[-2:]
    y = torch.linspace(-1, 1, height, device=features.device)[:, None].expand(height, width)
    x = torch.linspace(-1, 1, width, device=features.device)[None].expand(height, width)
    places = torch.stack([torch.ones_like(x), x, y, x * x, y * y, x * y])
    return torch.cat([features, places[None].expand(len(features), -1, -1, -1)], 1)


def rotate_by_position(states: Tensor) -> Tensor:
    """Turn pairs of channels by angles that grow with the token's place; nothing is learned.

    Args:
        states: Shape (B, n, D) with an even D.
    """
    count, width = states.shape[1:]
    rates = 10_000 ** (-torch.arange(0, width, 2, device=states.device) / width)
    angles = torch.arange(count, device=states.device)[:, None] * rates
    even, odd = states[..., ::2], states[..., 1::2]
    sine, cosine = angles.sin().to(states.dtype), angles.cos().to(states.dtype)
    turned = torch.stack([even * cosine - odd * sine, even * sine + odd * cosine], -1)
    return turned.flatten(-2)


NormAxis = Literal["features", "tokens"]


def normalise(states: Tensor, axis: NormAxis) -> Tensor:
    """Give states (B, n, F) unit norm along their features.

    Along the tokens, as the published code does by leaving out ``dim``, the scale of a feature
    depends on how many tokens there are.
    """
    return F.normalize(states, dim=-1 if axis == "features" else 1)


class CrossAttention(nn.Module):
    """Learned queries that look at projected tokens.

    Args:
        num_queries: Queries.
        width: Width of queries and tokens.
        num_heads: Attention heads; must divide ``width``.
    """

    def __init__(self, num_queries: int, width: int, num_heads: int) -> None:
        super().__init__()
        while width % num_heads:
            num_heads //= 2
        self.queries = nn.Parameter(torch.randn(num_queries, width) * width**-0.5)
        self.attention = nn.MultiheadAttention(width, num_heads, batch_first=True)

    def forward(self, tokens: Tensor) -> Tensor:
        """Map tokens (B, n, W) to (B, num_queries, W)."""
        queries = self.queries.expand(len(tokens), -1, -1)
        return self.attention(queries, tokens, tokens, need_weights=False)[0]


class MaskHead(nn.Module):
    """Segmentation: tokens to prompts of a frozen mask decoder, prompts to masks."""

    def __init__(self, width: int, shape: AnchorShape, axis: NormAxis) -> None:
        super().__init__()
        self._axis: NormAxis = axis
        self._size = shape.target[-1]
        self.projection = nn.Linear(width, shape.prompt_width)
        self.cross_attention = CrossAttention(NUM_MASKS, shape.prompt_width, _NUM_HEADS["sam"])

    def forward(self, states: Tensor, context: Tensor, decoder: MaskDecoder) -> Tensor:
        """Return mask logits (B, 8, M, M)."""
        tokens = normalise(self.projection(rotate_by_position(states)), self._axis)
        return decoder(self.cross_attention(tokens), context, self._size)


class DepthHead(nn.Module):
    """Depth: token i is a kernel over the teacher's features of layer i; the maps' mean counts."""

    def __init__(self, width: int, shape: AnchorShape) -> None:
        super().__init__()
        self._size = shape.target[-1]
        # Or a bias would have to grow to a hundred metres before anything is learned.
        self._offset, self._scale = shape.offset, shape.scale
        self.generator = nn.Sequential(
            nn.Linear(width, width), nn.GELU(), nn.Linear(width, shape.context[1])
        )

    def forward(self, states: Tensor, context: Tensor) -> Tensor:
        """Return depth (B, M, M) from features of the layers, (B, L, C, h, w).

        With another number of tokens than layers, tokens take the layers in turn.
        """
        kernels = self.generator(states)
        layers = [index % context.shape[1] for index in range(states.shape[1])]
        maps = torch.einsum("bnc,bnchw->bnhw", kernels, context[:, layers])
        found = F.interpolate(maps, (self._size,) * 2, mode="bilinear", align_corners=False)
        return self._offset + self._scale * found.mean(1)


class EdgeHead(nn.Module):
    """Edges: each token becomes a 1 x 1 kernel over the teacher's features; the mean counts."""

    def __init__(self, width: int, num_tokens: int, shape: AnchorShape, axis: NormAxis) -> None:
        super().__init__()
        self._axis: NormAxis = axis
        self._size = shape.target[-1]
        channels = shape.context[0]
        self.projection = nn.Linear(width, channels)
        self.cross_attention = CrossAttention(num_tokens, channels, _NUM_HEADS["pidinet"])

    def forward(self, states: Tensor, context: Tensor) -> Tensor:
        """Return the probability of an edge (B, M, M)."""
        kernels = self.cross_attention(normalise(self.projection(states), self._axis))
        maps = torch.einsum("bnc,bchw->bnhw", kernels, context).mean(1, keepdim=True)
        found = F.interpolate(maps, (self._size,) * 2, mode="bilinear", align_corners=False)
        return found[:, 0].sigmoid()


class FeatureHead(nn.Module):
    """Features of an encoder: one query for each of its outputs looks at the tokens."""

    def __init__(self, width: int, shape: AnchorShape, axis: NormAxis | None) -> None:
        super().__init__()
        self._axis = axis
        self._shape = shape.target
        features = shape.target[-1]
        count = shape.target[0] if len(shape.target) == 2 else 1
        self.projection = nn.Linear(width, features)
        self.cross_attention = CrossAttention(count, features, 8)

    def forward(self, states: Tensor) -> Tensor:
        """Return features (B, N, F), or (B, F) where the teacher gives one vector."""
        tokens = self.projection(states)
        if self._axis is not None:
            tokens = normalise(tokens, self._axis)
        return self.cross_attention(tokens).reshape(len(states), *self._shape)


def build_head(
    width: int, num_tokens: int, shape: AnchorShape, axis: NormAxis = "features"
) -> nn.Module:
    """Build the head of an anchor.

    Args:
        width: Width of the language model.
        num_tokens: Tokens of the anchor's span.
        shape: What its teacher gives.
        axis: Along what projected tokens are normalised.
    """
    match shape.name:
        case "sam":
            return MaskHead(width, shape, axis)
        case "depth":
            return DepthHead(width, shape)
        case "pidinet":
            return EdgeHead(width, num_tokens, shape, axis)
        case "dino":
            return FeatureHead(width, shape, axis)
        case _:
            return FeatureHead(width, shape, None)


def predict_anchor(
    name: str, head: nn.Module, states: Tensor, context: Tensor, decoder: MaskDecoder
) -> Tensor:
    """Run an anchor's head: mask logits, depth, edge probabilities or features.

    Args:
        name: Anchor.
        head: Head of ``build_head``.
        states: Hidden states of its tokens, shape (B, n, D).
        context: What its teacher knows of the images; ignored by feature anchors.
        decoder: Mask decoder, for ``sam``.
    """
    states = states.float()
    match name:
        case "sam":
            return head(states, context, decoder)
        case "depth" | "pidinet":
            return head(states, context)
        case _:
            return head(states)


def shapes_from(values: Mapping[str, Mapping[str, Any]]) -> dict[str, AnchorShape]:
    """Rebuild shapes by anchor from plain values."""
    return {
        name: AnchorShape(
            **{**value, "target": tuple(value["target"]), "context": tuple(value["context"])}
        )
        for name, value in values.items()
    }
