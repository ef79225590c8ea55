"""Flights with their instructions as sequences of tensors."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from aquatint.features.cache import FeatureCache
from aquatint.features.flights import frame_keys
from aquatint.models.imitation import NO_ACTION, Observed


@dataclass(frozen=True, eq=False)
class ImitationData:
    """All that training and evaluation read.

    Attributes:
        records: Flights.
        steps: Their kept steps.
        instructions: Their instructions with tokens.
        pictures: Cached features of pictures.
        depth: Cached features of depth.
        vectors: Frozen word vectors, row 0 for padding, shape (V, W).
    """

    records: pd.DataFrame
    steps: pd.DataFrame
    instructions: pd.DataFrame
    pictures: FeatureCache
    depth: FeatureCache
    vectors: np.ndarray

    def split(self, name: str) -> pd.DataFrame:
        """Instructions of a split, one sample each."""
        return self.instructions[self.instructions["split"] == name].reset_index(drop=True)


class ImitationSamples:
    """Flights of a split, once for each of their instructions.

    Args:
        data: Tables and caches.
        split: Which split.
        is_misled: Whether each flight gets the instruction of another town's flight.
    """

    def __init__(self, data: ImitationData, split: str, *, is_misled: bool = False) -> None:
        self.rows = data.split(split)
        steps = {
            str(key): rows.sort_values("step")
            for key, rows in data.steps.groupby("flight_id", sort=False)
        }
        keys = {
            str(key): rows["key"].tolist()
            for key, rows in frame_keys(data.records).groupby("flight_id", sort=False)
        }
        self._pictures, self._depth = data.pictures.open(), data.depth.open()
        own = self.rows["flight_id"].tolist()
        self._places = {
            flight: (self._pictures.places(keys[flight]), self._depth.places(keys[flight]))
            for flight in set(own)
        }
        self._actions = [torch.tensor(steps[f]["action"].to_numpy(np.int64)) for f in own]
        self._progress = [torch.tensor(steps[f]["progress"].to_numpy(np.float32)) for f in own]
        tokens = [list(map(int, row)) for row in self.rows["tokens"]]
        if is_misled:
            # Half the split away: flights of one town stand together.
            half = len(tokens) // 2
            tokens = [*tokens[half:], *tokens[:half]]
        self._tokens = tokens
        self._flights = own

    def __len__(self) -> int:
        """Number of samples of an epoch."""
        return len(self.rows)

    def batch(self, positions: Tensor) -> dict[str, Any]:
        """Return sequences padded behind their ends.

        Returns:
            ``seen`` (``Observed``), ``actions`` and ``progress`` (B, T), ``is_step`` (B, T).
        """
        chosen = positions.tolist()
        length = max(len(self._actions[i]) for i in chosen)
        actions = _padded([self._actions[i] for i in chosen], length)
        is_step = _padded([torch.ones(len(self._actions[i])) for i in chosen], length)
        last = torch.full_like(actions, NO_ACTION)
        last[:, 1:] = actions[:, :-1]
        return {
            "rgb": self._read(self._pictures, 0, chosen, length),
            "depth": self._read(self._depth, 1, chosen, length),
            "last_actions": last,
            "tokens": pad_tokens([self._tokens[i] for i in chosen]),
            "actions": actions,
            "progress": _padded([self._progress[i] for i in chosen], length),
            "is_step": is_step,
        }

    def _read(self, reader: Any, kind: int, chosen: list[int], length: int) -> Tensor:  # noqa: ANN401 - FeatureReader
        parts = [
            torch.from_numpy(reader.read(self._places[self._flights[i]][kind]).astype(np.float32))
            for i in chosen
        ]
        return _padded(parts, length)

    def identify(self, positions: Tensor) -> list[str]:
        """Return the ids of the instructions."""
        return self.rows["instruction_id"].iloc[positions.numpy()].tolist()


def observed(batch: dict[str, Tensor]) -> Observed:
    """What a policy may see of a batch."""
    return Observed(batch["rgb"], batch["depth"], batch["last_actions"], batch["tokens"])


def pad_tokens(tokens: Sequence[Sequence[int]]) -> Tensor:
    """Return numbers of words with 0 behind their ends, shape (B, L)."""
    length = max(map(len, tokens))
    return torch.tensor([[*row, *[0] * (length - len(row))] for row in tokens])


def _padded(parts: list[Tensor], length: int) -> Tensor:
    """Stack sequences with zeros behind their ends, shape (B, T, ...)."""
    whole = parts[0].new_zeros(len(parts), length, *parts[0].shape[1:])
    for row, part in zip(whole, parts, strict=True):
        row[: len(part)] = part
    return whole
