"""Changes of a frame's colors that leave what it shows, drawn anew for every showing."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageEnhance, ImageOps

_JITTER = 0.2
_POSTERIZED_BITS = 4
_SHARPNESS = 2.0


@dataclass(frozen=True)
class Augmentation:
    """One draw of the changes, to be applied to every frame of a sample alike.

    Attributes:
        brightness: Factor.
        contrast: Factor.
        saturation: Factor.
        posterizes: Whether colors are cut to four bits.
        sharpness: Factor; 1 leaves the image.
        stretches: Whether the contrast is stretched to the full range.
    """

    brightness: float
    contrast: float
    saturation: float
    posterizes: bool
    sharpness: float
    stretches: bool

    def __call__(self, image: Image.Image) -> Image.Image:
        """Return the changed image."""
        for enhancer, factor in (
            (ImageEnhance.Brightness, self.brightness),
            (ImageEnhance.Contrast, self.contrast),
            (ImageEnhance.Color, self.saturation),
        ):
            image = enhancer(image).enhance(factor)
        if self.posterizes:
            image = ImageOps.posterize(image, _POSTERIZED_BITS)
        if self.sharpness != 1:
            image = ImageEnhance.Sharpness(image).enhance(self.sharpness)
        return ImageOps.autocontrast(image) if self.stretches else image


def draw_augmentation(*seeds: int) -> Augmentation:
    """Draw changes: jitter of 0.2, the other three with a chance of one half each.

    Args:
        seeds: Whole numbers that decide the draw: seed, epoch, sample.
    """
    rng = np.random.default_rng(list(seeds))
    brightness, contrast, saturation = rng.uniform(1 - _JITTER, 1 + _JITTER, 3).tolist()
    posterizes, sharpens, stretches = (rng.random(3) < 0.5).tolist()
    return Augmentation(
        brightness, contrast, saturation, posterizes, _SHARPNESS if sharpens else 1.0, stretches
    )
