"""Prompts about one object of an inspection image, and the answers read back; no label goes in.

A prompt is made from the type, the box and the types of other objects alone. Nothing here takes a
class or a condition, and ``check_prompts`` looks at every prompt all the same.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import pandas as pd

# Part of every prompt table: raise it when the wording changes.
TEMPLATE_VERSION = 1
# The published site: types, and the names that its classes have.
SITE_TYPES = (
    ("toe_drain", ("Toe drain", "Toe drain- Blocked", "Toe drain- Damaged")),
    ("rock_toe", ("rock toe", "rock toe damaged")),
    ("slope_drain", ("slope drain", "slope drain blocked", "slope drain damaged")),
    ("vegetation", ("vegetation",)),
)
_SYSTEM = "You are a helpful assistant."
_MAX_NEIGHBOURS = 4
_RELATION_WORDS = {"above": "above", "below": "below", "left": "left", "right": "right",
                   "same_level": "beside"}  # fmt: skip


@dataclass(frozen=True)
class PromptStyle:
    """What a prompt tells.

    Attributes:
        discloses_type: Whether it names the object's type, as a detector before it would.
        allowed: ``of_type`` lists the classes that the type can have, ``all`` every class.
        position_encoding: Whether it says how high the object lies in the image.
        spatial_reasoning: Whether it lists neighbours by type, and how types lie in train images.
    """

    discloses_type: bool
    allowed: Literal["all", "of_type"]
    position_encoding: bool
    spatial_reasoning: bool


@dataclass(frozen=True)
class ObjectFacts:
    """All that a prompt may know of an object.

    Attributes:
        object_type: Its type.
        box_xyxy: Its box in [0, 1].
        neighbours: Type, relation and distance of the others of its image, the nearest first.
    """

    object_type: str
    box_xyxy: tuple[float, float, float, float]
    neighbours: Sequence[Mapping[str, Any]]

    @property
    def center_y(self) -> float:
        """Height of the centre, 0 at the top."""
        return (self.box_xyxy[1] + self.box_xyxy[3]) / 2


def name_height(y: float) -> str:
    """Return ``top``, ``middle`` or ``bottom`` for a height in [0, 1], thresholds 0.4 and 0.6."""
    return "bottom" if y > 0.6 else "top" if y < 0.4 else "middle"


def ask(facts: ObjectFacts, style: PromptStyle, rules: Mapping[str, str]) -> str:
    """Return the question about an object, without the list of answers.

    Args:
        facts: The object.
        style: What to tell.
        rules: Sentence on each type, computed from the train split.
    """
    # Qwen2-VL was trained on boxes in thousandths of the image.
    corners = ", ".join(str(round(1000 * value)) for value in facts.box_xyxy)
    name = facts.object_type if style.discloses_type else "object"
    parts = [f"This is the {name} at [{corners}]."]
    if style.position_encoding:
        parts.append(f"It lies at y {facts.center_y:.2f} ({name_height(facts.center_y)}).")
    if style.spatial_reasoning:
        near = [
            f"{other['object_type']} {_RELATION_WORDS[other['relation']]}"
            for other in facts.neighbours[:_MAX_NEIGHBOURS]
        ]
        parts.append(f"Around it: {', '.join(near) or 'nothing'}.")
        if style.discloses_type and facts.object_type in rules:
            parts.append(rules[facts.object_type])
    return " ".join(parts)


def list_options(options: Sequence[str]) -> str:
    """Return the sentence that lists the allowed answers."""
    return f"Which is it: {', '.join(options)}?"


def spatial_rules(instances: pd.DataFrame) -> dict[str, str]:
    """Sentence on each type: how high it lies, and what lies above it.

    Every pair of objects counts once in each direction, so the sentences do not depend on the
    order of label lines.

    Args:
        instances: Instances of the train split.
    """
    rules = {}
    for name, rows in instances.groupby("object_type", sort=True):
        sentence = f"A {name} has a mean y of {rows['cy'].mean():.2f}"
        others = pd.DataFrame([item for items in rows["neighbours"] for item in items])
        if len(others):
            others = others[others["object_type"] != name]
            above = others.groupby("object_type")["relation"].agg(["size", _share_above])
            above = above[above["size"] >= 5].sort_values("_share_above", ascending=False)
            if len(above):
                share = above["_share_above"].iloc[0]
                sentence += f", with {above.index[0]} above it in {100 * share:.0f} %"
        rules[str(name)] = f"{sentence}."
    return rules


def _share_above(relations: pd.Series) -> float:
    return float((relations == "above").mean())


def classes_of_type(class_map: Mapping[str, Mapping[str, str]]) -> dict[str, list[str]]:
    """Return the classes that each type can have, in the order of the map."""
    found: dict[str, list[str]] = {}
    for name, entry in class_map.items():
        found.setdefault(entry["object_type"], []).append(name)
    return found


def build_prompts(
    instances: pd.DataFrame,
    class_map: Mapping[str, Mapping[str, str]],
    style: PromptStyle,
    rules: Mapping[str, str],
) -> pd.DataFrame:
    """Return one prompt for each instance.

    Args:
        instances: Rows with instance_id, object_type, box and neighbours; no other column is read.
        class_map: Type and condition of each class.
        style: What to tell.
        rules: Sentence on each type.

    Returns:
        Table of instance_id, question, options and template_version.
    """
    by_type, every = classes_of_type(class_map), list(class_map)
    rows = []
    for row in instances.to_dict(orient="records"):
        box = (row["x1"], row["y1"], row["x2"], row["y2"])
        facts = ObjectFacts(row["object_type"], box, row["neighbours"])
        options = by_type[row["object_type"]] if style.allowed == "of_type" else every
        rows.append(
            {
                "instance_id": row["instance_id"],
                "question": ask(facts, style, rules),
                "options": options,
                "template_version": TEMPLATE_VERSION,
            }
        )
    return pd.DataFrame(rows)


def check_prompts(prompts: pd.DataFrame, class_map: Mapping[str, Mapping[str, str]]) -> None:
    """Check that no question contains the name of a class.

    A name that is also the name of a type (``vegetation``, which has one condition) says no more
    than the type does and may stand there.

    Args:
        prompts: Table of ``build_prompts``.
        class_map: Type and condition of each class.

    Raises:
        ValueError: Naming the first instance whose question gives an answer away.
    """
    types = {entry["object_type"] for entry in class_map.values()}
    names = {_normalize(name): name for name in class_map if name not in types}
    for instance_id, question in zip(prompts["instance_id"], prompts["question"], strict=True):
        text = f" {_normalize(question)} "
        for normalized, name in names.items():
            if f" {normalized} " in text:
                raise ValueError(
                    f"A prompt must not name a class outside of its list of options, but that of "
                    f"{instance_id} contains {name!r}: {question!r}. Build it from types and boxes."
                )


def chat_text(question: str, options: Sequence[str], image: str) -> str:
    """Return the dialogue up to the answer, in Qwen's chat format.

    Args:
        question: What is asked.
        options: Allowed answers.
        image: Marks of the image.
    """
    user = f"{image}{question} {list_options(options)}"
    return (
        f"<|im_start|>system\n{_SYSTEM}<|im_end|>\n<|im_start|>user\n{user}<|im_end|>\n"
        "<|im_start|>assistant\n"
    )


def parse_answer(text: str, class_names: Sequence[str]) -> str | None:
    """Read the class out of a generated answer.

    Args:
        text: What the model wrote.
        class_names: Allowed classes.

    Returns:
        The class whose name the answer is; else the longest one that it contains as whole words;
        None if there is none, also for an empty answer.
    """
    answer = _normalize(text)
    names = {_normalize(name): name for name in class_names}
    if answer in names:
        return names[answer]
    for normalized in sorted(names, key=len, reverse=True):
        if f" {normalized} " in f" {answer} ":
            return names[normalized]
    return None


def _normalize(text: str) -> str:
    # An underscore stays: "rock_toe" is a type, "rock toe" a class.
    return " ".join(re.sub(r"[^\w\s]", " ", text.casefold()).split())


def example_dialogues() -> list[str]:
    """Dialogues about invented objects: what a pocket tokenizer must know how to spell."""
    style = PromptStyle(True, "of_type", position_encoding=True, spatial_reasoning=True)
    types = [name for name, _ in SITE_TYPES]
    texts = []
    for number, (object_type, options) in enumerate(SITE_TYPES):
        others = [
            {"object_type": name, "relation": relation}
            for name, relation in zip(types, _RELATION_WORDS, strict=False)
        ]
        box = (0.12 + 0.1 * number, 0.34, 0.56 + 0.1 * number, 0.78)
        other = types[number - 1]
        rule = f"A {object_type} has a mean y of 0.5{number}, with {other} above it in 9 %."
        question = ask(ObjectFacts(object_type, box, others), style, {object_type: rule})
        texts += 8 * [chat_text(question, options, "")]
    return texts
