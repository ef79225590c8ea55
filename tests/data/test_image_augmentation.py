"""Augmentation of frames: what Pillow does to each image, done to all at once."""

from dataclasses import replace

import numpy as np
import pytest

from aquatint.data import image_augmentation
from aquatint.data.image_augmentation import Augmentation, draw_augmentation

_IDENTITY = Augmentation(1.0, 1.0, 1.0, posterizes=False, sharpness=1.0, stretches=False)


def some_images(seed):
    """Noise, a dark one of few colors, and one of a single color."""
    rng = np.random.default_rng(seed)
    height, width = rng.integers(3, 40, 2)
    noise = rng.integers(0, 256, (2, height, width, 3), dtype=np.uint8)
    dark = rng.integers(3, 9, (1, height, width, 3), dtype=np.uint8)
    plain = np.full((1, height, width, 3), rng.integers(256, size=3), np.uint8)
    return np.concatenate([noise, dark, plain])


@pytest.mark.parametrize("seed", range(40))
def test_small_images_are_changed_together_as_pillow_changes_each(seed, monkeypatch):
    images, augmentation = some_images(seed), draw_augmentation(seed)
    together = augmentation(images)
    assert together.dtype == np.uint8
    assert together.flags.c_contiguous
    monkeypatch.setattr(image_augmentation, "_SMALL_IMAGE", 0)
    monkeypatch.delattr(Augmentation, "_change_together")
    np.testing.assert_array_equal(together, augmentation(images))


def test_changes_are_those_that_their_names_say():
    """Against values by hand: Pillow alone would agree with itself whatever it was asked for."""
    pixels = np.zeros((1, 1, 4, 3), np.uint8)
    pixels[0, 0, :, 0] = (0, 60, 120, 180)
    red = lambda **changes: replace(_IDENTITY, **changes)(pixels)[0, 0, :, 0].tolist()  # noqa: E731
    assert red(brightness=0.5) == [0, 30, 60, 90]
    # Its mean brightness is 27: 0.299 of the mean red, rounded.
    assert red(contrast=0.5) == [13, 43, 73, 103]
    assert red(posterizes=True) == [0, 48, 112, 176]
    assert red(stretches=True) == [0, 85, 170, 255]
    # A grey has 18, 36 and 54, and a row is all rim: nothing to sharpen.
    assert red(saturation=0.0) == [0, 18, 36, 54]
    assert red(sharpness=2.0) == [0, 60, 120, 180]


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
