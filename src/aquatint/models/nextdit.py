"""A diffusion transformer over the points of a trajectory, from Lumina's NextDiT blocks."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from aquatint.models.navdp_decoder import sinusoidal_code

_NORM_EPS = 1e-5
_MULTIPLE_OF = 32


class TrajectoryNextDit(nn.Module):
    """NextDiT blocks over trajectory points that look at tokens of a condition.

    Args:
        width: Width of the points' tokens.
        condition_width: Width of the condition's tokens.
        token_groups: How many of them belong together, from the first: those of a goal, those of
            pictures. Every block is told the mean of each group beside the time, and looks at all.
            Pooled as one, the few quiet tokens of a goal were drowned by those of pictures; and
            what is only looked at arrives late, because the blocks' gates are closed at first.
        horizon: Points of a trajectory.
        num_blocks: Blocks.
        num_heads: Heads of each.
        action_width: Values of a point: increments ahead, to the left, and of the turn.

    References:
        Zhuo et al., "Lumina-Next: Making Lumina-T2X Stronger and Faster with Next-DiT", 2024,
        https://arxiv.org/abs/2406.18583. The blocks are diffusers'; images' two-dimensional
        positions are replaced by the place in the trajectory.
    """

    def __init__(  # noqa: PLR0913 - flat arguments, each one a size
        self,
        *,
        width: int,
        condition_width: int,
        token_groups: Sequence[int],
        horizon: int,
        num_blocks: int,
        num_heads: int,
        action_width: int = 3,
    ) -> None:
        super().__init__()
        from diffusers.models.embeddings import get_1d_rotary_pos_embed
        from diffusers.models.transformers.lumina_nextdit2d import LuminaNextDiTBlock

        self._width, self._token_groups = width, list(token_groups)
        self.point = nn.Linear(action_width, width)
        self.time = nn.Sequential(nn.Linear(width, width), nn.SiLU(), nn.Linear(width, width))
        self.group_norms = nn.ModuleList(nn.LayerNorm(condition_width) for _ in token_groups)
        self.pooled = nn.Linear(len(token_groups) * condition_width, width)
        self.blocks = nn.ModuleList(
            LuminaNextDiTBlock(width, num_heads, num_heads, _MULTIPLE_OF, None, _NORM_EPS, True,
                               condition_width)
            for _ in range(num_blocks)
        )  # fmt: skip
        self.norm = nn.LayerNorm(width)
        self.head = nn.Linear(width, action_width)
        places = sinusoidal_code(torch.arange(horizon), width)[None]
        self.register_buffer("_places", places, persistent=False)
        turns = get_1d_rotary_pos_embed(width // num_heads, horizon, use_real=False)[None]
        # As real numbers: complex buffers do not survive a change of the module's type.
        self.register_buffer("_turns", torch.view_as_real(turns), persistent=False)

    def forward(self, noisy: Tensor, timesteps: Tensor, condition: Tensor) -> Tensor:
        """Say the velocity of trajectories.

        Args:
            noisy: Increments with noise, shape (B, H, A).
            timesteps: Of the flow, shape (B,).
            condition: Tokens, shape (B, C, E).

        Returns:
            Shape (B, H, A).
        """
        code = sinusoidal_code(timesteps, self._width).to(noisy.dtype)
        groups = condition.split(self._token_groups, 1)
        means = [norm(part.mean(1)) for norm, part in zip(self.group_norms, groups, strict=True)]
        time = self.time(code) + self.pooled(torch.cat(means, -1))
        points = self.point(noisy) + self._places
        seen = torch.ones(condition.shape[:2], dtype=torch.bool, device=noisy.device)
        own = torch.ones(points.shape[:2], dtype=torch.bool, device=noisy.device)
        turns = torch.view_as_complex(self.get_buffer("_turns"))
        for block in self.blocks:
            points = block(points, own, turns, condition, seen, time, {})
        return self.head(self.norm(points))
