"""Plans of the two stages on the tiny tables."""

import pytest


def heads_spec(backbone, is_enhanced, **changes):
    sizes = backbone.sizes
    return {
        "vision_width": sizes.vision_width,
        "text_width": sizes.text_width,
        "is_enhanced": is_enhanced,
        "width": 64,
        "dropout": 0.1,
        "text_pooling": "mean",
        **changes,
    }


@pytest.fixture(scope="session")
def launch_on_pair(tmp_path_factory, warm_python):
    """As ``training.launch.launch``, on two ranks that all tests share."""
    from rank_pair import RankPair

    pair = RankPair(tmp_path_factory.mktemp("pair"), warm_python)
    yield pair
    pair.stop()


@pytest.fixture(scope="session")
def plan_maker(backbone):
    from aquatint.params import OptimizerParams, StageParams
    from aquatint.training.retrieval_feed import BoundaryPlan
    from aquatint.training.retrieval_models import RetrievalSpec
    from aquatint.training.retrieval_stage import StagePlan

    def make(
        name="stage1",
        mode="none",
        opening=(("adapters", "heads"),),
        backbone=backbone,
        boundary=None,
        **changes,
    ):
        is_enhanced = name != "stage1"
        weights = {"itc": 1.0, "itm": 1.0}
        if is_enhanced:
            weights |= {"bbox": 0.1, "spatial": 0.1}
        params = {
            "epochs": 2,
            "batch_size": 3,
            "optimizer": OptimizerParams(
                learning_rate=1e-2, weight_decay=0.01, warmup_fraction=0.1
            ),
            "loss_weights": weights,
        }
        spec = RetrievalSpec(
            heads=heads_spec(backbone, is_enhanced),
            token_grid=backbone.sizes.grid,
            max_tokens=24,
            mode=mode,
            num_blocks=backbone.sizes.num_text_blocks if mode != "none" else 0,
            lora={"r": 4, "lora_alpha": 8, "lora_dropout": 0.0} if mode == "lora" else {},
            backbone_digest=backbone.digest,
        )
        return StagePlan(
            name=name,
            params=StageParams(**{**params, **changes}),
            spec=spec,
            opening=opening,
            captions_per_image=2,
            regions_per_image=1,
            negatives="hard",
            boundary=boundary or BoundaryPlan("never"),
        )

    return make


@pytest.fixture
def make_plan(plan_maker):
    return plan_maker


@pytest.fixture
def states(tmp_path):
    from aquatint.training.state import TrainingStateFolder

    return TrainingStateFolder(str(tmp_path / "states"))
