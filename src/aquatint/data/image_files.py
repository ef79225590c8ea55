"""Checks of image files that annotations name: place, size, format, every pixel."""

import hashlib
import io
from pathlib import Path, PurePosixPath
from typing import NamedTuple

from PIL import Image

from aquatint.data.rejects import (
    RULE_BELOW_ROOT,
    RULE_IMAGE_DECODES,
    RULE_IMAGE_EXISTS,
    RULE_IMAGE_FORMAT,
    RULE_IMAGE_NOT_EMPTY,
    RULE_IMAGE_PLAIN,
    RULE_IMAGE_SIZE,
    RuleViolation,
)

FORMAT_OF_SUFFIX = {".jpg": "JPEG", ".jpeg": "JPEG", ".png": "PNG", ".webp": "WEBP"}
PLAIN_MODES = ("L", "LA", "P", "RGB", "RGBA")
EXIF_ORIENTATION = 0x0112
MAX_BYTES_PER_PIXEL = 8
MAX_HEADER_BYTES = 2**20


class ImageFacts(NamedTuple):
    """What a checked image file holds.

    Attributes:
        width: Width in pixels.
        height: Height in pixels.
        sha256: Digest of the file's bytes, in hex.
    """

    width: int
    height: int
    sha256: str


def is_plain_relative_path(path: str) -> bool:
    """Return whether ``path`` is relative, printable and without ``..`` or a backslash."""
    parts = PurePosixPath(path).parts
    return (
        bool(parts)
        and path.isprintable()
        and "\\" not in path
        and not path.startswith("/")
        and ".." not in parts
    )


def inspect_image(image_root: Path, path: str, max_pixels: int) -> ImageFacts:
    """Return the facts of an image after decoding all of it.

    Args:
        image_root: Folder that no image may lie outside of, resolved.
        path: Path of the image, relative to ``image_root``.
        max_pixels: Largest accepted width * height; read from the header, before decoding.

    Returns:
        Size and digest of the file.

    Raises:
        RuleViolation: If the path leaves ``image_root``, also through a link, or the file is
            missing, empty, too large, of another format than its name says, truncated, animated,
            rotated by EXIF, or not 8 bits per channel.
    """
    file = _file_below(image_root, path)
    num_bytes = file.stat().st_size
    if num_bytes == 0:
        raise RuleViolation(RULE_IMAGE_NOT_EMPTY, path)
    if num_bytes > MAX_BYTES_PER_PIXEL * max_pixels + MAX_HEADER_BYTES:
        raise RuleViolation(RULE_IMAGE_SIZE, f"{path}: {num_bytes} bytes for {max_pixels} pixels")
    return inspect_content(file.read_bytes(), path, max_pixels)


def inspect_content(content: bytes, path: str, max_pixels: int) -> ImageFacts:
    """Return the facts of an image given as bytes, after decoding all of it.

    Args:
        content: The file's bytes.
        path: Its name, whose suffix says the format.
        max_pixels: Largest accepted width * height; read from the header, before decoding.

    Raises:
        RuleViolation: As from ``inspect_image``.
    """
    if not content:
        raise RuleViolation(RULE_IMAGE_NOT_EMPTY, path)
    width, height = _decode(content, path, max_pixels)
    return ImageFacts(width, height, hashlib.sha256(content).hexdigest())


def _file_below(image_root: Path, path: str) -> Path:
    if not is_plain_relative_path(path):
        raise RuleViolation(RULE_BELOW_ROOT, path)
    try:
        file = (image_root / path).resolve()
        is_file = file.is_file()
    except (OSError, RuntimeError) as error:
        # A loop of links, or a name longer than the file system allows.
        raise RuleViolation(RULE_IMAGE_EXISTS, path) from error
    if not file.is_relative_to(image_root):
        raise RuleViolation(RULE_BELOW_ROOT, path)
    if not is_file:
        raise RuleViolation(RULE_IMAGE_EXISTS, path)
    return file


def _decode(content: bytes, path: str, max_pixels: int) -> tuple[int, int]:
    try:
        # Only the formats we read: the plug-ins of rare ones are where Pillow's holes are.
        image = Image.open(io.BytesIO(content), formats=sorted(set(FORMAT_OF_SUFFIX.values())))
    except Image.DecompressionBombError as error:
        raise RuleViolation(RULE_IMAGE_SIZE, f"{path}: {error}") from error
    except (OSError, SyntaxError, ValueError) as error:
        raise RuleViolation(RULE_IMAGE_FORMAT, path) from error
    with image:
        if image.format != FORMAT_OF_SUFFIX.get(PurePosixPath(path).suffix.lower()):
            raise RuleViolation(RULE_IMAGE_FORMAT, f"{path}: {image.format}")
        width, height = image.size
        if width * height > max_pixels:
            raise RuleViolation(RULE_IMAGE_SIZE, f"{path}: {width} x {height} > {max_pixels}")
        _check_plain(image, path)
        try:
            image.load()
        except (OSError, SyntaxError, ValueError) as error:
            raise RuleViolation(RULE_IMAGE_DECODES, f"{path}: {error}") from error
    return width, height


def _check_plain(image: Image.Image, path: str) -> None:
    if getattr(image, "is_animated", False):
        raise RuleViolation(RULE_IMAGE_PLAIN, f"{path}: animated")
    if image.mode not in PLAIN_MODES:
        raise RuleViolation(RULE_IMAGE_PLAIN, f"{path}: mode {image.mode}")
    # Nothing says whether boxes were drawn on the stored or on the rotated picture.
    orientation = image.getexif().get(EXIF_ORIENTATION, 1)
    if orientation != 1:
        raise RuleViolation(RULE_IMAGE_PLAIN, f"{path}: EXIF orientation {orientation}")
