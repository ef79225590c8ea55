"""Samples of System 2 as dialogues; only the frames that a sample shows are read."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import pandas as pd
from PIL import Image
from torch import Tensor

from aquatint.collective import Share
from aquatint.data.image_augmentation import Augmentation, draw_augmentation
from aquatint.data.navigation_prompts import (
    LOOK_DOWN,
    ask,
    ask_for_pixel,
    conjunctions_of,
    write_actions,
)
from aquatint.data.navigation_samples import history_frames
from aquatint.training.navigation_dialogues import DialogueWriter, Turn, read_frame

if TYPE_CHECKING:
    from aquatint.training.navigation_dialogues import Pixels

Told = Literal["own", "other", "grey"]
_GREY = 128
_KEPT_BYTES = 2**28  # of earlier frames, as they are shown
DOWN = write_actions([LOOK_DOWN])


@dataclass(frozen=True)
class NavigationData:
    """What training and prediction read.

    Attributes:
        root: Folder that paths of frames are relative to.
        frames: Table of frames with their paths.
        samples: Table of ``build_samples``.
    """

    root: str
    frames: pd.DataFrame
    samples: pd.DataFrame

    def of_split(self, split: str, kind: str | None = None) -> NavigationData:
        """Return the samples of a split, of one kind or of all."""
        is_chosen = self.samples["split"] == split
        if kind is not None:
            is_chosen &= self.samples["kind"] == kind
        return NavigationData(self.root, self.frames, self.samples[is_chosen])

    def thinned(self, most: int) -> NavigationData:
        """Return at most so many samples: every n-th."""
        step = max(1, -(-len(self.samples) // most))
        return NavigationData(self.root, self.frames, self.samples.iloc[::step])


class FrameFiles:
    """Paths of frames by flight.

    Args:
        data: Table of frames and their root.
    """

    def __init__(self, data: NavigationData) -> None:
        self._root = Path(data.root)
        self._paths = {
            str(flight): rows[["rgb_path", "look_down_path"]].to_numpy()
            for flight, rows in data.frames.sort_values("frame").groupby("flight_id", sort=False)
        }

    def view(self, flight_id: str, frame: int) -> Image.Image:
        """Decode a frame of the camera ahead."""
        return read_frame(self._root / self._paths[flight_id][frame, 0])

    def look_down(self, flight_id: str, frame: int) -> Image.Image:
        """Decode a frame of the camera that looks down."""
        return read_frame(self._root / self._paths[flight_id][frame, 1])

    def shown_names(self, flight_id: str, past: Sequence[int], frame: int) -> list[str]:
        """Files that a dialogue over these frames shows, as the table names them."""
        paths = self._paths[flight_id]
        return [*paths[[*past, frame], 0], paths[frame, 1]]


class NavigationDialogues:
    """Samples as turns, by position.

    Args:
        data: Samples and frames.
        writer: Turns to tensors.
        num_history: Most earlier frames that are shown.
        seed: Of the conjunctions.
        told: ``own`` instruction, that of an ``other`` flight, or the own one over ``grey`` images.
    """

    def __init__(
        self,
        data: NavigationData,
        writer: DialogueWriter,
        num_history: int,
        seed: int,
        told: Told = "own",
    ) -> None:
        self.rows: list[dict[str, Any]] = data.samples.to_dict(orient="records")  # type: ignore[assignment]
        self.writer = writer
        self._files, self._num_history = FrameFiles(data), num_history
        self._seed, self._is_grey = seed, told == "grey"
        # Samples of one flight have most of their past in common.
        held = max(1, _KEPT_BYTES // (3 * writer.style.history_edge_px**2))
        self._earlier = functools.lru_cache(maxsize=held)(self._read_earlier)
        self._texts = [str(row["instruction"]) for row in self.rows]
        if told == "other":
            self._texts = exchange_instructions(self._texts, [r["flight_id"] for r in self.rows])

    def __len__(self) -> int:
        """Number of samples."""
        return len(self.rows)

    def turns(
        self, position: int, *, has_answers: bool, augmentation: Augmentation | None = None
    ) -> list[Turn]:
        """Return the dialogue of a sample.

        Args:
            position: Which sample.
            has_answers: Whether the last answer is given; a pixel's arrow down always is.
            augmentation: Changes of the frames, not of the look-down image.
        """
        row = self.rows[position]
        turns = [self.first_turn(position, augmentation)]
        if row["kind"] == "pixel":
            turns = [turns[0]._replace(answer=DOWN), self.second_turn(position)]
        if has_answers:
            turns[-1] = turns[-1]._replace(answer=row["answer"])
        return turns

    def first_turn(self, position: int, augmentation: Augmentation | None = None) -> Turn:
        """Return the question over history and view, without an answer."""
        row, writer = self.rows[position], self.writer
        flight, frame = row["flight_id"], int(row["frame"])
        past = self.past_frames(position)
        images = [self._earlier(flight, f) for f in past]
        current = writer.current(self._files.view(flight, frame))
        if augmentation is not None:
            images = [*augmentation(np.stack(images))] if images else []
            current = augmentation(current[None])[0]
        images.append(current)
        first, _ = self.conjunctions(position)
        return Turn(ask(self._texts[position], len(past), first), self._blank(images), None)

    def _read_earlier(self, flight: str, frame: int) -> Pixels:
        return self.writer.earlier(self._files.view(flight, frame))

    def second_turn(self, position: int) -> Turn:
        """Return the question over the look-down image, without an answer."""
        row = self.rows[position]
        image = self._files.look_down(row["flight_id"], int(row["frame"]))
        _, second = self.conjunctions(position)
        shown = self._blank([self.writer.look_down(image)])
        again = self._texts[position] if self.writer.style.repeats_instruction else ""
        return Turn(ask_for_pixel(second, again), shown, None)

    def past_frames(self, position: int) -> list[int]:
        """Earlier frames that a sample shows."""
        return history_frames(int(self.rows[position]["frame"]), self._num_history)

    def conjunctions(self, position: int) -> tuple[str, str]:
        """Words before the current image and before the look-down image."""
        return conjunctions_of(self.rows[position]["sample_id"], self._seed)

    def _blank(self, images: list[Any]) -> list[Any]:
        return [np.full_like(image, _GREY) for image in images] if self._is_grey else images

    def look_down_size(self, position: int) -> tuple[int, int]:
        """Width and height of a sample's look-down image as it lies on disk."""
        row = self.rows[position]
        return self._files.look_down(row["flight_id"], int(row["frame"])).size


def exchange_instructions(texts: Sequence[str], flights: Sequence[str]) -> list[str]:
    """Give every sample the instruction of one half the list away, of another flight and wording.

    A sample whose flight is the only one keeps its own.
    """
    size = len(texts)
    exchanged = []
    for number, (text, flight) in enumerate(zip(texts, flights, strict=True)):
        others = ((number + size // 2 + step) % size for step in range(size))
        chosen = next((i for i in others if flights[i] != flight and texts[i] != text), number)
        exchanged.append(texts[chosen])
    return exchanged


class NavigationSamples:
    """Dialogues with their answers, as often as the table shows them.

    Args:
        dialogues: Samples of the train split.
        augmentation_seed: Of the frames' changes; None to show frames as they are.
    """

    def __init__(self, dialogues: NavigationDialogues, augmentation_seed: int | None) -> None:
        self._dialogues, self._seed, self._epoch = dialogues, augmentation_seed, 0
        repeats = [int(row["repeats"]) for row in dialogues.rows]
        self._shown = np.repeat(np.arange(len(dialogues)), repeats)

    def __len__(self) -> int:
        """Number of samples of an epoch, repeats included."""
        return len(self._shown)

    def begin_epoch(self, epoch: int) -> None:
        """Draw other changes of the frames in every epoch."""
        self._epoch = epoch

    def batch(self, positions: Tensor, share: Share | None = None) -> dict[str, Any]:
        """Return dialogues with labels; on several ranks each takes its ``share``."""
        chosen = positions.tolist()
        if share:
            chosen = chosen[share.rows]
        turns = [
            self._dialogues.turns(
                int(self._shown[i]),
                has_answers=True,
                augmentation=None
                if self._seed is None
                else draw_augmentation(self._seed, self._epoch, i),
            )
            for i in chosen
        ]
        is_counted = share is None or share.is_counted
        return {**self._dialogues.writer.write(turns), "is_counted": is_counted}

    def identify(self, positions: Tensor) -> list[str]:
        """Return the ids of the samples."""
        rows = self._dialogues.rows
        return [rows[int(self._shown[i])]["sample_id"] for i in positions.tolist()]
