"""Optimizers with the field's usual exceptions from weight decay."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from aquatint.params import OptimizerParams

if TYPE_CHECKING:
    from torch import nn
    from torch.optim import AdamW


def build_adamw(
    model: nn.Module, groups: Mapping[str, Sequence[str]], params: OptimizerParams
) -> AdamW:
    """Build AdamW over all parameters that ever train.

    Biases, norms and other one-dimensional parameters get no weight decay. Parameters whose group
    is still closed have no gradient and are skipped by the optimizer.

    Args:
        model: Module with the parameters.
        groups: Parameter names by group, e.g. ``adapters``; a name stands in one group only.
        params: Rates and moments; ``group_factors`` scale the rate of a group.

    Raises:
        ValueError: If ``group_factors`` names a group that does not exist.
    """
    import torch

    unknown = sorted(set(params.group_factors) - set(groups))
    if unknown:
        raise ValueError(f"group_factors {unknown} name no group; there are {sorted(groups)}.")
    by_name = dict(model.named_parameters())
    param_groups = []
    for group, names in groups.items():
        factor = params.group_factors.get(group, 1.0)
        for decays in (True, False):
            members = [by_name[name] for name in names if (by_name[name].ndim > 1) == decays]
            if members:
                param_groups.append(
                    {
                        "params": members,
                        "weight_decay": params.weight_decay if decays else 0.0,
                        "factor": factor,
                    }
                )
    return torch.optim.AdamW(
        param_groups, lr=params.learning_rate, betas=params.betas, eps=params.eps
    )


def set_learning_rate(optimizer: AdamW, learning_rate: float) -> None:
    """Set the rate of every parameter group to ``learning_rate`` times the group's factor."""
    for group in optimizer.param_groups:
        group["lr"] = learning_rate * group["factor"]
