from typing import get_args

import numpy as np
import pytest

from aquatint.data.corruptions import Corruption, corrupt

KINDS = get_args(Corruption)


def smooth_images(n: int = 3, height: int = 40, width: int = 56) -> np.ndarray:
    """Gradients with a bright square: something for every corruption to damage."""
    y, x = np.mgrid[:height, :width]
    image = np.stack((x * 4, y * 5, (x + y) * 2), axis=-1).astype(np.uint8)
    image[10:20, 10:25] = 230
    return np.stack([np.roll(image, 5 * i, axis=1) for i in range(n)])


def damage(kind: str, severity: int) -> float:
    images = smooth_images()
    changed = corrupt(images, kind, severity, seed=0).astype(float)
    return float(np.abs(changed - images).mean())


def test_all_kinds_are_tested():
    assert len(KINDS) == 5


@pytest.mark.parametrize("kind", KINDS)
def test_shape_dtype_and_input_stay(kind):
    images = smooth_images()
    before = images.copy()
    corrupted = corrupt(images, kind, 3, seed=0)
    assert corrupted.shape == images.shape
    assert corrupted.dtype == np.uint8
    assert np.array_equal(images, before)
    assert not np.array_equal(corrupted, images)


@pytest.mark.parametrize("kind", KINDS)
def test_damage_grows_with_severity(kind):
    damages = [damage(kind, severity) for severity in range(1, 6)]
    assert damages == sorted(damages)
    assert damages[0] > 0
    assert damages[-1] > 1.5 * damages[0]


@pytest.mark.parametrize("kind", KINDS)
def test_same_seed_same_images(kind):
    images = smooth_images()
    first, again = corrupt(images, kind, 2, seed=4), corrupt(images, kind, 2, seed=4)
    assert np.array_equal(first, again)


@pytest.mark.parametrize("kind", ["gaussian_noise", "occlusion", "brightness"])
def test_another_seed_gives_another_draw(kind):
    images = smooth_images(8)
    first, other = corrupt(images, kind, 2, seed=4), corrupt(images, kind, 2, seed=5)
    assert not np.array_equal(first, other)


@pytest.mark.parametrize("kind", KINDS)
def test_an_image_does_not_depend_on_those_after_it(kind):
    images = smooth_images(4)
    assert np.array_equal(corrupt(images, kind, 2, 0)[:2], corrupt(images[:2], kind, 2, 0))


def test_occlusion_by_hand():
    images = np.zeros((1, 40, 60, 3), dtype=np.uint8)
    occluded = corrupt(images, "occlusion", 4, seed=0)[0]
    assert (occluded == 128).all(axis=-1).sum() == 20 * 20
    assert set(np.unique(occluded)) == {0, 128}


def test_noise_has_the_stated_strength():
    images = np.full((1, 64, 64, 3), 128, dtype=np.uint8)
    noise = corrupt(images, "gaussian_noise", 2, seed=0).astype(float) - 128
    assert noise.std() == pytest.approx(0.08 * 255, rel=0.05)
    assert abs(noise.mean()) < 1


def test_brightness_shifts_every_pixel_alike_and_saturates():
    images = np.full((6, 4, 4, 3), 128, dtype=np.uint8)
    shifts = {int(image[0, 0, 0]) - 128 for image in corrupt(images, "brightness", 2, seed=0)}
    assert shifts == {-51, 51}
    white = np.full((6, 4, 4, 3), 255, dtype=np.uint8)
    assert set(np.unique(corrupt(white, "brightness", 2, seed=0))) == {204, 255}


def test_blur_of_a_plain_image_changes_nothing():
    plain = np.full((1, 32, 32, 3), 77, dtype=np.uint8)
    assert np.array_equal(corrupt(plain, "blur", 5, seed=0), plain)


def test_no_images_give_none():
    empty = np.zeros((0, 8, 8, 3), dtype=np.uint8)
    assert corrupt(empty, "jpeg", 1, seed=0).shape == (0, 8, 8, 3)


@pytest.mark.parametrize("severity", [0, 6])
def test_severity_out_of_range_is_refused(severity):
    with pytest.raises(ValueError, match=f"severity must be 1 to 5, got {severity}"):
        corrupt(smooth_images(), "blur", severity, seed=0)


def test_other_inputs_are_refused():
    with pytest.raises(ValueError, match="unknown corruption 'fog'"):
        corrupt(smooth_images(), "fog", 1, seed=0)
    with pytest.raises(ValueError, match=r"uint8 of shape \(N, H, W, 3\), got float64"):
        corrupt(smooth_images() / 255, "blur", 1, seed=0)
    with pytest.raises(ValueError, match=r"got uint8 of shape \(40, 56, 3\)"):
        corrupt(smooth_images()[0], "blur", 1, seed=0)
