"""Predictions of a retrieval model, batch by batch: embeddings, match scores, boxes, relations."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import pandas as pd
import torch
from torch import Tensor
from tqdm import tqdm

from aquatint.collective import hides_bars, num_ranks, share_rows
from aquatint.metrics.ranks import top_candidates
from aquatint.models.dual_encoder import TextEncoding
from aquatint.models.retrieval_model import RetrievalModel
from aquatint.training.gathering import gather_rows
from aquatint.training.precision import to_device
from aquatint.training.retrieval_samples import Entry, RetrievalSources, RetrievalTables

_BOX = ["cx", "cy", "w", "h"]
_MATCH = 1  # index of "match" in the ITM logits
_PAIRS_AT_ONCE, _IMAGES_AT_ONCE = 4096, 64


@dataclass(frozen=True)
class Encoded:
    """All images and texts of a split, encoded.

    Attributes:
        image_embeds: L2-normalised, shape (N, D).
        text_embeds: L2-normalised, captions first, then located sentences, shape (M, D).
        patches: Adapted patch tokens in fp16 to save memory, shape (N, P, E); empty without heads.
        text_pooled: Adapted text vectors, shape (M, E); empty without heads.
    """

    image_embeds: Tensor
    text_embeds: Tensor
    patches: Tensor
    text_pooled: Tensor

    def texts(self, rows: np.ndarray, device: torch.device) -> TextEncoding:
        """Encodings of the texts at ``rows``."""
        return TextEncoding(self.text_pooled[rows].to(device), self.text_embeds[rows].to(device))


@torch.no_grad()  # not inference_mode: FSDP2 trains on with the buffers of this pass
def encode_split(
    model: RetrievalModel,
    sources: RetrievalSources,
    num_images: int,
    num_texts: int,
    *,
    batch_size: int,
    entry: Entry,
) -> Encoded:
    """Encode every image once and every text once; ranks share the batches.

    Args:
        model: Model in evaluation mode.
        sources: Inputs by row.
        num_images: Images, N.
        num_texts: Texts, M.
        batch_size: Images, and texts, of one forward pass.
        entry: Where inputs enter the backbone.
    """
    device = next(model.parameters()).device
    nothing = np.empty(0, dtype=np.int64)

    def encode_images(rows: np.ndarray) -> tuple[Tensor, Tensor]:
        batch = to_device(sources.inputs(rows, nothing, entry), device)
        encoding = model.heads.encode_image(model.encode_images(batch))
        return encoding.embeds.cpu(), encoding.patches.half().cpu()

    # By length, so that the texts of a batch need little padding.
    order = np.argsort(sources.text_lengths[:num_texts], kind="stable")

    def encode_texts(rows: np.ndarray) -> tuple[Tensor, Tensor]:
        text = model.embed_texts(to_device(sources.inputs(nothing, order[rows], entry), device))
        return text.embeds.cpu(), text.pooled.cpu()

    image_embeds, patches = encode_rows(num_images, batch_size, "encode images", encode_images)
    texts = encode_rows(num_texts, batch_size, "encode texts", encode_texts)
    back = torch.from_numpy(np.argsort(order))
    text_embeds, text_pooled = (column[back] for column in texts)
    return Encoded(image_embeds, text_embeds, patches, text_pooled)


def encode_rows(
    total: int,
    batch_size: int,
    description: str,
    encode: Callable[[np.ndarray], tuple[Tensor, ...]],
) -> list[Tensor]:
    """Encode rows 0, 1, ... in the same batches on any number of ranks, and gather the results.

    Args:
        total: Rows; at least one.
        batch_size: Rows of one call.
        description: Label of the progress bar.
        encode: Rows of a batch to tensors whose first dimension is theirs.
    """
    starts = range(0, total, batch_size)
    parts = [np.arange(start, min(start + batch_size, total)) for start in starts]
    mine = parts[share_rows(len(parts))]
    # As many passes on every rank: under FSDP2 each one is a meeting of all of them.
    spare = parts[:1] * (-(-len(parts) // num_ranks()) - len(mine))
    bar = tqdm(mine + spare, desc=description, disable=hides_bars(), leave=False, delay=2)
    found = [encode(rows) for rows in bar]
    kept = [tuple(values[:0] for values in found[0]), *found[: len(mine)]]
    return [gather_rows(torch.cat(values)) for values in zip(*kept, strict=True)]


def embedding_table(ids: pd.DataFrame, embeds: Tensor) -> pd.DataFrame:
    """Return ``ids`` with one float32 column ``e000``, ``e001``, ... for each dimension."""
    columns = [f"e{index:03d}" for index in range(embeds.shape[1])]
    values = pd.DataFrame(embeds.float().numpy(), columns=columns)
    return pd.concat([ids.reset_index(drop=True), values], axis=1)


def embedding_matrix(table: pd.DataFrame) -> Tensor:
    """Return the embeddings of a table made by ``embedding_table``, shape (N, D)."""
    columns = [name for name in table.columns if name.startswith("e") and name[1:].isdigit()]
    return torch.tensor(table[columns].to_numpy(np.float32))


@torch.inference_mode()
def predict_boxes(model: RetrievalModel, encoded: Encoded, tables: RetrievalTables) -> pd.DataFrame:
    """Predict the box of every located sentence in its image.

    Returns:
        region_id, image_id, sentence, the predicted box as predicted_cx, ... and the target's.
    """
    located = tables.located_regions
    rows = _image_rows(tables, located)
    offset = len(tables.captions)
    device = next(model.parameters()).device
    predicted = [
        model.heads.predict_boxes(
            encoded.patches[rows[part]].float().to(device),
            encoded.texts(offset + part, device),
        ).cpu()
        for part in np.array_split(np.arange(len(located)), max(1, len(located) // 256))
        if len(part)
    ]
    values = torch.cat(predicted).numpy() if predicted else np.empty((0, 4), np.float32)
    boxes = pd.DataFrame(values, columns=[f"predicted_{name}" for name in _BOX])
    targets = located[_BOX].rename(columns={name: f"target_{name}" for name in _BOX})
    return pd.concat([located[["region_id", "image_id", "sentence"]], boxes, targets], axis=1)


@torch.inference_mode()
def predict_relations(
    model: RetrievalModel, encoded: Encoded, tables: RetrievalTables
) -> pd.DataFrame:
    """Predict where region B lies as seen from region A, for every ordered pair of boxes.

    Returns:
        image_id, region_a, region_b, the target's ``horizontal`` and ``vertical``, and
        ``predicted_horizontal`` and ``predicted_vertical``.
    """
    relations = tables.relations
    boxes = tables.regions.set_index("region_id")[_BOX]
    sides = [
        torch.tensor(boxes.loc[relations[side]].to_numpy(np.float32))
        for side in ("region_a", "region_b")
    ]
    rows = _image_rows(tables, relations)
    device = next(model.parameters()).device
    labels = []
    for part in np.array_split(np.arange(len(relations)), max(1, len(relations) // 256)):
        if len(part):
            logits = model.heads.relation_logits(
                encoded.patches[rows[part]].float().to(device),
                sides[0][part].to(device),
                sides[1][part].to(device),
            ).cpu()
            labels.append(torch.stack([logits[:, :3].argmax(1), logits[:, 3:].argmax(1)], dim=1))
    values = torch.cat(labels).numpy() if labels else np.empty((0, 2), np.int64)
    columns = ["image_id", "region_a", "region_b", "horizontal", "vertical"]
    return relations[columns].assign(
        predicted_horizontal=values[:, 0], predicted_vertical=values[:, 1]
    )


def _image_rows(tables: RetrievalTables, table: pd.DataFrame) -> np.ndarray:
    positions = pd.Series(np.arange(len(tables.images)), index=tables.images["image_id"])
    return positions.loc[table["image_id"]].to_numpy()


@torch.inference_mode()
def score_matches(
    model: RetrievalModel, encoded: Encoded, num_captions: int, top_k: int
) -> tuple[np.ndarray, np.ndarray]:
    """Score each caption's ``top_k`` nearest images by the ITM head; ranks share the captions.

    Returns:
        Rows of the candidate images, best cosine first, and their match logits; both
        (num_captions, k) with k = min(top_k, N).
    """
    device = next(model.parameters()).device
    texts, images = encoded.text_embeds[:num_captions], encoded.image_embeds
    candidates = top_candidates(texts, images, top_k).numpy()
    mine = share_rows(num_captions)
    image_rows = candidates[mine].reshape(-1)
    text_rows = np.repeat(np.arange(mine.start, mine.stop), candidates.shape[1])
    scores = torch.empty(len(image_rows))
    for pairs in _pairs_by_image(image_rows):
        used, index = np.unique(image_rows[pairs], return_inverse=True)
        logits = model.heads.match_logits(
            encoded.patches[used].float().to(device),
            encoded.texts(text_rows[pairs], device),
            torch.from_numpy(index).to(device),
        )
        scores[pairs] = (logits[:, _MATCH] - logits[:, 1 - _MATCH]).cpu()
    return candidates, gather_rows(scores.view(-1, candidates.shape[1])).numpy()


def _pairs_by_image(image_rows: np.ndarray) -> Iterator[np.ndarray]:
    """Positions of pairs, batch by batch: all pairs of an image in one batch.

    An image is then encoded for the head once, however many texts it is a candidate of. Images
    with as many texts go together, because a batch is padded to the most of them.
    """
    _, index, counts = np.unique(image_rows, return_inverse=True, return_counts=True)
    by_count = np.argsort(-counts, kind="stable")
    place = np.argsort(by_count)
    order = np.argsort(place[index], kind="stable")
    ends = np.concatenate([[0], np.cumsum(counts[by_count])])
    first = 0
    while first < len(counts):
        num_images = np.clip(_PAIRS_AT_ONCE // counts[by_count[first]], 1, _IMAGES_AT_ONCE)
        last = min(first + int(num_images), len(counts))
        yield order[ends[first] : ends[last]]
        first = last
