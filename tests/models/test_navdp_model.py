"""NavDP's decoder and policy: who sees what, which goal fills which slot, what is told apart."""

import pytest
import torch

from aquatint.models.diffusion import Diffusion
from aquatint.models.navdp import GOAL_KINDS, NUM_MIXTURES, Goals, NavDpPolicy, slot_kinds
from aquatint.models.navdp_decoder import TrajectoryDecoder
from aquatint.models.patch_encoder import PatchEncoder

DIFFUSION = Diffusion(4, "ddpm", prediction_type="sample")


def decoder(**changes):
    torch.manual_seed(0)
    sizes = {
        "width": 16, "horizon": 6, "num_condition_tokens": 5, "num_task_tokens": 3,
        "num_blocks": 2, "num_heads": 2, "feedforward_width": 32, "dropout": 0.0,
    }  # fmt: skip
    return TrajectoryDecoder(**{**sizes, **changes}).eval()


def policy(**changes):
    torch.manual_seed(0)
    encoder = {"kind": "patches", "patch_px": 4, "num_blocks": 1, "num_heads": 2}
    sizes = {
        "rgb_width": 6, "num_rgb_tokens": 3, "memory_size": 2, "depth_px": 8, "picture_px": 8,
        "queries_per_frame": 2, "width": 16, "num_reader_blocks": 1, "depth_encoder": encoder,
        "goal_encoder": encoder,
        "decoder": {"horizon": 6, "num_blocks": 1, "num_heads": 2, "feedforward_width": 32,
                    "dropout": 0.0},
        "diffusion": {"num_train_timesteps": 4, "sampler": "ddpm", "prediction_type": "sample"},
    }  # fmt: skip
    return NavDpPolicy(**{**sizes, **changes}).eval()


def seen_batch(size=2, seed=0):
    rng = torch.Generator().manual_seed(seed)
    return {
        "rgb": torch.randn(size, 2, 3, 6, generator=rng),
        "depth": torch.rand(size, 8, 8, generator=rng),
        "picture": torch.randint(0, 255, (size, 8, 8, 3), generator=rng, dtype=torch.uint8),
        "goal_picture": torch.randint(0, 255, (size, 8, 8, 3), generator=rng, dtype=torch.uint8),
        "goal_mark": (torch.rand(size, 8, 8, generator=rng) > 0.8).float(),
        "point": torch.randn(size, 3, generator=rng),
    }


def test_the_decoder_alone_takes_tokens_of_anybody():
    model = decoder(horizon=32, num_condition_tokens=7)
    condition = torch.randn(3, 7, 16)
    fan = model.sample(DIFFUSION, condition, torch.randn(3, 4, 32, 3), torch.Generator())
    assert fan.shape == (3, 4, 32, 3)
    assert model.values_of(fan, condition).shape == (3, 4)
    with pytest.raises(ValueError, match="built for 7 condition tokens, got 5"):
        model.predict(fan[:, 0], torch.zeros(3), condition[:, :5])
    with pytest.raises(ValueError, match="num_task_tokens"):
        decoder(num_task_tokens=6)


def test_samples_that_share_a_condition_are_those_that_have_it_each():
    model, condition = decoder(), torch.randn(3, 5, 16)
    start, times = torch.randn(3, 4, 6, 3), torch.tensor([3, 0, 2])
    shared = model.predict(start.flatten(0, 1), times, condition)
    repeated = condition.repeat_interleave(4, dim=0)
    each = model.predict(start.flatten(0, 1), times.repeat_interleave(4), repeated)
    assert torch.allclose(shared, each, atol=1e-5)
    values = model.values_of(start, condition).flatten()
    assert torch.allclose(values, model.value(start.flatten(0, 1), repeated), atol=1e-5)


def test_a_step_sees_no_later_one():
    model, condition = decoder(), torch.randn(1, 5, 16)
    noisy = torch.randn(1, 6, 3)
    changed = noisy.clone()
    changed[:, 4] += 1
    steps = torch.tensor([2])
    before, after = (model.predict(x, steps, condition) for x in (noisy, changed))
    assert torch.allclose(before[:, :4], after[:, :4], atol=1e-6)
    assert not torch.allclose(before[:, 4:], after[:, 4:], atol=1e-3)


def test_steps_are_told_apart_by_their_place():
    model, condition = decoder(), torch.randn(1, 5, 16)
    same = torch.ones(1, 6, 3)
    found = model.predict(same, torch.tensor([2]), condition)
    assert not torch.allclose(found[:, 1:], found[:, :-1], atol=1e-4)


def test_the_critic_sees_neither_task_nor_time_but_what_is_seen():
    model, condition = decoder(), torch.randn(2, 5, 16)
    actions = torch.randn(2, 6, 3)
    told = condition.clone()
    told[:, :3] = 9.0
    assert torch.equal(model.value(actions, condition), model.value(actions, told))
    elsewhere = condition.clone()
    elsewhere[:, 4] += 1
    assert not torch.allclose(model.value(actions, condition), model.value(actions, elsewhere))
    steps = torch.zeros(2, dtype=torch.long)
    assert not torch.allclose(
        model.predict(actions, steps, condition), model.predict(actions, steps, told)
    )
    assert not torch.allclose(
        model.predict(actions, steps, condition), model.predict(actions, steps + 3, condition)
    )


def test_leaving_hidden_tokens_out_is_masking_them():
    model, condition = decoder(), torch.randn(2, 5, 16)
    actions = torch.randn(2, 6, 3)
    memory = torch.cat([torch.randn(2, 1, 16), condition], 1) + model.condition_places
    mask = torch.zeros(6, 6)
    mask[:, :4] = -torch.inf
    steps = model.action(actions) + model.step_places
    decoded = model.norm(model.blocks(steps, memory, tgt_mask=model._is_later, memory_mask=mask))
    masked = model.critic_head(decoded.mean(1)).squeeze(-1)
    assert torch.allclose(masked, model.value(actions, condition), atol=1e-5)


def test_all_mixtures_of_goals_are_different_and_fill_their_slots():
    kinds = {slot_kinds(number) for number in range(NUM_MIXTURES)}
    assert len(kinds) == NUM_MIXTURES == 27
    goals = Goals(*(torch.full((NUM_MIXTURES, 4), float(i)) for i in range(3)))
    slots = NavDpPolicy.fill_slots(goals, torch.arange(NUM_MIXTURES))
    assert slots[..., 0].long().tolist() == [list(slot_kinds(n)) for n in range(NUM_MIXTURES)]
    with pytest.raises(ValueError, match="27 mixtures"):
        slot_kinds(27)


@pytest.mark.parametrize("kind", GOAL_KINDS)
def test_a_single_kind_is_a_mixture_of_itself(kind):
    model, batch = policy(), seen_batch()
    number = 13 * GOAL_KINDS.index(kind)
    mixed = model.fill_slots(model.embed_goals(batch), torch.tensor([number, number]))
    assert torch.allclose(mixed, model.slots_for(kind, batch), atol=1e-6)


@pytest.mark.parametrize(
    ("kind", "name"),
    [("point", "point"), ("image", "goal_picture"), ("pixel", "goal_mark"), ("image", "picture")],
)
def test_each_kind_of_goal_changes_the_plan(kind, name):
    model, batch = policy(), seen_batch()
    other = {**batch, name: seen_batch(seed=1)[name]}
    found = []
    for told in (batch, other):
        condition = model.condition(model.see(batch["rgb"], batch["depth"]),
                                    model.slots_for(kind, told))  # fmt: skip
        found.append(model.decoder.predict(torch.zeros(2, 6, 3), torch.ones(2), condition))
    assert not torch.allclose(*found, atol=1e-5)
    assert model.slots_for("none", batch) is None


@pytest.mark.parametrize("name", ["rgb", "depth"])
def test_what_is_seen_changes_tokens_and_gets_gradients(name):
    model, batch = policy(), seen_batch()
    before = model.see(batch["rgb"], batch["depth"])
    changed = {**batch, name: batch[name] + 1}
    assert not torch.allclose(before, model.see(changed["rgb"], changed["depth"]), atol=1e-4)
    assert before.shape == (2, 6, 16)
    model.see(batch["rgb"], batch["depth"]).square().sum().backward()
    assert model.depth.patches[0].weight.grad.abs().max() > 0
    assert model.rgb.weight.grad.abs().max() > 0


def test_the_published_sizes_can_be_built():
    with torch.device("meta"):
        model = TrajectoryDecoder()
    assert sum(p.numel() for p in model.blocks.parameters()) == 16 * 2_366_592
    assert model.condition_places.shape == (1, 132, 384)


def test_patches_must_fit():
    with pytest.raises(ValueError, match="must be even and divide"):
        PatchEncoder(channels=1, size_px=9, patch_px=4, width=8, num_blocks=1, num_heads=2)


def test_what_is_predicted_is_noise_or_what_is_clean():
    clean, noise = torch.ones(2, 3), torch.zeros(2, 3)
    assert torch.equal(Diffusion().target(clean, noise), noise)
    assert torch.equal(Diffusion(prediction_type="sample").target(clean, noise), clean)
    perfect = Diffusion(10, "ddpm", prediction_type="sample").sample(
        lambda noisy, steps: torch.full_like(noisy, 0.4), torch.randn(4, 3),
        torch.Generator().manual_seed(0),
    )  # fmt: skip
    assert torch.allclose(perfect, torch.full((4, 3), 0.4), atol=1e-5)
