"""Bottleneck modules on frozen features, in the two forms of the two stages."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class Adapter(nn.Module):
    """Linear-ReLU-Dropout-Linear on each token; stage 1's simple form.

    Args:
        input_width: Width of the backbone's features.
        width: Width of the output and of the hidden layer.
        dropout: Dropout probability after the ReLU.

    References:
        Houlsby et al., "Parameter-Efficient Transfer Learning for NLP", ICML 2019,
        https://arxiv.org/abs/1902.00751. Here after the backbone, not inside its blocks.
    """

    def __init__(self, input_width: int, width: int = 256, dropout: float = 0.1) -> None:
        super().__init__()
        self.down = nn.Linear(input_width, width)
        self.dropout = nn.Dropout(dropout)
        self.up = nn.Linear(width, width)
        for linear in (self.down, self.up):
            nn.init.xavier_uniform_(linear.weight)
            nn.init.zeros_(linear.bias)

    def forward(self, features: Tensor) -> Tensor:
        """Map features of shape (..., input_width) to (..., width)."""
        return self.up(self.dropout(torch.relu(self.down(features))))


class ResidualAdapter(Adapter):
    """The adapter plus a projected skip connection and a LayerNorm; stage 2's enhanced form.

    The skip starts at zero, so that an upgrade of trained weights changes nothing before the norm.

    Args:
        input_width: Width of the backbone's features.
        width: Width of the output and of the hidden layer.
        dropout: Dropout probability after the ReLU.
    """

    def __init__(self, input_width: int, width: int = 256, dropout: float = 0.1) -> None:
        super().__init__(input_width, width, dropout)
        if input_width == width:
            self.skip: nn.Module = nn.Identity()
        else:
            self.skip = nn.Linear(input_width, width)
            nn.init.zeros_(self.skip.weight)
            nn.init.zeros_(self.skip.bias)
        self.norm = nn.LayerNorm(width)

    def before_norm(self, features: Tensor) -> Tensor:
        """Map features of shape (..., input_width) to (..., width), without the norm."""
        return super().forward(features) + self.skip(features)

    def forward(self, features: Tensor) -> Tensor:
        """Map features of shape (..., input_width) to (..., width)."""
        return self.norm(self.before_norm(features))


def upgrade_adapter_weights(simple: dict[str, Tensor], enhanced: nn.Module) -> dict[str, Tensor]:
    """Return the state of ``enhanced`` with every tensor that ``simple`` has too taken from it.

    Args:
        simple: State dict of a module with simple adapters.
        enhanced: The same module with enhanced adapters and perhaps more heads, freshly built.

    Raises:
        ValueError: If a tensor of ``simple`` has no place in ``enhanced``: it would be lost.
    """
    state = enhanced.state_dict()
    lost = sorted(
        name for name, t in simple.items() if name not in state or state[name].shape != t.shape
    )
    if lost:
        raise ValueError(
            f"Every trained tensor must find its place in the upgraded module; {len(lost)} do not: "
            f"{lost[:4]}."
        )
    return {name: simple.get(name, tensor) for name, tensor in state.items()}
