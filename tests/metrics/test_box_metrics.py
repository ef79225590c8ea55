import pytest
import torch

from aquatint.metrics.boxes import bbox_metrics
from aquatint.metrics.intervals import confidence_interval


def random_boxes(n: int, seed: int) -> torch.Tensor:
    rand = torch.rand(n, 4, generator=torch.Generator().manual_seed(seed))
    return torch.cat((0.45 + 0.1 * rand[:, :2], 0.3 + 0.3 * rand[:, 2:]), dim=1)


def iou_by_definition(predicted, target):
    (ax, ay, aw, ah), (bx, by, bw, bh) = predicted, target
    width = min(ax + aw / 2, bx + bw / 2) - max(ax - aw / 2, bx - bw / 2)
    height = min(ay + ah / 2, by + bh / 2) - max(ay - ah / 2, by - bh / 2)
    shared = max(width, 0) * max(height, 0)
    return shared / (aw * ah + bw * bh - shared)


def test_matches_the_definition():
    predicted, target = random_boxes(60, seed=0), random_boxes(60, seed=1)
    pairs = list(zip(predicted.tolist(), target.tolist(), strict=True))
    ious = [iou_by_definition(a, b) for a, b in pairs]
    metrics = bbox_metrics(predicted, target)
    assert metrics["mean_iou"] == pytest.approx(sum(ious) / 60)
    assert metrics["l1_error"] == pytest.approx(
        sum(abs(x - y) for a, b in pairs for x, y in zip(a, b, strict=True)) / 60
    )
    for threshold in (0.5, 0.7):
        num_found = sum(iou >= threshold for iou in ious)
        assert 0 < num_found < 60
        assert metrics[f"accuracy_at_{threshold}"] == num_found / 60
        assert metrics[f"accuracy_at_{threshold}_interval"] == confidence_interval(num_found, 60)
    assert metrics["n"] == 60


def test_by_hand():
    target = torch.tensor([[0.5, 0.5, 0.4, 0.4], [0.2, 0.2, 0.2, 0.2]])
    predicted = torch.tensor([[0.5, 0.5, 0.4, 0.24], [0.8, 0.8, 0.2, 0.2]])
    metrics = bbox_metrics(predicted, target)
    # IoU 0.6 and 0; GIoU 0.6 and 0 - (0.64 - 0.08) / 0.64; L1 0.16 and 1.2.
    assert metrics["mean_iou"] == pytest.approx(0.3)
    assert metrics["mean_giou"] == pytest.approx((0.6 - 0.875) / 2)
    assert metrics["l1_error"] == pytest.approx(0.68)
    assert metrics["accuracy_at_0.5"] == 0.5
    assert metrics["accuracy_at_0.7"] == 0


def test_perfect_boxes():
    boxes = random_boxes(5, seed=2)
    metrics = bbox_metrics(boxes, boxes)
    assert metrics["mean_iou"] == pytest.approx(1)
    assert metrics["l1_error"] == 0
    assert metrics["accuracy_at_0.7"] == 1


def test_order_does_not_matter():
    predicted, target = random_boxes(9, seed=3), random_boxes(9, seed=4)
    expected = bbox_metrics(predicted, target)
    shuffled = bbox_metrics(predicted.flip(0), target.flip(0))
    for key, value in expected.items():
        assert shuffled[key] == pytest.approx(value)


def test_no_boxes_give_none_not_zero():
    metrics = bbox_metrics(torch.zeros(0, 4), torch.zeros(0, 4))
    assert metrics.pop("n") == 0
    assert len(metrics) == 7
    assert set(metrics.values()) == {None}
