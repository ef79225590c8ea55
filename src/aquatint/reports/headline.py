"""Which metrics of a retrieval model stand in tables, and what each is to be compared with."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from aquatint.reports.wording import DIRECTION_LABELS, pick

RECALL_KS = (1, 5, 10)
DIRECTIONS = ("text_to_image", "image_to_text")
R_MEAN = "r_mean"
Path = tuple[str, ...]


@dataclass(frozen=True)
class HeadlineMetric:
    """One row of the headline table.

    Attributes:
        path: Where its value stands in a part's metrics.
        label: What a reader calls it.
        group: Heading that its row stands under.
        counted: Where the number of queries, boxes or pairs stands.
        reference: Where the value stands that needs no model; empty for none.
        is_share: Whether it is a share in [0, 1], shown in percent.
        is_error: Whether lower is better.
    """

    path: Path
    label: str
    group: str
    counted: Path
    reference: Path = ()
    is_share: bool = True
    is_error: bool = False

    @property
    def key(self) -> str:
        """Its dotted name: ``text_to_image.recall_at_10``."""
        return ".".join(self.path)

    def read(self, metrics: dict[str, Any]) -> dict[str, Any]:
        """Return ``value``, 95 % ``interval``, ``n`` and ``reference``; None for what is not there.

        Args:
            metrics: Metrics of one part.
        """
        return {
            "value": pick(metrics, self.path),
            "interval": pick(metrics, (*self.path[:-1], f"{self.path[-1]}_interval")),
            "n": pick(metrics, self.counted),
            "reference": pick(metrics, self.reference) if self.reference else None,
        }


def _recalls(prefix: Path, group: str, direction: str, ks: tuple[int, ...]) -> list[HeadlineMetric]:
    side = (*prefix, direction)
    # Re-ranking changes the order, not the chance of a random one.
    chance = side if prefix != ("reranked",) else (direction,)
    return [
        HeadlineMetric(
            (*side, f"recall_at_{k}"),
            f"{DIRECTION_LABELS[direction]} R@{k}",
            group,
            counted=(*side, "n"),
            reference=(*chance, f"chance_at_{k}"),
        )
        for k in ks
    ]


def _box(name: str, label: str, **kinds: bool) -> HeadlineMetric:
    return HeadlineMetric(
        ("bbox", name),
        label,
        "Boxes of sentences",
        counted=("bbox", "n"),
        reference=("bbox", "mean_box_baseline", name),
        **kinds,
    )


def _spatial(prefix: Path, label: str) -> HeadlineMetric:
    return HeadlineMetric(
        (*prefix, "accuracy"),
        label,
        "Relations of boxes",
        counted=(*prefix, "n"),
        reference=(*prefix, "majority_baseline"),
    )


_BUILDING = "Retrieval of the building"
HEADLINE = (
    *_recalls((), _BUILDING, "text_to_image", RECALL_KS),
    *_recalls((), _BUILDING, "image_to_text", RECALL_KS),
    HeadlineMetric((R_MEAN,), "mean of the six", _BUILDING, ("n",), ("chance_r_mean",)),
    *_recalls(("image_level",), "Retrieval of the very image", "text_to_image", (1, 10)),
    *_recalls(("image_level",), "Retrieval of the very image", "image_to_text", (1, 10)),
    *_recalls(("reranked",), "Building, re-ranked by the ITM head", "text_to_image", RECALL_KS),
    _box("mean_iou", "mean IoU", is_share=False),
    _box("mean_giou", "mean GIoU", is_share=False),
    _box("l1_error", "L1 error", is_share=False, is_error=True),
    _box("accuracy_at_0.5", "IoU ≥ 0.5"),
    _box("accuracy_at_0.7", "IoU ≥ 0.7"),
    _spatial(("spatial",), "both axes right"),
    _spatial(("spatial", "horizontal"), "left, center, right"),
    _spatial(("spatial", "vertical"), "upper, middle, lower"),
    HeadlineMetric(
        ("spatial", "macro_f1"), "macro F1, nine classes", "Relations of boxes", ("spatial", "n")
    ),
)
