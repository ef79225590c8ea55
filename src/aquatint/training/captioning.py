"""Next-token training on captioned images: how a pocket backbone is made."""

from __future__ import annotations

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
from aquatint.training.image_words import ImageWords, WordReader

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

IGNORE_INDEX = -100
_IMAGE_SHARE = 2 / 3
_DIALOGUE_SHARE = 2 / 3


class Dialogue(NamedTuple):
    """A question and its answer; only what is answered is learned.

    Attributes:
        question: The dialogue up to the answer, the marks of an image in it or not.
        answer: The answer.
        has_image: Whether the image belongs into it.
        further: What goes on behind the answer, in pairs of a text that is given and one that is
            learned: much to learn from one image.
    """

    question: str
    answer: str
    has_image: bool
    further: Sequence[tuple[str, str]] = ()


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
        self._images, self._tokenizer = images, tokenizer
        self._ids = [[tokenizer(text)["input_ids"] for text in texts] for texts in images.texts]
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

        And ``words``, what lies where in these images, if that is known.
        """
        documents, labels, with_image = [], [], []
        # A function of seed and positions: a resumed training sees the same documents.
        rng = np.random.default_rng([self._seed, *positions.tolist()])
        for position in positions.tolist():
            ids, learned, has_image = self._document(position, rng)
            documents.append(ids[: self._max_tokens])
            labels.append(learned[: self._max_tokens])
            with_image.append(has_image)
        rows = positions[torch.tensor(with_image)].numpy()
        words = self._images.words
        known = {} if words is None else {"words": torch.from_numpy(words.targets[rows])}
        return {
            **known,
            "input_ids": _padded(documents, self._pad),
            "labels": _padded(labels, IGNORE_INDEX),
            "lengths": np.array([len(document) for document in documents]),
            "pixels": torch.from_numpy(self._images.pixels[rows]),
        }

    def _document(
        self, position: int, rng: np.random.Generator
    ) -> tuple[list[int], list[int], bool]:
        """Ids of a document, its labels, and whether the image is among what is given."""
        dialogues = self._images.dialogues[position] if self._images.dialogues else ()
        if dialogues and rng.random() < self._images.dialogue_share:
            chosen = dialogues[int(rng.integers(len(dialogues)))]
            ids = self._with_image(chosen.question)
            answer = [*self._tokenizer(chosen.answer)["input_ids"], self._eos]
            labels = [IGNORE_INDEX] * len(ids) + answer
            ids += answer
            for given, learned in chosen.further:
                first, second = (self._tokenizer(text)["input_ids"] for text in (given, learned))
                ids += first + second
                labels += [IGNORE_INDEX] * len(first) + second
            return ids, labels, chosen.has_image
        has_image = bool(rng.random() < _IMAGE_SHARE)
        texts = self._ids[position]
        order = rng.permutation(len(texts))[: 1 if has_image else 2]
        body = [token for i in order for token in (*texts[i], self._eos)]
        prefix = self._prefix if has_image else []
        return prefix + body, [IGNORE_INDEX] * len(prefix) + body, has_image

    def _with_image(self, question: str) -> list[int]:
        """Ids of a question, its one image token repeated as often as the image has tokens."""
        ids = self._tokenizer(question)["input_ids"]
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
    """

    def __init__(
        self,
        backbone: PreTrainedModel,
        image_mean: tuple[float, ...],
        image_std: tuple[float, ...],
        word_ids: Sequence[int] = (),
    ) -> None:
        super().__init__()
        self.backbone = backbone
        self.word_reader = WordReader(word_ids) if word_ids else None
        self.normalize = PixelNormalizer(image_mean, image_std)


def captioning_losses(model: CaptioningModel, batch: dict[str, Any]) -> dict[str, Tensor]:
    """Mean next-token cross-entropy in nats over the labelled tokens, as ``caption``.

    And ``words``, of a model that reads words off its image tokens (``WordReader.loss``).
    """
    inner = model.backbone.model
    input_ids = batch["input_ids"]
    embeddings = inner.get_input_embeddings()(input_ids)
    has_grid = require_architecture(model.backbone.config.model_type).has_rope_grid
    grids = torch.zeros(0, 3, dtype=torch.long)
    losses = {} if model.word_reader is None else {"words": embeddings.new_zeros(())}
    if len(batch["pixels"]):
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
        is_image = input_ids == model.backbone.config.image_token_id
        embeddings = embeddings.masked_scatter(is_image[..., None], features.to(embeddings.dtype))
    positions = None
    if has_grid:
        # Padding stands at the end, where a causal model cannot see it.
        mask = torch.ones_like(input_ids)
        positions = rope_positions(model.backbone, input_ids, mask, grids)
    states, targets = [], []
    for group in length_groups(batch["lengths"]):
        rows = torch.from_numpy(group).to(embeddings.device)
        width = int(batch["lengths"][group].max())
        placed = {} if positions is None else {"position_ids": positions[:, rows, :width]}
        found = inner.language_model(
            inputs_embeds=embeddings.index_select(0, rows)[:, :width], **placed
        )
        labels = batch["labels"][rows, 1:width]
        is_labelled = labels != IGNORE_INDEX
        states.append(found.last_hidden_state[:, :-1][is_labelled])
        targets.append(labels[is_labelled])
    # Logits only where a label asks for them: the vocabulary is most of the work otherwise.
    logits = model.backbone.lm_head(torch.cat(states))
    return {"caption": F.cross_entropy(logits.float(), torch.cat(targets)), **losses}
