"""Parameters of the dual system, one model for each node."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

from pydantic import Field, NonNegativeFloat, NonNegativeInt, PositiveFloat, PositiveInt

from aquatint.params import Params, PointedLoopParams, StageParams

if TYPE_CHECKING:
    from aquatint.data.trajectory_targets import TargetRule


class ShareParams(Params):
    """Which of System 2's samples a System 1 is trained on; turns and stops never are."""

    percent: int = Field(ge=1, le=100)  # of the pixel samples
    seed: NonNegativeInt
    max_held_out: PositiveInt | None  # most of val, and of test; null for all


class MemoryParams(Params):
    """How dialogues are remembered."""

    without_effect = frozenset({"batch_size"})

    max_tokens: PositiveInt  # room for each dialogue
    dtype: Literal["float16", "float32"]
    batch_size: PositiveInt


class TargetParams(Params):
    """How ways become trajectories, and how look-down images are seen; lengths in metres."""

    predict_step_num: PositiveInt  # points of a trajectory
    spacing_m: PositiveFloat
    min_step_m: NonNegativeFloat  # shorter recorded steps are left out before smoothing
    scale: PositiveFloat  # of increments ahead and to the left
    frame_interval: PositiveInt
    max_frames: PositiveInt  # targets of one goal
    includes_goal: bool  # one more, from which no way is left
    edge_px: PositiveInt  # of System 1's pictures
    max_depth_m: PositiveFloat
    depth_units_per_m: PositiveFloat

    def rule(self) -> TargetRule:
        """How ways become trajectories."""
        from aquatint.data.trajectory_targets import TargetRule

        return TargetRule(
            self.predict_step_num, self.spacing_m, self.min_step_m, self.scale,
            self.frame_interval, self.max_frames, self.includes_goal,
        )  # fmt: skip


class System1Params(StageParams):
    """Latent queries, System 1 and their training."""

    backend: Literal["nextdit_async", "nextdit", "navdp_async"]
    num_latents: PositiveInt
    width: PositiveInt
    num_blocks: PositiveInt
    num_heads: PositiveInt
    patch_px: PositiveInt
    num_encoder_blocks: PositiveInt  # over single pictures
    num_memory_blocks: PositiveInt  # over both, and of their reader
    num_queries: PositiveInt  # tokens that pictures are read into
    shows_change: bool  # what has changed since the goal was set, in place of what was seen there
    num_train_timesteps: PositiveInt  # of flow matching
    num_inference_steps: PositiveInt
    num_diffusion_timesteps: PositiveInt  # of DDPM
    prediction_type: Literal["epsilon", "sample"]  # noise (flows: velocity), or clean trajectories
    num_val: PositiveInt
    num_samples: PositiveInt  # trajectories that are sampled and averaged
    # Frames of a sample that a step shows to what sees pictures: the goal's own, and others drawn
    # anew in every epoch; null for all of them.
    num_frames: PositiveInt | None

    def sizes(self, edge_px: int) -> dict[str, Any]:
        """Arguments of ``System1`` but backend, latents and horizon."""
        return {
            "width": self.width,
            "num_blocks": self.num_blocks,
            "num_heads": self.num_heads,
            "num_train_timesteps": self.num_train_timesteps,
            "num_inference_steps": self.num_inference_steps,
            "num_diffusion_timesteps": self.num_diffusion_timesteps,
            "prediction_type": self.prediction_type,
            "pictures": {
                "size_px": edge_px,
                "patch_px": self.patch_px,
                "num_encoder_blocks": self.num_encoder_blocks,
                "num_memory_blocks": self.num_memory_blocks,
                "num_queries": self.num_queries,
                "shows_change": self.shows_change,
            },
        }


class DriftParams(Params):
    """The further training of System 2 alone, and what is compared."""

    max_steps: PositiveInt
    batch_size: PositiveInt  # four of them are compared


class RolloutParams(PointedLoopParams):
    """The closed loop, trajectories followed by pure pursuit."""

    look_ahead: PositiveInt  # points of a trajectory that are aimed ahead
    max_local_actions: PositiveInt  # after which System 1 plans anew
    arrival_m: PositiveFloat  # from a trajectory's end


class ReportParams(Params):
    """What the report shows."""

    num_samples: PositiveInt
    seed: NonNegativeInt
