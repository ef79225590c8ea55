"""Tileable fractal noise, drawn once per process and shared by all scenes."""

from functools import lru_cache
from typing import NamedTuple

import numpy as np

from aquatint.world.arrays import FloatArray

TILE_PX = 512


class NoiseBank(NamedTuple):
    """Tileable textures of zero mean and unit deviation, each ``TILE_PX`` square."""

    coarse: FloatArray
    patches: FloatArray
    fine: FloatArray
    grain: FloatArray


def fractal_noise(seed: int, exponent: float, cutoff: float, size_px: int = TILE_PX) -> FloatArray:
    """Return a square of noise that continues over its own borders.

    Args:
        seed: Seed of the noise.
        exponent: Fall of the amplitude with frequency; 0 is white noise, 2 is soft hills.
        cutoff: Cycles per side below which the amplitude stays flat.
        size_px: Side in pixels.

    Returns:
        Noise of zero mean and unit deviation, shape (size_px, size_px).
    """
    white = np.random.default_rng(seed).standard_normal((size_px, size_px))
    rows = np.fft.fftfreq(size_px)[:, None] * size_px
    columns = np.fft.rfftfreq(size_px)[None, :] * size_px
    power = rows**2 + columns**2 + cutoff**2
    noise = np.fft.irfft2(np.fft.rfft2(white) * power ** (-exponent / 2), s=white.shape)
    return ((noise - noise.mean()) / noise.std()).astype(np.float32)


@lru_cache(maxsize=1)
def noise_bank() -> NoiseBank:
    """Return the shared textures, from wide hills to single grains."""
    return NoiseBank(
        coarse=fractal_noise(101, 2.2, 4.0),
        patches=fractal_noise(102, 2.4, 10.0),
        fine=fractal_noise(103, 1.5, 24.0),
        grain=fractal_noise(104, 0.7, 60.0),
    )


def shift_tile(tile: FloatArray, rng: np.random.Generator) -> FloatArray:
    """Return the tile rolled, mirrored and turned at random, which stays tileable."""
    shift = rng.integers(0, tile.shape[0], 2)
    turned = np.rot90(tile[:: rng.choice((-1, 1))], int(rng.integers(4)))
    return np.roll(turned, tuple(int(value) for value in shift), axis=(0, 1))


def sample_tile(tile: FloatArray, x_m: FloatArray, y_m: FloatArray, px_per_m: float) -> FloatArray:
    """Look the tile up at world positions, repeating it endlessly.

    Args:
        tile: Tileable texture whose side is a power of two.
        x_m: World x of any shape.
        y_m: World y of the same shape.
        px_per_m: Texture pixels per metre.
    """
    mask = tile.shape[0] - 1
    # Shifted to positive numbers: a cast to integers rounds towards zero, not down.
    columns = (x_m * px_per_m + 65536.0).astype(np.int32) & mask
    rows = (y_m * px_per_m + 65536.0).astype(np.int32) & mask
    return tile.ravel().take(rows * tile.shape[0] + columns)
