"""System 1 of a dual-system navigator: from latents of System 2 and pictures to a trajectory."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

import torch
from torch import Tensor, nn

from aquatint.models.diffusion import Diffusion, PredictionType
from aquatint.models.flow_matching import FlowMatching
from aquatint.models.navdp_decoder import TrajectoryDecoder
from aquatint.models.nextdit import TrajectoryNextDit
from aquatint.models.patch_encoder import PatchEncoder
from aquatint.models.token_scaler import TokenScaler

BackendName = Literal["nextdit_async", "nextdit", "navdp_async"]
BACKENDS: tuple[BackendName, ...] = ("nextdit_async", "nextdit", "navdp_async")
_NUM_PICTURES = 2
_RGB = 3


class PairMemory(nn.Module):
    """What a pair of pictures shows in a few tokens: where the goal was set, and where one is now.

    Args:
        channels: 3 for pictures, 4 with depth.
        size_px: Edge of the pictures.
        patch_px: Edge of a patch.
        width: Width of all tokens.
        num_encoder_blocks: Blocks of the encoder of single pictures.
        num_memory_blocks: Blocks over both pictures.
        num_heads: Heads of each.
        num_queries: Tokens that are kept.
        shows_change: Whether the first picture is shown as what has changed since, the difference
            of both. A small encoder that sees each picture by itself cannot tell how far they lie
            apart, and with it how much of the way is left.
    """

    def __init__(  # noqa: PLR0913 - flat arguments, each one a size
        self,
        *,
        channels: int,
        size_px: int,
        patch_px: int,
        width: int,
        num_encoder_blocks: int,
        num_memory_blocks: int,
        num_heads: int,
        num_queries: int,
        shows_change: bool = False,
    ) -> None:
        super().__init__()
        self._shows_change = shows_change
        self.encoder = PatchEncoder(
            channels=channels,
            size_px=size_px,
            patch_px=patch_px,
            width=width,
            num_blocks=num_encoder_blocks,
            num_heads=num_heads,
        )
        num_tokens = _NUM_PICTURES * self.encoder.num_tokens
        self.places = nn.Parameter(0.02 * torch.randn(1, num_tokens, width))
        block = nn.TransformerEncoderLayer(
            width, num_heads, 4 * width, 0.0, "gelu", batch_first=True, norm_first=True
        )
        self.memory = nn.TransformerEncoder(block, num_memory_blocks, enable_nested_tensor=False)
        self.queries = nn.Parameter(0.02 * torch.randn(1, num_queries, width))
        reader = nn.TransformerDecoderLayer(
            width, num_heads, 4 * width, 0.0, "gelu", batch_first=True, norm_first=True
        )
        self.reader = nn.TransformerDecoder(reader, num_memory_blocks)
        self.norm = nn.LayerNorm(width)

    def forward(self, pictures: Tensor) -> Tensor:
        """Read pairs (B, 2, C, S, S) into tokens (B, Q, D)."""
        if self._shows_change:
            goal, now = pictures.unbind(1)
            pictures = torch.stack([goal - now, now], 1)
        tokens = self.encoder(pictures.flatten(0, 1)).unflatten(0, pictures.shape[:2])
        seen = self.memory(tokens.flatten(1, 2) + self.places)
        return self.norm(self.reader(self.queries.expand(len(pictures), -1, -1), seen))


class System1(nn.Module):
    """Latents and pictures to trajectories, by one of three backends.

    ``nextdit_async`` reads latents and a pair of pictures with NextDiT and flow matching;
    ``nextdit`` latents alone; ``navdp_async`` latents and a pair of pictures with depth, with
    NavDP's decoder and DDPM.

    Args:
        backend: Which.
        latent_width: Width of System 2's latents.
        num_latents: How many.
        width: Width of all tokens.
        horizon: Points of a trajectory.
        num_blocks: Blocks of the decoder.
        num_heads: Heads of each.
        pictures: Arguments of ``PairMemory`` but channels, width and heads.
        num_train_timesteps: Of flow matching.
        num_inference_steps: Of its sampler.
        num_diffusion_timesteps: Of DDPM.
        prediction_type: What the decoder says: ``sample``, the clean trajectory, or ``epsilon``,
            with the noise in it: the noise itself (DDPM) or the velocity (flow matching). From the
            noise it learns the shape of ways long before their goal, for what is left of a way
            under most noise levels says enough of it.
    """

    def __init__(  # noqa: PLR0913 - flat arguments, each one a size
        self,
        *,
        backend: BackendName,
        latent_width: int,
        num_latents: int,
        width: int,
        horizon: int,
        num_blocks: int,
        num_heads: int,
        pictures: Mapping[str, Any],
        num_train_timesteps: int,
        num_inference_steps: int,
        num_diffusion_timesteps: int,
        prediction_type: PredictionType = "epsilon",
    ) -> None:
        super().__init__()
        self.backend, self.horizon = backend, horizon
        self.scaler = TokenScaler(num_latents, latent_width)
        self.latents = nn.Sequential(
            nn.Linear(latent_width, width), nn.GELU(), nn.Linear(width, width)
        )
        sees = {"nextdit": 0, "nextdit_async": _RGB, "navdp_async": _RGB + 1}[backend]
        self.pictures: PairMemory | None = None
        if sees:
            self.pictures = PairMemory(channels=sees, width=width, num_heads=num_heads, **pictures)
        num_seen = pictures["num_queries"] if sees else 0
        self.process: FlowMatching | Diffusion
        if backend == "navdp_async":
            # One token of all latents, as NavDP has one of its goal.
            self.attention = nn.Linear(width, 1, bias=False)
            # As loud as the tokens of pictures beside it: this decoder does not scale what it
            # reads, and what says where the goal is was a seventh of what shows the ground.
            self.goal_norm = nn.LayerNorm(width)
            self.decoder: nn.Module = TrajectoryDecoder(
                width=width,
                horizon=horizon,
                num_condition_tokens=1 + num_seen,
                num_task_tokens=1,
                num_blocks=num_blocks,
                num_heads=num_heads,
                feedforward_width=4 * width,
                dropout=0.0,
            )
            # The critic belongs to NavDP's own training; here nothing teaches it.
            del self.decoder.critic_head
            self.process = Diffusion(
                num_diffusion_timesteps, "ddpm", prediction_type=prediction_type
            )
        else:
            self.decoder = TrajectoryNextDit(
                width=width,
                condition_width=width,
                token_groups=[num_latents, num_seen] if sees else [num_latents],
                horizon=horizon,
                num_blocks=num_blocks,
                num_heads=num_heads,
            )
            self.process = FlowMatching(
                num_train_timesteps,
                num_inference_steps,
                "sample" if prediction_type == "sample" else "velocity",
            )

    @property
    def sees_pictures(self) -> bool:
        """Whether it looks at pictures, and can plan anew on the way to a goal."""
        return self.pictures is not None

    def condition(self, latents: Tensor, pictures: Tensor | None) -> Tensor:
        """Tokens that a trajectory is decoded from.

        Args:
            latents: Of System 2, shape (B, N, E).
            pictures: Pairs in [-1, 1], depth as a share of its range, shape (B, 2, 4, S, S); None
                for a backend that sees none.

        Returns:
            Shape (B, C, D).
        """
        goal = self.latents(self.scaler(latents))
        if self.backend == "navdp_async":
            weights = self.attention(goal).softmax(1)
            goal = self.goal_norm((weights * goal).sum(1, keepdim=True))
        if self.pictures is None:
            return goal
        if pictures is None:
            raise ValueError(f"{self.backend} needs pictures of the goal and of this moment.")
        channels = self.pictures.encoder.patches[0].in_channels
        return torch.cat([goal, self.pictures(pictures[:, :, :channels])], 1)

    def predict(self, noisy: Tensor, timesteps: Tensor, condition: Tensor) -> Tensor:
        """Velocity, noise or clean trajectories (B, H, 3), as the process asks for it."""
        if isinstance(self.decoder, TrajectoryDecoder):
            return self.decoder.predict(noisy, timesteps, condition)
        return self.decoder(noisy, timesteps, condition)

    def sample(
        self, condition: Tensor, start: Tensor, generator: torch.Generator | None = None
    ) -> Tensor:
        """Sample several trajectories for each condition.

        Args:
            condition: Tokens, shape (B, C, D).
            start: Standard normal noise, shape (B, K, H, 3).
            generator: Source of the fresh noise of DDPM.

        Returns:
            Scaled increments, shape (B, K, H, 3).
        """
        if isinstance(self.decoder, TrajectoryDecoder) and isinstance(self.process, Diffusion):
            # It computes keys and values of a condition once for all samples.
            return self.decoder.sample(self.process, condition, start, generator)
        repeated = condition.repeat_interleave(start.shape[1], dim=0)
        found = self.process.sample(
            lambda noisy, steps: self.predict(noisy, steps, repeated),
            start.flatten(0, 1),
            generator,
        )
        return found.unflatten(0, start.shape[:2])
