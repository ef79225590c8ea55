"""Policies that learn by imitation to follow instructions: CMA and Seq2Seq."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal, NamedTuple

import torch
from torch import Tensor, nn

from aquatint.models.token_scaler import TokenScaler

NO_ACTION = 4  # what stands before the first action


@dataclass(frozen=True)
class PolicyWidths:
    """Sizes of a policy.

    Attributes:
        rgb_width: Width of the frozen picture features.
        num_rgb_places: Places of a picture.
        depth_width: Width of the depth features.
        num_depth_places: Places of a depth image.
        text_width: Width of the frozen word vectors.
        num_actions: Actions to choose from.
        text_hidden: Width of the text encoder, each direction.
        rgb_hidden: Width of a picture for the recurrent state.
        depth_hidden: Width of depth for the recurrent state.
        action_width: Width of the embedding of the last action.
        hidden: Width of the recurrent states.
    """

    rgb_width: int
    num_rgb_places: int
    depth_width: int
    num_depth_places: int
    text_width: int
    num_actions: int
    text_hidden: int = 128
    rgb_hidden: int = 256
    depth_hidden: int = 128
    action_width: int = 32
    hidden: int = 512


class Observed(NamedTuple):
    """What a policy is given, T steps of B episodes.

    Attributes:
        rgb: Picture features by place, shape (B, T, N, D).
        depth: Depth features by place, shape (B, T, M, E).
        last_actions: Action of the step before, ``NO_ACTION`` at the first, shape (B, T).
        tokens: Numbers of words, 0 behind the end, shape (B, L).
    """

    rgb: Tensor
    depth: Tensor
    last_actions: Tensor
    tokens: Tensor


class Decided(NamedTuple):
    """What a policy gives.

    Attributes:
        logits: Of the actions, shape (B, T, K).
        progress: Share of the way that is behind, in (-1, 1), shape (B, T).
        states: Recurrent states after the last step, to go on from.
    """

    logits: Tensor
    progress: Tensor
    states: tuple[Tensor, ...]


class ImitationPolicy(nn.Module):
    """Cross-modal attention (``cma``), or its plain predecessor (``seq2seq``).

    Both see pictures and depth, read the instruction with an LSTM over frozen word vectors, and
    keep a recurrent state. CMA attends with that state to the words, and with what it finds there
    to places of the picture and of the depth; a second recurrent state then decides.

    Args:
        kind: ``cma`` or ``seq2seq``.
        vectors: Frozen word vectors, row 0 for padding, shape (V, W).
        widths: Sizes.

    References:
        Krantz et al., "Beyond the Nav-Graph: Vision-and-Language Navigation in Continuous
        Environments", ECCV 2020, https://arxiv.org/abs/2004.02857. Frozen features come from the
        project's backbone instead of ResNet-50, depth from a grid of distances.
    """

    def __init__(
        self, kind: Literal["cma", "seq2seq"], vectors: Tensor, widths: PolicyWidths
    ) -> None:
        super().__init__()
        self.kind = kind
        self.vectors = nn.Embedding.from_pretrained(vectors, freeze=True, padding_idx=0)
        # What all pictures have in common is most of a frozen feature, and says nothing.
        self.rgb_scaler = TokenScaler(widths.num_rgb_places, widths.rgb_width)
        self.depth_scaler = TokenScaler(widths.num_depth_places, widths.depth_width)
        is_cma = kind == "cma"
        self.text = nn.LSTM(
            widths.text_width, widths.text_hidden, batch_first=True, bidirectional=is_cma
        )
        self.rgb_pooled = nn.Sequential(
            nn.Linear(widths.rgb_width * widths.num_rgb_places, widths.rgb_hidden), nn.ReLU()
        )
        # All places side by side: where something is near is what depth has to say.
        self.depth_pooled = nn.Sequential(
            nn.Linear(widths.depth_width * widths.num_depth_places, widths.depth_hidden), nn.ReLU()
        )
        self.last_action = nn.Embedding(widths.num_actions + 1, widths.action_width)
        seen = widths.rgb_hidden + widths.depth_hidden + widths.action_width
        text_out = widths.text_hidden * (2 if is_cma else 1)
        first_in = seen if is_cma else seen + text_out
        self.first = nn.GRU(first_in, widths.hidden, batch_first=True)
        if is_cma:
            key = widths.text_hidden * 2
            self.text_query = nn.Linear(widths.hidden, key)
            self.text_key = nn.Linear(text_out, key)
            self.place_query = nn.Linear(text_out, key)
            self.rgb_key, self.rgb_value = _key_value(widths.rgb_width, key, widths.rgb_hidden)
            self.depth_key, self.depth_value = _key_value(
                widths.depth_width, key, widths.depth_hidden
            )
            found = widths.hidden + text_out + seen
            self.compress = nn.Sequential(nn.Linear(found, widths.hidden), nn.ReLU())
            self.second = nn.GRU(widths.hidden, widths.hidden, batch_first=True)
        self.action = nn.Linear(widths.hidden, widths.num_actions)
        self.progress = nn.Linear(widths.hidden, 1)

    def forward(self, seen: Observed, states: tuple[Tensor, ...] | None = None) -> Decided:
        """Decide at every step.

        Args:
            seen: What was observed.
            states: States that an earlier call returned; None at the beginning of an episode.
        """
        seen = seen._replace(
            rgb=_by_place(self.rgb_scaler, seen.rgb), depth=_by_place(self.depth_scaler, seen.depth)
        )
        words, is_word, whole = self._read(seen.tokens)
        parts = [
            self.rgb_pooled(seen.rgb.flatten(2)),
            self.depth_pooled(seen.depth.flatten(2)),
            self.last_action(seen.last_actions),
        ]
        if self.kind == "seq2seq":
            told = whole[:, None].expand(-1, seen.rgb.shape[1], -1)
            hidden, state = self.first(torch.cat([*parts, told], -1), states[0] if states else None)
            return self._decide(hidden, (state,))
        hidden, first = self.first(torch.cat(parts, -1), states[0] if states else None)
        told = _attend(self.text_query(hidden), self.text_key(words), words, is_word)
        query = self.place_query(told)
        rgb = _attend_places(query, seen.rgb, self.rgb_key, self.rgb_value)
        depth = _attend_places(query, seen.depth, self.depth_key, self.depth_value)
        found = self.compress(torch.cat([hidden, told, rgb, depth, parts[2]], -1))
        hidden, second = self.second(found, states[1] if states else None)
        return self._decide(hidden, (first, second))

    def _decide(self, hidden: Tensor, states: tuple[Tensor, ...]) -> Decided:
        progress = torch.tanh(self.progress(hidden)).squeeze(-1)
        return Decided(self.action(hidden), progress, states)

    def _read(self, tokens: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Encode words; returns them (B, L, W), which of them are words (B, L), and all in one."""
        is_word = tokens != 0
        lengths = is_word.sum(1).clamp(min=1).cpu()
        packed = nn.utils.rnn.pack_padded_sequence(
            self.vectors(tokens), lengths, batch_first=True, enforce_sorted=False
        )
        words, (last, _) = self.text(packed)
        words, _ = nn.utils.rnn.pad_packed_sequence(
            words, batch_first=True, total_length=tokens.shape[1]
        )
        return words, is_word, last[-1]


def _by_place(scaler: TokenScaler, features: Tensor) -> Tensor:
    """Scale features (B, T, N, D) by place."""
    return scaler(features.flatten(0, 1)).unflatten(0, features.shape[:2])


def _key_value(width: int, key: int, value: int) -> tuple[nn.Linear, nn.Linear]:
    # Without a bias, which would shift all scores alike.
    return nn.Linear(width, key, bias=False), nn.Linear(width, value)


def _attend(query: Tensor, keys: Tensor, values: Tensor, is_counted: Tensor) -> Tensor:
    """Attention of T queries (B, T, K) over L items; returns (B, T, W)."""
    scores = query @ keys.transpose(1, 2) / math.sqrt(query.shape[-1])
    scores = scores.masked_fill(~is_counted[:, None], -torch.inf)
    return scores.softmax(-1) @ values


def _attend_places(query: Tensor, places: Tensor, key: nn.Linear, value: nn.Linear) -> Tensor:
    """Attention of each step's query (B, T, K) over that step's places (B, T, N, D).

    Both projections are linear, so the query is taken through the keys' weights instead of every
    place, and values are made of what was found: the same numbers, for a tenth of the time.

    Returns:
        Shape (B, T, W).
    """
    folded = (query @ key.weight).unsqueeze(2)
    scores = (places * folded).sum(-1) / math.sqrt(query.shape[-1])
    return value((scores.softmax(-1).unsqueeze(-1) * places).sum(2))
