"""Augmentation of frames: what Pillow does to each image, done to all at once."""

import numpy as np
import pytest
from PIL import Image, ImageEnhance, ImageOps

from aquatint.data.image_augmentation import Augmentation, draw_augmentation

_IDENTITY = Augmentation(1.0, 1.0, 1.0, posterizes=False, sharpness=1.0, stretches=False)


def by_pillow(augmentation, pixels):
    image = Image.fromarray(pixels)
    image = ImageEnhance.Brightness(image).enhance(augmentation.brightness)
    image = ImageEnhance.Contrast(image).enhance(augmentation.contrast)
    image = ImageEnhance.Color(image).enhance(augmentation.saturation)
    if augmentation.posterizes:
        image = ImageOps.posterize(image, 4)
    if augmentation.sharpness != 1:
        image = ImageEnhance.Sharpness(image).enhance(augmentation.sharpness)
    return np.asarray(ImageOps.autocontrast(image) if augmentation.stretches else image)


def some_images(seed):
    """Noise, a dark one of few colors, and one of a single color."""
    rng = np.random.default_rng(seed)
    height, width = rng.integers(3, 40, 2)
    noise = rng.integers(0, 256, (2, height, width, 3), dtype=np.uint8)
    dark = rng.integers(3, 9, (1, height, width, 3), dtype=np.uint8)
    plain = np.full((1, height, width, 3), rng.integers(256, size=3), np.uint8)
    return np.concatenate([noise, dark, plain])


@pytest.mark.parametrize("seed", range(40))
def test_images_are_changed_as_pillow_changes_each(seed):
    images, augmentation = some_images(seed), draw_augmentation(seed)
    expected = np.stack([by_pillow(augmentation, pixels) for pixels in images])
    changed = augmentation(images)
    assert changed.dtype == np.uint8
    assert changed.flags.c_contiguous
    np.testing.assert_array_equal(changed, expected)


def test_factors_of_one_change_nothing():
    images = some_images(0)
    np.testing.assert_array_equal(_IDENTITY(images), images)


def test_draws_show_every_change_and_leave_it_out_half_the_time():
    draws = [draw_augmentation(0, 0, sample) for sample in range(400)]
    for name in ("posterizes", "stretches"):
        assert 0.4 < np.mean([getattr(draw, name) for draw in draws]) < 0.6
    assert {draw.sharpness for draw in draws} == {1.0, 2.0}
    factors = np.array([[d.brightness, d.contrast, d.saturation] for d in draws])
    assert factors.min() >= 0.8
    assert factors.max() <= 1.2
    assert (np.ptp(factors, axis=0) > 0.35).all()


def test_a_draw_is_a_function_of_its_seeds():
    assert draw_augmentation(1, 2, 3) == draw_augmentation(1, 2, 3)
    assert draw_augmentation(1, 2, 3) != draw_augmentation(1, 2, 4)
