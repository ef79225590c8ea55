"""Next-token training on captioned images: how a pocket backbone is made."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from aquatint.models.architectures import ARCHITECTURES, Architecture, require_architecture
from aquatint.models.length_groups import length_groups
from aquatint.models.pixels import PixelNormalizer
from aquatint.models.qwen_vl import encode_views, rope_positions
from aquatint.training.image_words import UNKNOWN, AskedReader, ImageWords, WordReader

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

IGNORE_INDEX = -100
_IMAGE_SHARE = 2 / 3
_DIALOGUE_SHARE = 2 / 3
# Of the language model, behind which image tokens are to know whether they are asked for: the first
# can compare them with the question, and the blocks behind it can look for what it marked.
_ASKED_BLOCK = 1


class Dialogue(NamedTuple):
    """A question and its answer; only what is answered is learned.

    Attributes:
        question: The dialogue up to the answer, the marks of an image in it or not.
        answer: The answer.
        has_image: Whether the image belongs into it.
        further: What goes on behind the answer, in pairs of a text that is given and one that is
            learned: much to learn from one image.
        asked: Number of the image token in whose area lies what the question asks for, counted
            from 0; None if nobody says.
    """

    question: str
    answer: str
    has_image: bool
    further: Sequence[tuple[str, str]] = ()
    asked: int | None = None


class _Document(NamedTuple):
    """Ids, labels, whether the image is among what is given, and ``Dialogue.asked``."""

    ids: list[int]
    labels: list[int]
    has_image: bool
    asked: int | None = None


@dataclass(frozen=True)
class CaptionedImages:
    """Images with their texts.

    Attributes:
        pixels: Images as uint8, shape (N, S, S, 3).
        texts: Captions and region sentences of each image, in any number but zero.
        dialogues: Questions with their answers about each image, none for some; empty if there are
            none at all.
        dialogue_share: How often a document is a dialogue, of images that have some.
        words: What lies where in the images, if that is learned too.
    """

    pixels: np.ndarray
    texts: Sequence[Sequence[str]]
    dialogues: Sequence[Sequence[Dialogue]] = ()
    dialogue_share: float = _DIALOGUE_SHARE
    words: ImageWords | None = None


class CaptioningSamples:
    """Documents: an image with one of its texts, or two texts of an image without it.

    One text only behind an image: a second one could be guessed from the first, and the image
    would hardly be looked at. Without the image, the end of one text is all there is to predict
    the next one from, so that the states of a text learn to hold its content.

    Args:
        images: Images and texts.
        tokenizer: Tokenizer with the architecture's special tokens.
        num_image_tokens: Image tokens of the language model.
        max_tokens: Longer documents are cut.
        seed: Decides the orders.
        architecture: Whose tokens mark an image.
    """

    def __init__(
        self,
        images: CaptionedImages,
        tokenizer: PreTrainedTokenizerBase,
        num_image_tokens: int,
        max_tokens: int,
        seed: int,
        architecture: Architecture = ARCHITECTURES["internvl"],
    ) -> None:
        self._images = images
        # Questions and answers are a few hundred texts in many thousands of documents.
        self._ids_of = functools.cache(lambda text: tuple(tokenizer(text)["input_ids"]))
        self._ids = [[self._ids_of(text) for text in texts] for texts in images.texts]
        start, end, image = (
            tokenizer.convert_tokens_to_ids(token)
            for token in (
                architecture.image_start,
                architecture.image_end,
                architecture.image_token,
            )
        )
        self._prefix = [start, *[image] * num_image_tokens, end]
        self._eos, self._pad = tokenizer.eos_token_id, tokenizer.pad_token_id
        self._max_tokens = max_tokens
        self._seed = seed

    def __len__(self) -> int:
        """Number of images."""
        return len(self._ids)

    def batch(self, positions: Tensor) -> dict[str, Any]:
        """Return ids and labels (B, T), lengths (B,), and pixels of documents with an image.

        And ``words``, what lies where in these images, if that is known; and ``asked`` (B,), the
        image token that each document asks for, ``UNKNOWN`` where it does not say.
        """
        # A function of seed and positions: a resumed training sees the same documents.
        rng = np.random.default_rng([self._seed, *positions.tolist()])
        documents = [self._document(position, rng) for position in positions.tolist()]
        rows = positions[torch.tensor([document.has_image for document in documents])].numpy()
        words = self._images.words
        known = {} if words is None else {"words": torch.from_numpy(words.targets[rows])}
        asked = [UNKNOWN if document.asked is None else document.asked for document in documents]
        ids = [document.ids[: self._max_tokens] for document in documents]
        labels = [document.labels[: self._max_tokens] for document in documents]
        return {
            **known,
            "asked": torch.tensor(asked),
            "input_ids": _padded(ids, self._pad),
            "labels": _padded(labels, IGNORE_INDEX),
            "lengths": np.array([len(of_document) for of_document in ids]),
            "pixels": torch.from_numpy(self._images.pixels[rows]),
        }

    def _document(self, position: int, rng: np.random.Generator) -> _Document:
        dialogues = self._images.dialogues[position] if self._images.dialogues else ()
        if dialogues and rng.random() < self._images.dialogue_share:
            chosen = dialogues[int(rng.integers(len(dialogues)))]
            ids = self._with_image(chosen.question)
            answer = [*self._ids_of(chosen.answer), self._eos]
            labels = [IGNORE_INDEX] * len(ids) + answer
            ids += answer
            for given, learned in chosen.further:
                first, second = self._ids_of(given), self._ids_of(learned)
                ids += first + second
                labels += [IGNORE_INDEX] * len(first) + [*second]
            return _Document(ids, labels, chosen.has_image, chosen.asked)
        has_image = bool(rng.random() < _IMAGE_SHARE)
        texts = self._ids[position]
        order = rng.permutation(len(texts))[: 1 if has_image else 2]
        body = [token for i in order for token in (*texts[i], self._eos)]
        prefix = self._prefix if has_image else []
        return _Document(prefix + body, [IGNORE_INDEX] * len(prefix) + body, has_image)

    def _with_image(self, question: str) -> list[int]:
        """Ids of a question, its one image token repeated as often as the image has tokens."""
        ids = self._ids_of(question)
        image, num_tokens = self._prefix[1], len(self._prefix) - 2
        return [token for i in ids for token in ([i] * num_tokens if i == image else [i])]

    def identify(self, positions: Tensor) -> list[str]:
        """Return the numbers of the images."""
        return [f"image {position}" for position in positions.tolist()]


def _padded(rows: list[list[int]], value: int) -> Tensor:
    width = max(map(len, rows))
    return torch.tensor([row + [value] * (width - len(row)) for row in rows])


class CaptioningModel(nn.Module):
    """A backbone whose every weight trains, fed with uint8 images.

    Args:
        backbone: Any architecture of the project.
        image_mean: Channel means, in [0, 1].
        image_std: Channel standard deviations.
        word_ids: First tokens of the words that image tokens learn to hold; none of them by
            default.
        reads_asked: Whether image tokens learn to hold what a question asks for, too.
    """

    def __init__(
        self,
        backbone: PreTrainedModel,
        image_mean: tuple[float, ...],
        image_std: tuple[float, ...],
        word_ids: Sequence[int] = (),
        reads_asked: bool = False,
    ) -> None:
        super().__init__()
        self.backbone = backbone
        self.word_reader = WordReader(word_ids) if word_ids else None
        width = backbone.config.get_text_config().hidden_size
        self.asked_reader = AskedReader(width) if reads_asked else None
        self.normalize = PixelNormalizer(image_mean, image_std)


def captioning_losses(model: CaptioningModel, batch: dict[str, Any]) -> dict[str, Tensor]:
    """Mean next-token cross-entropy in nats over the labelled tokens, as ``caption``.

    And ``words``, of a model that reads words off its image tokens (``WordReader.loss``), and
    ``asked``, of one that reads off them which is asked for (``AskedReader.loss``).
    """
    inner = model.backbone.model
    input_ids = batch["input_ids"]
    is_image = input_ids == model.backbone.config.image_token_id
    embeddings, grids, losses = _embed(model, batch, is_image)
    positions = None
    if grids is not None:
        # Padding stands at the end, where a causal model cannot see it.
        mask = torch.ones_like(input_ids)
        positions = rope_positions(model.backbone, input_ids, mask, grids)
    states, targets, compared = [], [], []
    for group in length_groups(batch["lengths"]):
        rows = torch.from_numpy(group).to(embeddings.device)
        width = int(batch["lengths"][group].max())
        placed = {} if positions is None else {"position_ids": positions[:, rows, :width]}
        found = inner.language_model(
            inputs_embeds=embeddings.index_select(0, rows)[:, :width],
            output_hidden_states=model.asked_reader is not None,
            **placed,
        )
        labels = batch["labels"][rows, 1:width]
        is_labelled = labels != IGNORE_INDEX
        states.append(found.last_hidden_state[:, :-1][is_labelled])
        targets.append(labels[is_labelled])
        if model.asked_reader is not None:
            early = found.hidden_states[_ASKED_BLOCK]
            compared.append((early, is_image[rows, :width], batch["asked"][rows]))
    if model.asked_reader is not None:
        losses["asked"] = _asked_loss(model.asked_reader, compared)
    # Logits only where a label asks for them: the vocabulary is most of the work otherwise.
    logits = model.backbone.lm_head(torch.cat(states))
    return {"caption": F.cross_entropy(logits.float(), torch.cat(targets)), **losses}


def _embed(
    model: CaptioningModel, batch: dict[str, Any], is_image: Tensor
) -> tuple[Tensor, Tensor | None, dict[str, Tensor]]:
    """Embeddings with image tokens in them, grids of the images for M-RoPE, ``words``.

    Returns:
        Shape (B, T, D); shape (images, 3), or None for a backbone without M-RoPE; the loss, if
        words are read.
    """
    inner = model.backbone.model
    embeddings = inner.get_input_embeddings()(batch["input_ids"])
    has_grid = require_architecture(model.backbone.config.model_type).has_rope_grid
    grids = torch.zeros(0, 3, dtype=torch.long) if has_grid else None
    losses = {} if model.word_reader is None else {"words": embeddings.new_zeros(())}
    if not len(batch["pixels"]):
        return embeddings, grids, losses
    images = model.normalize(batch["pixels"])
    if has_grid:
        features = encode_views(model.backbone, images)
        edge = images.shape[-1] // model.backbone.config.vision_config.patch_size
        grids = torch.tensor([[1, edge, edge]]).expand(len(images), 3)
    else:
        features = inner.get_image_features(pixel_values=images).pooler_output
    if model.word_reader is not None:
        table = inner.get_input_embeddings().weight
        losses["words"] = model.word_reader.loss(features, table, batch["words"])
    placed = embeddings.masked_scatter(is_image[..., None], features.to(embeddings.dtype))
    return placed, grids, losses


def _asked_loss(reader: AskedReader, compared: list[tuple[Tensor, Tensor, Tensor]]) -> Tensor:
    """Loss over the documents that say which image token they ask for.

    Args:
        reader: What says it.
        compared: Of each group of documents, hidden states (G, T, D), where image tokens stand
            (G, T), and ``asked`` (G,).
    """
    states, cells = [], []
    for hidden, is_image, asked in compared:
        is_told = asked != UNKNOWN
        states.append(hidden[is_told][is_image[is_told]])
        cells.append(asked[is_told])
    told, tokens = torch.cat(cells), torch.cat(states)
    if not len(told):
        return tokens.sum() * 0.0
    return reader.loss(tokens.unflatten(0, (len(told), -1)), told)
