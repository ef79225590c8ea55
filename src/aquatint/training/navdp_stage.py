"""The training of NavDP on recorded paths."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from aquatint.collective import weigh
from aquatint.losses.navdp import denoising_error, squared_error
from aquatint.models.navdp import NavDpPolicy
from aquatint.models.teacher_source import TeacherSource
from aquatint.params import RunParams, StageParams
from aquatint.training.checkpoint import Checkpoint, load_weights
from aquatint.training.fit import fit
from aquatint.training.lineage import conditions, fingerprint, stage_record, table_digest
from aquatint.training.navdp_samples import Choice, LabelRule, NavDpData, NavDpSamples, label_recipe
from aquatint.training.navdp_sampling import sample_fan, start_noise
from aquatint.training.objective import Objective, Opening
from aquatint.training.precision import prepare_device, to_device
from aquatint.training.state import TrainingStateFolder

_ENCODERS = ("depth_encoder", "goal_encoder")


@dataclass(frozen=True)
class NavDpPlan:
    """How a policy is trained.

    Attributes:
        params: Epochs, batch size, rates, weights of ``action``, ``critic`` and ``goal``.
        rule: How frames become samples.
        model: Arguments of ``NavDpPolicy`` that data do not decide.
        repeat_factor: How often each sample is in an epoch.
        percent: Share of the samples that is used.
        num_val_samples: Samples of the validation split that are judged after each epoch.
    """

    params: StageParams
    rule: LabelRule
    model: Mapping[str, Any]
    repeat_factor: int
    percent: int
    num_val_samples: int


def compute_navdp_losses(model: NavDpPolicy, batch: dict[str, Any]) -> dict[str, Tensor]:
    """Return the terms of a batch, unweighted.

    ``action``: error of what is predicted, half without a goal and half with one. ``critic``: error
    of the value of the path and of the turned path. ``goal``: error of the place that is read off
    the picture of the goal, and off its mark, half each.
    """
    seen = model.see(batch["rgb"], batch["depth"])
    goals = model.embed_goals(batch)
    slots = model.fill_slots(goals, batch["mixture"])
    without, told = model.condition(seen, None), model.condition(seen, slots)
    noise, timesteps = batch["noise"], batch["timesteps"]
    noisy = [
        model.diffusion.add_noise(batch["actions"], noise[:, i], timesteps[:, i]) for i in (0, 1)
    ]
    # Both at once: one pass of twice the size takes less than two.
    predicted = model.decoder.predict(
        torch.cat(noisy), torch.cat([timesteps[:, 0], timesteps[:, 1]]), torch.cat([without, told])
    )
    target = torch.cat([model.diffusion.target(batch["actions"], noise[:, i]) for i in (0, 1)])
    weights = torch.cat([batch["imitates"], batch["imitates"]])
    judged = torch.cat([batch["actions"], batch["rotated"]])
    values = model.decoder.value(judged, torch.cat([without, without]))
    own, turned = values.float().chunk(2)
    image, pixel = model.image_aside(goals.image), model.pixel_aside(goals.pixel)
    terms = {
        # Equal halves: the mean over both is half of each.
        "action": denoising_error(predicted.float(), target, weights),
        "critic": squared_error(own, batch["value"])
        + squared_error(turned, batch["rotated_value"]),
        "goal": 0.5 * squared_error(image.float(), batch["point"])
        + 0.5 * squared_error(pixel.float(), batch["point"]),
    }
    return {name: weigh(term, batch["num_counted"]) for name, term in terms.items()}


def build_policy(spec: Mapping[str, Any]) -> NavDpPolicy:
    """Build the policy of a specification."""
    return NavDpPolicy(**spec["model"])


def train_policy(
    plan: NavDpPlan,
    data: NavDpData,
    encoder: TeacherSource,
    run: RunParams,
    states: TrainingStateFolder,
) -> tuple[Checkpoint, pd.DataFrame]:
    """Train NavDP on the train split.

    Returns:
        Checkpoint at the smallest mean distance from validation paths, and the history, one row a
        step.
    """
    seed = run.seed
    chosen = Choice("train", plan.repeat_factor, plan.percent, seed=seed)
    samples = NavDpSamples(data, plan.rule, chosen)
    val = NavDpSamples(data, plan.rule, Choice("val", max_samples=plan.num_val_samples, seed=seed))
    first = samples.batch(torch.tensor([0]))
    published = _published(plan, encoder)
    spec = {
        "model": {
            **_with_config(plan.model, published),
            "rgb_width": first["rgb"].shape[-1],
            "num_rgb_tokens": first["rgb"].shape[-2],
            "memory_size": plan.rule.memory_size,
            "depth_px": first["depth"].shape[-1],
            "picture_px": first["picture"].shape[1],
        },
        "rule": label_recipe(plan.rule),
    }
    torch.manual_seed(seed)
    model = build_policy(spec)
    if published:
        model.start_from(published.state_dict())
    names = [name for name, _ in model.named_parameters()]

    def begin_epoch(epoch: int) -> None:
        samples.epoch = epoch

    key = _training_key(plan, data, run)
    objective = Objective(
        samples,
        compute_navdp_losses,
        _validation(val, plan, run),
        begin_epoch=begin_epoch,
        spans_ranks=True,
    )
    opening = Opening({"policy": names}, lambda epoch: {"policy"})
    result = fit(model, objective, opening, plan.params, run, states.for_fingerprint(key))
    record = stage_record("navdp", plan.params, encoder, run, result)
    checkpoint = Checkpoint(result.best_weights, spec, {"training_key": key, **record})
    return checkpoint, pd.DataFrame(result.history)


def _published(plan: NavDpPlan, encoder: TeacherSource) -> Any:  # noqa: ANN401 - Dinov2Model
    """The DINOv2 that trainable encoders begin with; None where none of them is one."""
    if all(plan.model[name]["kind"] != "dinov2" for name in _ENCODERS):
        return None
    if encoder.source != "folder":
        raise ValueError(
            "An encoder of kind dinov2 begins with the weights of navdp.data.rgb_encoder, which "
            "has none: give it source folder or hub, or take kind patches."
        )
    from aquatint.models.published_teachers import load_model

    return load_model(encoder, "cpu")


def _with_config(model: Mapping[str, Any], published: Any) -> dict[str, Any]:  # noqa: ANN401
    """Sizes of a policy, with the configuration of its DINOv2s: a checkpoint needs no folder."""
    config = published.config.to_diff_dict() if published else {}
    return {
        **model,
        **{
            name: {**model[name], "config": config}
            for name in _ENCODERS
            if model[name]["kind"] == "dinov2"
        },
    }


def _validation(
    val: NavDpSamples, plan: NavDpPlan, run: RunParams
) -> Callable[[NavDpPolicy], dict[str, float]]:
    """Judge one sampled trajectory for each validation sample, told the goal as a place."""
    device = prepare_device(run)
    starts = start_noise(val.identify(torch.arange(len(val))), 1, plan.rule.horizon, run.seed)

    def evaluate(model: NavDpPolicy) -> dict[str, float]:
        errors, values = [], []
        for positions in torch.arange(len(val)).split(plan.params.batch_size):
            batch = to_device(val.batch(positions), device)
            fan = sample_fan(model, batch, "point", starts[positions].to(device))
            gaps = (fan.actions[:, 0] - batch["actions"]).cumsum(1)[..., :2]
            gaps = gaps / plan.rule.action_scale
            counted = batch["imitates"].bool()
            errors += gaps.norm(dim=-1).mean(1)[counted].tolist()
            none = model.condition(fan.seen, None)
            found = model.decoder.value(batch["actions"], none)
            values += (found - batch["value"]).square().tolist()
        mean_m = float(np.mean(errors))
        return {
            "score": -mean_m,
            "average_error_m": mean_m,
            "critic_error": float(np.mean(values)),
        }

    return evaluate


def _training_key(plan: NavDpPlan, data: NavDpData, run: RunParams) -> str:
    """Fingerprint of all that decides the weights; a state under another key is not resumed."""
    return fingerprint(
        {
            "plan": {
                **vars(plan),
                "params": plan.params.model_dump(mode="json"),
                "rule": label_recipe(plan.rule),
                "model": dict(plan.model),
            },
            "tables": {
                name: table_digest(getattr(data, name)) for name in ("paths", "frames", "obstacles")
            },
            "features": [data.rgb.digest, data.depth.digest, data.pictures.digest],
            **conditions(run, train_policy),
        }
    )


def restore_navdp(checkpoint: Checkpoint, device: str | torch.device) -> NavDpPolicy:
    """Build a checkpoint's policy; no tensor may be missing or left over."""
    model = build_policy(checkpoint.spec)
    load_weights(model, checkpoint.weights, "The NavDP checkpoint")
    return model.to(device).eval()
