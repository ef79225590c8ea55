"""Parameters of the covt recipe, one model for each node."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import (
    Field,
    NonNegativeInt,
    PositiveInt,
    field_validator,
    model_validator,
)

from aquatint.params import AnchorName, Params, StageParams


class VisualModelParams(Params):
    """The source's VISUAL_MODEL_ID: which anchors a thought has, in which order and length."""

    names: tuple[AnchorName, ...] = Field(min_length=1)
    num_tokens: dict[AnchorName, PositiveInt]  # of each anchor's span

    @field_validator("names", mode="before")
    @classmethod
    def _names_may_be_one_text(cls, value: object) -> object:
        # --params= takes no lists.
        return value.split("+") if isinstance(value, str) else value

    @model_validator(mode="after")
    def _every_name_has_tokens(self) -> VisualModelParams:
        missing = [name for name in self.names if name not in self.num_tokens]
        if missing or len(set(self.names)) != len(self.names):
            raise ValueError(
                f"names {list(self.names)} must be different ones, each with num_tokens; those "
                f"without are {missing}."
            )
        return self

    @property
    def pairs(self) -> tuple[tuple[str, int], ...]:
        """Anchors with their tokens, in order."""
        return tuple((name, self.num_tokens[name]) for name in self.names)


class IngestParams(Params):
    """How records are judged."""

    mode: Literal["strict", "tolerant"]  # strict stops at the first finding, tolerant lists them
    max_rejected_fraction: float = Field(ge=0, le=1)  # of a file's records, in tolerant mode
    max_pixels: PositiveInt  # of one image; larger ones are refused before they are decoded
    group_by: Literal["image", "folder"]  # what may not stand on both sides of a split


class SplitParams(Params):
    """Which groups are held out."""

    val: float = Field(ge=0, lt=1)
    test: float = Field(gt=0, lt=1)
    seed: NonNegativeInt

    @model_validator(mode="after")
    def _some_are_left(self) -> SplitParams:
        if self.val + self.test >= 1:
            raise ValueError(f"val {self.val} and test {self.test} leave nothing to train on.")
        return self

    @property
    def shares(self) -> dict[str, float]:
        """Share of each split but train."""
        return {"val": self.val, "test": self.test}


class PixelParams(Params):
    """What the language model's tower sees of an image."""

    image_px: PositiveInt  # edge of a square


class TeacherParams(Params):
    """Where teachers compute."""

    device: str  # may differ from the training's


class LoraParams(Params):
    """Low-rank weights, by the names of ``peft.LoraConfig``."""

    r: PositiveInt
    lora_alpha: PositiveInt
    lora_dropout: float = Field(ge=0, lt=1)


class CurriculumParams(Params):
    """Optimizer steps, counted from 0, at which the format of samples changes."""

    understanding_until: NonNegativeInt
    generation_until: NonNegativeInt
    reasoning_until: NonNegativeInt
    anchors_until: NonNegativeInt  # last step with losses of anchors

    @model_validator(mode="after")
    def _steps_ascend(self) -> CurriculumParams:
        steps = [self.understanding_until, self.generation_until, self.reasoning_until]
        if steps != sorted(steps):
            raise ValueError(f"Steps of a curriculum must ascend, got {steps}.")
        return self


class TrainParams(StageParams):
    """One training, in optimizer steps."""

    max_steps: PositiveInt
    # As many as the steps take.
    epochs: PositiveInt = 1_000_000
    lora: LoraParams
    curriculum: CurriculumParams | None  # null for plain answers and no anchors
    num_context_turns: NonNegativeInt  # earlier turns of a conversation before a question
    norm_axis: Literal["features", "tokens"]  # tokens as published, where dim was left out
    answer_weight: float = Field(gt=0)  # of an answer's token behind a thought; 1 as published


class MergeParams(Params):
    """What a merged folder holds besides the language model."""

    with_heads: bool


class WritingParams(Params):
    """How answers are written and on what."""

    without_effect = frozenset({"batch_size"})

    split: Literal["val", "test"]
    max_new_tokens: PositiveInt
    batch_size: PositiveInt
    num_context_turns: NonNegativeInt
    min_emission: float = Field(ge=0, le=1)  # below, the run warns that thoughts have gone
    num_constant_steps: PositiveInt  # to fit the masks of the predictor that sees no image
    num_maps: PositiveInt  # responses whose maps are kept for the report


class ReportParams(Params):
    """What the report shows."""

    num_samples: PositiveInt


class PredictParams(Params):
    """Answers to questions that nobody has answered."""

    max_pixels: PositiveInt
    max_new_tokens: PositiveInt
    batch_size: PositiveInt
    forces_thought: bool
    num_shown: PositiveInt


def plain(params: Params, *fields: str) -> dict[str, Any]:
    """Some fields of a parameter model as plain values."""
    return params.model_dump(include=set(fields))
