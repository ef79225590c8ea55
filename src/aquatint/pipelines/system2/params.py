"""Parameters of System 2, one model for each node."""

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


class ReadingParams(Params):
    """Which trajectories, and how they are judged."""

    names: tuple[str, ...] = Field(min_length=1)  # <set>_<height>cm_<pitch>_<pitch>[%<percent>]
    further_names: tuple[str, ...]  # names beside the published ones
    mode: Literal["strict", "tolerant"]  # strict stops at the first finding, tolerant leaves out
    max_rejected_fraction: float = Field(ge=0, le=1)  # of flights, in tolerant mode
    camera_axes: Literal["opencv", "opengl"]  # of the cameras that the poses are of
    decodes_frames: bool  # every picture, to see that it is whole


class GoalParams(Params):
    """Where pixel goals come from; lengths in metres."""

    source: Literal["label", "columns"]  # made here from depth, or read from the sets
    horizontal_fov_deg: float = Field(gt=0, lt=180)  # of the look-down images
    depth_units_per_m: PositiveFloat
    depth_tolerance_m: PositiveFloat
    max_depth_m: PositiveFloat
    min_offset: PositiveInt  # frames
    min_distance_m: NonNegativeFloat  # nearer positions are no goal


class SamplingParams(Params):
    """Which samples trajectories give, and how scenes are split."""

    sample_stride: PositiveInt  # frames between two samples
    num_history: NonNegativeInt  # earlier frames, spread over the whole past
    max_turns: PositiveInt  # longest answer in turns
    min_goal_offset: PositiveInt  # fewest frames up to a pixel goal
    stop_repeats: PositiveInt
    pixel_goal_only: bool
    val_share: float = Field(gt=0, lt=1)  # of scenes
    test_share: float = Field(gt=0, lt=1)
    seed: NonNegativeInt  # of the split, and of the shares of sets


class System2Params(StageParams):
    """System 2 and its training."""

    tune_mm_vision: bool  # the vision tower
    tune_mm_mlp: bool  # its merger
    tune_mm_llm: bool  # the language model
    vision_learning_rate: PositiveFloat
    data_augmentation: bool
    frame_edge_px: PositiveInt
    history_edge_px: PositiveInt
    min_pixels: PositiveInt
    max_pixels: PositiveInt
    repeats_instruction: bool  # in the question over the look-down image
    max_new_tokens: PositiveInt
    num_val: PositiveInt
    cpu_processes: PositiveInt  # on CPUs, where the run asks for one; all else waits for it

    @property
    def tuned(self) -> tuple[str, ...]:
        """Parts that train."""
        flags = {
            "vision": self.tune_mm_vision, "mlp": self.tune_mm_mlp, "llm": self.tune_mm_llm
        }  # fmt: skip
        return tuple(part for part, is_tuned in flags.items() if is_tuned)

    @model_validator(mode="after")
    def _something_trains(self) -> System2Params:
        if not self.tuned:
            raise ValueError(
                "tune_mm_vision, tune_mm_mlp and tune_mm_llm are all false: nothing would train."
            )
        return self

    @model_validator(mode="after")
    def _sizes_fit(self) -> System2Params:
        if self.min_pixels > self.max_pixels:
            raise ValueError(f"min_pixels {self.min_pixels} exceeds max_pixels {self.max_pixels}.")
        return self


class ReportParams(Params):
    """What the report shows."""

    num_samples: PositiveInt
    seed: NonNegativeInt
