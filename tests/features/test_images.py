"""Decoding and normalising: faster than PIL and numpy, and the same to the bit."""

import io

import numpy as np
import pytest
import torch
from PIL import Image

from aquatint.features.images import decode_image, load_image
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


def test_normalised_pixels_are_those_of_the_formula():
    mean, std = (0.4, 0.5, 0.6), (0.2, 0.3, 0.1)
    images = torch.from_numpy(np.random.default_rng(1).integers(0, 255, (3, 8, 8, 3), np.uint8))
    found = PixelNormalizer(mean, std)(images)
    expected = ((images.numpy() / 255 - mean) / std).transpose(0, 3, 1, 2)
    assert found.shape == (3, 3, 8, 8)
    assert found.is_contiguous()
    assert np.allclose(found.numpy(), expected, atol=1e-5)
