"""Adapters and heads: exact counts, shapes, pooling, dead branches, upgrade."""

import pytest
import torch

from aquatint.models.adapters import Adapter, ResidualAdapter, upgrade_adapter_weights
from aquatint.models.dual_encoder import (
    DualEncoder,
    TextEncoding,
    position_encoding,
    region_weights,
)


def count(module):
    return sum(p.numel() for p in module.parameters())


def build(is_enhanced=True, **changes):
    torch.manual_seed(0)
    arguments = {"vision_width": 24, "text_width": 16, "width": 32, "dropout": 0.0}
    return DualEncoder(is_enhanced=is_enhanced, **{**arguments, **changes}).eval()


def test_published_widths_give_the_exact_counts():
    published = {"vision_width": 1024, "text_width": 896}
    simple = DualEncoder(**published, is_enhanced=False)
    enhanced = DualEncoder(**published, is_enhanced=True)
    assert count(simple.vision_adapter) == 328_192
    assert count(simple.text_adapter) == 295_424
    assert count(enhanced.vision_adapter) == 591_104
    assert count(enhanced.text_adapter) == 525_568
    assert count(simple.image_projection) + count(simple.text_projection) == 131_584
    heads = (enhanced.itm_head, enhanced.bbox_head, enhanced.spatial_head)
    assert [count(head) for head in heads] == [131_842, 132_356, 132_870]
    assert count(simple) == 887_043
    assert count(enhanced) == 1_645_325


def test_an_upgrade_changes_nothing_before_the_norm():
    simple = Adapter(24, 32).eval()
    enhanced = ResidualAdapter(24, 32).eval()
    enhanced.load_state_dict(upgrade_adapter_weights(simple.state_dict(), enhanced))
    x = torch.randn(5, 24)
    assert torch.equal(enhanced.before_norm(x), simple(x))


def test_the_skip_is_the_identity_where_widths_agree():
    assert isinstance(ResidualAdapter(32, 32).skip, torch.nn.Identity)


def test_an_upgrade_that_would_lose_a_tensor_is_an_error():
    with pytest.raises(ValueError, match=r"1 do not: \['other'\]"):
        upgrade_adapter_weights({"other": torch.ones(1)}, ResidualAdapter(4, 4))


def text_tokens(content, length=5):
    """Tokens (1, 8, 16) whose real part is ``length`` long, its end included."""
    torch.manual_seed(content)
    mask = torch.zeros(1, 8, dtype=torch.long)
    mask[:, :length] = 1
    return torch.randn(1, 8, 16), mask


@pytest.mark.parametrize(("pooling", "position"), [("last", 3), ("eos", 4)])
def test_text_pooling_takes_the_named_token(pooling, position):
    model = build(text_pooling=pooling)
    tokens, mask = text_tokens(0)
    expected = model.text_adapter(tokens[:, position])
    assert torch.allclose(model.encode_text(tokens, mask).pooled, expected, atol=1e-6)


def test_mean_pooling_leaves_out_padding_and_the_end():
    model = build(text_pooling="mean")
    tokens, mask = text_tokens(0)
    expected = model.text_adapter(tokens[:, :4]).mean(dim=1)
    assert torch.allclose(model.encode_text(tokens, mask).pooled, expected, atol=1e-6)


@pytest.mark.parametrize("pooling", ["last", "eos", "mean"])
def test_padding_changes_nothing(pooling):
    model = build(text_pooling=pooling)
    tokens, mask = text_tokens(0)
    noisy = tokens.clone()
    noisy[:, 5:] = 1e3
    assert torch.equal(
        model.encode_text(tokens, mask).embeds, model.encode_text(noisy, mask).embeds
    )


@pytest.mark.parametrize("pooling", ["last", "eos", "mean"])
def test_captions_that_share_their_first_word_differ(pooling, backbone):
    """In a causal model the first token cannot see the rest of the caption."""
    from aquatint.features.text import TextEncoder
    from aquatint.models.backbone import encode_text_tokens

    ids, mask = TextEncoder(backbone.load_tokenizer(), 24)(
        ["A red house in the centre.", "A blue house in the upper left."]
    )
    tokens = encode_text_tokens(backbone.load(), ids)
    assert torch.equal(tokens[0, 0], tokens[1, 0]), "the fault that this test is about"
    model = build(text_width=32, text_pooling=pooling)
    embeds = model.encode_text(tokens, mask).embeds
    assert (embeds[0] - embeds[1]).abs().max() > 1e-3


def test_vision_pooling_takes_patches_or_the_class_token():
    tokens = torch.randn(2, 5, 24)
    changed = tokens.clone()
    changed[:, 0] += 1
    for pooling, sees_class in (("mean", False), ("cls", True)):
        model = build(vision_pooling=pooling)
        same = torch.equal(model.encode_image(tokens).embeds, model.encode_image(changed).embeds)
        assert same != sees_class


def test_embeddings_have_unit_length():
    model = build()
    assert torch.allclose(
        model.encode_image(torch.randn(3, 5, 24)).embeds.norm(dim=1), torch.ones(3)
    )


def encoded_text(seed):
    torch.manual_seed(seed)
    embeds = torch.nn.functional.normalize(torch.randn(3, 32), dim=-1)
    return TextEncoding(torch.randn(3, 32), embeds)


def test_each_head_looks_at_each_input():
    """A head whose output ignores an input is a dead branch."""
    model = build()
    patches, other = torch.randn(3, 16, 32), torch.randn(3, 16, 32)
    boxes = torch.rand(3, 4) * 0.2 + 0.3
    moved = boxes + torch.tensor([0.2, 0.1, 0.0, 0.0])
    text, text2 = encoded_text(0), encoded_text(1)
    for head in (model.match_logits, model.predict_boxes):
        out = head(patches, text)
        assert not torch.allclose(out, head(other, text))
        assert not torch.allclose(out, head(patches, text2))
    out = model.relation_logits(patches, boxes, moved)
    assert out.shape == (3, 6)
    assert not torch.allclose(out, model.relation_logits(other, boxes, moved))
    assert not torch.allclose(out, model.relation_logits(patches, moved, moved))
    assert not torch.allclose(out, model.relation_logits(patches, moved, boxes)), "A and B swapped"


def test_boxes_lie_within_the_image():
    boxes = build().predict_boxes(torch.randn(3, 16, 32) * 9, encoded_text(0))
    assert boxes.shape == (3, 4)
    assert bool(((boxes > 0) & (boxes < 1)).all())


def test_the_simple_model_refuses_tasks_it_has_no_head_for():
    with pytest.raises(ValueError, match="is_enhanced"):
        build(is_enhanced=False).predict_boxes(torch.randn(3, 16, 32), encoded_text(0))


def test_the_temperature_is_clamped():
    model = build()
    with torch.no_grad():
        model.temperature.fill_(7.0)
    assert model.clamped_temperature() == 0.5


def test_positions_tell_every_cell_apart_and_rows_from_columns():
    encoding = position_encoding(4, 32)
    distances = torch.cdist(encoding, encoding) + torch.eye(16) * 9
    assert distances.min() > 0.05
    cells = encoding.view(4, 4, 32)
    assert torch.equal(cells[0, :, :16], cells[0, :1, :16].expand(4, 16)), "first half is the row"
    assert torch.equal(cells[:, 0, 16:], cells[:1, 0, 16:].expand(4, 16)), "second is the column"


def test_a_region_reads_the_cells_under_its_box():
    cell = 5  # row 1, column 1
    inside = region_weights(torch.tensor([[0.375, 0.375, 0.05, 0.05]]), 4)[:, cell]
    outside = region_weights(torch.tensor([[0.875, 0.375, 0.05, 0.05]]), 4)[:, cell]
    assert inside.item() > 0.8
    assert outside.item() == 0.0


def test_region_weights_are_the_mean_of_bilinear_samples():
    boxes = torch.rand(50, 4)
    maps = torch.rand(1, 3, 8, 8)
    steps = (torch.arange(4) + 0.5) / 4 - 0.5
    x = boxes[:, 0, None] + steps * boxes[:, 2, None]
    y = boxes[:, 1, None] + steps * boxes[:, 3, None]
    points = torch.stack([x[:, None].expand(-1, 4, -1), y[:, :, None].expand(-1, -1, 4)], dim=-1)
    sampled = torch.nn.functional.grid_sample(
        maps.expand(50, -1, -1, -1), 2 * points - 1, align_corners=False, padding_mode="border"
    )
    weights = region_weights(boxes, 8)
    assert torch.allclose(weights.sum(dim=1), torch.ones(50), atol=1e-6)
    assert torch.allclose(weights @ maps[0].flatten(1).T, sampled.mean(dim=(2, 3)), atol=1e-5)


@pytest.mark.parametrize("num_texts", [0, 1, 9])
def test_items_of_one_image_give_what_a_copy_of_the_image_for_each_gives(num_texts):
    model, patches = build(), torch.randn(4, 16, 32)
    owners = torch.randint(0, 4, (num_texts,))
    embeds = torch.nn.functional.normalize(torch.randn(num_texts, 32), dim=-1)
    text = TextEncoding(torch.randn(num_texts, 32), embeds)
    boxes = torch.rand(2, num_texts, 4)
    for head, inputs in (
        (model.match_logits, (text,)),
        (model.predict_boxes, (text,)),
        (model.relation_logits, (boxes[0], boxes[1])),
    ):
        assert torch.allclose(
            head(patches, *inputs, owners), head(patches[owners], *inputs), atol=1e-5
        )
