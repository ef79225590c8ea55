import pytest
import torch

from aquatint.geometry.boxes import (
    box_iou,
    cxcywh_to_xyxy,
    generalized_box_iou,
    xyxy_to_cxcywh,
)


def random_boxes(n: int, seed: int) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    corners = torch.rand(n, 2, 2, generator=generator, dtype=torch.float64).sort(dim=1).values
    return torch.cat((corners[:, 0], corners[:, 1]), dim=1)


def area_by_definition(box):
    return max(box[2] - box[0], 0.0) * max(box[3] - box[1], 0.0)


def overlaps_by_definition(a, b):
    """IoU and generalized IoU of two boxes with an area, in plain numbers."""
    inner = (max(a[0], b[0]), max(a[1], b[1]), min(a[2], b[2]), min(a[3], b[3]))
    outer = (min(a[0], b[0]), min(a[1], b[1]), max(a[2], b[2]), max(a[3], b[3]))
    shared = area_by_definition(inner)
    union = area_by_definition(a) + area_by_definition(b) - shared
    enclosing = area_by_definition(outer)
    return shared / union, shared / union - (enclosing - union) / enclosing


def test_conversion_by_hand():
    corners = cxcywh_to_xyxy(torch.tensor([[0.5, 0.4, 0.2, 0.6]]))
    assert corners.tolist()[0] == pytest.approx([0.4, 0.1, 0.6, 0.7])


def test_conversions_are_inverse():
    boxes = random_boxes(50, seed=0)
    assert torch.allclose(cxcywh_to_xyxy(xyxy_to_cxcywh(boxes)), boxes)


def test_conversion_keeps_leading_dimensions():
    boxes = random_boxes(12, seed=0).reshape(3, 4, 4)
    assert torch.equal(xyxy_to_cxcywh(boxes)[1, 2], xyxy_to_cxcywh(boxes[1, 2]))


def test_overlaps_match_the_definition():
    predicted, target = random_boxes(200, seed=1), random_boxes(200, seed=2)
    expected = [
        overlaps_by_definition(a, b)
        for a, b in zip(predicted.tolist(), target.tolist(), strict=True)
    ]
    assert box_iou(predicted, target).tolist() == pytest.approx([iou for iou, _ in expected])
    giou = generalized_box_iou(predicted, target)
    assert giou.tolist() == pytest.approx([value for _, value in expected])
    assert sum(value < 0 for _, value in expected) > 20


def test_overlaps_by_hand():
    a = torch.tensor([[0.0, 0.0, 2.0, 2.0]])
    b = torch.tensor([[1.0, 1.0, 3.0, 3.0]])
    # Shared 1, union 7, enclosing 9.
    assert box_iou(a, b).item() == pytest.approx(1 / 7)
    assert generalized_box_iou(a, b).item() == pytest.approx(1 / 7 - 2 / 9)


def test_a_box_covers_itself():
    boxes = random_boxes(20, seed=3)
    assert torch.allclose(generalized_box_iou(boxes, boxes), torch.ones(20, dtype=torch.float64))


def test_disjoint_boxes_have_negative_giou():
    a, b = torch.tensor([[0.0, 0.0, 0.1, 0.1]]), torch.tensor([[0.9, 0.9, 1.0, 1.0]])
    assert box_iou(a, b).item() == 0
    assert generalized_box_iou(a, b).item() == pytest.approx(-0.98)


@pytest.mark.parametrize(
    "degenerate",
    [[0.5, 0.5, 0.5, 0.5], [0.3, 0.2, 0.3, 0.9], [0.8, 0.8, 0.2, 0.2]],
    ids=["point", "line", "inverted"],
)
def test_a_degenerate_box_changes_its_own_row_only(degenerate):
    target = random_boxes(5, seed=4)
    predicted = random_boxes(5, seed=5)
    expected = generalized_box_iou(predicted, target)
    predicted[2] = torch.tensor(degenerate, dtype=torch.float64)
    predicted.requires_grad_()
    giou = generalized_box_iou(predicted, target)
    others = [0, 1, 3, 4]
    assert torch.equal(giou[others], expected[others])
    assert -1 <= giou[2].item() <= 0
    giou.sum().backward()
    assert torch.isfinite(predicted.grad).all()


def test_two_boxes_at_one_point_give_zero_not_nan():
    point = torch.full((1, 4), 0.5, requires_grad=True)
    giou = generalized_box_iou(point, point.detach())
    assert giou.item() == 0
    giou.sum().backward()
    assert torch.isfinite(point.grad).all()


def test_overlap_is_symmetric_and_follows_permutation():
    a, b = random_boxes(30, seed=6), random_boxes(30, seed=7)
    order = torch.randperm(30, generator=torch.Generator().manual_seed(0))
    for overlap in (box_iou, generalized_box_iou):
        assert torch.allclose(overlap(a, b), overlap(b, a))
        assert torch.equal(overlap(a[order], b[order]), overlap(a, b)[order])


def test_no_boxes_give_no_overlaps():
    assert generalized_box_iou(torch.zeros(0, 4), torch.zeros(0, 4)).shape == (0,)


@pytest.mark.parametrize("shape", [(3, 4), (2, 5), (2,)])
def test_unpaired_boxes_are_refused(shape):
    with pytest.raises(ValueError, match=r"both have shape \(N, 4\), got \(2, 4\)"):
        box_iou(torch.zeros(2, 4), torch.zeros(shape))


def test_boxes_of_five_numbers_are_refused():
    with pytest.raises(ValueError, match=r"both have shape \(N, 4\), got \(2, 5\)"):
        generalized_box_iou(torch.zeros(2, 5), torch.zeros(2, 5))
