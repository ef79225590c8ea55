"""Changes of a frame's colors that leave what it shows, drawn anew for every showing."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageEnhance, ImageOps

_JITTER = 0.2
_POSTERIZED_BITS = 4
_SHARPNESS = 2.0
_WHITE = 255
# ITU-R 601-2, in 65,536ths as Pillow rounds it. Sums of these times bytes are exact in 32 bits.
_GREY_WEIGHTS = (19_595, 38_470, 7_471)
_GREY_SCALE = 65_536
# Pillow's SMOOTH: 1 around, 5 in the middle, and what they sum to.
_MIDDLE_WEIGHT, _SMOOTH_SUM = 5, 13
# Pixels of an image. Below, Pillow spends most of its time outside of them; above, they no longer
# stay in a core's cache (benchmarks/bench_navigation.py).
_SMALL_IMAGE = 96 * 96

Floats = NDArray[np.float32]


@dataclass(frozen=True)
class Augmentation:
    """One draw of the changes, to be applied to every frame of a sample alike.

    They are those of Pillow's ``ImageEnhance`` and ``ImageOps``, to the bit: small images all at
    once, large ones by Pillow itself, whichever takes less time.

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

    def __call__(self, images: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """Return the changed images.

        Args:
            images: Each changed by its own mean and range, shape (N, H, W, 3).
        """
        if images.shape[1] * images.shape[2] < _SMALL_IMAGE:
            return self._change_together(images)
        return np.stack([np.asarray(self._change(Image.fromarray(image))) for image in images])

    def _change(self, image: Image.Image) -> Image.Image:
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

    def _change_together(self, images: NDArray[np.uint8]) -> NDArray[np.uint8]:
        # Channels first, or every operation would go over three numbers at a time.
        values = np.ascontiguousarray(images.transpose(3, 0, 1, 2), np.float32)
        values = _enhance(values, np.zeros(1, np.float32), self.brightness)
        means = np.floor(_grey(values).mean((1, 2), np.float64, keepdims=True) + 0.5)
        values = _enhance(values, means.astype(np.float32), self.contrast)
        values = _enhance(values, _grey(values), self.saturation)
        if self.posterizes:
            values -= values % 2 ** (8 - _POSTERIZED_BITS)
        if self.sharpness != 1:
            values = _enhance(values, _smooth(values), self.sharpness)
        if self.stretches:
            values = _stretch(values)
        return np.ascontiguousarray(values.astype(np.uint8).transpose(1, 2, 3, 0))


def _enhance(values: Floats, degenerate: Floats, factor: float) -> Floats:
    """Move ``degenerate`` towards ``values``, and beyond where ``factor`` is greater than 1."""
    moved = values - degenerate
    moved *= np.float32(factor)
    moved += degenerate
    return np.trunc(np.clip(moved, 0, _WHITE, out=moved), out=moved)


def _grey(values: Floats) -> Floats:
    """Brightness of colors (3, N, H, W), shape (N, H, W)."""
    red, green, blue = (
        weight * channel for weight, channel in zip(_GREY_WEIGHTS, values, strict=True)
    )
    return np.floor((red + green + blue + _GREY_SCALE // 2) / _GREY_SCALE)


def _smooth(values: Floats) -> Floats:
    """Mean of the pixels around each one; those of the rim stay as they are."""
    rows = values[..., :-2, :] + values[..., 1:-1, :] + values[..., 2:, :]
    around = rows[..., :-2] + rows[..., 1:-1] + rows[..., 2:]
    inner = (..., slice(1, -1), slice(1, -1))
    sums = around + (_MIDDLE_WEIGHT - 1) * values[inner]
    smooth = values.copy()
    smooth[inner] = np.floor(sums / _SMOOTH_SUM + np.float32(0.5))
    return smooth


def _stretch(values: Floats) -> Floats:
    """Let every channel of every image go from 0 to 255; one that has a single value stays."""
    flat = values.reshape(*values.shape[:2], -1)
    darkest = flat.min(2, keepdims=True).astype(np.float64)
    widths = flat.max(2, keepdims=True) - darkest
    scales = _WHITE / np.where(widths > 0, widths, _WHITE)
    starts = np.where(widths > 0, darkest, 0.0)
    # As Pillow: in doubles, because whole numbers times a scale often end near whole numbers.
    stretched = np.trunc(np.clip(flat * scales - starts * scales, 0, _WHITE))
    return stretched.astype(np.float32).reshape(values.shape)


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
