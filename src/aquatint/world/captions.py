"""Captions and region sentences in a compact vocabulary, true of the pixels of a view."""

from dataclasses import dataclass

import numpy as np

from aquatint.world.arrays import Rng
from aquatint.world.facts import Facts, NamedObject, find_facts
from aquatint.world.render import View
from aquatint.world.scenes import Scene
from aquatint.world.wording import (
    box_center,
    join_words,
    name_position,
    name_relation,
    to_cxcywh,
    to_sentence,
    with_article,
    with_count,
)

BoxCxcywh = tuple[float, float, float, float]

NUM_REGIONS = 3
MAX_CAPTION_WORDS = 40
_NUM_PLACES = 4


@dataclass(frozen=True)
class RegionSentence:
    """A sentence about one object, with its box.

    Args:
        text: The sentence.
        box_cxcywh: Box of the subject in [0, 1].
        subject: Name of the object.
        relation: Where the subject lies as seen from the other object, if the sentence says so.
        object: Name of the other object.
        object_box_cxcywh: Box of the other object.
    """

    text: str
    box_cxcywh: BoxCxcywh
    subject: str
    relation: str | None
    object: str | None
    object_box_cxcywh: BoxCxcywh | None


@dataclass(frozen=True)
class Description:
    """What is said about one view.

    Args:
        captions: Three captions of the whole image, each with its own choice of facts.
        regions: Up to three sentences about single objects, the largest first.
    """

    captions: tuple[str, str, str]
    regions: tuple[RegionSentence, ...]


def describe(scene: Scene, view: View, seed: int) -> Description:
    """Describe a view in words.

    Args:
        scene: The scene.
        view: A view of it; everything said is true of its pixels.
        seed: Seed of the choice of words and facts, at least 0.

    Returns:
        Three captions, and three region sentences or as many as there are unique names.
    """
    rng = np.random.default_rng([scene.seed, seed])
    facts = find_facts(scene, view)
    captions = (_overview(facts, rng), _list_places(facts, rng), _take_inventory(facts, rng))
    regions = tuple(_describe_region(item, facts.named) for item in facts.named[:NUM_REGIONS])
    return Description(captions, regions)


def _overview(facts: Facts, rng: Rng) -> str:
    """Say where we are, how the roads run, and what the most striking objects are."""
    opening = ("An aerial view of", "A drone picture of", "A view from above of")[rng.integers(3)]
    lines = _line_phrases(facts)[:2]
    if not lines and not facts.has_road:
        lines = ["no road"]
    text = f"{opening} {_setting(facts)}"
    if lines:
        text += f" with {join_words(lines)}"
    places = [_place(item) for item in _pick_ranks(facts, (0, 2))]
    if places:
        return to_sentence(f"{text}. There is {join_words(places)}")
    return to_sentence(f"{text}. There are {_filler(facts)}")


def _list_places(facts: Facts, rng: Rng) -> str:
    """Name the largest objects and where they are, in any order."""
    chosen = _pick_ranks(facts, (0, 1, 3, 4))
    places = [_place(chosen[index]) for index in rng.permutation(len(chosen))]
    if len(places) < _NUM_PLACES - 1:
        places += _line_phrases(facts)[-1:]
    if len(places) < _NUM_PLACES - 1:
        places.append(_filler(facts))
    is_ground_first = rng.random() < 0.5
    while True:
        listed = join_words(places)
        setting = _setting(facts)
        text = f"on {setting} we see {listed}" if is_ground_first else f"{listed} on {setting}"
        if len(places) == 1 or len(text.split()) <= MAX_CAPTION_WORDS:
            return to_sentence(text)
        places.pop()


def _take_inventory(facts: Facts, rng: Rng) -> str:
    """Count what occurs several times, then name lesser objects and how two of them lie."""
    items = [with_count(word, count) for word, count in _distinct_counts(facts)[:2]]
    if facts.has_many_trees:
        items.append("many trees")
    items += [_place(item) for item in _pick_ranks(facts, (1, 2, 5))[: max(1, 3 - len(items))]]
    opening = ("The picture shows", "This place has", "We see")[rng.integers(3)]
    text = f"{opening} {join_words(items or [_filler(facts)])}"
    lines = _line_phrases(facts)
    if lines:
        text += f" {('next to', 'near')[rng.integers(2)]} {lines[-1]}"
    text += f", on {_setting(facts)}"
    relation = _relate(facts, rng)
    if relation and len(f"{text} {relation}".split()) <= MAX_CAPTION_WORDS:
        text += f". {relation}"
    return to_sentence(text)


def _setting(facts: Facts) -> str:
    """Return the ground and its condition, such as ``flooded green grass``."""
    ground = facts.ground or "land"
    return f"{facts.condition} {ground}" if facts.condition else ground


def _line_phrases(facts: Facts) -> list[str]:
    if facts.junction is None:
        return list(facts.lines)
    # The roads that meet are part of their junction.
    return [facts.junction, *(line for line in facts.lines if " road" not in line)]


def _filler(facts: Facts) -> str:
    if facts.has_many_trees:
        return "many trees"
    return "some buildings" if facts.has_large_building else "no large buildings"


def _place(item: NamedObject) -> str:
    return f"{with_article(item.name)} {name_position(*box_center(item.box))}"


def _pick_ranks(facts: Facts, ranks: tuple[int, ...]) -> list[NamedObject]:
    """Return the large objects of these ranks by size, as far as there are so many."""
    large = [item for item in facts.named if item.is_large]
    return [large[rank] for rank in ranks if rank < len(large)]


def _distinct_counts(facts: Facts) -> list[tuple[str, int]]:
    """Drop counts that another one already includes, such as red houses after houses."""
    kept: list[tuple[str, int]] = []
    for word, count in facts.counts:
        if not any(_names_part_of(word, other) or _names_part_of(other, word) for other, _ in kept):
            kept.append((word, count))
    return kept


def _names_part_of(name: str, kind: str) -> bool:
    return name.endswith(f" {kind}")


def _relate(facts: Facts, rng: Rng) -> str | None:
    large = _pick_ranks(facts, (0, 1, 2, 3))
    order = rng.permutation(len(large)).tolist()
    for first in order:
        for second in order:
            relation = name_relation(large[first].box, large[second].box)
            if relation is not None:
                return f"The {large[first].name} is {relation} the {large[second].name}"
    return None


def _describe_region(item: NamedObject, named: tuple[NamedObject, ...]) -> RegionSentence:
    box = to_cxcywh(item.box)
    related = [
        (_gap(item, other), other.object_id, relation, other)
        for other in named
        if (relation := name_relation(item.box, other.box)) is not None
    ]
    text = _place(item)
    if not related:
        return RegionSentence(to_sentence(text), box, item.name, None, None, None)
    _, _, relation, nearest = min(related, key=lambda entry: entry[:2])
    return RegionSentence(
        text=to_sentence(f"{text}, {relation} the {nearest.name}"),
        box_cxcywh=box,
        subject=item.name,
        relation=relation,
        object=nearest.name,
        object_box_cxcywh=to_cxcywh(nearest.box),
    )


def _gap(first: NamedObject, second: NamedObject) -> float:
    first_x, first_y = box_center(first.box)
    second_x, second_y = box_center(second.box)
    return float(np.hypot(first_x - second_x, first_y - second_y))
