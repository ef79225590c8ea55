import pytest
import torch

from aquatint.losses.bbox import bbox_loss, bbox_losses


def random_boxes(n: int, seed: int) -> torch.Tensor:
    rand = torch.rand(n, 4, generator=torch.Generator().manual_seed(seed))
    return torch.cat((0.3 + 0.4 * rand[:, :2], 0.05 + 0.5 * rand[:, 2:]), dim=1)


def giou_by_definition(predicted, target):
    (ax, ay, aw, ah), (bx, by, bw, bh) = predicted, target
    width = min(ax + aw / 2, bx + bw / 2) - max(ax - aw / 2, bx - bw / 2)
    height = min(ay + ah / 2, by + bh / 2) - max(ay - ah / 2, by - bh / 2)
    shared = max(width, 0) * max(height, 0)
    union = aw * ah + bw * bh - shared
    enclosing = (max(ax + aw / 2, bx + bw / 2) - min(ax - aw / 2, bx - bw / 2)) * (
        max(ay + ah / 2, by + bh / 2) - min(ay - ah / 2, by - bh / 2)
    )
    return shared / union - (enclosing - union) / enclosing


def test_matches_the_definition():
    predicted, target = random_boxes(40, seed=0), random_boxes(40, seed=1)
    l1 = giou = 0.0
    for a, b in zip(predicted.tolist(), target.tolist(), strict=True):
        l1 += sum(abs(x - y) for x, y in zip(a, b, strict=True)) / 40
        giou += (1 - giou_by_definition(a, b)) / 40
    terms = bbox_losses(predicted, target)
    assert terms["l1"].item() == pytest.approx(l1, rel=1e-5)
    assert terms["giou"].item() == pytest.approx(giou, rel=1e-5)
    assert bbox_loss(predicted, target).item() == pytest.approx(l1 + giou, rel=1e-5)


def test_by_hand():
    # Same center, the target half as wide: |dw| = 0.2, IoU = GIoU = 0.5.
    predicted = torch.tensor([[0.5, 0.5, 0.4, 0.4]])
    target = torch.tensor([[0.5, 0.5, 0.2, 0.4]])
    assert bbox_loss(predicted, target).item() == pytest.approx(0.2 + 0.5)


def test_perfect_boxes_cost_nothing():
    boxes = random_boxes(10, seed=2)
    assert bbox_loss(boxes, boxes).item() == pytest.approx(0, abs=1e-6)


def test_disjoint_boxes_still_feel_where_the_target_is():
    predicted = torch.tensor([[0.1, 0.5, 0.1, 0.1]], requires_grad=True)
    terms = bbox_losses(predicted, torch.tensor([[0.9, 0.5, 0.1, 0.1]]))
    assert terms["giou"].item() > 1
    terms["giou"].backward()
    assert predicted.grad[0, 0] < 0


def test_order_and_repetition_do_not_change_the_mean():
    predicted, target = random_boxes(7, seed=3), random_boxes(7, seed=4)
    expected = bbox_loss(predicted, target)
    assert torch.allclose(bbox_loss(predicted.flip(0), target.flip(0)), expected)
    assert torch.allclose(bbox_loss(predicted.repeat(3, 1), target.repeat(3, 1)), expected)


def test_a_degenerate_box_leaves_the_others_alone():
    target = random_boxes(3, seed=5)
    predicted = random_boxes(3, seed=6)
    predicted[1, 2:] = 0
    predicted.requires_grad_()
    bbox_losses(predicted, target)["giou"].backward()
    assert torch.isfinite(predicted.grad).all()
    assert (predicted.grad[[0, 2]].abs().sum(dim=1) > 0).all()


def test_small_boxes_in_half_precision_keep_their_overlap():
    boxes = torch.tensor([[0.5, 0.5, 1e-4, 1e-4]], dtype=torch.float16)
    assert bbox_loss(boxes, boxes).item() == pytest.approx(0, abs=1e-6)


def test_no_boxes_cost_nothing_and_keep_a_gradient_path():
    predicted = torch.zeros(0, 4, requires_grad=True)
    loss = bbox_loss(predicted, torch.zeros(0, 4))
    loss.backward()
    assert loss.item() == 0
    assert predicted.grad.shape == (0, 4)


@pytest.mark.parametrize("shape", [(1, 4), (2, 3)])
def test_unpaired_boxes_are_refused(shape):
    with pytest.raises(ValueError, match=r"shape \(N, 4\), got \(2, 4\) and"):
        bbox_losses(torch.zeros(2, 4), torch.zeros(shape))
