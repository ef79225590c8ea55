"""The mask loss against its definition in loops, and what it does not depend on."""

import itertools
import math

import pytest
import torch

from aquatint.losses.maps import absolute_error, squared_error
from aquatint.losses.masks import dice_scores, mask_loss


def dice(p, g):
    both = sum(a * b for a, b in zip(p, g, strict=True))
    return 2 * both / (sum(p) + sum(g) + 1e-6)


def cross_entropy(p, g):
    terms = [-(b * math.log(a) + (1 - b) * math.log(1 - a)) for a, b in zip(p, g, strict=True)]
    return sum(terms) / len(terms)


def by_definition(logits, target):
    probabilities = [[1 / (1 + math.exp(-v)) for v in mask] for mask in logits.flatten(1).tolist()]
    wanted = target.flatten(1).float().tolist()
    best = min(
        itertools.permutations(range(len(probabilities)), len(wanted)),
        key=lambda order: sum(1 - dice(probabilities[i], wanted[j]) for j, i in enumerate(order)),
    )
    pairs = [(probabilities[i], wanted[j]) for j, i in enumerate(best)]
    loss = 1 - sum(dice(p, g) for p, g in pairs) / len(pairs)
    loss += sum(cross_entropy(p, g) for p, g in pairs) / len(pairs)
    rest = [p for i, p in enumerate(probabilities) if i not in best]
    if rest:
        empty = [0.0] * len(rest[0])
        loss += 0.1 * sum(cross_entropy(p, empty) for p in rest) / len(rest)
    return loss


def example(num_targets, seed=0):
    generator = torch.Generator().manual_seed(seed)
    logits = torch.randn(4, 3, 3, generator=generator)
    return logits, torch.rand(num_targets, 3, 3, generator=generator) > 0.5


@pytest.mark.parametrize("num_targets", [1, 3, 4])
@pytest.mark.parametrize("seed", [0, 1])
def test_matches_the_definition(num_targets, seed):
    logits, target = example(num_targets, seed)
    assert mask_loss(logits, target).item() == pytest.approx(
        by_definition(logits, target), rel=1e-4
    )


def test_the_order_of_masks_does_not_matter():
    logits, target = example(3)
    other = mask_loss(logits[[2, 0, 3, 1]], target[[1, 2, 0]])
    assert other.item() == pytest.approx(mask_loss(logits, target).item(), rel=1e-5)


def test_perfect_masks_cost_next_to_nothing():
    target = torch.zeros(2, 4, 4, dtype=torch.bool)
    target[0, :2], target[1, 2:] = True, True
    logits = torch.full((3, 4, 4), -20.0)
    logits[:2][target] = 20.0
    assert mask_loss(logits, target).item() == pytest.approx(0, abs=1e-4)


def test_without_targets_the_loss_is_zero_and_has_a_gradient():
    logits = torch.randn(4, 3, 3, requires_grad=True)
    loss = mask_loss(logits, torch.zeros(0, 3, 3, dtype=torch.bool))
    loss.backward()
    assert loss.item() == 0
    assert logits.grad is not None
    assert not logits.grad.any()


def test_unmatched_masks_are_pushed_down():
    logits, target = example(1)
    logits.requires_grad_()
    mask_loss(logits, target).backward()
    matched = int(dice_scores(logits.sigmoid().flatten(1), target.flatten(1)).argmax())
    others = [i for i in range(4) if i != matched]
    assert (logits.grad[others] > 0).all()


def test_errors_are_means_of_each_sample():
    predicted, target = torch.tensor([[1.0, 2.0], [0.0, 4.0]]), torch.tensor([[0.0, 2.0], [0, 0]])
    assert absolute_error(predicted, target).tolist() == [0.5, 2.0]
    assert squared_error(predicted, target).tolist() == [0.5, 8.0]
    with pytest.raises(ValueError, match="one shape"):
        absolute_error(predicted, target[:, :1])
