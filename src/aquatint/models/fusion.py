"""How vision-language tokens, sensor and state become the condition of an action expert."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn

from aquatint.models.token_scaler import TokenScaler

# Values that are kept of a token where every place has weights of its own.
_PLACE_WIDTH = 16
_SHARPNESS = 8.0
FusionName = Literal["concat", "cross_attention", "gated", "none"]


@dataclass(frozen=True)
class Condition:
    """What an action expert looks at.

    Attributes:
        summary: One vector, shape (B, D).
        memory: Tokens, the summary's first, shape (B, M, D).
        is_pad: True where a token of the memory is padding, shape (B, M).
    """

    summary: Tensor
    memory: Tensor
    is_pad: Tensor


class Fusion(nn.Module):
    """Brings vision-language features and the sensor together.

    ``concat`` and ``gated`` take the mean of the vision-language tokens, ``none`` leaves the
    sensor out. In ``cross_attention`` the words of the instruction scale and shift what is measured
    (a heading to turn to and the heading that is: only their product says which way), both together
    ask, and the image tokens answer; all tokens stay in the memory: with one pooled token as the
    only key, a softmax would be 1 whatever the sensor says.

    Args:
        strategy: Which of the four.
        vl_width: Width of the vision-language tokens; 0 for a policy that sees none.
        sensor_width: Width of the sensor's vector; 0 for a policy without a sensor.
        width: Width of the condition.
        num_heads: Heads of the attention.
        places: Most vision-language tokens, and how many of them, the first ones, are image tokens.
            Each place has a learned code: a backbone with rotary positions leaves no trace of where
            a token lies in its states.

    Raises:
        ValueError: If a strategy that needs both is given one alone.
    """

    def __init__(
        self,
        strategy: FusionName,
        *,
        vl_width: int,
        sensor_width: int,
        width: int,
        num_heads: int = 8,
        places: Sequence[int] = (0, 0),
    ) -> None:
        super().__init__()
        if strategy != "none" and not (vl_width and sensor_width):
            raise ValueError(
                f"fusion {strategy} needs vision-language tokens and a sensor, got widths "
                f"{vl_width} and {sensor_width}. Take none."
            )
        self.strategy, self.width = strategy, width
        num_positions, self._num_image = places
        self.is_blind = not vl_width
        self.scaler = TokenScaler(num_positions, vl_width) if vl_width else None
        match strategy:
            case "concat":
                self.project = nn.Linear(vl_width + sensor_width, width)
            case "gated":
                self.vl = nn.Linear(vl_width, width)
                self.sensor = nn.Linear(sensor_width, width)
                self.gate = nn.Linear(2 * width, width)
            case "cross_attention":
                self.vl = nn.Linear(vl_width, width)
                self.positions = nn.Parameter(0.5 * torch.randn(num_positions, width))
                self.sensor = nn.Linear(sensor_width, width)
                self.words = PlaceReader(num_positions - self._num_image, vl_width, width)
                self.modulate = nn.Linear(width, 2 * width)
                self.search = CosineAttention(width, num_heads, vl_width)
                self.norm = nn.LayerNorm(width)
                # Where what is asked for meets what is measured, before the expert looks around.
                self.mix = nn.Sequential(
                    nn.Linear(width, 4 * width), nn.GELU(), nn.Linear(4 * width, width)
                )
            case "none" if vl_width:
                self.vl = nn.Linear(vl_width, width)

    def forward(
        self, tokens: Tensor | None, is_pad: Tensor | None, sensor: Tensor | None, state: Tensor
    ) -> Condition:
        """Fuse.

        Args:
            tokens: Vision-language tokens, shape (B, T, D_vl).
            is_pad: True where a token is padding, shape (B, T).
            sensor: Sensor's vectors, the missing ones' token in their places, shape (B, D_sensor).
            state: Encoded robot state, shape (B, D); added to the summary.
        """
        if self.is_blind:
            return _alone(state)
        if tokens is None or is_pad is None or self.scaler is None:
            raise ValueError("A fusion of vision-language tokens needs tokens and their mask.")
        tokens = self.scaler(tokens).masked_fill(is_pad[..., None], 0)
        pooled = masked_mean(tokens, is_pad)
        if sensor is None:
            if self.strategy != "none":
                raise ValueError(f"fusion {self.strategy} needs the sensor's vectors.")
            return _alone(self.vl(pooled) + state)
        match self.strategy:
            case "cross_attention":
                return self._attend(tokens, is_pad, self.sensor(sensor) + state)
            case "concat":
                fused = self.project(torch.cat([pooled, sensor], dim=-1))
            case "gated":
                seen, heard = self.vl(pooled), self.sensor(sensor)
                gate = torch.sigmoid(self.gate(torch.cat([seen, heard], dim=-1)))
                fused = gate * seen + (1 - gate) * heard
            case _:
                fused = self.vl(pooled)
        return _alone(fused + state)

    def _attend(self, tokens: Tensor, is_pad: Tensor, measured: Tensor) -> Condition:
        codes = self.positions[: tokens.shape[1]]
        image, words = tokens[:, : self._num_image], self.words(tokens[:, self._num_image :])
        scale, shift = self.modulate(words).chunk(2, -1)
        asked = measured * (1 + scale) + shift
        found = self.search(words + measured, image, codes[: self._num_image])
        summary = self.norm(asked + found)
        summary = summary + self.mix(summary)
        memory = torch.cat([summary[:, None], self.vl(tokens) + codes], 1)
        return Condition(summary, memory, torch.cat([torch.zeros_like(is_pad[:, :1]), is_pad], 1))


class PlaceReader(nn.Module):
    """A little of every token, each place with weights of its own.

    In a mean of a dozen tokens, the one that names a direction is a tenth; attention finds it only
    after thousands of steps, when scenes are long known by heart.

    Args:
        num_positions: Places of tokens.
        in_width: Width of a token.
        out_width: Width of the result.
    """

    def __init__(self, num_positions: int, in_width: int, out_width: int) -> None:
        super().__init__()
        self.squeeze = nn.Linear(in_width, _PLACE_WIDTH, bias=False)
        self.read = nn.Linear(num_positions * _PLACE_WIDTH, out_width)

    def forward(self, tokens: Tensor) -> Tensor:
        """Read tokens of shape (B, T, D_in), zeros where they are padding, into (B, D_out)."""
        small = self.squeeze(tokens).flatten(1)
        missing = self.read.in_features - small.shape[1]
        return self.read(nn.functional.pad(small, (0, missing)))


class CosineAttention(nn.Module):
    """Attention by the angle between query and key, with a learned sharpness.

    What looks alike is found whatever its brightness, and from the first step on the weights differ
    enough to teach (1,500 steps leave 36 % of a direction unexplained, dot products 55 %).

    Args:
        width: Width of query and result.
        num_heads: Heads; they divide ``width``.
        in_width: Width of the tokens that are searched.
    """

    def __init__(self, width: int, num_heads: int, in_width: int) -> None:
        super().__init__()
        self._num_heads = num_heads
        self.query, self.out = nn.Linear(width, width), nn.Linear(width, width)
        self.key, self.value = nn.Linear(in_width, width), nn.Linear(in_width, width)
        self.sharpness = nn.Parameter(torch.tensor(_SHARPNESS))

    def forward(self, query: Tensor, tokens: Tensor, codes: Tensor) -> Tensor:
        """Return what is found and where, shape (B, D).

        Args:
            query: Shape (B, D).
            tokens: Shape (B, T, D_in).
            codes: Codes of their places, added to what is found, shape (T, D).
        """
        asked = self._split(self.query(query)[:, None])
        keys, values = self._split(self.key(tokens)), self._split(self.value(tokens) + codes)
        found = nn.functional.scaled_dot_product_attention(
            nn.functional.normalize(asked, dim=-1) * self.sharpness,
            nn.functional.normalize(keys, dim=-1),
            values,
            scale=1.0,
        )
        return self.out(found.transpose(1, 2).flatten(1))

    def _split(self, values: Tensor) -> Tensor:
        """Heads apart: (B, T, D) to (B, H, T, D / H)."""
        return values.unflatten(-1, (self._num_heads, -1)).transpose(1, 2)


def masked_mean(tokens: Tensor, is_pad: Tensor) -> Tensor:
    """Mean over the tokens that are no padding, shape (B, D)."""
    is_real = (~is_pad)[..., None].to(tokens.dtype)
    return (tokens * is_real).sum(1) / is_real.sum(1).clamp(min=1)


def _alone(fused: Tensor) -> Condition:
    is_pad = torch.zeros(len(fused), 1, dtype=torch.bool, device=fused.device)
    return Condition(fused, fused[:, None], is_pad)
