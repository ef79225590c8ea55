"""Floating-point values as they lie in a cache: numpy knows no bfloat16."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor


def to_stored(values: Tensor, dtype: str) -> np.ndarray:
    """Round values to the stored type.

    Args:
        values: Any shape and floating-point type.
        dtype: ``float16``, ``float32`` or ``bfloat16``, kept as the 16 bits of each number.

    Raises:
        ValueError: If a value is not finite, or too large for the type.
    """
    # Where the values are: a GPU rounds in no time, and half of the bytes are left to fetch.
    rounded = values.detach().to(getattr(torch, dtype))
    if not torch.isfinite(rounded).all():
        raise ValueError(
            f"Features must be finite, got inf or NaN in {dtype} (the largest value of float16 is "
            "65504). Set features.extraction.dtype to bfloat16 or float32."
        )
    rounded = rounded.cpu()
    if dtype == "bfloat16":
        return rounded.contiguous().view(torch.int16).numpy()
    return rounded.numpy()


def from_stored(values: np.ndarray, dtype: str) -> Tensor:
    """Return stored values as float32; the reverse of ``to_stored`` but for its rounding."""
    tensor = torch.from_numpy(values)
    return (tensor.view(torch.bfloat16) if dtype == "bfloat16" else tensor).float()
