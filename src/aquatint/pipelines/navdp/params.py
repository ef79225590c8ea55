"""Parameters of the NavDP recipe, one model for each node."""

from __future__ import annotations

from typing import Literal

from pydantic import (
    Field,
    NonNegativeFloat,
    NonNegativeInt,
    PositiveFloat,
    PositiveInt,
    model_validator,
)

from aquatint.params import Params, StageParams


class SplitParams(Params):
    """Which scenes are held out."""

    val_fraction: float = Field(ge=0, lt=1)  # of the scenes, by their names
    test_fraction: float = Field(ge=0, lt=1)
    test_groups: tuple[str, ...]  # groups that are for the test as a whole
    seed: NonNegativeInt


class ReadingParams(Params):
    """How recordings are judged."""

    mode: Literal["strict", "tolerant"]  # strict stops at the first finding, tolerant leaves out
    max_rejected_fraction: float = Field(ge=0, le=1)  # of paths, in tolerant mode
    camera_axes: Literal["opencv", "opengl"]
    depth_units_per_m: PositiveFloat
    min_depth_m: NonNegativeFloat
    max_depth_m: PositiveFloat
    obstacle_voxel_m: PositiveFloat
    accepts_open_scenes: bool  # clouds without obstacles
    splits: SplitParams


class SightParams(Params):
    """How frames become features."""

    without_effect = frozenset({"batch_size"})

    token_grid: PositiveInt  # of the frozen encoder's tokens
    depth_px: PositiveInt
    picture_px: PositiveInt
    batch_size: PositiveInt


class CriticParams(Params):
    """What a trajectory is worth."""

    collision_distance_m: PositiveFloat
    collision_weight: NonNegativeFloat
    clearance_weight: NonNegativeFloat
    open_value: float
    scale: PositiveFloat


class LabelParams(Params):
    """How a frame becomes a sample."""

    predict_size: PositiveInt
    sample_stride: PositiveInt
    memory_size: PositiveInt
    memory_stride: PositiveInt
    action_scale: PositiveFloat
    max_step_m: PositiveFloat
    end_goal_share: float = Field(ge=0, le=1)
    max_rotation_deg: float = Field(ge=0, le=180)
    critic: CriticParams

    @model_validator(mode="after")
    def _increments_fit(self) -> LabelParams:
        if self.action_scale * self.max_step_m > 1 + 1e-9:
            raise ValueError(
                f"action_scale {self.action_scale:g} times max_step_m {self.max_step_m:g} must not "
                "exceed 1: increments are clipped to [-1, 1]."
            )
        return self


class EncoderParams(Params):
    """A trainable encoder of depth or of goals."""

    kind: Literal["patches", "dinov2"]  # dinov2 begins with the weights of data.rgb_encoder
    patch_px: PositiveInt | None = None
    num_blocks: PositiveInt | None = None
    num_heads: PositiveInt | None = None

    @model_validator(mode="after")
    def _sizes_go_with_the_kind(self) -> EncoderParams:
        given = [name for name in ("patch_px", "num_blocks", "num_heads") if getattr(self, name)]
        if len(given) != (3 if self.kind == "patches" else 0):
            raise ValueError(
                f"kind patches needs patch_px, num_blocks and num_heads, dinov2 none of them; got "
                f"{self.kind} with {', '.join(given) or 'none'}."
            )
        return self


class DiffusionParams(Params):
    """The diffusion process and its sampler."""

    num_train_timesteps: PositiveInt
    sampler: Literal["ddpm", "ddim"]
    num_inference_steps: PositiveInt  # of ddim
    prediction_type: Literal["epsilon", "sample"]


class ModelParams(Params):
    """Sizes of the policy."""

    token_dim: PositiveInt
    temporal_depth: PositiveInt
    num_heads: PositiveInt
    feedforward_width: PositiveInt
    dropout: float = Field(ge=0, lt=1)
    queries_per_frame: PositiveInt
    num_reader_blocks: PositiveInt
    depth_encoder: EncoderParams
    goal_encoder: EncoderParams
    diffusion: DiffusionParams

    @model_validator(mode="after")
    def _heads_divide(self) -> ModelParams:
        for name in ("", "depth_encoder", "goal_encoder"):
            heads = (getattr(self, name) if name else self).num_heads or 1
            if self.token_dim % heads:
                raise ValueError(
                    f"token_dim {self.token_dim} must be a multiple of num_heads {heads} of "
                    f"{name or 'model'}."
                )
        return self


class PolicyParams(StageParams):
    """The policy and its training."""

    labels: LabelParams
    model: ModelParams
    repeat_factor: PositiveInt
    sample_percent: int = Field(ge=1, le=100)
    num_val_samples: PositiveInt


class FanParams(Params):
    """What is sampled for evaluation."""

    without_effect = frozenset({"batch_size"})

    num_samples: PositiveInt
    num_frames: NonNegativeInt  # 0 for all
    batch_size: PositiveInt


class RolloutParams(Params):
    """The closed loop."""

    num_samples: PositiveInt
    num_executed: PositiveInt
    max_decisions: PositiveInt
    stop_length_m: PositiveFloat
    success_radius_m: PositiveFloat


class ReportParams(Params):
    """What the report shows."""

    num_samples: PositiveInt
    seed: NonNegativeInt
