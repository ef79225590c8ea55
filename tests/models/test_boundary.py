"""Both halves of a transformer together are the whole, whatever the architecture."""

import pytest
import torch
from torch import nn

from aquatint.models.boundary import (
    language_above,
    language_below,
    vision_above,
    vision_below,
)

DEPTHS = (0, 1, 2, 3, 4)


@pytest.fixture(scope="module")
def towers(deep_backbone):
    model = deep_backbone.load().model
    # Pocket backbones have none, real ones of 300M have: not the identity, so that it shows.
    model.vision_tower.layernorm = nn.LayerNorm(32)
    return model.vision_tower, model.language_model


@pytest.mark.parametrize("depth", DEPTHS)
def test_vision_halves_are_the_whole(towers, depth):
    pixels = torch.randn(2, 3, 48, 48, generator=torch.Generator().manual_seed(0))
    whole = towers[0](pixel_values=pixels).last_hidden_state
    hidden = vision_below(towers[0], pixels, depth)
    assert torch.equal(vision_above(towers[0], hidden, depth), whole)
    assert depth == 0 or not torch.allclose(hidden, whole)


@pytest.mark.parametrize("depth", DEPTHS)
def test_language_halves_are_the_whole_with_padding(towers, depth):
    ids = torch.arange(12).reshape(2, 6) + 20
    mask = torch.tensor([[1] * 6, [1, 1, 1, 0, 0, 0]])
    whole = towers[1](input_ids=ids, attention_mask=mask).last_hidden_state
    hidden = language_below(towers[1], mask, depth, input_ids=ids)
    above = language_above(towers[1], hidden, mask, depth)
    assert torch.equal(above[mask.bool()], whole[mask.bool()])


def test_halves_of_qwen2_vl_keep_their_three_positions(small_qwen2_vl):
    """M-RoPE: with the default 0, 1, 2, ... the upper half would give other states."""
    embeds = torch.randn(1, 6, 32, generator=torch.Generator().manual_seed(0))
    mask = torch.ones(1, 6, dtype=torch.long)
    positions = torch.tensor([[0, 1, 1, 1, 1, 3], [0, 1, 1, 2, 2, 3], [0, 1, 2, 1, 2, 3]])[:, None]
    whole = small_qwen2_vl(
        inputs_embeds=embeds, attention_mask=mask, position_ids=positions
    ).last_hidden_state
    for depth in (0, 1, 2, 3):
        hidden = language_below(
            small_qwen2_vl, mask, depth, inputs_embeds=embeds, position_ids=positions
        )
        above = language_above(small_qwen2_vl, hidden, mask, depth, position_ids=positions)
        assert torch.allclose(above, whole, atol=1e-6), depth
    plain = language_above(small_qwen2_vl, hidden, mask, 3)
    assert not torch.allclose(plain, whole, atol=1e-3)


@pytest.fixture(scope="module")
def small_qwen2_vl():
    from transformers import Qwen2VLConfig
    from transformers.models.qwen2_vl.modeling_qwen2_vl import Qwen2VLTextModel

    torch.manual_seed(0)
    config = Qwen2VLConfig(
        text_config={
            "vocab_size": 50,
            "bos_token_id": 1,
            "eos_token_id": 2,
            "hidden_size": 32,
            "intermediate_size": 64,
            "num_hidden_layers": 3,
            "num_attention_heads": 2,
            "num_key_value_heads": 1,
            "rope_parameters": {
                "rope_type": "default",
                "rope_theta": 1e4,
                "mrope_section": [2, 3, 3],
            },
        }
    )
    model = Qwen2VLTextModel(config.text_config).eval()
    # Larger than the usual 0.02, with which attention would hardly look at positions.
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.ndim == 2:
                parameter.normal_(std=0.3)
    return model


def test_the_halves_share_the_models_parameters(towers):
    ids, mask = torch.tensor([[20, 21, 22]]), torch.ones(1, 3, dtype=torch.long)
    model = towers[1].requires_grad_(True)
    hidden = language_below(model, mask, 2, input_ids=ids).detach()
    language_above(model, hidden, mask, 2).sum().backward()
    reached = {
        int(n.split(".")[1])
        for n, p in model.named_parameters()
        if p.grad is not None and "layers" in n
    }
    assert reached == {2, 3}
    assert len(model.layers) == 4
    assert not isinstance(model.norm, nn.Identity)
    model.requires_grad_(False)


@pytest.mark.parametrize("depth", [-1, 5])
def test_a_depth_that_is_not_there_is_refused(towers, depth):
    with pytest.raises(ValueError, match=f"depth 0 to 4, got {depth}"):
        language_below(towers[1], torch.ones(1, 1), depth, input_ids=torch.ones(1, 1).long())
    with pytest.raises(ValueError, match=f"depth 0 to 4, got {depth}"):
        vision_above(towers[0], torch.zeros(1, 17, 32), depth)


def test_blocks_of_several_kinds_are_refused(towers, monkeypatch):
    kinds = ["full_attention", "sliding_attention"] * 2
    monkeypatch.setattr(towers[1].config, "layer_types", kinds)
    with pytest.raises(ValueError, match="one kind of attention"):
        language_below(towers[1], torch.ones(1, 1), 1, input_ids=torch.ones(1, 1).long())
