"""Flights with their instructions as sequences of tensors."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from aquatint.collective import Share
from aquatint.features.cache import FeatureCache
from aquatint.features.flights import frame_keys
from aquatint.models.imitation import NO_ACTION, Observed
from aquatint.training.lineage import table_digest

# Enough flights to know what features have in common.
_SCALE_FLIGHTS = 100


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
    vectors: Tensor

    def split(self, name: str) -> pd.DataFrame:
        """Instructions of a split, one sample each."""
        return self.instructions[self.instructions["split"] == name].reset_index(drop=True)


class ImitationSamples:
    """Flights of a split, once for each of their instructions.

    Args:
        data: Tables and caches.
        split: Which split.
        is_misled: Whether each flight gets the instruction of another town's flight.
        limit: At most so many flights with their instruction, evenly over the split; 0 for all.
    """

    def __init__(
        self, data: ImitationData, split: str, *, is_misled: bool = False, limit: int = 0
    ) -> None:
        self.rows = _some(data.split(split), limit)
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
        self.flight_ids = own

    def __len__(self) -> int:
        """Number of samples of an epoch."""
        return len(self.rows)

    def batch(self, positions: Tensor, share: Share | None = None) -> dict[str, Any]:
        """Return sequences padded behind their ends.

        Args:
            positions: Of a batch, shape (B,).
            share: Which rows of it are wanted; all by default.

        Returns:
            What ``observed`` takes, ``actions``, ``progress`` and ``is_step`` (B, T), T of the
            batch's longest flight; and ``num_counted``, the rows of a share that count.
        """
        length = max(len(self._actions[i]) for i in positions.tolist())
        chosen = (positions if share is None else positions[share.rows]).tolist()
        actions = padded([self._actions[i] for i in chosen], length)
        is_step = padded([torch.ones(len(self._actions[i])) for i in chosen], length)
        last = torch.full_like(actions, NO_ACTION)
        last[:, 1:] = actions[:, :-1]
        return {
            "rgb": self._read(self._pictures, 0, chosen, length),
            "depth": self._read(self._depth, 1, chosen, length),
            "last_actions": last,
            "tokens": pad_tokens([self._tokens[i] for i in chosen]),
            "actions": actions,
            "progress": padded([self._progress[i] for i in chosen], length),
            "is_step": is_step,
            "num_counted": len(chosen) if share is None or share.is_counted else 0,
        }

    def _read(self, reader: Any, kind: int, chosen: list[int], length: int) -> Tensor:  # noqa: ANN401 - FeatureReader
        parts = [
            torch.from_numpy(reader.read(self._places[self.flight_ids[i]][kind]).astype(np.float32))
            for i in chosen
        ]
        return padded(parts, length)

    def identify(self, positions: Tensor) -> list[str]:
        """Return the ids of the instructions."""
        return self.rows["instruction_id"].iloc[positions.numpy()].tolist()


def _some(rows: pd.DataFrame, limit: int) -> pd.DataFrame:
    if not limit or len(rows) <= limit:
        return rows
    places = np.linspace(0, len(rows) - 1, limit).round().astype(int)
    return rows.iloc[places].reset_index(drop=True)


class FlightSamples(Protocol):
    """Flights with their instructions, in batches."""

    def __len__(self) -> int:
        """Number of samples of an epoch."""

    def identify(self, positions: Tensor) -> list[str]:
        """Return the ids of the instructions."""

    def batch(self, positions: Tensor, share: Share | None = None) -> dict[str, Any]:
        """Return a batch; on several ranks each takes its ``share``."""


class DrawnSamples:
    """Samples of which something is drawn anew in every epoch.

    Every draw is a function of seed, epoch and sample, so that it depends on no batch, process or
    resume.

    Args:
        samples: Flights.
        seed: Of every draw.
    """

    def __init__(self, samples: FlightSamples, seed: int) -> None:
        self._samples, self._seed, self._epoch = samples, seed, 0

    def __len__(self) -> int:
        """Number of samples of an epoch."""
        return len(self._samples)

    def begin_epoch(self, epoch: int) -> None:
        """Draw anew."""
        self._epoch = epoch

    def identify(self, positions: Tensor) -> list[str]:
        """Return the ids of the instructions."""
        return self._samples.identify(positions)

    def _rng(self, position: int, *draw: int) -> np.random.Generator:
        return np.random.default_rng([self._seed, self._epoch, position, 94, *draw])


class ForgetfulSamples(DrawnSamples):
    """Samples for training: some steps are not told the action before.

    Args:
        samples: Flights.
        dropout: Share of the steps.
        seed: Of every draw.
    """

    def __init__(self, samples: ImitationSamples, dropout: float, seed: int) -> None:
        super().__init__(samples, seed)
        self._dropout = dropout

    def batch(self, positions: Tensor, share: Share | None = None) -> dict[str, Any]:
        """Return what ``ImitationSamples.batch`` does, some of ``last_actions`` left out."""
        batch = self._samples.batch(positions, share)
        rows = positions if share is None else positions[share.rows]
        length = batch["last_actions"].shape[1]
        drawn = [self._rng(position).random(length) for position in rows.tolist()]
        is_kept = torch.from_numpy(np.stack(drawn) >= self._dropout)
        batch["last_actions"] = batch["last_actions"].where(is_kept, NO_ACTION)
        return batch


def data_recipe(data: ImitationData) -> dict[str, Any]:
    """What decides samples, for fingerprints of trainings."""
    tables = {name: table_digest(getattr(data, name).astype(str))
              for name in ("records", "steps", "instructions")}  # fmt: skip
    return {
        "tables": tables,
        "features": [data.pictures.digest, data.depth.digest],
        "vectors": table_digest(pd.DataFrame(data.vectors.numpy())),
    }


@torch.no_grad()
def scaled_by_place(model: Any, samples: ImitationSamples) -> dict[str, Tensor]:  # noqa: ANN401 - a policy
    """Set the statistics of a policy's frozen features from an even sample of its flights.

    Returns:
        All tensors of the policy that do not train, by name: they go into its checkpoint.
    """
    chosen = torch.linspace(0, len(samples) - 1, min(len(samples), _SCALE_FLIGHTS)).long()
    batch = samples.batch(chosen.unique())
    is_step = batch["is_step"].bool()
    for name in ("rgb", "depth"):
        features = batch[name][is_step]
        is_pad = torch.zeros(features.shape[:2], dtype=torch.bool)
        getattr(model, f"{name}_scaler").fit(features, is_pad)
    return {
        name: tensor.detach().cpu().clone()
        for name, tensor in model.state_dict().items()
        if name.startswith(("vectors.", "rgb_scaler.", "depth_scaler."))
    }


def observed(batch: dict[str, Tensor]) -> Observed:
    """What a policy may see of a batch."""
    return Observed(batch["rgb"], batch["depth"], batch["last_actions"], batch["tokens"])


def pad_tokens(tokens: Sequence[Sequence[int]]) -> Tensor:
    """Return numbers of words with 0 behind their ends, shape (B, L)."""
    length = max(map(len, tokens))
    return torch.tensor([[*row, *[0] * (length - len(row))] for row in tokens])


def padded(parts: list[Tensor], length: int) -> Tensor:
    """Stack sequences with zeros behind their ends, shape (B, T, ...)."""
    whole = parts[0].new_zeros(len(parts), length, *parts[0].shape[1:])
    for row, part in zip(whole, parts, strict=True):
        row[: len(part)] = part
    return whole
