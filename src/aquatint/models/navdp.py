"""NavDP: a diffusion policy with a critic, on pictures, depth and one of several kinds of goal."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal, NamedTuple

import torch
from torch import Tensor, nn

from aquatint.models.diffusion import Diffusion
from aquatint.models.navdp_decoder import TrajectoryDecoder
from aquatint.models.patch_encoder import PatchEncoder, build_vision_encoder

GoalKind = Literal["point", "image", "pixel", "none"]
GOAL_KINDS: tuple[GoalKind, ...] = ("point", "image", "pixel")
NUM_SLOTS = 3
NUM_MIXTURES = len(GOAL_KINDS) ** NUM_SLOTS
_RGB = 3


class Goals(NamedTuple):
    """Embeddings of where to go, shape (B, D) each."""

    point: Tensor
    image: Tensor
    pixel: Tensor


def slot_kinds(mixture: int) -> tuple[int, ...]:
    """Return which kind of goal each of the three slots takes, by position in ``GOAL_KINDS``.

    Args:
        mixture: Number of the mixture, counted from 0; all 27 are different.
    """
    if not 0 <= mixture < NUM_MIXTURES:
        raise ValueError(f"There are {NUM_MIXTURES} mixtures, counted from 0; got {mixture}.")
    return tuple(mixture // len(GOAL_KINDS) ** slot % len(GOAL_KINDS) for slot in range(NUM_SLOTS))


class NavDpPolicy(nn.Module):
    """Tokens of what was seen, embeddings of goals, and the decoder on both.

    Frozen features of the last pictures and a trainable encoder's of the current depth are read by
    learned queries into a few tokens. A goal fills three slots: a place, a picture of it, or a mark
    in the current picture, in any mixture; empty slots mean that there is none.

    Args:
        rgb_width: Width of the frozen features.
        num_rgb_tokens: Tokens of a picture.
        memory_size: Pictures that are remembered, the current one included.
        depth_px: Edge of depth images.
        picture_px: Edge of the small pictures that goals are told in.
        queries_per_frame: Tokens that are kept for each picture and for the depth.
        width: Width of all tokens.
        num_reader_blocks: Blocks that read what was seen.
        encoder: Arguments of ``build_vision_encoder`` but channels and size.
        decoder: Arguments of ``TrajectoryDecoder`` but width and condition.
        diffusion: Arguments of ``Diffusion``.

    References:
        Cai et al., 2025, as in ``TrajectoryDecoder``. The encoders are built by ``encoder``.
    """

    def __init__(  # noqa: PLR0913 - flat arguments, each one a size
        self,
        *,
        rgb_width: int,
        num_rgb_tokens: int,
        memory_size: int,
        depth_px: int,
        picture_px: int,
        queries_per_frame: int,
        width: int,
        num_reader_blocks: int,
        encoder: Mapping[str, Any],
        decoder: Mapping[str, Any],
        diffusion: Mapping[str, Any],
    ) -> None:
        super().__init__()
        self.memory_size, self.depth_px, self.picture_px = memory_size, depth_px, picture_px
        self.rgb = nn.Linear(rgb_width, width)
        self.depth = self._encoder(1, depth_px, width, encoder)
        num_seen = memory_size * num_rgb_tokens + self.depth.num_tokens
        self.seen_places = nn.Parameter(0.02 * torch.randn(1, num_seen, width))
        num_queries = (memory_size + 1) * queries_per_frame
        self.queries = nn.Parameter(0.02 * torch.randn(1, num_queries, width))
        heads = int(decoder.get("num_heads", 8))
        dropout = float(decoder.get("dropout", 0.1))
        block = nn.TransformerDecoderLayer(
            width, heads, 4 * width, dropout, "gelu", batch_first=True, norm_first=True
        )
        self.reader = nn.TransformerDecoder(block, num_reader_blocks)
        self.reader_norm = nn.LayerNorm(width)
        self.point = nn.Linear(3, width)
        self.image = self._encoder(2 * _RGB, picture_px, width, encoder)
        self.pixel = self._encoder(_RGB + 1, picture_px, width, encoder)
        self.image_aside = nn.Linear(width, 3)
        self.pixel_aside = nn.Linear(width, 3)
        self.decoder = TrajectoryDecoder(
            **decoder,
            width=width,
            num_condition_tokens=NUM_SLOTS + num_queries,
            num_task_tokens=NUM_SLOTS,
        )
        self.diffusion = Diffusion(**diffusion)

    @staticmethod
    def _encoder(channels: int, size_px: int, width: int, kind: Mapping[str, Any]) -> PatchEncoder:
        return build_vision_encoder(channels=channels, size_px=size_px, width=width, **kind)

    def see(self, rgb: Tensor, depth: Tensor) -> Tensor:
        """Read pictures and depth into a few tokens.

        Args:
            rgb: Frozen features of the remembered pictures, the current one last, (B, M, N, E).
            depth: Depth as a share of its range, 0 where nothing was measured, (B, S, S).

        Returns:
            Tokens, shape (B, Q, D).
        """
        tokens = torch.cat([self.rgb(rgb).flatten(1, 2), self.depth(depth[:, None])], 1)
        seen = tokens + self.seen_places
        return self.reader_norm(self.reader(self.queries.expand(len(rgb), -1, -1), seen))

    def embed_goals(self, batch: Mapping[str, Tensor]) -> Goals:
        """Embed the same goal in its three forms.

        Args:
            batch: ``point`` (B, 3) as a share of the reach; ``picture`` and ``goal_picture``
                (B, P, P, 3) of uint8; ``goal_mark`` (B, P, P), 1 at the goal.
        """
        now, there = (_as_channels(batch[name]) for name in ("picture", "goal_picture"))
        mark = batch["goal_mark"][:, None].to(now.dtype)
        return Goals(
            self.point(batch["point"]),
            self.image(torch.cat([now, there], 1)).mean(1),
            self.pixel(torch.cat([now, mark], 1)).mean(1),
        )

    @staticmethod
    def fill_slots(goals: Goals, mixtures: Tensor) -> Tensor:
        """Put goals into their slots by the number of the mixture (B,), shape (B, 3, D)."""
        stacked = torch.stack(goals, 1)
        powers = len(GOAL_KINDS) ** torch.arange(NUM_SLOTS, device=mixtures.device)
        kinds = mixtures[:, None] // powers % len(GOAL_KINDS)
        return stacked.gather(1, kinds[..., None].expand(-1, -1, stacked.shape[-1]))

    def condition(self, seen: Tensor, slots: Tensor | None) -> Tensor:
        """Put tokens of the goal before those of what was seen; zeros where there is no goal."""
        if slots is None:
            slots = seen.new_zeros(len(seen), NUM_SLOTS, seen.shape[-1])
        return torch.cat([slots, seen], 1)

    def slots_for(self, kind: GoalKind, batch: Mapping[str, Tensor]) -> Tensor | None:
        """Tokens of a goal that is told in one form, shape (B, 3, D); None for no goal."""
        if kind == "none":
            return None
        if kind == "point":
            embedded = self.point(batch["point"])
        else:
            now = _as_channels(batch["picture"])
            if kind == "image":
                embedded = self.image(torch.cat([now, _as_channels(batch["goal_picture"])], 1))
            else:
                embedded = self.pixel(torch.cat([now, batch["goal_mark"][:, None].to(now)], 1))
            embedded = embedded.mean(1)
        return embedded[:, None].expand(-1, NUM_SLOTS, -1)


def _as_channels(pictures: Tensor) -> Tensor:
    """Pictures (B, P, P, 3) of uint8 as channels around 0, shape (B, 3, P, P)."""
    return pictures.permute(0, 3, 1, 2).float() / 127.5 - 1
