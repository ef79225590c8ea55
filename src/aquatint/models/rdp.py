"""RDP: a recurrent policy that follows instructions by diffusing a chunk of increments."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from aquatint.models.diffusion import Diffusion
from aquatint.models.navdp_decoder import TrajectoryDecoder
from aquatint.models.token_scaler import TokenScaler

INCREMENT_WIDTH = 3  # ahead, to the left, turn to the left
_NUM_SUMMARISED = 4


class Journey(NamedTuple):
    """What the policy is given, T steps of B episodes.

    Attributes:
        rgb: Frozen picture features by place, shape (B, T, N, D).
        depth: Depth features by place, shape (B, T, M, E).
        past: Increments of the last P steps, the latest first, zeros before the first step, shape
            (B, T, P, 3).
        motion: Where it is as seen from its first pose: ahead, to the left, turn; (B, T, 3).
        tokens: Numbers of words, 0 behind the end, shape (B, L).
    """

    rgb: Tensor
    depth: Tensor
    past: Tensor
    motion: Tensor
    tokens: Tensor


class Reading(NamedTuple):
    """What the policy makes of steps, R of all episodes side by side.

    Attributes:
        condition: Tokens that increments are diffused from, shape (R, C, W).
        progress: Share of the way that is behind, in (0, 1), shape (R,).
        stop_progress: Share of the steps that are behind, this one counted, in (0, 1), shape (R,).
        state: Recurrent state after the last step, to go on from, shape (1, B, S).
    """

    condition: Tensor
    progress: Tensor
    stop_progress: Tensor
    state: Tensor


class RecurrentDiffusionPolicy(nn.Module):
    """Words, picture, depth and motion through attention and a GRU into a diffused chunk.

    A recurrent state goes over the steps. At each, tokens of the picture, of depth and of the state
    attend to the words; these, what the words find in them, the state, the motion and the last
    increments are the condition of a transformer that takes the noise from the next H increments.
    Where it is not told what the words reached, it predicts without: the difference is magnified
    when it samples (classifier-free guidance). Two heads say how far the way has come.

    Args:
        vectors: Frozen word vectors, row 0 for padding, shape (V, W).
        rgb_width: Width of the frozen picture features.
        num_rgb_places: Places of a picture, a square of them.
        depth_width: Width of the depth features.
        num_depth_places: Places of a depth image.
        picture_grid: Fields along an edge that places are averaged to; the mean of all is one more
            token.
        num_past: Increments that are remembered.
        width: Width of all tokens.
        hidden: Width of the recurrent state.
        num_cross_blocks: Blocks in which tokens attend to words.
        num_heads: Heads of all attention.
        dropout: Share of values dropped in training.
        guidance_scale: Factor on the difference that the words make; 1 for none.
        decoder: Arguments of ``TrajectoryDecoder`` but width, heads and condition.
        diffusion: Arguments of ``Diffusion``.

    References:
        Wang et al., "Rethinking the Embodied Gap in Vision-and-Language Navigation: A Holistic
        Study of Physical and Visual Disparities", ICCV 2025, https://arxiv.org/abs/2507.13019. Here
        frozen features are scaled by place, words are frozen vectors instead of LongCLIP's states,
        and words that are not told are zeros instead of masked.
    """

    def __init__(  # noqa: PLR0913 - flat arguments, each one a size
        self,
        *,
        vectors: Tensor,
        rgb_width: int,
        num_rgb_places: int,
        depth_width: int,
        num_depth_places: int,
        picture_grid: int,
        num_past: int,
        width: int,
        hidden: int,
        num_cross_blocks: int,
        num_heads: int,
        dropout: float,
        guidance_scale: float,
        decoder: Mapping[str, Any],
        diffusion: Mapping[str, Any],
    ) -> None:
        super().__init__()
        self._edge = _edge_of(num_rgb_places, picture_grid)
        self._picture_grid, self._guidance_scale = picture_grid, guidance_scale
        self.vectors = nn.Embedding.from_pretrained(vectors, freeze=True, padding_idx=0)
        self.rgb_scaler = TokenScaler(num_rgb_places, rgb_width)
        self.depth_scaler = TokenScaler(num_depth_places, depth_width)
        self.words = nn.LSTM(vectors.shape[1], width // 2, batch_first=True, bidirectional=True)
        self.rgb = nn.Linear(rgb_width, width)
        self.depth = nn.Linear(depth_width * num_depth_places, width)
        num_seen = picture_grid**2 + 3  # and the whole picture, depth, the state
        self.seen_kinds = nn.Parameter(0.02 * torch.randn(1, num_seen, width))
        self.past, self.motion = nn.Linear(INCREMENT_WIDTH, width), nn.Linear(3, width)
        self.memory = nn.GRU((num_seen + 1) * width, hidden, batch_first=True)
        self.state = nn.Linear(hidden, width)
        self.cross = _blocks(width, num_heads, dropout, num_cross_blocks)
        self.told = _blocks(width, num_heads, dropout, 1)
        self.told_norm, self.seen_norm = nn.LayerNorm(width), nn.LayerNorm(width)
        self.progress, self.stop_progress = _gauge(2 * width), _gauge(2 * width)
        self._num_told = 1 + num_seen
        self.decoder = TrajectoryDecoder(
            **decoder,
            width=width,
            num_heads=num_heads,
            dropout=dropout,
            num_condition_tokens=self._num_told + 2 + num_past,
            num_task_tokens=0,
            action_width=INCREMENT_WIDTH,
            has_critic=False,
        )
        # Beside what attention finds: few steps of training teach it where to look.
        self.summary = nn.Sequential(
            nn.Linear(_NUM_SUMMARISED * width, 2 * width), nn.ReLU(), nn.Linear(2 * width, width)
        )
        self.diffusion = Diffusion(**diffusion)

    def predict(self, noisy: Tensor, timesteps: Tensor, condition: Tensor) -> Tensor:
        """Say which noise is in increments (R, H, 3), or what they are without it.

        Args:
            noisy: Increments with noise, shape (R, H, 3).
            timesteps: Of the diffusion, counted from 0, shape (R,).
            condition: Tokens, shape (R, C, W).
        """
        # What is told, the state, the motion and the last increment.
        first = self._num_told
        summarised = torch.cat([condition[:, :1], condition[:, first : first + 3]], 1)
        shift = self.summary(summarised.flatten(1))
        return self.decoder.predict(noisy, timesteps, condition, shift)

    def read(
        self, journey: Journey, state: Tensor | None = None, is_step: Tensor | None = None
    ) -> Reading:
        """Go over steps and make of each what increments are diffused from.

        Args:
            journey: What was observed.
            state: State that an earlier call returned; None at the beginning of an episode.
            is_step: Which steps are wanted, shape (B, T); all by default.
        """
        words, is_word = self._read_words(journey.tokens)
        seen = self._see(journey.rgb, journey.depth)
        past, motion = self.past(journey.past), self.motion(journey.motion)
        recalled = torch.cat([seen.flatten(2), past[:, :, 0], motion], -1)
        hidden, state = self.memory(recalled, state)
        chosen = torch.ones_like(journey.motion[..., 0]) if is_step is None else is_step
        rows = chosen.flatten().nonzero().squeeze(1)
        episode = rows // journey.motion.shape[1]
        kept = self.state(hidden).flatten(0, 1)[rows, None]
        tokens = torch.cat([seen.flatten(0, 1)[rows], kept], 1) + self.seen_kinds
        is_padding = ~is_word[episode]
        found = self.seen_norm(
            self.cross(tokens, words[episode], memory_key_padding_mask=is_padding)
        )
        # What the instruction as a whole finds in what is seen.
        weights = is_word[episode, :, None].to(words.dtype)
        whole = (words[episode] * weights).sum(1, keepdim=True) / weights.sum(1, keepdim=True)
        told = self.told_norm(self.told(whole, found))
        condition = torch.cat(
            [told, found, kept, motion.flatten(0, 1)[rows, None], past.flatten(0, 1)[rows]], 1
        )
        judged = torch.cat([kept[:, 0], told[:, 0]], -1)
        progress, stop = self.progress(judged), self.stop_progress(judged)
        return Reading(condition, progress.sigmoid()[:, 0], stop.sigmoid()[:, 0], state)

    def _read_words(self, tokens: Tensor) -> tuple[Tensor, Tensor]:
        """Encode words (B, L, W), and say which of them are words (B, L)."""
        is_word = tokens != 0
        lengths = is_word.sum(1).clamp(min=1).cpu()
        packed = nn.utils.rnn.pack_padded_sequence(
            self.vectors(tokens), lengths, batch_first=True, enforce_sorted=False
        )
        words, _ = nn.utils.rnn.pad_packed_sequence(
            self.words(packed)[0], batch_first=True, total_length=tokens.shape[1]
        )
        return words, is_word

    def _see(self, rgb: Tensor, depth: Tensor) -> Tensor:
        """Tokens of the picture's fields, of the whole picture and of depth, (B, T, G + 2, W)."""
        shape = rgb.shape[:2]
        places = self.rgb_scaler(rgb.flatten(0, 1))
        whole = places.mean(1, keepdim=True)
        if self._picture_grid < self._edge:
            square = places.transpose(1, 2).unflatten(2, (self._edge, self._edge))
            places = F.adaptive_avg_pool2d(square, self._picture_grid).flatten(2).transpose(1, 2)
        fields = self.rgb(torch.cat([places, whole], 1))
        near = self.depth(self.depth_scaler(depth.flatten(0, 1)).flatten(1))[:, None]
        return torch.cat([fields, near], 1).unflatten(0, shape)

    def without_words(self, condition: Tensor) -> Tensor:
        """Return a condition (R, C, W) without what words have reached."""
        empty = torch.zeros_like(condition[:, : self._num_told])
        return torch.cat([empty, condition[:, self._num_told :]], 1)

    def sample(
        self,
        condition: Tensor,
        start: Tensor,
        generator: torch.Generator | list[torch.Generator] | None = None,
    ) -> Tensor:
        """Sample increments for each condition.

        Args:
            condition: Tokens, shape (R, C, W).
            start: Standard normal noise, shape (R, H, 3).
            generator: Source of the fresh noise of ddpm, or one for each row.

        Returns:
            Increments in [-1, 1], shape (R, H, 3).
        """
        scale = self._guidance_scale
        both = torch.cat([condition, self.without_words(condition)])

        def predict(noisy: Tensor, timesteps: Tensor) -> Tensor:
            if scale == 1:
                return self.predict(noisy, timesteps, condition)
            twice = torch.cat([noisy, noisy]), torch.cat([timesteps, timesteps])
            told, untold = self.predict(*twice, both).chunk(2)
            return untold + scale * (told - untold)

        return self.diffusion.sample(predict, start, generator).clamp(-1, 1)


def _edge_of(num_places: int, picture_grid: int) -> int:
    edge = round(num_places**0.5)
    if edge**2 != num_places or not 1 <= picture_grid <= edge:
        raise ValueError(
            f"Pictures need a square of places, at least picture_grid {picture_grid} along an "
            f"edge; got {num_places} places."
        )
    return edge


def _blocks(width: int, heads: int, dropout: float, count: int) -> nn.TransformerDecoder:
    block = nn.TransformerDecoderLayer(
        width, heads, 2 * width, dropout, "gelu", batch_first=True, norm_first=True
    )
    return nn.TransformerDecoder(block, count)


def _gauge(width: int) -> nn.Sequential:
    return nn.Sequential(nn.Linear(width, width // 2), nn.ReLU(), nn.Linear(width // 2, 1))
