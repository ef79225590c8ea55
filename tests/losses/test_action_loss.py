import pytest
import torch

from aquatint.losses.action import action_mse

B, H, A = 3, 4, 2


def by_definition(predicted, target, is_pad, is_constant, weights):
    total, count = 0.0, 0.0
    for b in range(B):
        for h in range(H):
            for a in range(A):
                if not is_pad[b, h] and not is_constant[a]:
                    total += float(weights[b] * (predicted[b, h, a] - target[b, h, a]) ** 2)
                    count += float(weights[b])
    return total / count


def batch():
    generator = torch.Generator().manual_seed(0)
    is_pad = torch.tensor([[False] * 4, [False, False, True, True], [True] * 4])
    return (torch.randn(B, H, A, generator=generator), torch.randn(B, H, A, generator=generator),
            is_pad, torch.tensor([False, True]), torch.tensor([1.0, 2.0, 0.5]))  # fmt: skip


def test_matches_the_definition():
    assert action_mse(*batch()).item() == pytest.approx(by_definition(*batch()), rel=1e-5)


def test_a_value_by_hand():
    ones, zeros = torch.ones(1, 2, 1), torch.zeros(1, 2, 1)
    is_pad = torch.tensor([[False, True]])
    found = action_mse(3 * ones, zeros, is_pad, torch.tensor([False]), torch.ones(1))
    assert found.item() == 9, "divided by the one valid element, not by two"


def test_padding_and_constants_get_no_gradient_at_all():
    predicted, target, is_pad, is_constant, weights = batch()
    target[1, 3] = float("inf")  # whatever stands in padding
    predicted.requires_grad_(True)
    action_mse(predicted, target, is_pad, is_constant, weights).backward()
    assert torch.isfinite(predicted.grad).all()
    assert (predicted.grad[is_pad] == 0).all()
    assert (predicted.grad[..., 1] == 0).all()
    assert (predicted.grad[0, :, 0] != 0).all()


def test_a_batch_of_padding_alone_costs_nothing():
    predicted, target, _, is_constant, weights = batch()
    predicted.requires_grad_(True)
    loss = action_mse(predicted, target, torch.ones(B, H, dtype=torch.bool), is_constant, weights)
    loss.backward()
    assert loss.item() == 0
    assert (predicted.grad == 0).all()


def test_the_order_of_samples_does_not_matter():
    values = batch()
    order = [2, 0, 1]
    mixed = [v if v.ndim == 1 and len(v) == A else v[order] for v in values[:4]]
    mixed[3] = values[3]
    again = action_mse(*mixed, values[4][order])
    assert again.item() == pytest.approx(action_mse(*values).item(), rel=1e-6)
