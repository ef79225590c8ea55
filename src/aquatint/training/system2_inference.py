"""What System 2 answers: first what to do, then, looking down, at which pixel to go."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from torch import Tensor
from tqdm import tqdm

from aquatint.collective import hides_bars
from aquatint.data.navigation_prompts import Answer, parse_answer
from aquatint.models.navigator import NavigationModel
from aquatint.training.answering_inference import generate_answers
from aquatint.training.navigation_dialogues import DialogueWriter, Turn
from aquatint.training.navigation_samples import DOWN, NavigationDialogues

# Features by an image's shape and pixels.
KnownImages = dict[tuple[tuple[int, ...], bytes], Tensor]

_KEPT = ("sample_id", "flight_id", "frame", "scene", "split", "instruction", "kind", "answer",
         "goal_row", "goal_column")  # fmt: skip


@torch.inference_mode()
def write_answers(
    model: NavigationModel,
    writer: DialogueWriter,
    dialogues: Sequence[Sequence[Turn]],
    max_new_tokens: int,
    known: KnownImages | None = None,
) -> list[str]:
    """Let the model answer the last question of each dialogue, greedily.

    Args:
        model: Model in evaluation mode.
        writer: Turns to tensors.
        dialogues: Turns; the last one's answer is None.
        max_new_tokens: Longest answer.
        known: What images showed that were seen before; more are put there.
    """
    device = next(model.parameters()).device
    batch = {name: value.to(device) for name, value in writer.write(dialogues).items()}
    if known is None:
        batch["features"] = model.see(batch)
    else:
        images = [image for turns in dialogues for turn in turns for image in turn.images]
        batch["features"] = _see_new(model, batch, images, known)
    return [writer.decode(ids) for ids in generate_answers(model, batch, writer.eos,
                                                           max_new_tokens)]  # fmt: skip


def _see_new(
    model: NavigationModel,
    batch: Mapping[str, Tensor],
    images: Sequence[NDArray[np.uint8]],
    known: KnownImages,
) -> Tensor:
    """Features of all images, shape (N, D); the tower runs over those that are not known."""
    keys = [(image.shape, image.tobytes()) for image in images]
    patches = batch["patches"].split(batch["grids"].prod(1).tolist())
    new = {key: number for number, key in enumerate(keys) if key not in known}
    if new:
        grids = batch["grids"][list(new.values())]
        shown = torch.cat([patches[number] for number in new.values()])
        features = model.see({"patches": shown, "grids": grids})
        # A patch is a fixed share of a token: the merger joins as many everywhere.
        per_token = len(shown) // len(features)
        sizes = (grids.prod(1) // per_token).tolist()
        known.update(zip(new, features.split(sizes), strict=True))
    return torch.cat([known[key] for key in keys])


def predict_answers(
    model: NavigationModel, dialogues: NavigationDialogues, batch_size: int, max_new_tokens: int
) -> pd.DataFrame:
    """Answer every sample; the target enters no question but for a pixel's arrow down.

    Args:
        model: Model, put into evaluation mode.
        dialogues: Samples.
        batch_size: Dialogues of one pass.
        max_new_tokens: Longest answer.

    Returns:
        One row for each sample: its ids and targets; ``first_answer`` and its ``predicted_kind``
        (asking to look down counts as ``pixel``); for pixel samples ``second_answer`` with
        ``predicted_row`` and ``predicted_column``, in pixels of the image on disk, -1 without.
    """
    model.eval()
    rows = []
    starts = range(0, len(dialogues), batch_size)
    for start in tqdm(starts, desc="answers", disable=hides_bars(), leave=False, unit="batch"):
        chosen = range(start, min(start + batch_size, len(dialogues)))
        asked = [[dialogues.first_turn(i)] for i in chosen]
        first = write_answers(model, dialogues.writer, asked, max_new_tokens)
        pixels = [i for i in chosen if dialogues.rows[i]["kind"] == "pixel"]
        shown = [
            [asked[i - start][0]._replace(answer=DOWN), dialogues.second_turn(i)] for i in pixels
        ]
        said = write_answers(model, dialogues.writer, shown, max_new_tokens) if shown else []
        second = dict(zip(pixels, said, strict=True))
        rows += [_row(dialogues, i, first[i - start], second.get(i, "")) for i in chosen]
    return pd.DataFrame(rows)


def _row(
    dialogues: NavigationDialogues, position: int, first: str, second: str
) -> dict[str, object]:
    row = dialogues.rows[position]
    pixel = parse_answer(second) if row["kind"] == "pixel" else Answer("invalid")
    is_pixel = pixel.kind == "pixel"
    width, height = dialogues.look_down_size(position) if row["kind"] == "pixel" else (0, 0)
    return {
        **{name: row[name] for name in _KEPT},
        "first_answer": first,
        "predicted_kind": kind_of(parse_answer(first)),
        "second_answer": second,
        "predicted_row": pixel.row if is_pixel else -1,
        "predicted_column": pixel.column if is_pixel else -1,
        "image_width": width,
        "image_height": height,
    }


def kind_of(answer: Answer) -> str:
    """Kind of a first answer: an arrow down asks for the image in which a pixel is named."""
    # A pixel without the look-down image would be one of the wrong image.
    kinds = {"look_down": "pixel", "turn": "turn", "stop": "stop"}
    return kinds.get(answer.kind, "invalid")
