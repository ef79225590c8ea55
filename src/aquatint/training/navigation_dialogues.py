"""Dialogues of a navigation model as tensors: frames to patches, questions and answers to ids."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from aquatint.data.navigation_prompts import IMAGE, user_turn
from aquatint.features.views import ViewStyle, fit_size
from aquatint.models.answering import IGNORE_INDEX
from aquatint.models.backbone import Backbone
from aquatint.models.pixels import PixelNormalizer
from aquatint.models.qwen_vl import patchify

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Pixels = NDArray[np.uint8]

_KEPT_PIECES = 8192


@dataclass(frozen=True)
class FrameStyle:
    """How frames are shown; areas in pixels as the vision tower sees them.

    Attributes:
        frame_edge_px: Edge to which the current frame is resized; the look-down image is not.
        history_edge_px: The same for earlier frames.
        min_pixels: Fewest pixels of an image; smaller ones are enlarged.
        max_pixels: Most pixels of an image; larger ones are reduced.
        repeats_instruction: Whether the question over the look-down image says the instruction
            again.
    """

    frame_edge_px: int
    history_edge_px: int
    min_pixels: int
    max_pixels: int
    repeats_instruction: bool = False


class Turn(NamedTuple):
    """A question and its answer.

    Attributes:
        question: With ``IMAGE`` where images go.
        images: Pixels of those images in order, uint8, shape (H, W, 3) each.
        answer: Text of the answer; None where the model is to give it.
    """

    question: str
    images: Sequence[Pixels]
    answer: str | None


def read_frame(path: Path) -> Image.Image:
    """Decode a frame.

    Raises:
        ValueError: If the file is missing or no whole image; names it.
    """
    try:
        with Image.open(path, formats=("JPEG", "PNG")) as image:
            return image.convert("RGB")
    except (OSError, SyntaxError) as error:
        raise ValueError(f"{path} must be a whole JPEG or PNG: {error}.") from error


def _images_of(dialogues: Sequence[Sequence[Turn]]) -> list[Pixels]:
    return [image for turns in dialogues for turn in turns for image in turn.images]


class DialogueWriter:
    """Turns into tensors, with a backbone's own tokens, patches and statistics.

    Args:
        backbone: Qwen2-VL or Qwen2.5-VL.
        style: How frames are shown.
    """

    def __init__(self, backbone: Backbone, style: FrameStyle) -> None:
        kind, vision = backbone.architecture, backbone.load_config().vision_config
        self._tokenizer = backbone.load_tokenizer()
        marks = (kind.image_start, kind.image_token, kind.image_end)
        self._marks = [self._tokenizer.convert_tokens_to_ids(mark) for mark in marks]
        self.eos, self.pad = self._tokenizer.eos_token_id, self._tokenizer.pad_token_id
        self._patch_px, self._merge = vision.patch_size, vision.spatial_merge_size
        self._normalize = PixelNormalizer(*backbone.image_statistics)
        # The pieces between images repeat: words of an instruction, conjunctions, marks of a turn.
        self._ids = functools.lru_cache(maxsize=_KEPT_PIECES)(self._tokenize)
        self.style = style
        self._limits = ViewStyle("image", 1.0, style.min_pixels, style.max_pixels)

    def current(self, image: Image.Image) -> Pixels:
        """Show the frame of this moment."""
        return self._shown(image, self.style.frame_edge_px)

    def earlier(self, image: Image.Image) -> Pixels:
        """Show a frame of the past."""
        return self._shown(image, self.style.history_edge_px)

    def look_down(self, image: Image.Image) -> Pixels:
        """Show the image in which goals are named, as large as it is but for the limits."""
        height, width = self._fit(image.height, image.width)
        if (width, height) != image.size:
            image = image.resize((width, height), Image.Resampling.BICUBIC)
        return np.asarray(image)

    def _shown(self, image: Image.Image, edge: int) -> Pixels:
        height, width = self._fit(edge, edge)
        return np.asarray(image.resize((width, height), Image.Resampling.BICUBIC))

    def _fit(self, height: int, width: int) -> tuple[int, int]:
        return fit_size(height, width, self._patch_px * self._merge, self._limits)

    def write(self, dialogues: Sequence[Sequence[Turn]]) -> dict[str, Tensor]:
        """Return dialogues as tensors, padded on the right.

        Args:
            dialogues: Turns of each; where the last one's answer is None, ids end where it begins.

        Returns:
            input_ids, attention_mask, labels (B, T): ids where the model answers, else -100;
            patches (P, C) and grids (M, 3) of all images in order.
        """
        patches, grids = self._patches(_images_of(dialogues))
        return {**self.write_words(dialogues), "patches": patches, "grids": grids}

    def write_words(self, dialogues: Sequence[Sequence[Turn]]) -> dict[str, Tensor]:
        """Return what ``write`` does, but for patches and grids."""
        rows = [self._row(turns) for turns in dialogues]
        width = max(len(ids) for ids, _ in rows)
        ids = torch.full((len(rows), width), self.pad, dtype=torch.long)
        labels = torch.full((len(rows), width), IGNORE_INDEX, dtype=torch.long)
        seen = torch.zeros(len(rows), width, dtype=torch.long)
        for number, (of_row, labelled) in enumerate(rows):
            ids[number, : len(of_row)] = torch.tensor(of_row)
            labels[number, : len(of_row)] = torch.tensor(labelled)
            seen[number, : len(of_row)] = 1
        return {"input_ids": ids, "attention_mask": seen, "labels": labels}

    def distinct_images(
        self, dialogues: Sequence[Sequence[Turn]]
    ) -> tuple[dict[str, Tensor], list[int]]:
        """Return every image once, however many dialogues show the same array.

        Returns:
            ``patches`` and ``grids`` as ``write`` gives them, of the distinct ones alone; and which
            of them each image of the dialogues is, in order.
        """
        images = _images_of(dialogues)
        numbers: dict[int, int] = {}
        which = [numbers.setdefault(id(image), len(numbers)) for image in images]
        first = {number: image for number, image in reversed(list(zip(which, images, strict=True)))}
        patches, grids = self._patches([first[number] for number in range(len(numbers))])
        return {"patches": patches, "grids": grids}, which

    def _row(self, turns: Sequence[Turn]) -> tuple[list[int], list[int]]:
        ids: list[int] = []
        labels: list[int] = []
        for number, turn in enumerate(turns):
            asked = [*(self._ids("\n") if number else ()), *self._question(turn)]
            ids += asked
            labels += [IGNORE_INDEX] * len(asked)
            if turn.answer is not None:
                answer = [*self._ids(turn.answer), self.eos]
                ids += answer
                labels += answer
        return ids, labels

    def _question(self, turn: Turn) -> list[int]:
        start, image, end = self._marks
        pieces = user_turn(turn.question).split(IMAGE)
        if len(pieces) != len(turn.images) + 1:
            raise ValueError(
                f"A question with {len(pieces) - 1} places needs as many images, "
                f"got {len(turn.images)}."
            )
        ids = [*self._ids(pieces[0])]
        for pixels, piece in zip(turn.images, pieces[1:], strict=True):
            count = pixels.shape[0] * pixels.shape[1] // (self._patch_px * self._merge) ** 2
            ids += [start, *[image] * count, end, *self._ids(piece)]
        return ids

    def _patches(self, images: Sequence[Pixels]) -> tuple[Tensor, Tensor]:
        """Patches of images of any sizes, in their order."""
        by_size: dict[tuple[int, ...], list[int]] = {}
        for number, pixels in enumerate(images):
            by_size.setdefault(pixels.shape, []).append(number)
        parts: list[Any] = [None] * len(images)
        grids = torch.zeros(len(images), 3, dtype=torch.long)
        for numbers in by_size.values():
            stacked = torch.from_numpy(np.stack([images[number] for number in numbers]))
            patches, grid = patchify(self._normalize(stacked), self._patch_px, self._merge)
            grids[numbers] = grid
            for number, rows in zip(numbers, patches.chunk(len(numbers)), strict=True):
                parts[number] = rows
        return torch.cat(parts), grids

    def decode(self, ids: Sequence[int]) -> str:
        """Text of generated ids."""
        return str(self._tokenizer.decode(list(ids), skip_special_tokens=True)).strip()

    def _tokenize(self, text: str) -> tuple[int, ...]:
        return tuple(self._tokenizer(text, add_special_tokens=False)["input_ids"]) if text else ()
