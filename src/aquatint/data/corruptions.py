"""Image corruptions for robustness tests, each in five severities."""

import io
from typing import Literal

import numpy as np
from PIL import Image, ImageFilter

Corruption = Literal["gaussian_noise", "blur", "occlusion", "brightness", "jpeg"]
MAX_SEVERITY = 5

# One value for each severity, 1 to 5; lengths are shares of the shorter side of the image.
NOISE_STD = (0.04, 0.08, 0.12, 0.18, 0.26)
BLUR_RADIUS = (0.004, 0.008, 0.012, 0.018, 0.027)
OCCLUDED_SIDE = (0.2, 0.3, 0.4, 0.5, 0.6)
BRIGHTNESS_SHIFT = (0.1, 0.2, 0.3, 0.4, 0.5)
JPEG_QUALITY = (30, 20, 14, 9, 5)
MID_GREY = 128


def corrupt(images: np.ndarray, kind: Corruption, severity: int, seed: int) -> np.ndarray:
    """Return corrupted copies of images.

    Args:
        images: RGB, uint8, shape (N, H, W, 3); unchanged.
        kind: ``gaussian_noise``; Gaussian ``blur``; ``occlusion`` of a square at a random place
            by grey; ``brightness`` raised or lowered; ``jpeg`` compression.
        severity: 1 (mild) to 5 (strong).
        seed: Seed; image i gets the same draw for the same seed, however many follow it.

    Returns:
        RGB, uint8, shape (N, H, W, 3).

    Raises:
        ValueError: If the images are not uint8 RGB, or kind or severity is unknown.

    References:
        Hendrycks and Dietterich, "Benchmarking Neural Network Robustness to Common Corruptions
        and Perturbations", ICLR 2019, https://arxiv.org/abs/1903.12261. Noise and brightness
        follow its ImageNet scales, lengths are relative to the image; occlusion is ours.
    """
    if images.dtype != np.uint8 or images.ndim != 4 or images.shape[-1] != 3:
        raise ValueError(
            f"images must be uint8 of shape (N, H, W, 3), got {images.dtype} of shape "
            f"{images.shape}."
        )
    if not 1 <= severity <= MAX_SEVERITY:
        raise ValueError(f"severity must be 1 to {MAX_SEVERITY}, got {severity}.")
    corrupted = np.empty_like(images)
    for index, image in enumerate(images):
        rng = np.random.default_rng((seed, index))
        corrupted[index] = _corrupt_one(image, kind, severity - 1, rng)
    return corrupted


def _corrupt_one(
    image: np.ndarray, kind: Corruption, level: int, rng: np.random.Generator
) -> np.ndarray:
    match kind:
        case "gaussian_noise":
            noise = rng.normal(0, NOISE_STD[level] * 255, image.shape)
            return _to_uint8(image + noise)
        case "blur":
            radius = BLUR_RADIUS[level] * min(image.shape[:2])
            return np.asarray(Image.fromarray(image).filter(ImageFilter.GaussianBlur(radius)))
        case "occlusion":
            return _occlude(image, OCCLUDED_SIDE[level], rng)
        case "brightness":
            return _to_uint8(image + rng.choice((-255, 255)) * BRIGHTNESS_SHIFT[level])
        case "jpeg":
            return _compress(image, JPEG_QUALITY[level])
        case _:
            raise ValueError(f"unknown corruption {kind!r}.")


def _occlude(image: np.ndarray, share: float, rng: np.random.Generator) -> np.ndarray:
    height, width = image.shape[:2]
    side = round(share * min(height, width))
    top, left = rng.integers(0, height - side + 1), rng.integers(0, width - side + 1)
    occluded = image.copy()
    occluded[top : top + side, left : left + side] = MID_GREY
    return occluded


def _compress(image: np.ndarray, quality: int) -> np.ndarray:
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, "JPEG", quality=quality)
    return np.asarray(Image.open(buffer).convert("RGB"))


def _to_uint8(image: np.ndarray) -> np.ndarray:
    return np.clip(np.rint(image), 0, 255).astype(np.uint8)
