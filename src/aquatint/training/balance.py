"""What each train instance counts for: weights in the loss and repeats in an epoch."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np
import pandas as pd

from aquatint.data.class_weights import (
    balanced_rows,
    capped,
    effective_number_weights,
    inverse_frequency_weights,
    loss_shares,
    oversampled_rows,
    repeats,
)

ClassMap = Mapping[str, Mapping[str, str]]


@dataclass(frozen=True)
class Balance:
    """What is done against uneven classes; everything is computed from the train split.

    Attributes:
        class_weighting: Whether classes are weighted in the loss.
        condition_weighting: Whether conditions are weighted in the loss.
        oversampling: Whether samples of heavy classes are repeated.
        class_rule: ``inverse_frequency`` or ``effective_number``.
        effective_number_beta: Beta of the latter.
        condition_weights: Weight of each condition; None computes them like class weights.
        max_weight: No weight and no number of repeats is larger; None for no limit.
        sampler: ``shuffled`` shows every sample once an epoch, ``balanced`` draws classes alike.
    """

    class_weighting: bool
    condition_weighting: bool
    oversampling: bool
    class_rule: Literal["inverse_frequency", "effective_number"]
    effective_number_beta: float
    condition_weights: Mapping[str, float] | None
    max_weight: float | None
    sampler: Literal["shuffled", "balanced"]

    def __post_init__(self) -> None:
        """Refuse two remedies for the same thing: rare classes would count twice."""
        doubled = [name for name in ("class_weighting", "oversampling") if getattr(self, name)]
        if self.sampler == "balanced" and doubled:
            raise ValueError(
                f"sampler balanced draws rare classes more often already; with balance."
                f"{' and balance.'.join(doubled)} they would count twice. Set these to false, or "
                "sampler to shuffled."
            )


@dataclass(frozen=True)
class Weighing:
    """What each train instance counts for.

    Attributes:
        shown: Position of the instance of each sample of an epoch, shape (N,).
        weights: Weight of each instance in the loss, shape (number of instances,).
        class_weights: Weight of each class by its frequency, 1 where classes are not weighted.
        condition_weights: Weight of each condition, 1 where conditions are not weighted.
        loss_weights: Product of both by class, none above the limit: what the loss sees.
        repeats: How often an instance of each class is shown an epoch.
        loss_shares: Share of the loss of each class, repeats included.
        raw_shares: Share of the instances of each class.
    """

    shown: np.ndarray
    weights: np.ndarray
    class_weights: dict[str, float]
    condition_weights: dict[str, float]
    loss_weights: dict[str, float]
    repeats: dict[str, int]
    loss_shares: dict[str, float]
    raw_shares: dict[str, float]


def weigh(rows: pd.DataFrame, balance: Balance, class_map: ClassMap, seed: int) -> Weighing:
    """Compute weights and repeats from train instances.

    Args:
        rows: Instances of the train split.
        balance: What is done.
        class_map: Type and condition of each class; those without train instances get no weight.
        seed: Seed of the balanced draw.
    """
    names = rows["class_name"].tolist()
    counts = {name: int((rows["class_name"] == name).sum()) for name in class_map if name in names}
    by_frequency = _class_weights(counts, balance)
    by_class = by_frequency if balance.class_weighting else dict.fromkeys(counts, 1.0)
    by_condition = _condition_weights(rows["condition"], balance)
    product = {name: by_class[name] * by_condition[class_map[name]["condition"]] for name in counts}
    limited = capped(product, balance.max_weight)
    # What is repeated is decided by the same product; without any weighting, by the classes.
    is_weighted = balance.class_weighting or balance.condition_weighting
    heavy = limited if is_weighted else capped(by_frequency, balance.max_weight)
    times = repeats(heavy) if balance.oversampling else dict.fromkeys(counts, 1)
    shown = (
        balanced_rows(names, seed)
        if balance.sampler == "balanced"
        else oversampled_rows(names, times)
    )
    weights = np.array([limited[name] for name in names])
    shown_names = [names[i] for i in shown]
    return Weighing(
        shown=shown,
        weights=weights,
        class_weights=by_class,
        condition_weights=by_condition,
        loss_weights=limited,
        repeats=times,
        loss_shares=loss_shares(shown_names, weights[shown].tolist()),
        raw_shares=loss_shares(names, [1.0] * len(names)),
    )


def _condition_weights(conditions: pd.Series, balance: Balance) -> dict[str, float]:
    counts = {str(name): int(count) for name, count in conditions.value_counts().items()}
    if not balance.condition_weighting:
        return dict.fromkeys(counts, 1.0)
    return dict(balance.condition_weights or inverse_frequency_weights(counts))


def _class_weights(counts: Mapping[str, int], balance: Balance) -> dict[str, float]:
    if balance.class_rule == "effective_number":
        return effective_number_weights(counts, balance.effective_number_beta)
    return inverse_frequency_weights(counts)
