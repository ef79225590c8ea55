"""Parameters of the labelling of pixel goals, one model for each node."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, NonNegativeFloat, NonNegativeInt, PositiveFloat, PositiveInt

from aquatint.params import Params


class ReadingParams(Params):
    """Which trajectories, and how they are judged."""

    name: str = Field(min_length=1)  # <set>_<height>cm_<pitch>_<pitch after looking down>
    further_names: tuple[str, ...]  # names beside the published ones
    mode: Literal["strict", "tolerant"]  # strict stops at the first finding, tolerant leaves out
    max_rejected_fraction: float = Field(ge=0, le=1)  # of flights, in tolerant mode
    camera_axes: Literal["opencv", "opengl"]  # of the cameras that the poses are of
    decodes_frames: bool  # every picture, to see that it is whole; about 1 ms each


class LabellingParams(Params):
    """What counts as a visible goal; lengths in metres."""

    horizontal_fov_deg: float = Field(gt=0, lt=180)  # of the look-down images
    depth_units_per_m: PositiveFloat
    depth_tolerance_m: PositiveFloat
    max_depth_m: PositiveFloat
    min_offset: PositiveInt  # frames
    min_distance_m: NonNegativeFloat  # nearer positions are no goal


class ReportParams(Params):
    """What the report shows."""

    num_samples: PositiveInt
    seed: NonNegativeInt
