"""System 1 learns, looks at all that it is given, and latents are those of the whole model."""

import pytest
import torch

from aquatint.models import length_groups
from aquatint.models.dual_system import DualSystem, Memory, remember
from aquatint.models.navigator import NavigationModel, parameters_by_part
from aquatint.models.qwen_vl import embed_with_images, rope_positions
from aquatint.models.system1 import BACKENDS, PairMemory, System1
from aquatint.training.dual_memory import memory_shape, pack_memory, unpack_memory
from aquatint.training.dual_stage import trajectory_losses

PICTURES = {"size_px": 16, "patch_px": 8, "num_encoder_blocks": 1, "num_memory_blocks": 1,
            "num_queries": 4}  # fmt: skip
HORIZON = 8
# What a noisy trajectory was is learned in half the steps that its noise takes.
HEART_STEPS = {"epsilon": 150, "sample": 80}


@pytest.fixture(scope="module")
def navigator(navigation_backbone):
    return NavigationModel(navigation_backbone.load()).eval()


def system1(backend, width=32, prediction_type="epsilon"):
    torch.manual_seed(0)
    return System1(
        backend=backend, latent_width=32, num_latents=4, width=width, horizon=HORIZON,
        num_blocks=2, num_heads=2, pictures=PICTURES, num_train_timesteps=1000,
        num_inference_steps=10, num_diffusion_timesteps=20, prediction_type=prediction_type,
    )  # fmt: skip


def dialogues(navigator):
    """Two dialogues of different lengths with two images and one."""
    config = navigator.backbone.config
    start, image, end = (config.vision_start_token_id, config.image_token_id, 21)
    seen = [start, image, image, image, image, end]
    rows = [[25, 26, *seen, 27, *seen, 28, 29], [25, *seen, 27]]
    width = max(map(len, rows))
    ids = torch.tensor([row + [0] * (width - len(row)) for row in rows])
    mask = torch.tensor([[1] * len(row) + [0] * (width - len(row)) for row in rows])
    generator = torch.Generator().manual_seed(0)
    features = torch.randn(12, 32, generator=generator)
    grids = torch.tensor([[1, 4, 4]] * 3)
    batch = {"input_ids": ids, "attention_mask": mask, "grids": grids, "features": features}
    return rows, batch


def test_latents_of_remembered_dialogues_are_those_of_the_whole_model(navigator):
    rows, batch = dialogues(navigator)
    dual = DualSystem(navigator.backbone.model.language_model, 4, system1("nextdit"))
    memory = Memory(*(value.clone() for value in remember(navigator, batch)))
    found = dual.latents(memory)
    counts = [(0, 8, 0, 2), (8, 12, 2, 3)]
    for number, (row, (first, last, image, after)) in enumerate(zip(rows, counts, strict=True)):
        ids = torch.tensor([row])
        features, grids = batch["features"][first:last], batch["grids"][image:after]
        own = embed_with_images(navigator.backbone, ids, features)
        placed = rope_positions(navigator.backbone, ids, torch.ones_like(ids), grids)
        behind = int(placed.max()) + 1 + torch.arange(4)
        whole = navigator.backbone.model.language_model(
            inputs_embeds=torch.cat([own, dual.queries], 1),
            position_ids=torch.cat([placed, behind[None, None].expand(3, 1, 4)], 2),
        ).last_hidden_state[0, -4:]
        assert torch.allclose(found[number], whole, atol=1e-4)
    # Images bend the numbering: the next place is not the number of tokens.
    assert int(memory.places[0]) < len(rows[0])


def test_gradients_to_the_queries_are_those_of_the_whole_model(navigator):
    rows, batch = dialogues(navigator)
    dual = DualSystem(navigator.backbone.model.language_model, 4, system1("nextdit"))
    memory = Memory(*(value.clone() for value in remember(navigator, batch)))
    only = Memory(memory.values[1:, ..., : len(rows[1]), :], memory.lengths[1:], memory.places[1:])
    (cached,) = torch.autograd.grad(dual.latents(only).square().sum(), dual.queries)
    ids = torch.tensor([rows[1]])
    own = embed_with_images(navigator.backbone, ids, batch["features"][8:])
    placed = rope_positions(navigator.backbone, ids, torch.ones_like(ids), batch["grids"][2:])
    behind = int(placed.max()) + 1 + torch.arange(4)
    whole = navigator.backbone.model.language_model(
        inputs_embeds=torch.cat([own, dual.queries], 1),
        position_ids=torch.cat([placed, behind[None, None].expand(3, 1, 4)], 2),
    ).last_hidden_state[:, -4:]
    (live,) = torch.autograd.grad(whole.square().sum(), dual.queries)
    assert (cached - live).abs().max() < 0.01 * live.abs().max()


def test_a_packed_memory_comes_back_and_a_long_one_is_refused(navigator):
    _, batch = dialogues(navigator)
    memory = remember(navigator, batch)
    shape = memory_shape(navigator.backbone.config.text_config, 24)
    again = unpack_memory(pack_memory(memory, 24, "float32"), shape)
    for kept, found in zip(memory, again, strict=True):
        assert torch.equal(kept.float(), found.float())
    with pytest.raises(ValueError, match=r"has 17 tokens, more than max_tokens 12"):
        pack_memory(memory, 12, "float16")


@pytest.mark.parametrize(
    ("backend", "prediction_type"),
    [(backend, said) for backend in BACKENDS for said in ("epsilon", "sample")],
)
def test_every_backend_learns_eight_samples_by_heart(backend, prediction_type, navigator):
    generator = torch.Generator().manual_seed(1)
    draw = lambda *shape: torch.randn(*shape, generator=generator)  # noqa: E731
    latents, pictures = draw(8, 4, 32), draw(8, 2, 4, 16, 16).clamp(-1, 1)
    ways = (0.4 * draw(8, 1, 3) * torch.ones(8, HORIZON, 3)).clamp(-0.9, 0.9)
    model = system1(backend, prediction_type=prediction_type)
    optimizer = torch.optim.AdamW(model.parameters(), lr=5e-3)
    process, total = model.process, model.process.num_train_timesteps
    seen = pictures if model.sees_pictures else None
    for _ in range(HEART_STEPS[prediction_type]):
        timesteps, noise = torch.randint(total, (8,), generator=generator), draw(8, HORIZON, 3)
        said = model.predict(process.add_noise(ways, noise, timesteps), timesteps,
                             model.condition(latents, seen))  # fmt: skip
        loss = (said - process.target(ways, noise)).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    with torch.no_grad():
        condition = model.condition(latents, seen)
        found = model.sample(condition, draw(8, 4, HORIZON, 3), generator).mean(1)
    error = (found - ways).abs().mean()
    assert error < 0.4 * ways.abs().mean(), f"error {error:.3f}"
    shuffled = (found.roll(1, 0) - ways).abs().mean()
    assert shuffled > 2 * error, "each sample has its own way"


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_trajectory_depends_on_each_input_that_its_backend_has(backend):
    model = system1(backend).eval()
    if backend != "navdp_async":
        for block in model.decoder.blocks:
            block.gate.data.fill_(1.0)  # closed at first, and opened by training
    latents, pictures = torch.randn(1, 4, 32), torch.randn(1, 2, 4, 16, 16)
    noisy, timesteps = torch.randn(1, HORIZON, 3), torch.tensor([5])

    def say(latents, pictures, noisy=noisy, timesteps=timesteps):
        seen = pictures if model.sees_pictures else None
        return model.predict(noisy, timesteps, model.condition(latents, seen))

    before = say(latents, pictures)
    assert not torch.allclose(before, say(latents + torch.randn(1, 4, 32), pictures))
    assert not torch.allclose(before, say(latents, pictures, noisy.flip(1)).flip(1)), "order"
    assert not torch.allclose(before, say(latents, pictures, timesteps=torch.tensor([9])))
    for picture, channel in ((0, 0), (1, 0), (1, 3)):
        changed = pictures.clone()
        changed[:, picture, channel] += 1
        is_seen = {"nextdit": False, "nextdit_async": channel < 3, "navdp_async": True}[backend]
        assert torch.allclose(before, say(latents, changed)) != is_seen


def test_the_goal_is_as_loud_as_the_pictures_beside_it():
    """Else a decoder that does not scale what it reads learns the ground long before the goal."""
    latents, pairs = torch.randn(8, 4, 32), torch.randn(8, 2, 4, 16, 16)
    norms = system1("navdp_async").condition(latents, pairs).detach().norm(dim=2).mean(0)
    assert float(norms[0]) == pytest.approx(float(norms[1:].mean()), rel=0.2)


def test_a_pair_is_shown_as_it_is_or_by_what_has_changed():
    pairs = torch.randn(2, 2, 3, 16, 16)
    memories = {}
    for shows_change in (False, True):
        torch.manual_seed(0)
        sizes = {**PICTURES, "width": 32, "num_heads": 2, "shows_change": shows_change}
        memories[shows_change] = PairMemory(channels=3, **sizes)
    changed = pairs.clone()
    changed[:, 0] -= pairs[:, 1]
    assert torch.allclose(memories[True](pairs), memories[False](changed))
    assert not torch.allclose(memories[True](pairs), memories[False](pairs))


def test_pictures_do_not_drown_the_goal_that_every_block_is_told():
    """The gates of what is looked at are closed at first: what is told is all that arrives."""
    decoder = system1("nextdit_async").decoder
    noisy, timesteps = torch.randn(2, HORIZON, 3), torch.tensor([5, 900])
    goal, pictures = 0.1 * torch.randn(2, 4, 32), 10 * torch.randn(2, 4, 32)

    def change(goal_after, pictures_after):
        before = decoder(noisy, timesteps, torch.cat([goal, pictures], 1))
        after = decoder(noisy, timesteps, torch.cat([goal_after, pictures_after], 1))
        return float((after - before).detach().norm())

    of_goal, of_pictures = change(goal.flip(0), pictures), change(goal, pictures.flip(0))
    assert 0.3 < of_goal / of_pictures < 3


def test_padded_frames_reach_no_weight_and_an_empty_batch_costs_nothing(navigator):
    _, dialogue = dialogues(navigator)
    memory = Memory(*(value.clone() for value in remember(navigator, dialogue)))
    model = DualSystem(navigator.backbone.model.language_model, 4, system1("nextdit_async"))
    batch = {
        **memory._asdict(),
        "actions": torch.randn(2, 2, HORIZON, 3),
        "noise": torch.randn(2, 2, HORIZON, 3),
        "timesteps": torch.tensor([[5, 900], [300, 20]]),
        "pictures": torch.randn(2, 2, 2, 4, 16, 16),
        "is_target": torch.tensor([[True, False], [True, True]]),
    }
    loss = trajectory_losses(model, batch)["action"]
    changed = {**batch, "actions": batch["actions"].clone()}
    changed["actions"][0, 1] += 100
    assert torch.allclose(loss, trajectory_losses(model, changed)["action"])
    counted = {**batch, "actions": batch["actions"].clone()}
    counted["actions"][1, 1] += 100
    assert trajectory_losses(model, counted)["action"] > loss + 1
    nothing = {**batch, "is_target": torch.zeros(2, 2, dtype=torch.bool)}
    empty = trajectory_losses(model, nothing)["action"]
    assert empty.item() == 0.0
    empty.backward()
    grads = [p.grad for p in model.parameters() if p.grad is not None]
    assert grads
    assert all(grad.isfinite().all() for grad in grads)


def test_every_parameter_belongs_to_one_part(navigator):
    parts = parameters_by_part(navigator)
    names = [name for part in parts.values() for name in part]
    assert sorted(names) == sorted(name for name, _ in navigator.named_parameters())
    assert all("merger" in name for name in parts["mlp"])
    assert not any("merger" in name for name in parts["vision"])
    assert min(map(len, parts.values())) > 3


def test_a_dialogue_of_several_images_reads_as_transformers_reads_it(navigator):
    """Features given as embeddings, and positions, as the model itself would number them."""
    vision = navigator.backbone.config.vision_config
    channels = 3 * vision.temporal_patch_size * vision.patch_size**2
    generator = torch.Generator().manual_seed(3)
    patches = torch.randn(48, channels, generator=generator)
    _, batch = dialogues(navigator)
    ids, grids = batch["input_ids"][:1], batch["grids"][:2]
    given = {"input_ids": ids, "attention_mask": torch.ones_like(ids), "grids": grids,
             "patches": patches[:32]}  # fmt: skip
    with torch.no_grad():
        ours = navigator.answer_logits(navigator.read(given))
        theirs = navigator.backbone(
            input_ids=ids, pixel_values=patches[:32], image_grid_thw=grids,
            mm_token_type_ids=(ids == navigator.backbone.config.image_token_id).int(),
        ).logits  # fmt: skip
    assert torch.allclose(ours, theirs, atol=1e-4)


def test_dialogues_of_like_length_are_read_together_and_as_if_all_at_once(
    navigation_backbone, monkeypatch
):
    navigator = NavigationModel(navigation_backbone.load())
    _, batch = dialogues(navigator)
    is_seen = batch["attention_mask"].bool()
    inner = navigator.backbone.model.language_model
    weights = inner.layers[0].mlp.up_proj.weight.requires_grad_()
    found, widths = [], []
    monkeypatch.setattr(inner, "forward", note_widths(inner.forward, widths))
    for tokens_of_a_pass in (10_000, 1):
        monkeypatch.setattr(length_groups, "_TOKENS_OF_A_PASS", tokens_of_a_pass)
        states = navigator.read(batch)[is_seen]
        found.append((states, *torch.autograd.grad(states.square().sum(), weights)))
    assert widths == [17, 8, 17]
    for together, alone in zip(*found, strict=True):
        assert torch.allclose(together, alone, rtol=1e-4, atol=1e-5)


def note_widths(forward, widths):
    def noting(**given):
        widths.append(given["inputs_embeds"].shape[1])
        return forward(**given)

    return noting


def test_remembering_ends_with_the_last_keys_and_values(navigator):
    _, batch = dialogues(navigator)
    ran = []
    blocks = navigator.backbone.model.language_model.layers
    hooks = [block.mlp.register_forward_hook(lambda *_, n=n: ran.append(n))
             for n, block in enumerate(blocks)]  # fmt: skip
    memory = remember(navigator, batch)
    for hook in hooks:
        hook.remove()
    assert ran == list(range(len(blocks) - 1))
    assert memory.values.shape[1] == len(blocks)
    assert memory.values[:, -1, 1].abs().sum() > 0
