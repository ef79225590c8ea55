"""Parameters of the vision-language-action recipes, one model for each node."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import (
    Field,
    NonNegativeFloat,
    NonNegativeInt,
    PositiveFloat,
    PositiveInt,
    model_validator,
)

from aquatint.params import Params, StageParams

FinetuneName = Literal["none", "lora", "full"]
SourceName = Literal["trajectory", "episode", "bridge", "lerobot"]


class IngestParams(Params):
    """How recordings are judged."""

    mode: Literal["strict", "tolerant"]  # strict stops at the first episode, tolerant lists them
    max_rejected_fraction: float = Field(ge=0, le=1)  # of the episodes, in tolerant mode
    max_pixels: PositiveInt  # of one image; larger ones are refused before they are decoded
    instruction_template: str = Field(pattern=r".*\{task\}.*")  # of folders named by their task


class AlignmentParams(Params):
    """How robot, cameras and sensor are brought to one clock."""

    action_hz: PositiveFloat
    robot_tolerance_s: PositiveFloat
    image_tolerance_s: PositiveFloat
    sensor_tolerance_s: PositiveFloat
    sensor_hz: PositiveFloat
    sensor_window: PositiveInt  # rows: 650 are one second, 65 a tenth
    sensor_alignment: Literal["end", "interval"]


class SplitParams(Params):
    """How episodes are shared out."""

    val: float = Field(gt=0, lt=1)
    test: float = Field(gt=0, lt=1)
    seed: NonNegativeInt

    @model_validator(mode="after")
    def _train_is_left(self) -> SplitParams:
        if self.val + self.test >= 1:
            raise ValueError(f"val {self.val:g} and test {self.test:g} leave nothing to train on.")
        return self


class NormaliserParams(Params):
    """Scales, fitted on the train split."""

    action: Literal["min_max", "z_score"]
    num_sensor_windows: PositiveInt
    seed: NonNegativeInt


class ExportParams(Params):
    """The LeRobot data set that is written."""

    layout: Literal["v2.1", "v3.0"]


class FrameParams(Params):
    """What the policy sees, and what is kept of it."""

    without_effect = frozenset({"batch_size"})

    views: tuple[str, ...] = Field(max_length=5)  # empty: all of an episode, in their order
    height_px: PositiveInt
    width_px: PositiveInt
    memory_grid: tuple[PositiveInt, PositiveInt]  # tokens of a view that an expert looks at
    max_text_tokens: PositiveInt
    batch_size: PositiveInt
    dtype: Literal["float16", "bfloat16", "float32"]


class SensorParams(Params):
    """Sensor encoder."""

    temporal_length: PositiveInt
    interpolation: Literal["linear", "nearest", "cubic"]
    channels: tuple[PositiveInt, ...] = Field(min_length=1)
    num_heads: PositiveInt
    feedforward_width: PositiveInt
    num_blocks: PositiveInt
    out_width: PositiveInt
    dropout: float = Field(ge=0, lt=1)

    @model_validator(mode="after")
    def _heads_divide(self) -> SensorParams:
        if self.channels[-1] % self.num_heads:
            raise ValueError(
                f"num_heads {self.num_heads} must divide the last of channels {self.channels}."
            )
        return self


class StateParams(Params):
    """Encoder of the robot's state."""

    widths: tuple[PositiveInt, ...] = Field(min_length=1)
    num_heads: PositiveInt
    num_blocks: NonNegativeInt
    dropout: float = Field(ge=0, lt=1)


class ExpertParams(Params):
    """Action expert."""

    width: PositiveInt
    horizon: PositiveInt
    num_blocks: PositiveInt
    num_heads: PositiveInt
    feedforward_width: PositiveInt
    dropout: float = Field(ge=0, lt=1)


class DiffusionParams(Params):
    """Diffusion process and sampler, by diffusers' names."""

    num_train_timesteps: PositiveInt
    sampler: Literal["ddim", "ddpm"]
    num_inference_steps: PositiveInt
    clip_sample: bool
    num_draws: PositiveInt  # noise levels at which a training step shows a sample
    min_snr_gamma: PositiveFloat | None  # noise levels with less noise than that count less
    prediction_type: Literal["epsilon", "sample"]  # whether noise or clean actions are predicted
    num_averaged: PositiveInt  # samples whose mean is acted on

    @model_validator(mode="after")
    def _steps_fit(self) -> DiffusionParams:
        if self.num_inference_steps > self.num_train_timesteps:
            raise ValueError(
                f"num_inference_steps {self.num_inference_steps} exceeds num_train_timesteps "
                f"{self.num_train_timesteps}."
            )
        return self


class ArchitectureParams(Params):
    """The policy beside its backbone."""

    kind: Literal["regression", "diffusion"]
    sensor_enabled: bool
    fusion: Literal["concat", "cross_attention", "gated", "none"]
    fusion_heads: PositiveInt
    sensor: SensorParams
    state: StateParams
    expert: ExpertParams
    diffusion: DiffusionParams

    @model_validator(mode="after")
    def _fusion_fits(self) -> ArchitectureParams:
        if not self.sensor_enabled and self.fusion != "none":
            raise ValueError(
                f"sensor_enabled false needs fusion: none, got {self.fusion}: there is nothing to "
                "fuse."
            )
        heads = {"fusion_heads": self.fusion_heads, "expert.num_heads": self.expert.num_heads}
        for name, count in heads.items():
            if self.expert.width % count:
                raise ValueError(f"{name} {count} must divide expert.width {self.expert.width}.")
        return self

    def policy(
        self, vl_width: int, action_width: int, state_width: int, places: tuple[int, int]
    ) -> dict[str, Any]:
        """Arguments of ``VlaPolicy``; with a ``vl_width`` of 0 it neither sees nor hears.

        ``places``: most tokens, and how many of them are image tokens.
        """
        sees = vl_width > 0
        strategy = self.fusion if sees else "none"
        hears = sees and self.sensor_enabled and strategy != "none"
        return {
            "kind": self.kind,
            "vl_width": vl_width,
            "sensor": self.sensor.model_dump(mode="json") if hears else None,
            "state": {"num_values": state_width, **self.state.model_dump(mode="json")},
            "fusion": {
                "strategy": strategy,
                "num_heads": self.fusion_heads,
                "places": list(places),
            },
            "expert": {"action_width": action_width, **self.expert.model_dump(mode="json")},
            "diffusion": self.diffusion.model_dump(mode="json")
            if self.kind == "diffusion"
            else None,
        }


class SampleParams(Params):
    """How samples are cut, drawn and weighed."""

    state_window: PositiveInt  # steps of the robot's state that a policy sees
    prior: Literal["zeros", "last_action"]  # what a regression starts from
    mixture: dict[SourceName, NonNegativeFloat]
    priority_tasks: tuple[str, ...]
    priority_factor: PositiveFloat
    sensor_loss_weight: PositiveFloat


class LoraParams(Params):
    """Low-rank weights, by the names of ``peft.LoraConfig``."""

    r: PositiveInt
    lora_alpha: PositiveInt
    lora_dropout: float = Field(ge=0, lt=1)


class TrainParams(StageParams):
    """One stage."""

    finetune_vl: FinetuneName
    lora: LoraParams
    num_blocks: PositiveInt  # last blocks of the language model that finetune_vl full opens
    sensor_learning_rate: PositiveFloat
    vl_learning_rate: PositiveFloat
    num_val: PositiveInt  # validation steps looked at after each epoch

    def stage(self, groups: tuple[str, ...]) -> StageParams:
        """The stage as the loop takes it, with the rate of each group that trains."""
        rate = self.optimizer.learning_rate
        factors = {"sensor": self.sensor_learning_rate / rate, "vl": self.vl_learning_rate / rate}
        optimizer = self.optimizer.model_copy(
            update={"group_factors": {name: factors[name] for name in groups if name in factors}}
        )
        values = {name: getattr(self, name) for name in StageParams.model_fields}
        return StageParams(**{**values, "optimizer": optimizer})


class PredictionParams(Params):
    """Offline evaluation."""

    without_effect = frozenset({"batch_size"})

    stride: PositiveInt  # every how many steps
    batch_size: PositiveInt
    latency_repeats: PositiveInt


class RolloutParams(Params):
    """Closed loop."""

    num_runs: PositiveInt
    num_executed_actions: PositiveInt  # of a chunk, before the policy looks again


class ReportParams(Params):
    """What the report shows."""

    num_shown: PositiveInt  # flights
    seed: NonNegativeInt
