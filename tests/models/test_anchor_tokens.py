"""New tokens: rows of their own, and an embedding that keeps every bit."""

import pytest
import torch

from aquatint.data.visual_thought_prompts import anchor_tokens
from aquatint.models.anchor_tokens import TokenRows, add_tokens
from aquatint.models.visual_thought import lora_targets


@pytest.fixture
def model(covt_backbone):
    return covt_backbone.load()


@pytest.fixture
def ids(covt_backbone):
    return add_tokens(covt_backbone.load_tokenizer(), anchor_tokens())


def test_tokens_are_added_once(covt_backbone):
    tokenizer = covt_backbone.load_tokenizer()
    first = add_tokens(tokenizer, anchor_tokens())
    size = len(tokenizer)
    assert add_tokens(tokenizer, anchor_tokens()) == first
    assert len(tokenizer) == size == first[0] + len(first)
    assert tokenizer("<think>a</think>")["input_ids"][0] == first[anchor_tokens().index("<think>")]


def test_ids_with_a_gap_are_refused(covt_backbone):
    tokenizer = covt_backbone.load_tokenizer()
    tokenizer.add_tokens(["<answer>"], special_tokens=True)
    with pytest.raises(ValueError, match="consecutive"):
        add_tokens(tokenizer, anchor_tokens())


def test_rows_begin_near_the_mean_of_the_old_ones(model, ids):
    rows = TokenRows(model, ids[0], len(ids), seed=0)
    old = model.get_input_embeddings().weight
    assert rows.head is None, "the pocket model is tied"
    offset = (rows.embedding - old.mean(0)).abs().max()
    assert 0 < offset < old.std()


def test_old_rows_keep_every_bit_under_weight_decay(model, ids):
    """A masked gradient would not: AdamW's decay shrinks rows that have none."""
    rows = TokenRows(model, ids[0], len(ids), seed=0)
    before = model.get_input_embeddings().weight.detach().clone()
    optimizer = torch.optim.AdamW(rows.parameters(), lr=0.1, weight_decay=0.5)
    for _ in range(3):
        states = rows.embed(model, torch.tensor([[5, ids[0], ids[3]]]))
        rows.logits(model, states[0]).square().sum().backward()
        optimizer.step()
    start = TokenRows(model, ids[0], len(ids), seed=0)
    assert not torch.equal(rows.embedding, start.embedding)
    assert torch.equal(model.get_input_embeddings().weight, before)
    rows.write_into(model)
    assert torch.equal(model.get_input_embeddings().weight[: ids[0]], before)


@pytest.mark.parametrize("padding", [0, 40])
def test_the_written_model_reads_and_writes_as_with_rows_beside_it(model, ids, padding):
    """With the vocabulary as it is, and with one that is padded as published ones are."""
    if padding:
        model.resize_token_embeddings(ids[0] + padding, mean_resizing=False)
    rows = TokenRows(model, ids[0], len(ids), seed=0)
    rows.embedding.data.normal_()
    given = torch.tensor([[1, 7, *ids, 3]])
    embedded = rows.embed(model, given)
    logits = rows.logits(model, embedded[0])
    rows.write_into(model)
    assert torch.equal(model.get_input_embeddings()(given), embedded)
    assert torch.allclose(model.lm_head(embedded[0]), logits, atol=1e-5)
    again = TokenRows(model, ids[0], len(ids), seed=1)
    assert torch.equal(again.embedding, rows.embedding), "what is trained is not begun anew"


def test_lora_goes_to_every_linear_of_both_towers_but_named_ones(model):
    names = lora_targets(model, ["sam", "depth"])
    linears = [n for n, m in model.named_modules() if isinstance(m, torch.nn.Linear)]
    assert set(linears) - set(names) == {"lm_head"}
    assert any("visual.blocks.0.attn.qkv" in name for name in names)
    assert any("merger" in name for name in names)
    assert lora_targets(model, ["visual"]) == [n for n in names if "visual" not in n]
