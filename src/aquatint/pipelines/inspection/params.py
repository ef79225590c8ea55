"""Parameters of the inspection recipe, one model for each node."""

from __future__ import annotations

from typing import Any, Literal, get_args

from pydantic import (
    Field,
    NonNegativeFloat,
    NonNegativeInt,
    PositiveFloat,
    PositiveInt,
    model_validator,
)

from aquatint.params import Params, StageParams

Condition = Literal["normal", "damaged", "blocked"]


class ClassEntry(Params):
    """What a class of data.yaml is: a type of object in a condition."""

    object_type: str = Field(min_length=1)
    condition: Condition


class ClassParams(Params):
    """Every class of data.yaml, in its order."""

    names: dict[str, ClassEntry | None]  # null takes a class of conf/base out

    @property
    def class_map(self) -> dict[str, dict[str, str]]:
        """Type and condition of each class, as plain values."""
        return {name: entry.model_dump() for name, entry in self.names.items() if entry}


class IngestParams(Params):
    """How label lines are judged."""

    mode: Literal["strict", "tolerant"]  # strict stops at the first finding, tolerant lists them
    max_rejected_fraction: float = Field(ge=0, le=1)  # of label lines and images, in tolerant mode
    max_pixels: PositiveInt  # of one image; larger ones are refused before they are decoded


class SplitParams(Params):
    """Which splits are used."""

    mode: Literal["by_photo", "as_exported"]  # as_exported stops if a photograph is in two splits
    train: PositiveFloat
    val: PositiveFloat
    test: PositiveFloat
    seed: NonNegativeInt

    @model_validator(mode="after")
    def _shares_add_up(self) -> SplitParams:
        total = self.train + self.val + self.test
        if abs(total - 1) > 1e-6:
            raise ValueError(f"train, val and test must add up to 1, got {total:g}.")
        return self

    @property
    def shares(self) -> dict[str, float]:
        """Share of each split."""
        return {"train": self.train, "val": self.val, "test": self.test}


class BalanceParams(Params):
    """Three of the source's five enhancements: what is done against uneven classes."""

    class_weighting: bool
    condition_weighting: bool
    oversampling: bool
    # Weighted and repeated, two classes of 12 % would have 86 % of the loss; so only when asked.
    combines_weights_and_oversampling: bool

    @model_validator(mode="after")
    def _combination_is_asked_for(self) -> BalanceParams:
        is_weighted = self.class_weighting or self.condition_weighting
        if is_weighted and self.oversampling and not self.combines_weights_and_oversampling:
            raise ValueError(
                f"oversampling {self.oversampling} with class_weighting {self.class_weighting} and "
                f"condition_weighting {self.condition_weighting} counts rare classes twice; choose "
                "one, or set combines_weights_and_oversampling: true."
            )
        return self


class PromptParams(Params):
    """What a prompt tells; the last two are the source's other enhancements."""

    discloses_type: bool  # as a detector before it would
    allowed: Literal["of_type", "all"]  # answers: those that the type can have, or every class
    position_encoding: bool
    spatial_reasoning: bool

    @model_validator(mode="after")
    def _options_hide_the_type(self) -> PromptParams:
        if not self.discloses_type and self.allowed == "of_type":
            raise ValueError(
                "allowed of_type gives the type away, so discloses_type false needs allowed: all."
            )
        return self


class ViewParams(Params):
    """How objects are shown and encoded."""

    without_effect = frozenset({"batch_size"})

    kind: Literal["crop", "image", "image_with_box"]
    margin: float = Field(ge=1)  # of a crop, relative to the longer side of its box
    min_pixels: PositiveInt
    max_pixels: PositiveInt
    batch_size: PositiveInt
    dtype: Literal["float16", "float32"]


class DecodingParams(Params):
    """How answers are found."""

    without_effect = frozenset({"batch_size"})

    method: Literal["score", "generate"]  # likelihood of every allowed answer, or writing
    normalisation: Literal["mean", "sum"]  # of scores over an answer's tokens
    max_new_tokens: PositiveInt
    batch_size: PositiveInt


class LoraParams(Params):
    """Low-rank weights, by the names of ``peft.LoraConfig``."""

    r: PositiveInt
    lora_alpha: PositiveInt
    lora_dropout: float = Field(ge=0, lt=1)


class TuneParams(StageParams):
    """Fine-tuning of the language model's q, k, v and o."""

    lora: LoraParams
    answer: Literal["name", "head"]  # the class's name as text, or a linear head
    class_rule: Literal["inverse_frequency", "effective_number"]
    effective_number_beta: float = Field(ge=0, lt=1)
    condition_weights: dict[Condition, PositiveFloat] | None  # null computes them from train
    max_weight: PositiveFloat | None  # no weight and no number of repeats above this
    sampler: Literal["shuffled", "balanced"]
    loss: Literal["cross_entropy", "focal"]
    focal_gamma: NonNegativeFloat
    focal_alpha: PositiveFloat
    num_val: PositiveInt  # validation instances looked at after each epoch

    @model_validator(mode="after")
    def _all_conditions_have_a_weight(self) -> TuneParams:
        given = self.condition_weights
        missing = sorted(set(get_args(Condition)) - set(given)) if given is not None else []
        if missing:
            raise ValueError(
                f"condition_weights needs every condition, it lacks {', '.join(missing)}; or null "
                "to compute them from train."
            )
        return self


class SpatialMlpParams(StageParams):
    """Second mode: frozen features, nine spatial numbers and the type into an MLP."""

    target: Literal["binary", "condition"]
    hidden: tuple[PositiveInt, PositiveInt]
    type_width: PositiveInt
    dropout: float = Field(ge=0, lt=1)
    is_weighted: bool


class PredictParams(Params):
    """Prediction on a detector's boxes."""

    min_confidence: float = Field(ge=0, le=1)
    min_iou: float = Field(gt=0, le=1)  # of a match with an annotated box
    needs_equal_type: bool  # for a match
    max_pixels: PositiveInt
    num_shown: PositiveInt


class ReportParams(Params):
    """What the report shows."""

    zero_shot_target: float = Field(ge=0, le=1)
    tuned_target: float = Field(ge=0, le=1)
    num_samples: PositiveInt
    seed: NonNegativeInt


def plain(params: Params, *fields: str) -> dict[str, Any]:
    """Some fields of a parameter model as plain values."""
    return params.model_dump(include=set(fields))
