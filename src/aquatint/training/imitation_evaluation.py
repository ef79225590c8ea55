"""What a policy does with held-out recordings, step by step."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import torch

from aquatint.metrics.classification import classification_metrics
from aquatint.metrics.paired import group_bootstrap_interval
from aquatint.models.imitation import ImitationPolicy
from aquatint.training.imitation_samples import ImitationSamples, observed
from aquatint.training.precision import to_device

ACTION_NAMES = ("stop", "forward", "left", "right")
_FORWARD = ACTION_NAMES.index("forward")


@torch.inference_mode()
def follow(
    model: ImitationPolicy, samples: ImitationSamples, batch_size: int, device: torch.device
) -> pd.DataFrame:
    """What a policy would do at every recorded step, told the recorded actions so far.

    Returns:
        One row a step: instruction_id, flight_id, step, ``target`` and ``predicted`` action, and
        the progress of both.
    """
    model.eval()
    rows = []
    for positions in torch.arange(len(samples)).split(batch_size):
        batch = to_device(samples.batch(positions), device)
        decided = model(observed(batch))
        is_step = batch["is_step"].bool().cpu().numpy()
        number, step = np.nonzero(is_step)
        ids = np.array(samples.identify(positions))[number]
        rows.append(
            pd.DataFrame(
                {
                    "instruction_id": ids,
                    "flight_id": [name.rpartition("#")[0] for name in ids],
                    "step": step,
                    "target": batch["actions"].cpu().numpy()[is_step],
                    "predicted": decided.logits.argmax(-1).cpu().numpy()[is_step],
                    "progress_target": batch["progress"].cpu().numpy()[is_step],
                    "progress": decided.progress.float().cpu().numpy()[is_step],
                }
            )
        )
    return pd.concat(rows, ignore_index=True)


def step_metrics(found: pd.DataFrame) -> dict[str, Any]:
    """Judge actions and progress step by step.

    Args:
        found: Table of ``follow``.

    Returns:
        What ``classification_metrics`` gives; ``accuracy_interval_by_flight``;
        ``inflection_accuracy`` where the action changes, with ``num_inflections``;
        ``progress_error``, the mean absolute difference.
    """
    target, predicted = found["target"].to_numpy(), found["predicted"].to_numpy()
    is_change = (_before(found) != found["target"]).to_numpy()
    hits = predicted == target
    return {
        **classification_metrics(predicted, target, ACTION_NAMES),
        "accuracy_interval_by_flight": group_bootstrap_interval(
            hits, found["flight_id"].to_numpy()
        ),
        "inflection_accuracy": float(hits[is_change].mean()) if is_change.any() else None,
        "num_inflections": int(is_change.sum()),
        "progress_error": float((found["progress"] - found["progress_target"]).abs().mean()),
    }


def _before(found: pd.DataFrame) -> pd.Series:
    """Action of the step before, missing at the first."""
    return found.groupby("instruction_id", sort=False)["target"].shift(1)


def evaluate_predictions(predictions: pd.DataFrame) -> dict[str, Any]:
    """Judge a policy beside itself with exchanged instructions, and what needs no model.

    Args:
        predictions: Tables of ``follow`` with a column ``told``: ``own`` or ``other``.

    Returns:
        ``step_metrics`` of own instructions; ``misled`` with those of others and the difference of
        accuracy by flight; ``baselines``: always forward, and the action of the step before.
    """
    own = predictions[predictions["told"] == "own"].reset_index(drop=True)
    other = predictions[predictions["told"] == "other"].reset_index(drop=True)
    fall = (own["predicted"] == own["target"]).astype(float) - (
        other["predicted"] == other["target"]
    ).astype(float)
    last = _before(own).fillna(_FORWARD).astype(int)
    return {
        **step_metrics(own),
        "misled": {
            **step_metrics(other),
            "fall": float(fall.mean()),
            "fall_interval": group_bootstrap_interval(fall.to_numpy(), own["flight_id"].to_numpy()),
        },
        "baselines": {
            "forward": step_metrics(own.assign(predicted=_FORWARD, progress=0.5)),
            "last_action": step_metrics(own.assign(predicted=last, progress=0.5)),
        },
    }
