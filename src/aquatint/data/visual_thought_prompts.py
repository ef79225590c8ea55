"""Visual thoughts in text: anchor spans, the four formats of a training, and how they are read."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

TEMPLATE_VERSION = 1
UNDERSTANDING, GENERATION, REASONING, EFFICIENT = 1, 2, 3, 4
ANCHOR_LABELS = {
    "sam": "segmentation",
    "depth": "depth map",
    "dino": "perception feature",
    "pidinet": "edge map",
    "metaclip": "metaclip feature",
    "siglip": "clip feature",
}
SPAN_START, SPAN_END = "<|anchor_start|>", "<|anchor_end|>"
THINK, END_THINK, ANSWER, END_ANSWER = "<think>", "</think>", "<answer>", "</answer>"
PLAIN_SHARE = 1 / 6
_SYSTEM = "You are a helpful assistant."
_SPAN = re.compile(r"<\|anchor_start\|>((?:<\|\w+_pad\|>)*)<\|anchor_end\|>")
_PAD = re.compile(r"<\|(\w+)_pad\|>")
_PADS_OUTSIDE = re.compile(r"<\|(?!image|video)\w+_pad\|>|<\|anchor_(?:start|end)\|>")


def pad_token(name: str) -> str:
    """Return the token that stands for one part of an anchor's span."""
    return f"<|{name}_pad|>"


def anchor_tokens(names: Sequence[str] = tuple(ANCHOR_LABELS)) -> list[str]:
    """Return all tokens that are added to a vocabulary, in the order of their ids."""
    pads = [pad_token(name) for name in names]
    return [SPAN_START, SPAN_END, *pads, THINK, END_THINK, ANSWER, END_ANSWER]


@dataclass(frozen=True)
class ThoughtFormat:
    """Which anchors there are, in their order, and how many tokens each has.

    Attributes:
        num_tokens: Tokens of each anchor's span, in the order in which spans are written.
    """

    num_tokens: Mapping[str, int]

    def __post_init__(self) -> None:
        unknown = sorted(set(self.num_tokens) - set(ANCHOR_LABELS))
        if unknown or not self.num_tokens:
            raise ValueError(
                f"visual models must be of {', '.join(ANCHOR_LABELS)}, got "
                f"{', '.join(unknown) or 'none'}."
            )

    @property
    def names(self) -> tuple[str, ...]:
        """Anchors in order."""
        return tuple(self.num_tokens)

    def span(self, name: str) -> str:
        """Return an anchor's span."""
        return f"{SPAN_START}{pad_token(name) * self.num_tokens[name]}{SPAN_END}"

    def spans(self, names: Sequence[str]) -> str:
        """Return spans one behind the other."""
        return "".join(self.span(name) for name in names)

    def thought(self, names: Sequence[str]) -> str:
        """Return the thought that states each anchor's span."""
        parts = [f"The {ANCHOR_LABELS[name]} of the image is {self.span(name)}." for name in names]
        return f"{THINK} {' '.join(parts)} {END_THINK}"


class Exchange(NamedTuple):
    """What stands behind the image in the user's turn, and what the model shall write.

    Attributes:
        request: User's text after the image.
        response: Target of the training.
        anchors: Anchors whose spans stand in one of the two.
    """

    request: str
    response: str
    anchors: tuple[str, ...]


def understand(style: ThoughtFormat, question: str, answer: str) -> Exchange:
    """Stage 1: spans stand in the user's turn behind the image; the answer is plain."""
    return Exchange(f"{style.spans(style.names)}\n{question}", answer, style.names)


def generate(style: ThoughtFormat) -> Exchange:
    """Stage 2: the user asks for the anchors, the model writes their spans and nothing else."""
    labels = [ANCHOR_LABELS[name] for name in style.names]
    listed = f"{', '.join(labels[:-1])} and {labels[-1]}" if len(labels) > 1 else labels[0]
    request = f"\nWhat is the {listed} of the image?"
    return Exchange(request, style.spans(style.names), style.names)


def reason(
    style: ThoughtFormat, question: str, answer: str, names: Sequence[str] | None = None
) -> Exchange:
    """Stage 3: a thought that states spans, then the answer."""
    chosen = style.names if names is None else tuple(names)
    response = f"{style.thought(chosen)} {ANSWER} {answer} {END_ANSWER}"
    return Exchange(f"\n{question}", response, chosen)


def reason_efficiently(
    style: ThoughtFormat, question: str, answer: str, rng: np.random.Generator
) -> Exchange:
    """Stage 4: a plain answer once in six, else a thought with some of the anchors.

    How many is uniform from one to all, and they keep their order.
    """
    if rng.random() < PLAIN_SHARE:
        return Exchange(f"\n{question}", answer, ())
    count = int(rng.integers(1, len(style.names) + 1))
    chosen = sorted(rng.choice(len(style.names), count, replace=False).tolist())
    return reason(style, question, answer, [style.names[index] for index in chosen])


def format_exchange(
    stage: int, style: ThoughtFormat, question: str, answer: str, rng: np.random.Generator
) -> Exchange:
    """Return a question and its answer in the format of a stage, 1 to 4.

    Raises:
        ValueError: If there is no such stage.
    """
    match stage:
        case 1:
            return understand(style, question, answer)
        case 2:
            return generate(style)
        case 3:
            return reason(style, question, answer)
        case 4:
            return reason_efficiently(style, question, answer, rng)
    raise ValueError(f"Stages are counted from 1 to 4, got {stage}.")


def chat_prompt(request: str, images: str, history: Sequence[tuple[str, str]] = ()) -> str:
    """Return a dialogue up to where the model writes, as Qwen2.5-VL's own template puts it.

    Args:
        request: User's text behind the images.
        images: Marks of the images.
        history: Earlier questions with their answers.
    """
    text = f"<|im_start|>system\n{_SYSTEM}<|im_end|>\n"
    pieces = [*(part for turn in history for part in turn), request]
    for number, piece in enumerate(pieces):
        role = ("user", "assistant")[number % 2]
        # The image belongs to the first turn; a request that brings its own break keeps it.
        first = images if number == 0 else ""
        gap = "\n" if number == 0 and history else ""
        body = piece.lstrip("\n") if number and piece is request else piece
        text += f"<|im_start|>{role}\n{first}{gap}{body}<|im_end|>\n"
    return f"{text}<|im_start|>assistant\n"


class Thought(NamedTuple):
    """What a model wrote, taken apart.

    Attributes:
        answer: The answer, without marks.
        anchors: Anchors with a sound span, in order.
        has_thought: Whether it thought: at least one span was begun.
        is_well_formed: Whether all marks balance, every span has one kind of token and the right
            number of it, no kind twice, and kinds are in order.
    """

    answer: str
    anchors: tuple[str, ...]
    has_thought: bool
    is_well_formed: bool


def read_thought(text: str, style: ThoughtFormat) -> Thought:
    """Take apart what a model wrote.

    Args:
        text: Generated text with its special tokens, without the end of the turn.
        style: Which anchors there are.
    """
    sound: list[str] = []
    is_well_formed = True
    for match in _SPAN.finditer(text):
        names = _PAD.findall(match.group(1))
        name = names[0] if names else ""
        if set(names) == {name} and len(names) == style.num_tokens.get(name):
            sound.append(name)
        else:
            is_well_formed = False
    is_well_formed &= not _PADS_OUTSIDE.search(_SPAN.sub("", text))
    is_well_formed &= sound == [name for name in style.names if name in sound]
    is_well_formed &= _is_balanced(text)
    has_thought = SPAN_START in text or _PAD.search(text) is not None
    return Thought(_answer_in(text), tuple(sound), has_thought, is_well_formed)


def _is_balanced(text: str) -> bool:
    """Whether a thought and an answer are both whole and in order, or neither is there."""
    marks = [mark for mark in (THINK, END_THINK, ANSWER, END_ANSWER) if mark in text]
    if not marks:
        return True
    places = [text.find(mark) for mark in (THINK, END_THINK, ANSWER, END_ANSWER)]
    counts = [text.count(mark) for mark in (THINK, END_THINK, ANSWER, END_ANSWER)]
    return counts == [1, 1, 1, 1] and places == sorted(places)


def _answer_in(text: str) -> str:
    body = text.rpartition(ANSWER)[2] if ANSWER in text else text.rpartition(END_THINK)[2]
    body = body.partition(END_ANSWER)[0]
    return _PADS_OUTSIDE.sub("", body.replace(THINK, "").replace(END_THINK, "")).strip()


def example_requests() -> list[tuple[str, str]]:
    """Requests around anchors with responses in the words of a thought, without new tokens."""
    label = ", ".join(ANCHOR_LABELS.values())
    words = [
        (f"\nWhat is the {name} of the image?", f"The {name} of the image is .")
        for name in ANCHOR_LABELS.values()
    ]
    return [*words, (f"\nWhat is the {label} of the image?", " . the image is . ")]


def example_thoughts() -> list[str]:
    """The words around all anchors: what a pocket tokenizer must know to spell."""
    return [f"{request} {text}" for request, text in example_requests()] + [chat_prompt("\n", "")]
