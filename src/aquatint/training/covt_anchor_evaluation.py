"""How good decoded anchors are, beside predictors that see no image."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from aquatint.features.anchors import AnchorReader, AnchorTargets
from aquatint.features.cache import FeatureCache
from aquatint.losses.masks import mask_loss
from aquatint.metrics.anchors import (
    depth_errors,
    edge_counts,
    feature_cosine,
    homogeneity,
    matched_masks,
)
from aquatint.models.backbone import Backbone
from aquatint.params import RunParams
from aquatint.training.checkpoint import Checkpoint
from aquatint.training.covt_answers import THINKING, TRAINED, open_writer
from aquatint.training.covt_decoding import DecodedThought, decode_thoughts, open_heads
from aquatint.training.covt_inference import Writing

DECODED, CONSTANT = "decoded", "constant"
_MOST_TRAIN_IMAGES = 512
_MASK_BATCH = 32


@dataclass(frozen=True)
class Decoding:
    """What is decoded and compared.

    Attributes:
        writing: Lengths and sizes.
        split: Held-out split.
        num_constant_steps: Steps that fit the masks of the predictor that sees no image.
        num_maps: Responses whose maps are kept.
    """

    writing: Writing
    split: str
    num_constant_steps: int
    num_maps: int


def evaluate_anchors(
    models: tuple[Backbone, Checkpoint],
    tables: tuple[pd.DataFrame, pd.DataFrame, pd.DataFrame],
    pixels: FeatureCache,
    anchors: AnchorTargets,
    decoding: Decoding,
    run: RunParams,
) -> tuple[pd.DataFrame, dict[str, dict[str, np.ndarray]]]:
    """Decode one response for each held-out image, and compare.

    Args:
        models: Merged backbone and the checkpoint with its heads.
        tables: Turns, images and predictions.
        pixels: Cached squares.
        anchors: Cached targets.
        decoding: What is decoded.
        run: Device and seed.

    Returns:
        One row for each image, anchor and predictor (``decoded`` or ``constant``) with its
        measures; and maps of the first responses by turn, ``<anchor>`` and ``<anchor>_target``.
    """
    (backbone, checkpoint), (turns, images, predictions) = models, tables
    names = [name for name, _ in checkpoint.spec["num_tokens"]]
    reader = AnchorReader(anchors, names)
    train = images[images["split"] == "train"]["image_key"].tolist()[:_MOST_TRAIN_IMAGES]
    if not train:
        raise ValueError("A predictor that sees no image needs train images, got 0.")
    torch.manual_seed(run.seed)
    constants = {
        name: _constant(name, reader, train, decoding.num_constant_steps) for name in names
    }
    written = predictions[
        (predictions["system"] == TRAINED) & (predictions["manner"] == THINKING)
    ].set_index("turn_id")
    chosen = turns[turns["split"] == decoding.split].reset_index(drop=True)
    # One response an image: more of them would be the same pixels again.
    first = chosen[~chosen["image_keys"].map(lambda keys: keys[0]).duplicated()]
    first = first.reset_index(drop=True)
    asked = written.loc[first["turn_id"]].reset_index()
    sizes = (checkpoint.spec["num_tokens"], checkpoint.spec["image_px"])
    writer = open_writer(backbone, sizes, pixels.open(), run)
    width = writer.answering.backbone.config.text_config.hidden_size
    heads = open_heads(checkpoint, width, str(writer.device))

    def contexts(name: str, keys: Sequence[str]) -> Tensor:
        return reader.read(name, keys)[1]

    rows: list[dict[str, Any]] = []
    maps: dict[str, dict[str, np.ndarray]] = {}
    for item in decode_thoughts(writer, heads, first, asked, contexts, decoding.writing):
        turn = first.iloc[item.row]
        rows += _measures(item, turn, reader, constants)
        if len(maps) < decoding.num_maps:
            maps[str(turn["turn_id"])] = _kept(item, turn, reader)
    columns = ["turn_id", "group", "anchor", "predictor"]
    table = pd.DataFrame(rows, columns=None if rows else columns)
    return table, maps


def _constant(name: str, reader: AnchorReader, keys: Sequence[str], num_steps: int) -> np.ndarray:
    """What a predictor says that sees no image: the best one for the same loss."""
    target = reader.read(name, keys)[0]
    match name:
        case "sam":
            return _constant_masks(target, num_steps)
        case "depth":
            # The median has the least absolute error.
            return target.median(0).values.numpy()
        case _:
            return target.mean(0).numpy()


def _constant_masks(target: Tensor, num_steps: int) -> np.ndarray:
    """Eight masks fitted to all train images with the loss that the head has; no image goes in."""
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(target.shape[1:], generator=generator).requires_grad_()
    optimizer = torch.optim.Adam([logits], lr=0.3)
    for _ in range(num_steps):
        chosen = torch.randint(0, len(target), (_MASK_BATCH,), generator=generator)
        losses = [mask_loss(logits, masks[masks.flatten(1).any(1)]) for masks in target[chosen]]
        optimizer.zero_grad()
        torch.stack(losses).mean().backward()
        optimizer.step()
    return logits.detach().sigmoid().numpy()


def _measures(
    item: DecodedThought,
    turn: pd.Series,
    reader: AnchorReader,
    constants: dict[str, np.ndarray],
) -> list[dict[str, Any]]:
    rows = []
    for name, predicted in item.maps.items():
        target = reader.read(name, [turn["image_keys"][0]])[0][0].numpy()
        alike = homogeneity(item.states[name]) if len(item.states[name]) > 1 else None
        for predictor, values in ((DECODED, predicted), (CONSTANT, constants[name])):
            found = _compare(name, values, target)
            if found is None:
                continue
            is_decoded = predictor == DECODED
            rows.append(
                {
                    "turn_id": turn["turn_id"],
                    "group": turn["group"],
                    "anchor": name,
                    "predictor": predictor,
                    "homogeneity": alike if is_decoded else None,
                    **found,
                }
            )
    return rows


def _compare(name: str, predicted: np.ndarray, target: np.ndarray) -> dict[str, Any] | None:
    match name:
        case "sam":
            return matched_masks(predicted > 0.5, target[target.any((1, 2))])
        case "depth":
            return depth_errors(predicted, target)
        case "pidinet":
            # A published teacher gives probabilities; half is where it sees an edge.
            counts = edge_counts(predicted, target >= 0.5)
            error = float(np.abs(predicted - target).mean())
            return {"l1_error": error, "edge_counts": counts.ravel().tolist()}
        case _:
            error = float(((predicted - target) ** 2).mean())
            return {"cosine_score": feature_cosine(predicted, target), "mse_error": error}


def _kept(item: DecodedThought, turn: pd.Series, reader: AnchorReader) -> dict[str, np.ndarray]:
    found: dict[str, np.ndarray] = {}
    for name, predicted in item.maps.items():
        target = reader.read(name, [turn["image_keys"][0]])[0][0].numpy()
        found[name] = predicted.astype(np.float16)
        found[f"{name}_target"] = target.astype(bool if name == "sam" else np.float16)
    return found
