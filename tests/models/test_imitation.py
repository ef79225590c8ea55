import pytest
import torch

from aquatint.losses.imitation import (
    inflection_cross_entropy,
    inflection_weights,
    progress_error,
)
from aquatint.models.imitation import (
    NO_ACTION,
    ImitationPolicy,
    Observed,
    PolicyWidths,
    _attend_places,
)

WIDTHS = PolicyWidths(rgb_width=6, num_rgb_places=4, depth_width=2, num_depth_places=9,
                      text_width=5, num_actions=4, text_hidden=8, rgb_hidden=8, depth_hidden=8,
                      action_width=4, hidden=16)  # fmt: skip
KINDS = ("cma", "seq2seq")


def policy(kind):
    torch.manual_seed(0)
    vectors = torch.randn(12, 5)
    vectors[0] = 0
    return ImitationPolicy(kind, vectors, WIDTHS).eval()


def seen(batch=2, steps=5, words=6):
    generator = torch.Generator().manual_seed(1)
    last = torch.randint(0, 4, (batch, steps), generator=generator)
    last[:, 0] = NO_ACTION
    tokens = torch.randint(1, 12, (batch, words), generator=generator)
    tokens[1, 3:] = 0
    return Observed(
        torch.randn(batch, steps, 4, 6, generator=generator),
        torch.rand(batch, steps, 9, 2, generator=generator),
        last,
        tokens,
    )


@pytest.mark.parametrize("kind", KINDS)
def test_deciding_step_by_step_is_deciding_at_once(kind):
    model, given = policy(kind), seen()
    whole = model(given)
    states, logits, progress = None, [], []
    for step in range(5):
        part = Observed(given.rgb[:, step : step + 1], given.depth[:, step : step + 1],
                        given.last_actions[:, step : step + 1], given.tokens)  # fmt: skip
        decided = model(part, states)
        states = decided.states
        logits.append(decided.logits)
        progress.append(decided.progress)
    assert torch.allclose(torch.cat(logits, 1), whole.logits, atol=1e-5)
    assert torch.allclose(torch.cat(progress, 1), whole.progress, atol=1e-5)
    assert whole.logits.shape == (2, 5, 4)


@pytest.mark.parametrize("kind", KINDS)
def test_no_step_sees_a_later_one(kind):
    model, given = policy(kind), seen()
    later = given._replace(rgb=given.rgb.clone(), last_actions=given.last_actions.clone())
    later.rgb[:, 3:] += 1
    later.last_actions[:, 3:] = 0
    first, second = model(given).logits, model(later).logits
    assert torch.allclose(first[:, :3], second[:, :3], atol=1e-6)
    assert not torch.allclose(first[:, 3:], second[:, 3:])


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", Observed._fields)
def test_every_input_matters(kind, name):
    model, given = policy(kind), seen()
    value = getattr(given, name)
    changed = (value + 1) % 4 + 1 if value.dtype == torch.long else value + 0.5
    if name == "last_actions":
        changed = (value + 1) % 4
    other = model(given._replace(**{name: changed}))
    assert not torch.allclose(other.logits, model(given).logits)


@pytest.mark.parametrize("kind", KINDS)
def test_padding_behind_an_instruction_says_nothing(kind):
    model, given = policy(kind), seen()
    longer = torch.cat([given.tokens, torch.zeros(2, 4, dtype=torch.long)], 1)
    assert torch.allclose(model(given).logits, model(given._replace(tokens=longer)).logits,
                          atol=1e-6)  # fmt: skip


@pytest.mark.parametrize("kind", KINDS)
def test_word_vectors_stay_as_they_are(kind):
    names = [name for name, p in policy(kind).named_parameters() if not p.requires_grad]
    assert names == ["vectors.weight"]


def test_attention_over_places_is_that_over_projected_places():
    """The query taken through the weights gives what keys and values of every place give."""
    model, given = policy("cma"), seen()
    query = torch.randn(2, 5, 16)
    found = _attend_places(query, given.rgb, model.rgb_key, model.rgb_value)
    keys, values = model.rgb_key(given.rgb), model.rgb_value(given.rgb)
    scores = torch.einsum("btk,btnk->btn", query, keys) / 16**0.5
    expected = torch.einsum("btn,btnw->btw", scores.softmax(-1), values)
    assert torch.allclose(found, expected, atol=1e-6)


def test_changes_weigh_more_and_padding_nothing():
    actions = torch.tensor([[1, 1, 2, 2, 0], [1, 3, 3, 0, 0]])
    is_step = torch.tensor([[1.0] * 5, [1.0, 1, 1, 0, 0]])
    weights = inflection_weights(actions, is_step, 3.2)
    assert weights[0].tolist() == pytest.approx([3.2, 1, 3.2, 1, 3.2])
    assert weights[1].tolist() == pytest.approx([3.2, 3.2, 1, 0, 0])


def test_each_episode_counts_alike_and_an_empty_one_is_no_fault():
    logits = torch.zeros(2, 3, 4)
    logits[0, :, 1] = 50.0
    actions = torch.tensor([[1, 1, 2], [0, 0, 0]])
    weights = torch.tensor([[1.0, 1, 2], [0, 0, 0]])
    losses = inflection_cross_entropy(logits, actions, weights)
    assert losses.tolist() == pytest.approx([2 * 50 / 4, 0])


def test_progress_is_judged_where_there_are_steps():
    found = progress_error(
        torch.tensor([[0.0, 1.0, 9.0]]),
        torch.tensor([[0.5, 1.0, 0.0]]),
        torch.tensor([[1.0, 1, 0]]),
    )
    assert found.tolist() == pytest.approx([0.125])
