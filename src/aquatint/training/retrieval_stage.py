"""A stage of cross-modal retrieval: build its model, train it, and turn it into a checkpoint."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, Literal

import pandas as pd

from aquatint.features.boundary_costs import FrozenInputs
from aquatint.features.frozen import Encoding
from aquatint.metrics.ranks import retrieval_ranks
from aquatint.metrics.retrieval import retrieval_metrics
from aquatint.models.adapters import upgrade_adapter_weights
from aquatint.models.retrieval_model import RetrievalModel
from aquatint.params import RunParams, StageParams
from aquatint.training.checkpoint import Checkpoint
from aquatint.training.fit import fit
from aquatint.training.lineage import conditions, fingerprint, stage_record, table_digest
from aquatint.training.objective import FitResult, Objective, Opening
from aquatint.training.precision import prepare_device
from aquatint.training.retrieval_data import RetrievalData, building_groups
from aquatint.training.retrieval_feed import (
    BackboneFeed,
    BoundaryPlan,
    build_feed,
    open_depths,
)
from aquatint.training.retrieval_inference import encode_split
from aquatint.training.retrieval_losses import RetrievalLosses
from aquatint.training.retrieval_models import RetrievalSpec, build_model, fit_scalers
from aquatint.training.retrieval_samples import (
    RetrievalSamples,
    RetrievalTables,
)
from aquatint.training.state import TrainingStateFolder


@dataclass(frozen=True)
class StagePlan:
    """How one stage is trained.

    Attributes:
        name: Stage name for lineage: ``stage1``, ``stage2``, ``baseline``.
        params: Epochs, batch size, rates, loss weights.
        spec: Architecture.
        opening: Groups that train in epochs 0, 1, ...; the last entry holds.
        captions_per_image: Captions of one sample.
        regions_per_image: Located sentences of one sample.
        negatives: How ITM draws its negatives.
        boundary: Whether and how hidden states below open blocks are kept.
    """

    name: str
    params: StageParams
    spec: RetrievalSpec
    opening: Sequence[Sequence[str]]
    captions_per_image: int
    regions_per_image: int
    negatives: Literal["hard", "random"]
    boundary: BoundaryPlan = BoundaryPlan()


def train_retrieval(
    plan: StagePlan,
    data: RetrievalData,
    parent: Checkpoint | None,
    run: RunParams,
    states: TrainingStateFolder,
) -> tuple[Checkpoint, pd.DataFrame]:
    """Train one stage from scratch or from its parent's weights.

    Args:
        plan: What to train and how.
        data: Tables, features and backbone.
        parent: Checkpoint whose every tensor is carried over; None to start afresh.
        run: Seed, device, precision.
        states: Where states of the training go.

    Returns:
        Checkpoint at the best validation score, and the history, one row a step.
    """
    if data.backbone.dtype not in ("float32", run.precision) and run.precision != "float32":
        raise ValueError(
            f"run.precision {run.precision} does not go with a backbone loaded in "
            f"{data.backbone.dtype}; make them equal, or one of them float32."
        )
    model, groups = build_model(data.backbone, plan.spec, run.seed)
    if run.gradient_checkpointing and plan.spec.mode != "none":
        model.backbone.activation_checkpointing_enable({"use_reentrant": False})
    model.groups_texts = run.num_ranks == 1 or run.parallelism != "fsdp2"
    feed = _feed(plan, data, run)
    tables, sources = data.sources("train", plan.spec.max_tokens, feed.hidden)
    if parent is None:
        fit_scalers(model.heads, sources, len(tables.images), len(tables.captions))
    else:
        _carry_over(model, parent)
    samples = RetrievalSamples(
        tables,
        sources,
        captions_per_image=plan.captions_per_image,
        regions_per_image=plan.regions_per_image,
        entry=lambda: feed.entry,
        seed=run.seed,
    )
    losses = RetrievalLosses(
        tuple(name for name, weight in plan.params.loss_weights.items() if weight), plan.negatives
    )
    groups = _reached_groups(groups, plan, tables)
    key = _training_key(plan, data, parent, run, feed)
    objective = Objective(
        samples,
        losses,
        _validation(plan, data, feed),
        begin_epoch=feed.begin_epoch,
        spans_ranks=True,
    )
    opening = Opening(groups, lambda epoch: set(plan.opening[min(epoch, len(plan.opening) - 1)]))
    result = fit(model, objective, opening, plan.params, run, states.for_fingerprint(key))
    lineage = {
        "training_key": key,
        **_lineage(plan, data, parent, run, result),
        "boundary_caches": _cache_digests(feed),
    }
    # Statistics, and heads that this stage left as they were: a checkpoint holds all of them.
    fixed = {f"heads.{name}": t.detach().cpu() for name, t in model.heads.state_dict().items()}
    is_last_best = result.best_weights is result.last_weights
    checkpoint = Checkpoint(
        {**fixed, **result.best_weights},
        asdict(plan.spec),
        lineage,
        {} if is_last_best else {**fixed, **result.last_weights},
    )
    return checkpoint, pd.DataFrame(result.history)


def _feed(plan: StagePlan, data: RetrievalData, run: RunParams) -> BackboneFeed:
    """Fill the caches below open blocks that are worth it."""
    if data.store is None or plan.spec.mode == "none":
        return BackboneFeed(open_depths(plan.opening))
    splits = [data.tables.of_split(split) for split in ("train", "val")]
    # Fully opened weights train in float32, so the frozen ones below run in it as well.
    dtype = "float32" if plan.spec.mode == "full" else data.backbone.dtype
    drawn = plan.captions_per_image + plan.regions_per_image
    num_texts = [len(tables.texts) for tables in splits]
    inputs = FrozenInputs(
        store=data.store,
        backbone=replace(data.backbone, dtype=dtype),
        pixels=data.caches.pixels,
        image_keys=[key for tables in splits for key in tables.images["sha256"]],
        texts=[text for tables in splits for text in tables.texts],
        texts_per_epoch=min(drawn * len(splits[0].images), num_texts[0]) + num_texts[1],
        max_tokens=plan.spec.max_tokens,
        encoding=Encoding(plan.boundary.batch_size, plan.boundary.dtype, str(prepare_device(run))),
    )
    return build_feed(plan.opening, plan.params.epochs, inputs, plan.boundary)


def _cache_digests(feed: BackboneFeed) -> dict[str, list[str]]:
    return {str(d): [h.images.digest, h.texts.digest] for d, h in feed.hidden.items()}


def _reached_groups(
    groups: dict[str, list[str]], plan: StagePlan, tables: RetrievalTables
) -> dict[str, list[str]]:
    """Leave out heads that no loss of this stage reaches: a weight of 0, or no targets at all."""
    weights = {str(name): weight for name, weight in plan.params.loss_weights.items()}
    num_targets = {
        "itm": len(tables.captions),
        "bbox": len(tables.located_regions) * plan.regions_per_image,
        "spatial": len(tables.relations),
    }
    idle = tuple(
        f"heads.{name}_head." for name, n in num_targets.items() if not n or not weights.get(name)
    )
    return {
        group: [name for name in names if not name.startswith(idle)]
        for group, names in groups.items()
    }


def _carry_over(model: RetrievalModel, parent: Checkpoint) -> None:
    """Put every tensor of the parent into the model; none may be lost."""
    simple = {name.removeprefix("heads."): t for name, t in parent.weights.items()}
    model.heads.load_state_dict(upgrade_adapter_weights(simple, model.heads), strict=True)


def _validation(plan: StagePlan, data: RetrievalData, feed: BackboneFeed) -> Any:  # noqa: ANN401 - a closure
    """Return the function that scores a model on the validation split."""
    tables, sources = data.sources("val", plan.spec.max_tokens, feed.hidden)
    image_groups, text_groups = building_groups(tables)

    def evaluate(model: RetrievalModel) -> dict[str, float]:
        encoded = encode_split(
            model,
            sources,
            len(tables.images),
            len(tables.captions),
            batch_size=plan.params.batch_size,
            entry=feed.entry,
        )
        ranks = retrieval_ranks(
            encoded.image_embeds, encoded.text_embeds, image_groups, text_groups
        )
        metrics = retrieval_metrics(ranks)
        return {
            "score": metrics["r_mean"],
            "r_mean": metrics["r_mean"],
            **{
                f"{direction}_recall_at_{k}": metrics[direction][f"recall_at_{k}"]
                for direction in ("text_to_image", "image_to_text")
                for k in (1, 10)
            },
        }

    return evaluate


def _training_key(
    plan: StagePlan,
    data: RetrievalData,
    parent: Checkpoint | None,
    run: RunParams,
    feed: BackboneFeed,
) -> str:
    """Fingerprint of all that decides the weights; a state under another key is not resumed."""
    return fingerprint(
        {
            "plan": {**asdict(plan), "params": plan.params.model_dump(mode="json")},
            "tables": _table_digests(data.tables),
            "caches": [cache.digest for cache in vars(data.caches).values()],
            "boundary_caches": _cache_digests(feed),
            "backbone": data.backbone.digest,
            "parent": parent.digest if parent else None,
            **conditions(run, train_retrieval),
        }
    )


def _table_digests(tables: RetrievalTables) -> dict[str, str]:
    return {name: table_digest(table) for name, table in vars(tables).items()}


def _lineage(
    plan: StagePlan,
    data: RetrievalData,
    parent: Checkpoint | None,
    run: RunParams,
    result: FitResult,
) -> dict[str, Any]:
    return {
        **stage_record(plan.name, plan.params, data.backbone, run, result),
        "parents": [] if parent is None else [_parent_entry(parent)],
        "data": _table_digests(data.tables),
    }


def _parent_entry(parent: Checkpoint) -> dict[str, Any]:
    return {
        "stage": parent.lineage.get("stage"),
        "version": parent.lineage.get("version"),
        "digest": parent.digest,
    }
