import math

import pytest
import torch

from aquatint.losses.answer import answer_cross_entropy, focal_factor, weighted_mean


def test_each_answer_counts_by_the_mean_of_its_tokens():
    tokens = torch.tensor([1.0, 3.0, 5.0, 4.0])
    owners = torch.tensor([0, 0, 0, 2])
    assert answer_cross_entropy(tokens, owners, 3).tolist() == [3.0, 0.0, 4.0]


def test_tokens_may_weigh_more_than_others():
    losses, owners = torch.tensor([1.0, 2.0, 6.0, 5.0]), torch.tensor([0, 0, 0, 1])
    weights = torch.tensor([1.0, 1.0, 2.0, 3.0])
    found = answer_cross_entropy(losses, owners, 3, weights)
    assert torch.allclose(found, torch.tensor([(1 + 2 + 2 * 6) / 4, 5.0, 0.0]))


def test_a_weighted_mean_by_hand():
    losses, weights = torch.tensor([1.0, 4.0]), torch.tensor([3.0, 1.0])
    assert weighted_mean(losses, weights).item() == pytest.approx(7 / 4)
    assert weighted_mean(losses, 10 * weights).item() == pytest.approx(7 / 4)
    assert weighted_mean(losses, torch.zeros(2)).item() == 0


def test_shapes_must_agree():
    with pytest.raises(ValueError, match="need as many weights"):
        weighted_mean(torch.zeros(2), torch.zeros(3))


@pytest.mark.parametrize("p", [0.1, 0.5, 0.9])
def test_the_focal_loss_by_definition(p):
    loss = torch.tensor([-math.log(p)], requires_grad=True)
    found = focal_factor(loss, 2.0, 0.25)
    assert found.item() == pytest.approx(-0.25 * (1 - p) ** 2 * math.log(p), rel=1e-5)
    found.sum().backward()
    assert torch.isfinite(loss.grad).all()


def test_gamma_zero_leaves_the_loss():
    losses = torch.tensor([0.3, 2.0])
    assert torch.allclose(focal_factor(losses, 0.0, 1.0), losses)
