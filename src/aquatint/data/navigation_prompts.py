"""What a navigation model is asked and how it answers: a pixel to fly to, turns, or a stop.

The dialogue has one or two rounds. First the model sees where it was and what is before it, and
answers with turns, with STOP, or with an arrow down: then it is shown the look-down image and
names the row and column of where it wants to go. ``parse_answer`` is the inverse of the builders.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

# Part of every fingerprint of a training: raise it when the wording changes.
TEMPLATE_VERSION = 1
STOP, FORWARD, LEFT, RIGHT, LOOK_DOWN = 0, 1, 2, 3, 5
ARROWS = {FORWARD: "↑", LEFT: "←", RIGHT: "→", LOOK_DOWN: "↓"}
STOP_WORD = "STOP"
IMAGE = "\x00"  # stands where an image goes; no instruction may hold it
CONJUNCTIONS = (
    "Now you see",
    "Ahead of you lies",
    "The camera now shows",
    "In front of you is",
    "Your view at this moment is",
    "You are looking at",
    "What you can see is",
)
AnswerKind = Literal["pixel", "turn", "stop", "look_down", "invalid"]
_BY_ARROW = {arrow: action for action, arrow in ARROWS.items()}
_NUMBER = re.compile(r"\d+")


@dataclass(frozen=True)
class Answer:
    """What an answer says.

    Attributes:
        kind: ``pixel`` with a place, ``turn`` with actions, ``stop``, ``look_down`` (asks for the
            look-down image), or ``invalid``.
        actions: Actions of a turn, in order.
        row: Row of the pixel in the look-down image, counted from 0; -1 for other kinds.
        column: Column likewise.
    """

    kind: AnswerKind
    actions: tuple[int, ...] = ()
    row: int = -1
    column: int = -1


def write_pixel(row: int, column: int) -> str:
    """Return the answer that names a pixel: row first, then column.

    Raises:
        ValueError: If one of them is negative.
    """
    if min(row, column) < 0:
        raise ValueError(f"A pixel has a row and a column of at least 0, got {row}, {column}.")
    return f"{row} {column}"


def write_actions(actions: Sequence[int]) -> str:
    """Return the answer that acts: STOP alone, or arrows.

    Raises:
        ValueError: If there is no action, or STOP among others.
    """
    if list(actions) == [STOP]:
        return STOP_WORD
    unknown = [action for action in actions if action not in ARROWS]
    if not actions or unknown:
        raise ValueError(f"An answer needs STOP alone or arrows, got the actions {list(actions)}.")
    return "".join(ARROWS[action] for action in actions)


def parse_answer(text: str) -> Answer:
    """Read an answer: any digit makes it a pixel, else STOP or arrows count.

    Args:
        text: As the model wrote it.

    Returns:
        The answer; ``invalid`` for fewer or more than two numbers, for text that is neither, and
        for an arrow down among others.
    """
    text = text.strip()
    numbers = _NUMBER.findall(text)
    if numbers:
        if len(numbers) != 2 or _NUMBER.sub("", text).strip():
            return Answer("invalid")
        return Answer("pixel", (), int(numbers[0]), int(numbers[1]))
    if text == STOP_WORD:
        return Answer("stop", (STOP,))
    actions = tuple(_BY_ARROW[arrow] for arrow in text if arrow in _BY_ARROW)
    if not actions or len(actions) != len(text.replace(" ", "")):
        return Answer("invalid")
    if LOOK_DOWN in actions:
        return Answer("look_down" if actions == (LOOK_DOWN,) else "invalid", actions)
    return Answer("turn", actions)


def ask(instruction: str, num_history: int, conjunction: str) -> str:
    """Return the first question, with ``IMAGE`` where images go: history, then the view.

    The instruction stands right before the view: a causal model can look for what it was told, and
    a small one finds it at a distance that neither the past nor the conjunction changes.

    Args:
        instruction: What the agent was told.
        num_history: Earlier frames that are shown.
        conjunction: One of ``CONJUNCTIONS``.

    Raises:
        ValueError: If the instruction is empty or holds the mark of an image.
    """
    if not instruction.strip() or IMAGE in instruction:
        raise ValueError(f"An instruction needs words and no {IMAGE!r}, got {instruction!r}.")
    before = f"Seen before: {IMAGE * num_history}. " if num_history else ""
    now = f"{conjunction} this view. {instruction.strip()} {IMAGE}"
    return (
        "You guide an agent. Name row and column of where to go next, or say "
        f"{STOP_WORD} if you are there. {before}{now}"
    )


def ask_for_pixel(conjunction: str, instruction: str = "") -> str:
    """Return the second question, over the look-down image.

    Args:
        conjunction: One of ``CONJUNCTIONS``.
        instruction: What the agent was told, to say it again; nothing as published. A model of a
            few blocks hardly carries it over from the first question.
    """
    return f"{conjunction} this view. {instruction.strip()} {IMAGE}".replace("  ", " ")


def user_turn(question: str) -> str:
    """Return a question as the chat template of Qwen writes it, up to where the answer begins."""
    return f"<|im_start|>user\n{question}<|im_end|>\n<|im_start|>assistant\n"


@functools.lru_cache(maxsize=1024)  # both questions of a sample ask
def conjunctions_of(sample_id: str, seed: int) -> tuple[str, str]:
    """Return the conjunctions of a sample's two questions: a function of its id and the seed."""
    rng = np.random.default_rng([seed, *sample_id.encode()])
    first, second = rng.integers(len(CONJUNCTIONS), size=2).tolist()
    return CONJUNCTIONS[first], CONJUNCTIONS[second]


def example_texts() -> list[str]:
    """Dialogues of every kind, for a pocket tokenizer: their words shall be few tokens."""
    texts = []
    for number, conjunction in enumerate(CONJUNCTIONS):
        question = user_turn(ask("Fly to it and stop.", 1, conjunction)).replace(IMAGE, "")
        answers = (write_actions([LEFT + number % 2] * (1 + number % 4)), write_actions([STOP]),
                   write_actions([LOOK_DOWN]))  # fmt: skip
        # Alone as well: a mark behind an answer is never part of its tokens.
        texts += [f"{question}{answer}<|im_end|>\n" for answer in answers] + [*answers]
    return texts
