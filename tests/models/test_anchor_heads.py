"""Heads of anchors: shapes, what they depend on, and what their gradients reach."""

import pytest
import torch

from aquatint.models.anchor_heads import (
    AnchorShape,
    build_head,
    decode_by_kernels,
    normalise,
    predict_anchor,
    rotate_by_position,
)

WIDTH, BATCH = 32, 3
SHAPES = {
    "sam": AnchorShape("sam", (8, 12, 12), (10, 6, 6), 16),
    "depth": AnchorShape("depth", (12, 12), (4, 16, 6, 6), 0, 95.0, 25.0),
    "dino": AnchorShape("dino", (5, 16)),
    "pidinet": AnchorShape("pidinet", (12, 12), (12, 6, 6)),
    "siglip": AnchorShape("siglip", (16,)),
    "metaclip": AnchorShape("metaclip", (16,)),
}
COUNTS = {"sam": 8}


def example(name, seed=0):
    generator = torch.Generator().manual_seed(seed)
    states = torch.randn(BATCH, COUNTS.get(name, 4), WIDTH, generator=generator)
    return states, torch.rand(BATCH, *SHAPES[name].context, generator=generator)


def make(name):
    torch.manual_seed(0)
    return build_head(WIDTH, COUNTS.get(name, 4), SHAPES[name])


@pytest.mark.parametrize("name", SHAPES)
def test_a_head_gives_what_its_teacher_gives(name):
    states, context = example(name)
    found = predict_anchor(name, make(name), states, context, decode_by_kernels)
    assert found.shape == (BATCH, *SHAPES[name].target)


@pytest.mark.parametrize("name", SHAPES)
def test_the_gradient_reaches_every_parameter_and_every_token(name):
    head = make(name)
    states, context = example(name)
    states.requires_grad_()
    found = predict_anchor(name, head, states, context, decode_by_kernels)
    (found * torch.randn(found.shape)).sum().backward()
    idle = [n for n, p in head.named_parameters() if p.grad is None or not p.grad.any()]
    # A key's bias moves all scores of a query alike, and a softmax does not see that.
    assert [n for n in idle if "in_proj_bias" not in n] == []
    assert states.grad.flatten(2).abs().sum(-1).min() > 0


@pytest.mark.parametrize("name", SHAPES)
def test_the_prediction_changes_with_each_input(name):
    head, (states, context) = make(name), example(name)

    def run(s, c):
        return predict_anchor(name, head, s, c, decode_by_kernels)

    before = run(states, context)
    for token in range(states.shape[1]):
        changed = states.clone()
        changed[:, token] += torch.randn(WIDTH)
        assert not torch.allclose(run(changed, context), before, atol=1e-6)
    if SHAPES[name].context:
        assert not torch.allclose(run(states, context + torch.rand_like(context)), before)


def test_depth_tokens_look_into_layers_in_turn():
    head, (states, context) = make("depth"), example("depth")
    before = head(states, context)
    for layer in range(4):
        changed = context.clone()
        changed[:, layer] += 1
        assert not torch.allclose(head(states, changed), before)
    assert head(states[:, :2], context).shape == before.shape


def test_rotation_keeps_norms_and_tells_places_apart():
    same = torch.randn(1, 1, WIDTH).expand(1, 8, WIDTH)
    turned = rotate_by_position(same)
    assert turned.norm(dim=-1) == pytest.approx(same.norm(dim=-1), rel=1e-5)
    assert torch.equal(turned[:, 0], same[:, 0])
    assert len({tuple(row.tolist()) for row in turned[0]}) == 8


def test_features_are_normalised_along_themselves_unless_asked_as_published():
    states = torch.randn(2, 4, 6)
    assert normalise(states, "features").norm(dim=-1) == pytest.approx(torch.ones(2, 4))
    assert normalise(states, "tokens").norm(dim=1) == pytest.approx(torch.ones(2, 6))


def test_a_kernel_can_draw_an_ellipse_where_it_is_told_to():
    """What the mask decoder of the world is able to say at all."""
    context = torch.zeros(1, 10, 24, 24)
    kernel = torch.zeros(1, 1, 16)
    # 0.2 - (x - 0.5)^2 - y^2: places follow the ten channels as 1, x, y, x^2, y^2, xy.
    kernel[..., 10:] = torch.tensor([0.2 - 0.25, 1.0, 0.0, -1.0, -1.0, 0.0])
    mask = decode_by_kernels(kernel, context, 24)[0, 0] > 0
    rows, columns = torch.nonzero(mask, as_tuple=True)
    assert columns.float().mean() == pytest.approx(17.25, abs=0.5)
    assert rows.float().mean() == pytest.approx(11.5, abs=0.5)
