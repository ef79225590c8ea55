"""Parameters of the imitation recipe, one model for each node."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, NonNegativeInt, PositiveFloat, PositiveInt, model_validator

from aquatint.params import LoopParams, Params, StageParams


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


class DiffusionParams(Params):
    """The diffusion process and its sampler, by diffusers' names."""

    num_train_timesteps: PositiveInt
    sampler: Literal["ddpm", "ddim"]
    num_inference_steps: PositiveInt  # of ddim
    prediction_type: Literal["epsilon", "sample"]


class DecoderParams(Params):
    """The transformer that takes noise from increments."""

    num_blocks: PositiveInt
    feedforward_width: PositiveInt


class ModelParams(Params):
    """Sizes of the recurrent diffusion policy."""

    picture_grid: PositiveInt  # fields along an edge that a picture's places are averaged to
    width: PositiveInt
    hidden: PositiveInt  # width of the recurrent state
    num_cross_blocks: PositiveInt
    num_heads: PositiveInt
    dropout: float = Field(ge=0, lt=1)
    guidance_scale: float = Field(ge=1)  # 1 is none
    decoder: DecoderParams
    diffusion: DiffusionParams

    @model_validator(mode="after")
    def _width_divides(self) -> ModelParams:
        if self.width % self.num_heads or self.width % 2:
            raise ValueError(
                f"width {self.width} must be even and a multiple of num_heads {self.num_heads}."
            )
        return self


class IncrementParams(Params):
    """How poses become increments."""

    horizon: PositiveInt  # increments of a chunk
    num_past: PositiveInt  # increments that are remembered
    step_m: PositiveFloat  # way that is 1
    turn_rad: PositiveFloat  # angle that is 1
    motion_scale_m: PositiveFloat  # distance from the start that is 1


class RdpParams(StageParams):
    """The recurrent diffusion policy and its training."""

    increments: IncrementParams
    model: ModelParams
    untold_share: float = Field(ge=0, lt=1)  # of the steps, predicted without the words
    last_action_dropout: float = Field(ge=0, lt=1)  # of the steps, not told those before
    stop_threshold: float = Field(gt=0, lt=1)  # of the steps behind, from which on it stops
    num_executed: PositiveInt  # actions of a chunk before the next one
    num_val_samples: PositiveInt

    @model_validator(mode="after")
    def _chunk_is_long_enough(self) -> RdpParams:
        if self.num_executed > self.increments.horizon:
            raise ValueError(
                f"num_executed {self.num_executed} exceeds the {self.increments.horizon} "
                "increments of a chunk (increments.horizon)."
            )
        return self


class TownLoopParams(LoopParams):
    """The closed loop over towns."""

    wording: NonNegativeInt | None  # type: ignore[assignment]  # null: each in its turn


class ReportParams(Params):
    """What the report shows."""

    num_samples: PositiveInt
    seed: NonNegativeInt
