"""NavDP judged on held-out frames: trajectories by kind of goal, and the critic's choice."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from tqdm import tqdm

from aquatint.collective import hides_bars
from aquatint.data.navdp_labels import (
    CriticRule,
    critic_values,
    waypoints_of,
)
from aquatint.geometry.poses import to_world_frame
from aquatint.metrics.paired import group_bootstrap_interval
from aquatint.metrics.trajectories import (
    average_displacement_error,
    final_displacement_error,
    rank_correlation,
    separation_score,
    top_regret,
)
from aquatint.models.navdp import GOAL_KINDS, NavDpPolicy
from aquatint.params import RunParams
from aquatint.training.checkpoint import Checkpoint
from aquatint.training.navdp_planners import lines
from aquatint.training.navdp_samples import Choice, LabelRule, NavDpData, NavDpSamples
from aquatint.training.navdp_sampling import sample_fan, start_noise
from aquatint.training.navdp_stage import restore_navdp
from aquatint.training.precision import prepare_device, to_device

KINDS = (*GOAL_KINDS, "none")
BASELINES = ("straight", "forward", "random")
_MAX_RANDOM_TURN_RAD = np.radians(60.0)
Floats = NDArray[Any]


@dataclass(frozen=True)
class FanRule:
    """What is sampled for evaluation.

    Attributes:
        num_samples: Trajectories for each frame and kind of goal.
        num_frames: Held-out frames, evenly over the split; 0 for all.
        batch_size: Frames at once.
    """

    num_samples: int
    num_frames: int
    batch_size: int


def predict_fans(
    checkpoint: Checkpoint, data: NavDpData, rule: FanRule, run: RunParams
) -> pd.DataFrame:
    """Sample trajectories for held-out frames by every kind of goal, and draw simple ones.

    Returns:
        One row for each frame and kind: ids, ``goal`` and ``label`` as seen from the frame, ``fan``
        (K, H, 3) flat in metres and radians, ``values`` by the critic and ``true_values`` by the
        formula (K,), ``clearances_m`` (K,) to the nearest obstacle, ``has_collided`` (K,), and of the
        label and the turned label ``own_value`` and ``turned_value`` with their truth.
    """
    labels = label_rule_of(checkpoint)
    device = prepare_device(run)
    policy = restore_navdp(checkpoint, device)
    choice = Choice("test", max_samples=rule.num_frames, seed=run.seed)
    samples = NavDpSamples(data, labels, choice)
    rows: list[dict[str, Any]] = []
    batches = torch.arange(len(samples)).split(rule.batch_size)
    for positions in tqdm(batches, desc="sampling fans", disable=hides_bars(), leave=False):
        batch = to_device(samples.batch(positions), device)
        ids = samples.identify(positions)
        truths = [samples.truth(int(position)) for position in positions]
        start = start_noise(ids, rule.num_samples, labels.horizon, run.seed).to(device)
        judged = _judge_labels(policy, batch, device)
        for kind in KINDS:
            fan = sample_fan(policy, batch, kind, start, run.seed)
            ways = waypoints_of(fan.actions.cpu().numpy().astype(float), labels.action_scale)
            values = fan.values.cpu().numpy().astype(float)
            rows += [
                _row(truth, kind, (ways[i], values[i]), labels.critic) | judged[i]
                for i, truth in enumerate(truths)
            ]
        rows += list(_baseline_rows(truths, labels, run.seed))
    return pd.DataFrame(rows)


def label_rule_of(checkpoint: Checkpoint) -> LabelRule:
    """Return the rule that a policy was trained with."""
    rule = dict(checkpoint.spec["rule"])
    return LabelRule(**{**rule, "critic": CriticRule(**rule["critic"])})


@torch.inference_mode()
def _judge_labels(
    policy: NavDpPolicy, batch: dict[str, torch.Tensor], device: torch.device
) -> list[dict[str, float]]:
    """What the critic thinks of labels and turned labels, beside the truth."""
    condition = policy.condition(policy.see(batch["rgb"], batch["depth"]), None)
    columns = {
        "own_value": policy.decoder.value(batch["actions"], condition),
        "turned_value": policy.decoder.value(batch["rotated"], condition),
        "own_true_value": batch["value"],
        "turned_true_value": batch["rotated_value"],
    }
    lists = {name: values.float().cpu().tolist() for name, values in columns.items()}
    return [dict(zip(lists, row, strict=True)) for row in zip(*lists.values(), strict=True)]


def _baseline_rows(
    truths: list[dict[str, Any]], labels: LabelRule, seed: int
) -> Iterator[dict[str, Any]]:
    """Lines to the goal, ahead and by chance, one for each frame."""
    for number, truth in enumerate(truths):
        distance = float(np.linalg.norm(truth["goal"][:2]))
        draw = np.random.default_rng([seed, truth["frame"], number, 98])
        limit = _MAX_RANDOM_TURN_RAD
        angles = {
            "straight": float(np.arctan2(truth["goal"][1], truth["goal"][0])),
            "forward": 0.0,
            "random": float(draw.uniform(-limit, limit)),
        }
        for kind in BASELINES:
            reach = distance if kind == "straight" else np.inf
            way = lines(
                np.array([angles[kind]]), np.array([reach]), labels.horizon, labels.max_step_m
            )
            yield _row(truth, kind, (way, np.zeros(1)), labels.critic)


def _row(
    truth: dict[str, Any], kind: str, fan: tuple[Floats, Floats], rule: CriticRule
) -> dict[str, Any]:
    ways, values = fan
    world = np.stack([to_world_frame(way, truth["pose"])[:, :2] for way in ways])
    distances = truth["field"].distances_m(world)
    near = distances.min(1)
    return {
        "path_id": truth["path_id"],
        "scene_id": truth["path_id"].rpartition("/")[0],
        "frame": truth["frame"],
        "kind": kind,
        "is_colliding": truth["is_colliding"],
        "pose": truth["pose"].tolist(),
        "goal": truth["goal"].tolist(),
        "label": truth["label"].ravel().tolist(),
        "fan": ways.astype(np.float32).ravel().tolist(),
        "values": values.tolist(),
        "true_values": critic_values(distances, rule).tolist(),
        "clearances_m": near.tolist(),
        "has_collided": (near < rule.collision_distance_m).tolist(),
    }


def evaluate_fans(predictions: pd.DataFrame) -> dict[str, Any]:
    """Judge trajectories and the critic.

    Frames of recorded collisions are left out: their way is none to follow.

    Args:
        predictions: Table of ``predict_fans``.

    Returns:
        ``kinds``: metrics by kind of goal, of the critic's choice, of the first sample (no critic),
        and of the best of all; ``baselines``: of lines; ``critic``: AUC of labels against turned
        labels, with the AUC of the formula itself; ``num_frames``.
    """
    kept = predictions[~predictions["is_colliding"]]
    by_kind = {str(kind): rows for kind, rows in kept.groupby("kind", sort=False)}
    point = by_kind["point"]
    return {
        "num_frames": len(point),
        "kinds": {kind: _fan_metrics(by_kind[kind]) for kind in KINDS},
        "baselines": {kind: _choice_metrics(by_kind[kind], None) for kind in BASELINES},
        "critic": {
            "auc": separation_score(*(point[f"{n}_value"].to_numpy() for n in ("own", "turned"))),
            "formula_auc": separation_score(
                *(point[f"{n}_true_value"].to_numpy() for n in ("own", "turned"))
            ),
        },
    }


def _fan_metrics(rows: pd.DataFrame) -> dict[str, Any]:
    values, truths = (np.stack(rows[name].to_list()) for name in ("values", "true_values"))
    ranks = [rank_correlation(v, t) for v, t in zip(values, truths, strict=True)]
    known = [rank for rank in ranks if rank is not None]
    groups = rows["scene_id"].to_numpy()
    regret = top_regret(values, truths)
    errors = _errors(rows, average_displacement_error)
    return {
        "chosen": _choice_metrics(rows, values.argmax(1)),
        "first": _choice_metrics(rows, None),
        "best_average_error_m": float(errors.min(1).mean()),
        "fan_collision_share": float(np.stack(rows["has_collided"].to_list()).mean()),
        "rank_correlation": float(np.mean(known)) if known else None,
        "num_ranked": len(known),
        "regret": float(regret.mean()),
        "regret_interval": group_bootstrap_interval(regret, groups),
        # Who takes any of them loses this much.
        "chance_regret": float((truths.max(1) - truths.mean(1)).mean()),
    }


def _errors(rows: pd.DataFrame, error: Any) -> Floats:  # noqa: ANN401 - a metric
    labels = np.stack(rows["label"].to_list()).reshape(len(rows), 1, -1, 3)
    fans = np.stack(rows["fan"].to_list()).reshape(len(rows), -1, *labels.shape[2:])
    return error(fans[..., :2], labels[..., :2])


def _choice_metrics(rows: pd.DataFrame, chosen: NDArray[np.int64] | None) -> dict[str, Any]:
    """Metrics of one trajectory of each fan, the first if none is chosen."""
    places = np.arange(len(rows))
    picks = np.zeros(len(rows), int) if chosen is None else chosen
    groups = rows["scene_id"].to_numpy()
    average = _errors(rows, average_displacement_error)[places, picks]
    final = _errors(rows, final_displacement_error)[places, picks]
    collided = np.stack(rows["has_collided"].to_list())[places, picks].astype(float)
    clearance = np.stack(rows["clearances_m"].to_list())[places, picks]
    return {
        "average_error_m": float(average.mean()),
        "average_error_m_interval": group_bootstrap_interval(average, groups),
        "final_error_m": float(final.mean()),
        "collision_share": float(collided.mean()),
        "collision_share_interval": group_bootstrap_interval(collided, groups),
        "clearance_m": float(clearance[np.isfinite(clearance)].mean()),
    }

