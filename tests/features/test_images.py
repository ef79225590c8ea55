"""Decoding and normalising: faster than PIL and numpy, and the same to the bit."""

import io

import numpy as np
import pytest
import torch
from PIL import Image

from aquatint.features.cache import FeatureStore
from aquatint.features.images import cache_pixels, decode_image, load_image, resize_pixels
from aquatint.models.pixels import PixelNormalizer

PIXELS = np.random.default_rng(0).integers(0, 255, (37, 50, 3), np.uint8)


def encoded(mode: str = "RGB", file_format: str = "JPEG", **options) -> bytes:
    buffer = io.BytesIO()
    image = Image.fromarray(PIXELS).resize((101, 75)).convert(mode)
    image.save(buffer, format=file_format, **options)
    return buffer.getvalue()


def by_pil(content: bytes) -> np.ndarray:
    return np.array(Image.open(io.BytesIO(content)).convert("RGB"))


@pytest.mark.parametrize(
    "content",
    [
        encoded(quality=90),
        encoded(quality=60, subsampling="4:2:0"),
        encoded(subsampling="4:4:4"),
        encoded(progressive=True),
        encoded("L"),
        encoded("CMYK"),
        encoded(file_format="PNG"),
        encoded("P", "PNG"),
        encoded(file_format="WEBP", lossless=True),
    ],
    ids=["jpeg", "420", "444", "progressive", "grey", "cmyk", "png", "palette", "webp"],
)
def test_a_decoded_image_is_what_pil_gives(content, tmp_path):
    assert np.array_equal(decode_image(content, tmp_path / "x")[..., :3], by_pil(content))


def test_a_jpeg_that_was_cut_off_is_refused_by_name(tmp_path):
    path = tmp_path / "cut.jpeg"
    path.write_bytes(encoded(quality=90)[:-400])
    with pytest.raises(OSError, match=r"cut\.jpeg is no whole JPEG"):
        load_image(path, 24)


def test_another_format_is_refused(tmp_path):
    with pytest.raises(OSError, match="cannot identify"):
        decode_image(encoded(file_format="GIF"), tmp_path / "x.gif")


@pytest.mark.parametrize("num_channels", [3, 4])
def test_resized_pixels_are_those_of_separate_planes(num_channels):
    pixels = np.random.default_rng(2).integers(0, 255, (75, 101, num_channels), np.uint8)
    planes = torch.from_numpy(pixels[..., :3].transpose(2, 0, 1).copy())[None]
    expected = torch.nn.functional.interpolate(planes, (24, 24), mode="bicubic", antialias=True)
    found = resize_pixels(pixels, 24)
    assert found.shape == (24, 24, 3)
    assert np.array_equal(found.transpose(2, 0, 1), expected[0].numpy())


def test_cached_images_are_the_loaded_ones_each_under_its_key(tmp_path):
    contents = [encoded(quality=90), encoded(quality=10), encoded("L"), encoded(file_format="PNG")]
    paths = [tmp_path / str(i) for i in range(4)]
    for path, content in zip(paths, contents, strict=True):
        path.write_bytes(content)
    keys = [path.name for path in paths]
    reader = cache_pixels(FeatureStore(str(tmp_path / "store"), 1), paths, keys, 24).open()
    found = reader.read(reader.places(keys[::-1]))
    assert np.array_equal(found, np.stack([load_image(path, 24) for path in paths[::-1]]))


def test_normalised_pixels_are_those_of_the_formula():
    mean, std = (0.4, 0.5, 0.6), (0.2, 0.3, 0.1)
    images = torch.from_numpy(np.random.default_rng(1).integers(0, 255, (3, 8, 8, 3), np.uint8))
    found = PixelNormalizer(mean, std)(images)
    expected = ((images.numpy() / 255 - mean) / std).transpose(0, 3, 1, 2)
    assert found.shape == (3, 3, 8, 8)
    assert found.is_contiguous()
    assert np.allclose(found.numpy(), expected, atol=1e-5)
