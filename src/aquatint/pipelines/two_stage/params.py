"""Parameters of the two-stage recipe, one model for each node."""

from __future__ import annotations

from typing import Literal

from pydantic import NonNegativeInt, PositiveFloat, PositiveInt, model_validator

from aquatint.params import Params, StageParams


class ModelParams(Params):
    """Adapters, projections and heads."""

    width: PositiveInt
    dropout: float
    vision_pooling: Literal["mean", "cls"]
    text_pooling: Literal["last", "eos", "mean"]
    temperature: PositiveFloat


class LoraParams(Params):
    """Low-rank weights, by the names of ``peft.LoraConfig``."""

    r: PositiveInt
    lora_alpha: PositiveInt
    lora_dropout: float


class BackboneParams(Params):
    """How far the backbone opens."""

    mode: Literal["none", "lora", "full"]
    num_blocks: NonNegativeInt  # of each tower, counted from the last
    lora: LoraParams
    # Hidden states below the open blocks: kept where it saves time (measured once), or as told.
    boundary_cache: Literal["auto", "always", "never"] = "auto"


class AlignmentParams(StageParams):
    """Stage 1: adapters on cached features, ITC and ITM."""

    captions_per_image: PositiveInt
    negatives: Literal["hard", "random"]


class RefinementParams(AlignmentParams):
    """Stage 2 and the single-stage baseline: all tasks, and a backbone that opens."""

    regions_per_image: NonNegativeInt
    backbone: BackboneParams
    opening: tuple[tuple[str, ...], ...]  # groups that train in epochs 0, 1, ...; last holds

    @model_validator(mode="after")
    def _opening_names_open_blocks(self) -> RefinementParams:
        if not self.opening:
            raise ValueError("opening needs the groups of at least one epoch, got ().")
        known = {"adapters", "heads"}
        if self.backbone.mode != "none":
            known |= {f"block_{depth + 1}" for depth in range(self.backbone.num_blocks)}
        unknown = sorted({name for names in self.opening for name in names} - known)
        if unknown:
            raise ValueError(
                f"opening names {unknown}; with backbone.mode {self.backbone.mode} and num_blocks "
                f"{self.backbone.num_blocks} there are {sorted(known)}."
            )
        return self

    @model_validator(mode="after")
    def _region_losses_have_regions(self) -> RefinementParams:
        if self.loss_weights.get("bbox") and not self.regions_per_image:
            raise ValueError(
                f"loss_weights.bbox {self.loss_weights['bbox']} needs regions_per_image above 0."
            )
        return self


class PredictionParams(Params):
    """How a trained model is applied to the test split."""

    batch_size: PositiveInt
    rerank_top_k: NonNegativeInt  # images per caption re-ranked by the ITM head; 0 for none


class RobustnessParams(Params):
    """Corruptions of the test images, as in RoboSense Track 4."""

    corruptions: tuple[Literal["gaussian_noise", "blur", "occlusion", "brightness", "jpeg"], ...]
    severities: tuple[Literal[1, 2, 3, 4, 5], ...]
    batch_size: PositiveInt


class ReportParams(Params):
    """What the report shows."""

    target_r_mean: PositiveFloat  # steps and seconds to it are compared
    num_samples: PositiveInt  # retrievals and boxes drawn
    seed: NonNegativeInt
