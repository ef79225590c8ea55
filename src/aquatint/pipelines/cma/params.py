"""Parameters of the imitation recipe, one model for each node."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, NonNegativeInt, PositiveFloat, PositiveInt

from aquatint.params import Params, StageParams


class ReadingParams(Params):
    """How recordings are judged and cut."""

    mode: Literal["strict", "tolerant"]  # strict stops at the first finding, tolerant leaves out
    max_rejected_fraction: float = Field(ge=0, le=1)  # of flights, in tolerant mode
    keeps_failed: bool  # flights that did not succeed
    min_failed_steps: NonNegativeInt  # shorter failed flights go
    num_stuck_steps: NonNegativeInt  # cut off the end of a flight that got stuck
    max_steps: PositiveInt


class SightParams(Params):
    """How frames become features."""

    without_effect = frozenset({"batch_size"})

    edge_px: PositiveInt  # of pictures, as the tower sees them
    batch_size: PositiveInt
    dtype: Literal["float16", "float32"]
    depth_grid: PositiveInt  # fields along an edge
    max_depth_m: PositiveFloat
    depth_units_per_m: PositiveFloat


class PolicyParams(StageParams):
    """One policy and its training."""

    hidden: PositiveInt  # width of the recurrent states
    inflection_weight: float = Field(ge=1)  # of steps at which the action changes
    last_action_dropout: float = Field(ge=0, lt=1)  # share of steps not told the action before


class ReportParams(Params):
    """What the report shows."""

    num_samples: PositiveInt
    seed: NonNegativeInt
