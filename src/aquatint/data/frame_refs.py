"""Pictures by reference: files, cells of a Parquet file, frames of a video."""

from __future__ import annotations

import hashlib
import io
from functools import lru_cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from aquatint.data.image_files import FORMAT_OF_SUFFIX, inspect_image
from aquatint.data.rejects import RULE_IMAGE_DECODES, RULE_IMAGE_SIZE
from aquatint.data.robot_rows import FieldViolation

# <file>#<column>#<row> and <file>#<frame>; file names with a # are refused by the readers.
MARK = "#"
_FORMATS = sorted(set(FORMAT_OF_SUFFIX.values()))


def parquet_ref(file: str, column: str, row: int) -> str:
    """Reference to a picture in a cell of a Parquet file."""
    return f"{file}{MARK}{column}{MARK}{row}"


def video_ref(file: str, frame: int) -> str:
    """Reference to a frame of a video, counted from 0."""
    return f"{file}{MARK}{frame}"


def load_frame(root: Path, ref: str) -> NDArray[np.uint8]:
    """Return a picture as RGB, shape (H, W, 3).

    Args:
        root: Folder of the data set.
        ref: File, ``<parquet>#<column>#<row>`` or ``<video>#<frame>``.

    Raises:
        FieldViolation: If it does not decode.
    """
    file, *inner = ref.split(MARK)
    if len(inner) == 1:
        return read_video(root / file)[int(inner[0])]
    try:
        source = (
            root / file
            if not inner
            else io.BytesIO(read_cells(root / file, inner[0])[int(inner[1])])
        )
        with Image.open(source, formats=_FORMATS) as image:
            return np.asarray(image.convert("RGB"))
    except (OSError, SyntaxError, ValueError) as error:
        raise FieldViolation(ref, RULE_IMAGE_DECODES, str(error)) from error


def digest_frame(root: Path, ref: str, max_pixels: int) -> str:
    """Return the sha256 of a picture's bytes after a look at all of it.

    Raises:
        RuleViolation: If it is missing, too large, or does not decode.
    """
    file, *inner = ref.split(MARK)
    if not inner:
        return inspect_image(root, file, max_pixels).sha256
    pixels = load_frame(root, ref)
    if pixels.shape[0] * pixels.shape[1] > max_pixels:
        raise FieldViolation(ref, RULE_IMAGE_SIZE, f"{pixels.shape[:2]} > {max_pixels}")
    return hashlib.sha256(pixels.tobytes() + str(pixels.shape).encode()).hexdigest()


@lru_cache(maxsize=4)
def read_cells(path: Path, column: str) -> list[bytes]:
    """Return the encoded pictures of a Parquet column of structs ``{bytes, path}``."""
    import pyarrow.parquet as pq

    cells = pq.read_table(path, columns=[column]).column(column).to_pylist()
    return [cell["bytes"] for cell in cells]


@lru_cache(maxsize=2)
def read_video(path: Path) -> NDArray[np.uint8]:
    """Return all frames of a video, shape (F, H, W, 3).

    Raises:
        ImportError: If PyAV is not installed.
    """
    try:
        import av
    except ImportError as error:
        raise ImportError(
            f"{path} is a video: pip install -e '.[video]', or store images in the data set."
        ) from error
    with av.open(str(path)) as container:
        return np.stack([frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)])
