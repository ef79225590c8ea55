import math

import pytest
import torch
import torch.nn.functional as F

from aquatint.losses.itc import itc_loss

B, D, TEMPERATURE = 6, 8, 0.07


def unit_rows(seed: int, n: int = B) -> torch.Tensor:
    return F.normalize(torch.randn(n, D, generator=torch.Generator().manual_seed(seed)), dim=1)


def itc_by_definition(image, text, ids):
    """The formula with loops: slow, plain and independent of the vectorised version."""
    total = 0.0
    for queries, keys in ((image, text), (text, image)):
        for i, query in enumerate(queries):
            logits = [float(query.double() @ key.double()) / TEMPERATURE for key in keys]
            log_sum = math.log(sum(map(math.exp, logits)))
            positives = [logit for logit, other in zip(logits, ids, strict=True) if other == ids[i]]
            total += log_sum - sum(positives) / len(positives)
    return total / (2 * len(ids))


@pytest.mark.parametrize(
    "ids", [[0, 1, 2, 3, 4, 5], [0, 0, 1, 2, 0, 2], [7] * 6], ids=["unique", "repeated", "one"]
)
def test_matches_the_definition(ids):
    image, text = unit_rows(seed=0), unit_rows(seed=1)
    loss = itc_loss(image, text, torch.tensor(ids), TEMPERATURE)
    assert loss.item() == pytest.approx(itc_by_definition(image, text, ids), rel=1e-5)


def test_by_hand():
    # Logits [[2, 0], [0, 2]]: each row costs log(1 + e^-2).
    embeds = torch.eye(2)
    loss = itc_loss(embeds, embeds, torch.arange(2), 0.5)
    assert loss.item() == pytest.approx(math.log(1 + math.exp(-2)))


def test_embeddings_without_information_cost_log_batch_size():
    same = unit_rows(seed=0)[:1].expand(B, D)
    assert itc_loss(same, same, torch.arange(B), TEMPERATURE).item() == pytest.approx(math.log(B))


def test_row_order_does_not_matter():
    image, text, ids = unit_rows(seed=0), unit_rows(seed=1), torch.tensor([0, 0, 1, 2, 0, 2])
    order = torch.tensor([3, 5, 0, 1, 4, 2])
    expected = itc_loss(image, text, ids, TEMPERATURE)
    shuffled = itc_loss(image[order], text[order], ids[order], TEMPERATURE)
    assert torch.allclose(shuffled, expected)


def test_duplicates_of_an_image_are_not_pushed_apart():
    image, text = unit_rows(seed=0), unit_rows(seed=1)
    image[1], text[1] = image[0], text[0]
    image.requires_grad_()
    loss = itc_loss(image, text, torch.tensor([0, 0, 2, 3, 4, 5]), TEMPERATURE)
    (gradient,) = torch.autograd.grad(loss, image)
    assert torch.allclose(gradient[0], gradient[1])


def test_gradient_is_finite_and_reaches_both_sides_and_the_temperature():
    image, text = unit_rows(seed=0).requires_grad_(), unit_rows(seed=1).requires_grad_()
    temperature = torch.tensor(TEMPERATURE, requires_grad=True)
    itc_loss(image, text, torch.arange(B), temperature).backward()
    for leaf in (image, text, temperature):
        assert torch.isfinite(leaf.grad).all()
        assert leaf.grad.abs().sum() > 0


def test_half_precision_and_autocast_are_computed_in_fp32():
    image, text = unit_rows(seed=0).bfloat16(), unit_rows(seed=1).bfloat16()
    expected = itc_loss(image.float(), text.float(), torch.arange(B), TEMPERATURE)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        loss = itc_loss(image, text, torch.arange(B), TEMPERATURE)
    assert loss.dtype == torch.float32
    assert loss.item() == pytest.approx(expected.item(), rel=1e-6)


def test_an_empty_batch_costs_nothing():
    empty = torch.zeros(0, D, requires_grad=True)
    loss = itc_loss(empty, empty, torch.zeros(0, dtype=torch.int64), TEMPERATURE)
    loss.backward()
    assert loss.item() == 0


@pytest.mark.parametrize(("num_texts", "num_ids"), [(B - 1, B), (B, B - 1)])
def test_rows_that_do_not_pair_up_are_refused(num_texts, num_ids):
    with pytest.raises(ValueError, match="must pair up row by row"):
        itc_loss(unit_rows(0), unit_rows(1, num_texts), torch.arange(num_ids), TEMPERATURE)
