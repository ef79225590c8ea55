"""Parameters of the RoboSense recipe, one model for each node."""

from __future__ import annotations

from typing import Literal

from pydantic import PositiveInt

from aquatint.params import Params


class ReadParams(Params):
    """Which images are accepted."""

    max_pixels: PositiveInt  # of one image; larger ones are refused before they are decoded


class ExtractionParams(Params):
    """How the frozen backbone runs; grid and length of its features are the checkpoint's."""

    batch_size: PositiveInt
    dtype: Literal["float16", "float32"]


class EmbeddingParams(Params):
    """How the trained model runs."""

    batch_size: PositiveInt  # images, and texts, of one forward pass
