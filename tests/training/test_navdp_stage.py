"""NavDP: it learns eight samples, resumes to the bit, and is judged and flown as it should be."""

import dataclasses

import numpy as np
import pandas as pd
import pytest
import torch

from aquatint.data.navdp_goals import MountedCamera
from aquatint.data.navdp_labels import CriticRule
from aquatint.data.navdp_paths import read_paths
from aquatint.features.cache import FeatureStore
from aquatint.features.navdp import FrameSight, cache_depth, cache_pictures, cache_rgb, depth_shares
from aquatint.metrics.trajectories import (
    average_displacement_error,
    final_displacement_error,
    rank_correlation,
    separation_score,
    top_regret,
)
from aquatint.models.teacher_source import TeacherSource
from aquatint.params import OptimizerParams, StageParams
from aquatint.training.checkpoint import CheckpointMismatchError
from aquatint.training.navdp_evaluation import FanRule, evaluate_fans, predict_fans
from aquatint.training.navdp_planners import ExpertPlanner, LinePlanner, LoopRule, lines
from aquatint.training.navdp_rollout import compare_pairs, fly_all
from aquatint.training.navdp_samples import Choice, LabelRule, NavDpData, NavDpSamples
from aquatint.training.navdp_sampling import sample_fan, start_noise
from aquatint.training.navdp_stage import (
    NavDpPlan,
    build_policy,
    compute_navdp_losses,
    restore_navdp,
    train_policy,
)
from aquatint.training.state import TrainingStateFolder
from killed import killed_after
from navdp_fixture import rule, write_groups

SIGHT = FrameSight(token_grid=2, depth_px=12, picture_px=12, min_depth_m=0.1, max_depth_m=40.0)
LABELS = LabelRule(
    horizon=4, stride=1, memory_size=2, memory_stride=1, action_scale=0.5, max_step_m=2.0,
    end_goal_share=0.5, max_rotation_rad=1.0, critic=CriticRule(1.2, 5.0, 0.05, 2.0),
    num_timesteps=4,
)  # fmt: skip
ENCODER = {"kind": "patches", "patch_px": 4, "num_blocks": 1, "num_heads": 2}
MODEL = {
    "queries_per_frame": 2, "width": 16, "num_reader_blocks": 1, "depth_encoder": ENCODER,
    "goal_encoder": ENCODER,
    "decoder": {"horizon": 4, "num_blocks": 1, "num_heads": 2, "feedforward_width": 32,
                "dropout": 0.0},
    "diffusion": {"num_train_timesteps": 4, "sampler": "ddpm", "prediction_type": "sample"},
}  # fmt: skip
EYES = TeacherSource("dino", "world")


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    root = write_groups(tmp_path_factory.mktemp("paths"))
    found = read_paths(root, rule(val_fraction=0.5, seed=3))
    store = FeatureStore(str(root / "cache"), 1.0)
    return NavDpData(
        found.paths, found.frames, found.obstacles,
        cache_rgb(store, EYES, root, found.frames, SIGHT, "cpu", 8),
        cache_depth(store, root, found.frames, SIGHT, 1000.0),
        cache_pictures(store, root, found.frames, SIGHT),
    )  # fmt: skip


def plan(epochs=2, **changes):
    params = {
        "epochs": epochs, "batch_size": 8,
        "optimizer": OptimizerParams(learning_rate=5e-3, weight_decay=0.0, warmup_fraction=0.0),
        "loss_weights": {"action": 0.8, "critic": 0.2, "goal": 0.5}, **changes,
    }  # fmt: skip
    return NavDpPlan(StageParams(**params), LABELS, MODEL, 1, 100, 8)


def train(data, run, folder, **changes):
    return train_policy(plan(**changes), data, EYES, run, TrainingStateFolder(str(folder)))


def test_samples_hold_what_the_path_says(data):
    samples = NavDpSamples(data, LABELS, Choice("train"))
    batch = samples.batch(torch.arange(len(samples)))
    assert batch["rgb"].shape == (len(samples), 2, 5, 32)
    # Paths go straight on, 2 m a frame: an increment of 1 until the goal, then none.
    for number, name in enumerate(samples.identify(torch.arange(len(samples)))):
        truth = samples.truth(number)
        assert name == f"{truth['path_id']}@{truth['frame']}"
        left = round(truth["goal"][0] / 2)
        expected = [1.0] * min(left, 4) + [0.0] * (4 - min(left, 4))
        assert batch["actions"][number, :, 0].tolist() == pytest.approx(expected, abs=1e-5)
        assert np.allclose(truth["label"][:, 1:], 0, atol=1e-6)
        assert batch["point"][number, 2] == pytest.approx(2 * left / 8, abs=1e-5)
    # The path at y = 1 runs into the obstacle at (5.25, 1.25): none to imitate, but to be judged.
    collides = [samples.truth(i)["is_colliding"] for i in range(len(samples))]
    assert batch["imitates"].tolist() == [0.0 if c else 1.0 for c in collides]
    assert any(collides)
    assert not all(collides)
    assert batch["value"][torch.tensor(collides)].min() < -1


def test_draws_depend_on_sample_and_epoch_alone(data):
    first, second = (NavDpSamples(data, LABELS, Choice("train", repeat_factor=2)) for _ in "ab")
    whole = first.batch(torch.arange(8))
    parts = [second.batch(torch.tensor([i])) for i in (3, 5)]
    for name in ("noise", "timesteps", "rotated", "point", "mixture"):
        assert torch.equal(whole[name][[3, 5]], torch.cat([p[name] for p in parts])), name
    second.epoch = 1
    assert not torch.equal(second.batch(torch.arange(8))["noise"], whole["noise"])
    assert len(first) == 2 * len(first.ids)
    again = first.batch(torch.tensor([3, 3 + len(first.ids)]))
    assert not torch.equal(again["noise"][0], again["noise"][1]), "a repeat is another draw"


def test_a_share_of_the_samples_is_the_same_for_everybody(data):
    parts = [NavDpSamples(data, LABELS, Choice("train", percent=p)).ids for p in (30, 30, 70, 100)]
    assert parts[0] == parts[1]
    assert parts[0] != NavDpSamples(data, LABELS, Choice("train", percent=30, seed=1)).ids
    assert set(parts[0]) < set(parts[2]) < set(parts[3])
    assert len(NavDpSamples(data, LABELS, Choice("train", max_samples=5)).ids) == 5


def test_eight_samples_are_learnt(data):
    samples = NavDpSamples(data, LABELS, Choice("train"))
    kept = [i for i in range(len(samples)) if not samples.truth(i)["is_colliding"]][:8]
    torch.manual_seed(0)
    first = samples.batch(torch.tensor(kept))
    spec = {"model": {**MODEL, "width": 32, "rgb_width": 32, "num_rgb_tokens": 5, "memory_size": 2,
                      "depth_px": 12, "picture_px": 12}}  # fmt: skip
    model = build_policy(spec)
    optimizer = torch.optim.AdamW(model.parameters(), 5e-3)
    history = []
    for step in range(200):
        optimizer.param_groups[0]["lr"] = 5e-3 * (1 - step / 200)
        rng = torch.Generator().manual_seed(step)
        first["noise"] = torch.randn(first["noise"].shape, generator=rng)
        first["timesteps"] = torch.randint(0, 4, first["timesteps"].shape, generator=rng)
        first["mixture"] = torch.randint(0, 27, (8,), generator=rng)
        terms = compute_navdp_losses(model, first)
        loss = 0.8 * terms["action"] + 0.2 * terms["critic"] + 0.5 * terms["goal"]
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        history.append({name: float(term.detach()) for name, term in terms.items()})
    for name in ("action", "critic", "goal"):
        late = np.mean([row[name] for row in history[-10:]])
        # Eight values of which few are collisions are learnt last.
        assert late < (0.5 if name == "critic" else 0.2) * history[0][name], name
    model.eval()
    start = start_noise([str(i) for i in kept], 4, 4, 0)
    fan = sample_fan(model, first, "point", start)
    gaps = ((fan.actions - first["actions"][:, None]).cumsum(2) / 0.5)[..., :2].norm(dim=-1)
    still = (first["actions"].cumsum(1) / 0.5)[..., :2].norm(dim=-1)
    assert gaps.mean() < 0.4 * still.mean()


def test_losses_are_the_sum_over_parts_of_a_batch(data):
    samples = NavDpSamples(data, LABELS, Choice("train"))
    torch.manual_seed(0)
    sizes = {"rgb_width": 32, "num_rgb_tokens": 5, "memory_size": 2, "depth_px": 12}
    model = build_policy({"model": {**MODEL, **sizes, "picture_px": 12}})
    whole = compute_navdp_losses(model, samples.batch(torch.arange(8)))
    parts = [compute_navdp_losses(model, samples.batch(p)) for p in torch.arange(8).split(4)]
    for name, term in whole.items():
        mean = sum(part[name] for part in parts) / 2
        assert term.item() == pytest.approx(mean.item(), abs=1e-5), name


def test_paths_that_collide_teach_no_action(data):
    samples = NavDpSamples(data, LABELS, Choice("train"))
    colliding = [i for i in range(len(samples)) if samples.truth(i)["is_colliding"]]
    torch.manual_seed(0)
    sizes = {"rgb_width": 32, "num_rgb_tokens": 5, "memory_size": 2, "depth_px": 12}
    model = build_policy({"model": {**MODEL, **sizes, "picture_px": 12}})
    terms = compute_navdp_losses(model, samples.batch(torch.tensor(colliding)))
    assert terms["action"].item() == 0
    terms["action"].backward(retain_graph=True)
    assert all(p.grad is None or not p.grad.any() for p in model.parameters())
    terms["critic"].backward()
    assert model.decoder.critic_head.weight.grad.abs().max() > 0


def test_a_killed_training_goes_on_to_the_same_bits(data, run_params, tmp_path):
    run = run_params.model_copy(update={"save_state_every_steps": 1})
    whole, history = train(data, run, tmp_path / "whole")
    with killed_after(3):
        train(data, run, tmp_path / "killed")
    again, resumed = train(data, run, tmp_path / "killed")
    assert again.digest == whole.digest
    assert resumed["loss"].tolist() == history["loss"].tolist()


@pytest.mark.slow
def test_two_processes_have_the_losses_of_one(data, run_params, tmp_path, launch_on_pair):
    """Also where the last batch of an epoch has one sample: the second process has none of it."""
    found = []
    for count in (1, 2):
        run = run_params.model_copy(update={"num_processes": count})
        states = TrainingStateFolder(str(tmp_path / str(count)))
        chosen = plan(epochs=1)
        size = len(NavDpSamples(data, LABELS, Choice("train"))) - 1
        params = chosen.params.model_copy(update={"batch_size": size})
        chosen = dataclasses.replace(chosen, params=params)
        found.append(
            launch_on_pair(train_policy, (chosen, data, EYES, run, states), run, tmp_path)[1]
        )
    names = [name for name in found[0] if name.startswith(("loss", "grad", "val"))]
    assert len(found[0]) == 2
    assert np.allclose(found[0][names], found[1][names], rtol=1e-4, atol=1e-6, equal_nan=True)


@pytest.fixture(scope="module")
def trained(data, run_params, tmp_path_factory):
    return train(data, run_params, tmp_path_factory.mktemp("states"), epochs=1)[0]


def test_predictions_hold_what_the_metrics_say(data, trained, run_params):
    table = predict_fans(trained, data, FanRule(3, 0, 4), run_params)
    found = evaluate_fans(table)
    rows = table[(table["kind"] == "point") & ~table["is_colliding"]]
    assert found["num_frames"] == len(rows) > 0
    fan = np.stack(rows["fan"].to_list()).reshape(len(rows), 3, 4, 3)
    label = np.stack(rows["label"].to_list()).reshape(len(rows), 1, 4, 3)
    errors = np.linalg.norm(fan[..., :2] - label[..., :2], axis=-1).mean(-1)
    point = found["kinds"]["point"]
    assert point["first"]["average_error_m"] == pytest.approx(errors[:, 0].mean())
    assert point["best_average_error_m"] == pytest.approx(errors.min(1).mean())
    chosen = np.stack(rows["values"].to_list()).argmax(1)
    picked = errors[np.arange(len(rows)), chosen].mean()
    assert point["chosen"]["average_error_m"] == pytest.approx(picked)
    straight = found["baselines"]["straight"]
    assert straight["average_error_m"] == pytest.approx(0, abs=1e-5), "these paths are straight"
    assert found["critic"]["formula_auc"] is not None
    # A plan depends on no other frame of its batch.
    order = ["path_id", "frame", "kind"]
    again = predict_fans(trained, data, FanRule(3, 0, 2), run_params).sort_values(order)
    for mine, other in zip(again["fan"], table.sort_values(order)["fan"], strict=True):
        assert np.allclose(mine, other, atol=1e-4)


def test_labels_change_no_plan(data, trained, run_params):
    """The goal is told; the way to it is not."""
    moved = data.frames.assign(
        y_m=data.frames["y_m"].where(data.frames["frame"].isin([0, 4]), data.frames["y_m"] + 1)
    )
    other = dataclasses.replace(data, frames=moved)
    plans = []
    for tables in (data, other):
        samples = NavDpSamples(tables, dataclasses.replace(LABELS, end_goal_share=1.0),
                               Choice("test"))  # fmt: skip
        firsts = torch.tensor([i for i, (_, frame) in enumerate(samples.ids) if frame == 0])
        batch = samples.batch(firsts)
        start = start_noise(samples.identify(firsts), 2, 4, 0)
        plans.append(sample_fan(restore_navdp(trained, "cpu"), batch, "point", start).actions)
    assert torch.equal(*plans)


def test_published_encoders_are_where_training_begins(data, run_params, tmp_path):
    from transformers import Dinov2Config, Dinov2Model

    torch.manual_seed(1)
    config = Dinov2Config(hidden_size=8, num_hidden_layers=1, num_attention_heads=2, image_size=12,
                          patch_size=4, mlp_ratio=2)  # fmt: skip
    published = Dinov2Model(config)
    published.save_pretrained(tmp_path / "dino")
    eyes = TeacherSource("dino", "folder", str(tmp_path / "dino"), "d", 12)
    kind = {"kind": "dinov2"}
    model = {**MODEL, "depth_encoder": kind, "goal_encoder": kind}
    chosen = dataclasses.replace(plan(epochs=1), model=model)
    chosen = dataclasses.replace(chosen, params=chosen.params.model_copy(update={"max_steps": 2}))
    states = TrainingStateFolder(str(tmp_path / "states"))
    checkpoint, _ = train_policy(chosen, data, eyes, run_params, states)
    restored = restore_navdp(checkpoint, "cpu")  # the folder is not needed
    name = "embeddings.patch_embeddings.projection.weight"
    first = published.state_dict()[name]
    for encoder, channels in ((restored.depth, 1), (restored.image, 6), (restored.pixel, 4)):
        own = encoder.model.state_dict()[name]
        assert own.shape == (8, channels, 4, 4)
        # Two steps of 5e-3 away from the mean over colors, which adds up to the same brightness.
        expected = first.mean(1, keepdim=True) * 3 / channels
        assert (own - expected).abs().max() < 1.1e-2
    with pytest.raises(ValueError, match="has none"):
        train_policy(chosen, data, EYES, run_params, states)


def test_a_checkpoint_of_another_size_is_refused(trained):
    other = {**trained.spec, "model": {**trained.spec["model"], "width": 32}}
    with pytest.raises(CheckpointMismatchError, match="other shape"):
        restore_navdp(dataclasses.replace(trained, spec=other), "cpu")


def test_metrics_by_hand():
    target = np.array([[1.0, 0.0], [2.0, 0.0]])
    way = np.array([[1.0, 3.0], [2.0, 4.0]])
    assert average_displacement_error(way, target) == pytest.approx(3.5)
    assert final_displacement_error(way, target) == pytest.approx(4.0)
    assert rank_correlation(np.array([1.0, 2, 3]), np.array([1.0, 20, 9])) == pytest.approx(0.5)
    assert rank_correlation(np.array([1.0, 1]), np.array([1.0, 2])) is None
    values = np.array([[0.0, 1.0], [1.0, 0.0]])
    assert top_regret(values, np.array([[5.0, 2.0], [4.0, 1.0]])).tolist() == [3.0, 0.0]
    assert separation_score(np.array([2.0, 1.0]), np.array([0.0, 1.0])) == pytest.approx(3.5 / 4)
    assert separation_score(np.zeros(0), np.ones(2)) is None


def test_depth_is_a_share_of_its_range_and_never_averaged():
    depth = np.array([[0.05, 10.0], [20.0, 90.0]])
    sight = dataclasses.replace(SIGHT, depth_px=2)
    assert depth_shares(depth, sight).tolist() == [[0.0, 0.25], [0.5, 0.0]]


class Field:
    """One agent on a plane with a wall at x = 5 between y = -3 and y = 3."""

    episode_ids = ("a",)
    camera = MountedCamera(50, 50, 48, 48, 96, 96, 6.0, 0.8)

    def reset(self):
        self.path, self.num_collisions, self.has_stopped = [np.zeros(2)], 0, False
        self.goal = np.array([12.0, 0.0])

    def goals(self, agents):
        return (self.goal - self.path[-1])[None]

    def expert_waypoints(self, agents, horizon, spacing_m):
        place = self.path[-1]
        way = np.array([[4.0, 4.0], [8.0, 4.0], self.goal])
        ahead = way[(way[:, 0] > place[0] + 0.1) | (way[:, 0] == 12)] - place
        ahead = ahead[np.minimum(np.arange(horizon), len(ahead) - 1)]
        return np.column_stack([ahead, np.zeros(horizon)])[None]

    def follow(self, agents, waypoints):
        for row in waypoints:
            start = self.path[-1]
            for ahead in row:
                target = start + ahead[:2]
                if self.path[-1][0] < 5 < target[0] and abs(target[1]) < 3:
                    self.num_collisions += 1
                    break
                self.path.append(target)

    def stop(self, agents):
        self.has_stopped = self.has_stopped or bool(agents)

    def results(self):
        return [{"path": np.array(self.path), "has_stopped": self.has_stopped,
                 "num_collisions": self.num_collisions}]  # fmt: skip


def test_planners_end_where_they_should():
    loop = LoopRule(horizon=3, spacing_m=2.0, num_executed=2, max_decisions=9, stop_length_m=1.0,
                    num_samples=2)  # fmt: skip
    world = Field()
    expert = fly_all(world, ExpertPlanner(loop), loop)[0]
    assert expert["has_stopped"]
    assert expert["num_collisions"] == 0
    assert np.allclose(expert["path"][-1], world.goal)
    straight = fly_all(world, LinePlanner(loop, "straight", 0), loop)[0]
    assert not straight["has_stopped"]
    assert straight["num_collisions"] > 3
    assert np.allclose(lines(np.array([0.0]), np.array([3.0]), 3, 2.0)[0, :, 0], [2, 3, 3])


def test_differences_are_paired_by_episode():
    rows = [
        {"episode_id": f"{s}{i}", "scene": s, "policy": policy, "success": float(win),
         "num_collisions": float(hits)}
        for s in "abcd" for i in range(3)
        for policy, win, hits in (("point", s != "d", 0), ("straight", s == "a", 2))
    ]  # fmt: skip
    found = compare_pairs(pd.DataFrame(rows), [("point", "straight")])[0]
    assert found["success"] == pytest.approx(0.5)
    assert found["num_collisions"] == -2
    assert found["success_interval"][0] <= 0.5 <= found["success_interval"][1]
