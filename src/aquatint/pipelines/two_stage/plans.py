"""Parameters of a stage to the plan that the library trains."""

from __future__ import annotations

from typing import TYPE_CHECKING

from aquatint.models.backbone import Backbone
from aquatint.nodes.features import FeatureParams
from aquatint.pipelines.two_stage.params import AlignmentParams, ModelParams, RefinementParams

if TYPE_CHECKING:
    # Not named by any node, so Kedro's validation needs no sight of them; they import torch.
    from aquatint.training.retrieval_models import RetrievalSpec
    from aquatint.training.retrieval_stage import StagePlan


def alignment_plan(
    backbone: Backbone, features: FeatureParams, model: ModelParams, params: AlignmentParams
) -> StagePlan:
    """Plan of stage 1: simple adapters and the ITM head, the backbone closed."""
    from aquatint.training.retrieval_stage import StagePlan

    return StagePlan(
        name="stage1",
        params=params,
        spec=_spec(backbone, features, model, None),
        opening=(("adapters", "heads"),),
        captions_per_image=params.captions_per_image,
        regions_per_image=0,
        negatives=params.negatives,
    )


def refinement_plan(
    name: str,
    backbone: Backbone,
    features: FeatureParams,
    model: ModelParams,
    params: RefinementParams,
) -> StagePlan:
    """Plan of stage 2 or of the baseline: enhanced adapters, all heads, a backbone that opens."""
    from aquatint.training.retrieval_feed import BoundaryPlan
    from aquatint.training.retrieval_stage import StagePlan

    return StagePlan(
        name=name,
        params=params,
        spec=_spec(backbone, features, model, params),
        opening=params.opening,
        captions_per_image=params.captions_per_image,
        regions_per_image=params.regions_per_image,
        negatives=params.negatives,
        boundary=BoundaryPlan(params.backbone.boundary_cache, features.batch_size, features.dtype),
    )


def _spec(
    backbone: Backbone,
    features: FeatureParams,
    model: ModelParams,
    refinement: RefinementParams | None,
) -> RetrievalSpec:
    """Architecture of a stage; without ``refinement``, stage 1's simple one."""
    from aquatint.training.retrieval_models import RetrievalSpec

    sizes = backbone.sizes
    widths = {"vision_width": sizes.vision_width, "text_width": sizes.text_width}
    opened = refinement.backbone if refinement else None
    mode = opened.mode if opened else "none"
    return RetrievalSpec(
        heads={**widths, "is_enhanced": refinement is not None, **model.model_dump()},
        token_grid=features.resolve_grid(backbone),
        max_tokens=features.max_tokens,
        mode=mode,
        num_blocks=opened.num_blocks if opened and mode != "none" else 0,
        lora=opened.lora.model_dump() if opened and mode == "lora" else {},
        backbone_digest=backbone.digest,
    )
