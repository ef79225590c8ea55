import math
from collections import Counter

import pytest
import torch

from aquatint.losses.itm import (
    WEIGHT_FLOOR,
    itm_loss,
    pair_negatives,
    sample_hard_negatives,
)

NUM_SEEDS = 300


def generator(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def random_similarity(seed: int, n: int) -> torch.Tensor:
    return torch.randn(n, n, generator=generator(seed)) * 8


@pytest.mark.parametrize("strategy", ["hard", "random"])
def test_negatives_are_never_of_the_same_image(strategy):
    num_drawn = 0
    for seed in range(NUM_SEEDS):
        ids = torch.randint(0, 3, (5,), generator=generator(seed))
        # The positives are by far the most similar, so that only the mask keeps them out.
        similarity = random_similarity(seed, 5) + 50.0 * (ids[:, None] == ids[None, :])
        images, texts, has_negative = sample_hard_negatives(
            similarity, ids, generator(seed), strategy
        )
        own = ids[has_negative]
        assert (ids[images] != own).all()
        assert (ids[texts] != own).all()
        num_drawn += len(images) + len(texts)
    assert num_drawn > NUM_SEEDS * 8


def test_hard_negatives_follow_the_softmax_weights():
    similarity = torch.tensor([[9.0, 1.0, 0.0], [0.5, 9.0, 2.0], [3.0, 0.0, 9.0]])
    ids = torch.arange(3)
    drawn_images, drawn_texts = Counter(), Counter()
    for seed in range(4000):
        images, texts, _ = sample_hard_negatives(similarity, ids, generator(seed))
        drawn_images.update(enumerate(images.tolist()))
        drawn_texts.update(enumerate(texts.tolist()))
    for row in range(3):
        for logits, drawn in ((similarity[row], drawn_texts), (similarity[:, row], drawn_images)):
            total = sum(math.exp(value) for value in logits.tolist())
            weights = [math.exp(value) / total + WEIGHT_FLOOR for value in logits.tolist()]
            weights[row] = 0.0
            for column in range(3):
                expected = weights[column] / sum(weights)
                assert drawn[row, column] / 4000 == pytest.approx(expected, abs=0.03)


def test_the_directions_are_not_swapped():
    # Text 0 resembles image 1, image 0 resembles text 2.
    similarity = torch.tensor([[0.0, 0.0, 40.0], [40.0, 0.0, 0.0], [0.0, 0.0, 0.0]])
    images, texts, _ = sample_hard_negatives(similarity, torch.arange(3), generator(0))
    assert images[0].item() == 1
    assert texts[0].item() == 2


def test_random_negatives_ignore_the_similarity():
    similarity = torch.zeros(4, 4)
    similarity[:, 1] = 100.0
    drawn = Counter(
        sample_hard_negatives(similarity, torch.arange(4), generator(seed), "random")
        .text_index_per_image[0]
        .item()
        for seed in range(1500)
    )
    assert set(drawn) == {1, 2, 3}
    assert min(drawn.values()) > 400


def test_same_seed_same_negatives():
    similarity, ids = random_similarity(0, 6), torch.arange(6)
    first = sample_hard_negatives(similarity, ids, generator(5))
    second = sample_hard_negatives(similarity, ids, generator(5))
    assert all(torch.equal(a, b) for a, b in zip(first, second, strict=True))


@pytest.mark.parametrize("n", [0, 1, 4])
def test_rows_without_a_negative_are_dropped(n):
    ids = torch.full((n,), 3)
    negatives = sample_hard_negatives(torch.zeros(n, n), ids, generator(0))
    assert negatives.has_negative.tolist() == [False] * n
    assert len(negatives.image_index_per_text) == len(negatives.text_index_per_image) == 0
    pairs = pair_negatives(negatives)
    assert pairs.is_match.tolist() == [True] * n


def test_pairs_hold_one_positive_and_two_negatives_per_row():
    ids = torch.tensor([0, 0, 1, 2])
    pairs = pair_negatives(sample_hard_negatives(random_similarity(1, 4), ids, generator(1)))
    assert len(pairs.is_match) == 12
    expected = ids[pairs.image_index] == ids[pairs.text_index]
    assert torch.equal(pairs.is_match, expected)
    assert Counter(pairs.text_index.tolist()).keys() == {0, 1, 2, 3}
    assert pairs.text_index[4:8].tolist() == pairs.image_index[8:].tolist() == [0, 1, 2, 3]


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_non_finite_similarity_is_refused(bad):
    similarity = torch.zeros(3, 3)
    similarity[1, 2] = bad
    with pytest.raises(ValueError, match="must be finite"):
        sample_hard_negatives(similarity, torch.arange(3), generator(0))


def test_similarity_of_other_size_is_refused():
    with pytest.raises(ValueError, match=r"got \(3, 3\) for 4 ids"):
        sample_hard_negatives(torch.zeros(3, 3), torch.arange(4), generator(0))


def test_unknown_strategy_is_refused():
    with pytest.raises(ValueError, match="got 'hardest'"):
        sample_hard_negatives(torch.zeros(3, 3), torch.arange(3), generator(0), "hardest")


def itm_by_definition(logits, is_match):
    total = 0.0
    for (no, yes), match in zip(logits.tolist(), is_match.tolist(), strict=True):
        total += math.log(math.exp(no) + math.exp(yes)) - (yes if match else no)
    return total / len(is_match)


def test_loss_matches_the_definition():
    logits = torch.randn(9, 2, generator=generator(0))
    is_match = torch.tensor([True, False, True, False, False, False, True, True, False])
    assert itm_loss(logits, is_match).item() == pytest.approx(
        itm_by_definition(logits, is_match), rel=1e-5
    )


def test_loss_by_hand():
    # The second logit means match: e^3 against e^0.
    loss = itm_loss(torch.tensor([[0.0, 3.0]]), torch.tensor([True]))
    assert loss.item() == pytest.approx(math.log(1 + math.exp(-3)))


def test_loss_does_not_depend_on_the_order_of_pairs():
    logits, is_match = torch.randn(6, 2, generator=generator(2)), torch.arange(6) % 2 == 0
    assert torch.allclose(itm_loss(logits.flip(0), is_match.flip(0)), itm_loss(logits, is_match))


def test_loss_gradient_is_finite_and_pulls_each_pair_its_way():
    logits = torch.zeros(2, 2, requires_grad=True)
    itm_loss(logits, torch.tensor([True, False])).backward()
    assert logits.grad.tolist() == [[0.25, -0.25], [-0.25, 0.25]]


def test_no_pairs_cost_nothing_and_keep_a_gradient_path():
    logits = torch.zeros(0, 2, requires_grad=True)
    loss = itm_loss(logits, torch.zeros(0, dtype=torch.bool))
    loss.backward()
    assert loss.item() == 0
    assert logits.grad.shape == (0, 2)


def test_logits_without_a_flag_are_refused():
    with pytest.raises(ValueError, match=r"got \(3, 2\) for 2 pairs"):
        itm_loss(torch.zeros(3, 2), torch.tensor([True, False]))
