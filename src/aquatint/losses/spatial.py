"""Loss of the spatial relation between two boxes."""

import torch.nn.functional as F
from torch import Tensor

from aquatint.geometry.relations import HORIZONTAL_RELATIONS, VERTICAL_RELATIONS

NUM_HORIZONTAL = len(HORIZONTAL_RELATIONS)
NUM_LOGITS = NUM_HORIZONTAL + len(VERTICAL_RELATIONS)


def spatial_loss(logits: Tensor, horizontal: Tensor, vertical: Tensor) -> Tensor:
    """Sum of the horizontal and the vertical three-way cross-entropy.

    Args:
        logits: Left, center, right, upper, middle, lower for each ordered pair, shape (N, 6).
        horizontal: 0 left, 1 center, 2 right, shape (N,).
        vertical: 0 upper, 1 middle, 2 lower, shape (N,).

    Returns:
        Mean over the pairs in nats, fp32, shape (); 0 without pairs.

    Raises:
        ValueError: If there are not six logits for each pair of labels.

    References:
        Chu et al., "Towards Natural Language-Guided Drones: GeoText-1652 Benchmark with Spatial
        Relation Matching", ECCV 2024, https://arxiv.org/abs/2311.12751. Mean over all pairs and
        raw logits; the published code keeps the last pair and takes a sigmoid first.
    """
    if logits.shape != (len(horizontal), NUM_LOGITS) or horizontal.shape != vertical.shape:
        raise ValueError(
            f"logits must have shape (N, {NUM_LOGITS}) for N horizontal and N vertical labels, got "
            f"{tuple(logits.shape)} for {len(horizontal)} and {len(vertical)} labels."
        )
    # The mean of no pairs is NaN and would stop the training.
    if len(horizontal) == 0:
        return logits.float().sum() * 0
    logits = logits.float()
    return F.cross_entropy(logits[:, :NUM_HORIZONTAL], horizontal) + F.cross_entropy(
        logits[:, NUM_HORIZONTAL:], vertical
    )
