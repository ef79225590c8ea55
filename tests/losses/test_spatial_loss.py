import math

import pytest
import torch

from aquatint.losses.spatial import spatial_loss


def random_case(n: int = 7) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    return (
        torch.randn(n, 6, generator=generator),
        torch.randint(0, 3, (n,), generator=generator),
        torch.randint(0, 3, (n,), generator=generator),
    )


def spatial_by_definition(logits, horizontal, vertical):
    total = 0.0
    for row, h, v in zip(logits.tolist(), horizontal.tolist(), vertical.tolist(), strict=True):
        total += math.log(sum(math.exp(value) for value in row[:3])) - row[h]
        total += math.log(sum(math.exp(value) for value in row[3:])) - row[3 + v]
    return total / len(logits)


def test_matches_the_definition():
    logits, horizontal, vertical = random_case()
    expected = spatial_by_definition(logits, horizontal, vertical)
    assert spatial_loss(logits, horizontal, vertical).item() == pytest.approx(expected, rel=1e-5)


def test_logits_without_information_cost_two_log_three():
    loss = spatial_loss(torch.zeros(2, 6), torch.tensor([0, 2]), torch.tensor([1, 1]))
    assert loss.item() == pytest.approx(2 * math.log(3))


def test_the_axes_are_two_problems_not_one_of_six():
    logits = torch.zeros(1, 6, requires_grad=True)
    spatial_loss(logits, torch.tensor([0]), torch.tensor([2])).backward()
    third = pytest.approx(1 / 3)
    assert logits.grad.tolist()[0] == [pytest.approx(-2 / 3), third, third] + [
        third,
        third,
        pytest.approx(-2 / 3),
    ]


def test_horizontal_labels_do_not_reach_vertical_logits():
    logits, horizontal, vertical = random_case()
    gradients = []
    for labels in (horizontal, (horizontal + 1) % 3):
        leaf = logits.clone().requires_grad_()
        spatial_loss(leaf, labels, vertical).backward()
        gradients.append(leaf.grad)
    assert torch.equal(gradients[0][:, 3:], gradients[1][:, 3:])
    assert not torch.equal(gradients[0][:, :3], gradients[1][:, :3])


def test_order_and_repetition_do_not_change_the_mean():
    logits, horizontal, vertical = random_case()
    expected = spatial_loss(logits, horizontal, vertical)
    assert torch.allclose(
        spatial_loss(logits.flip(0), horizontal.flip(0), vertical.flip(0)), expected
    )
    repeated = spatial_loss(logits.repeat(2, 1), horizontal.repeat(2), vertical.repeat(2))
    assert torch.allclose(repeated, expected)


def test_no_pairs_cost_nothing_and_keep_a_gradient_path():
    logits, none = torch.zeros(0, 6, requires_grad=True), torch.zeros(0, dtype=torch.int64)
    loss = spatial_loss(logits, none, none)
    loss.backward()
    assert loss.item() == 0
    assert logits.grad.shape == (0, 6)


@pytest.mark.parametrize(
    ("shape", "num_vertical"), [((2, 9), 2), ((3, 6), 2), ((2, 6), 1)], ids=str
)
def test_logits_that_do_not_fit_the_labels_are_refused(shape, num_vertical):
    with pytest.raises(ValueError, match=r"logits must have shape \(N, 6\)"):
        spatial_loss(torch.zeros(shape), torch.tensor([0, 1]), torch.zeros(num_vertical).long())
