"""Cached hidden states below open blocks give what the whole backbone gives."""

import pytest
import torch

from aquatint.training.freezing import open_parameters
from aquatint.training.retrieval_feed import BoundaryPlan, entry_at, open_depths
from aquatint.training.retrieval_losses import RetrievalLosses
from aquatint.training.retrieval_models import build_model
from aquatint.training.retrieval_samples import CLOSED, LIVE, RetrievalSamples
from aquatint.training.retrieval_stage import _feed, train_retrieval

TERMS = ("itc", "itm", "bbox", "spatial")
HEADS = ("adapters", "heads")
EXACT = BoundaryPlan("always", 4, "float32")


def blocks(depth):
    return tuple(f"block_{k + 1}" for k in range(depth))


def losses_and_gradients(plan, data, depth, entry, hidden):
    model, groups = build_model(data.backbone, plan.spec, seed=3)
    # Away from the identity that LoRA starts as, or its gradients would mostly be zero.
    with torch.no_grad():
        for index, name in enumerate(sorted(n for names in groups.values() for n in names)):
            if "lora_B" in name and any(name in groups[block] for block in blocks(depth)):
                torch.manual_seed(index)
                model.get_parameter(name).normal_(std=0.05)
    open_parameters(model, groups, {*HEADS, *blocks(depth)})
    tables, sources = data.sources("train", plan.spec.max_tokens, hidden)
    samples = RetrievalSamples(
        tables, sources, captions_per_image=2, regions_per_image=2, entry=lambda: entry, seed=0
    )
    torch.manual_seed(0)
    terms = RetrievalLosses(TERMS)(model.eval(), samples.batch(torch.arange(4)))
    sum(terms.values()).backward()
    gradients = {n: p.grad for n, p in model.named_parameters() if p.grad is not None}
    return {name: float(term.detach()) for name, term in terms.items()}, gradients


@pytest.mark.parametrize("mode", ["lora", "full"])
@pytest.mark.parametrize("depth", [1, 2, 3])
@pytest.mark.parametrize(("dtype", "tolerance"), [("float32", 1e-5), ("float16", 5e-3)])
def test_losses_and_gradients_equal_the_uncached_path(
    make_plan, deep_data, run_params, mode, depth, dtype, tolerance
):
    opening = ((*HEADS, *blocks(depth)),)
    plan = make_plan(
        "stage2",
        mode=mode,
        opening=opening,
        backbone=deep_data.backbone,
        boundary=BoundaryPlan("always", 4, dtype),
    )
    hidden = _feed(plan, deep_data, run_params).hidden
    assert list(hidden) == [depth]
    cached, live = (
        losses_and_gradients(plan, deep_data, depth, entry, hidden) for entry in (depth, LIVE)
    )
    assert cached[0] == pytest.approx(live[0], rel=tolerance)
    assert set(cached[1]) == set(live[1])
    assert sum(".layer" in name for name in cached[1]) >= 2 * depth, "both towers train"
    for name, gradient in live[1].items():
        scale = gradient.norm().clamp(min=1e-3)
        assert (cached[1][name] - gradient).norm() / scale < 10 * tolerance, name


def train(make_plan, data, run_params, states, opening, boundary, mode="lora"):
    plan = make_plan(
        "stage2",
        mode=mode,
        opening=opening,
        backbone=data.backbone,
        boundary=boundary,
        epochs=len(opening),
    )
    return train_retrieval(plan, data, None, run_params, states)


SCHEDULE = (HEADS, (*HEADS, *blocks(1)), (*HEADS, *blocks(3)), (*HEADS, *blocks(4)))
CLOSING = ((*HEADS, *blocks(2)), (*HEADS, *blocks(1)), HEADS)


@pytest.mark.parametrize("opening", [SCHEDULE, CLOSING], ids=["opening", "closing"])
def test_a_schedule_of_several_boundaries_trains_the_same_weights(
    make_plan, deep_data, run_params, states, opening
):
    never, steps = train(make_plan, deep_data, run_params, states, opening, BoundaryPlan("never"))
    always, cached_steps = train(make_plan, deep_data, run_params, states, opening, EXACT)
    kept = {"1", "3"} if opening is SCHEDULE else {"2"}
    assert set(always.lineage["boundary_caches"]) == kept
    assert never.lineage["boundary_caches"] == {}
    # Every step of it: the best weights may come from an epoch before any block opened.
    for column in ("loss", "grad_norm", "val_r_mean"):
        assert steps[column].to_numpy() == pytest.approx(
            cached_steps[column].to_numpy(), rel=2e-3, nan_ok=True
        ), column


def test_a_closed_block_that_once_trained_still_runs(
    make_plan, deep_data, run_params, states, monkeypatch
):
    """The pretrained features above it would be stale."""
    seen = []
    original = RetrievalSamples.batch

    def batch(self, positions):
        found = original(self, positions)
        seen.append(found.get("depth", "live"))
        return found

    monkeypatch.setattr(RetrievalSamples, "batch", batch)
    train(make_plan, deep_data, run_params, states, CLOSING, BoundaryPlan("never"))
    assert set(seen) == {"live"}
    seen.clear()
    train(make_plan, deep_data, run_params, states, SCHEDULE, EXACT)
    steps = len(seen) // 4
    assert [seen[i * steps] for i in range(4)] == [0, 1, 3, "live"]


def test_a_killed_training_resumes_on_the_cached_path(
    make_plan, deep_data, run_params, states, monkeypatch
):
    from aquatint.training import fit as fit_module

    whole = train(make_plan, deep_data, run_params, states, SCHEDULE, EXACT)[0]
    other = type(states)(states.root + "-killed")
    run = run_params.model_copy(update={"save_state_every_steps": 1})
    count = 0
    original = fit_module._take_step

    def take_step(*arguments):
        nonlocal count
        count += 1
        if count == 8:
            raise KeyboardInterrupt
        return original(*arguments)

    monkeypatch.setattr(fit_module, "_take_step", take_step)
    with pytest.raises(KeyboardInterrupt):
        train(make_plan, deep_data, run, other, SCHEDULE, EXACT)
    resumed = train(make_plan, deep_data, run, other, SCHEDULE, EXACT)[0]
    assert resumed.digest == whole.digest


def test_no_block_of_the_backbone_runs_below_the_boundary(make_plan, deep_data, run_params):
    plan = make_plan(
        "stage2",
        mode="lora",
        opening=((*HEADS, *blocks(1)),),
        backbone=deep_data.backbone,
        boundary=EXACT,
    )
    hidden = _feed(plan, deep_data, run_params).hidden
    model, _ = build_model(deep_data.backbone, plan.spec)
    ran = []
    for index, block in enumerate(model.backbone.model.vision_tower.encoder.layer):
        block.register_forward_hook(lambda *_, index=index: ran.append(("vision", index)))
    for index, block in enumerate(model.backbone.model.language_model.layers):
        block.register_forward_hook(lambda *_, index=index: ran.append(("text", index)))
    tables, sources = deep_data.sources("train", plan.spec.max_tokens, hidden)
    samples = RetrievalSamples(
        tables, sources, captions_per_image=1, regions_per_image=0, entry=lambda: 1, seed=0
    )
    RetrievalLosses(("itc",))(model, samples.batch(torch.arange(2)))
    assert ran == [("vision", 3), ("text", 3)]


@pytest.mark.parametrize(
    ("depth", "cached", "entry"),
    [(0, [2], CLOSED), (1, [2, 3], 2), (2, [2], 2), (3, [2], LIVE), (1, [], LIVE)],
)
def test_entry_is_the_nearest_cached_boundary(depth, cached, entry):
    assert entry_at(depth, cached) == entry


def test_depths_never_fall():
    assert open_depths((("adapters",), ("block_2", "heads"), ("block_1",), ())) == [0, 2, 2, 2]
