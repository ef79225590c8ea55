"""Questions about a sparse scene whose answers are read off its pixels, depths and objects."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import combinations
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from aquatint.world.arrays import Rng
from aquatint.world.palette import Surface
from aquatint.world.render import View
from aquatint.world.scenes import Scene
from aquatint.world.wording import name_relation

MIN_SHARE = 0.008
# The nearer of two objects must be nearer by this share, or the question is not asked.
MIN_DEPTH_RATIO = 1.05
MIN_HEIGHT_RATIO = 1.3
_NUMBERS = ("zero", "one", "two", "three", "four", "five")
_MIN_CROSSED_PX = 2


class SeenObject(NamedTuple):
    """An object with a unique name that enough of the picture shows.

    Attributes:
        object_id: Its id in the view.
        name: Color and kind.
        kind: Kind.
        color: Color.
        depth_m: Median depth of its visible pixels.
        height_m: Height over the ground.
        box: Box in [0, 1].
    """

    object_id: int
    name: str
    kind: str
    color: str
    depth_m: float
    height_m: float
    box: tuple[float, float, float, float]


class Question(NamedTuple):
    """One question with its answer; ``kind`` says what it needs."""

    kind: str
    text: str
    answer: str


def find_seen(scene: Scene, view: View) -> list[SeenObject]:
    """Return the objects that are large enough in the picture, the largest first."""
    shares = np.bincount(view.instance_ids.ravel(), minlength=len(scene.objects) + 1)
    seen = []
    for object_id in np.argsort(-shares, kind="stable").tolist():
        is_shown = shares[object_id] >= MIN_SHARE * view.instance_ids.size
        if object_id == 0 or not is_shown or object_id not in view.boxes_xyxy:
            continue
        item = scene.objects[object_id - 1]
        depth = float(np.median(view.depth_m[view.instance_ids == object_id]))
        box = view.boxes_xyxy[object_id]
        seen.append(
            SeenObject(object_id, item.name, item.kind, item.color, depth, item.height_m, box)
        )
    return seen


def ask_questions(scene: Scene, view: View, num_questions: int, rng: Rng) -> list[Question]:
    """Draw questions about a view, of as many kinds as it allows.

    Args:
        scene: A sparse scene.
        view: A view of it.
        num_questions: Most questions.
        rng: Source of all choices.
    """
    seen = find_seen(scene, view)
    by_kind = {}
    for kind, ask in _KINDS.items():
        found = list(ask(view, seen))
        if found:
            by_kind[kind] = found[int(rng.integers(len(found)))]
    order = rng.permutation(sorted(by_kind)).tolist()
    return [_shuffled(by_kind[kind], kind, rng) for kind in order[:num_questions]]


def _always(answer: str) -> Callable[[tuple[str, ...]], str]:
    return lambda names: answer


def _if_first(name: str, yes: str, no: str) -> Callable[[tuple[str, ...]], str]:
    """One answer if ``name`` comes first in the question, else the other."""
    return lambda names: yes if names[0] == name else no


class _Draft(NamedTuple):
    """A question with its names in places; which name comes first is drawn later."""

    template: str
    names: tuple[str, ...]
    answer: Callable[[tuple[str, ...]], str]


def _shuffled(draft: _Draft, kind: str, rng: Rng) -> Question:
    # Or the first name of the two would be the answer more often than the other.
    names = tuple(rng.permutation(draft.names).tolist()) if draft.names else ()
    return Question(kind, draft.template.format(*names), draft.answer(names))


def _count(view: View, seen: list[SeenObject]) -> Iterator[_Draft]:
    if len(seen) < len(_NUMBERS):
        yield _Draft("How many buildings are there?", (), _always(_NUMBERS[len(seen)]))


def _color(view: View, seen: list[SeenObject]) -> Iterator[_Draft]:
    kinds = [item.kind for item in seen]
    for item in seen:
        if kinds.count(item.kind) == 1:
            yield _Draft(f"What color is the {item.kind}?", (), _always(item.color))


def _relation(view: View, seen: list[SeenObject]) -> Iterator[_Draft]:
    for first, second in combinations(seen, 2):
        relation = name_relation(first.box, second.box)
        if relation in ("left of", "right of"):
            left = first.name if relation == "left of" else second.name
            yield _Draft(
                "Is the {} to the left or to the right of the {}?",
                (first.name, second.name),
                _if_first(left, "left", "right"),
            )


def _nearer(view: View, seen: list[SeenObject]) -> Iterator[_Draft]:
    for first, second in combinations(seen, 2):
        near, far = sorted((first, second), key=lambda item: item.depth_m)
        if far.depth_m >= MIN_DEPTH_RATIO * near.depth_m:
            yield _Draft(
                "Which is nearer to the camera, the {} or the {}?",
                (first.name, second.name),
                _always(near.name),
            )


def _taller(view: View, seen: list[SeenObject]) -> Iterator[_Draft]:
    for first, second in combinations(seen, 2):
        low, high = sorted((first, second), key=lambda item: item.height_m)
        if high.height_m >= MIN_HEIGHT_RATIO * low.height_m:
            yield _Draft(
                "Which is taller, the {} or the {}?",
                (first.name, second.name),
                _always(high.name),
            )


def _order(view: View, seen: list[SeenObject]) -> Iterator[_Draft]:
    for chosen in combinations(seen, 3):
        ordered = sorted(chosen, key=lambda item: item.depth_m)
        steps = zip(ordered, ordered[1:], strict=False)
        if all(b.depth_m >= MIN_DEPTH_RATIO * a.depth_m for a, b in steps):
            yield _Draft(
                "Which is the farthest, the {}, the {} or the {}?",
                tuple(item.name for item in chosen),
                _always(ordered[-1].name),
            )


def _between(view: View, seen: list[SeenObject]) -> Iterator[_Draft]:
    for surface, word in ((Surface.ROAD, "road"), (Surface.RIVER, "river")):
        # Asked only where the picture shows one: else the question were that for its presence.
        if (view.surfaces == surface).sum() < MIN_SHARE * view.surfaces.size:
            continue
        for first, second in combinations(seen, 2):
            answer = "yes" if _is_crossed(view.surfaces == surface, first.box, second.box) else "no"
            yield _Draft(
                f"Is there a {word} between the {{}} and the {{}}?",
                (first.name, second.name),
                _always(answer),
            )


def _presence(view: View, seen: list[SeenObject]) -> Iterator[_Draft]:
    for surface, word in ((Surface.ROAD, "road"), (Surface.RIVER, "river")):
        share = (view.surfaces == surface).mean()
        if share == 0 or share >= MIN_SHARE:
            answer = "yes" if share else "no"
            yield _Draft(f"Is there a {word}?", (), _always(answer))


def _is_crossed(
    is_line: NDArray[np.bool_],
    first: tuple[float, float, float, float],
    second: tuple[float, float, float, float],
) -> bool:
    """Whether the straight way between the middles of two boxes meets the line."""
    ends = [((box[0] + box[2]) / 2, (box[1] + box[3]) / 2) for box in (first, second)]
    size = len(is_line)
    steps = np.linspace(0, 1, 2 * size)
    (x0, y0), (x1, y1) = ends
    columns = ((x0 + steps * (x1 - x0)) * size).astype(int).clip(0, size - 1)
    rows = ((y0 + steps * (y1 - y0)) * size).astype(int).clip(0, size - 1)
    crossed = np.unique(rows[is_line[rows, columns]] * size + columns[is_line[rows, columns]])
    return len(crossed) >= _MIN_CROSSED_PX


_KINDS: dict[str, Callable[[View, list[SeenObject]], Iterator[_Draft]]] = {
    "count": _count,
    "color": _color,
    "relation": _relation,
    "nearer": _nearer,
    "taller": _taller,
    "order": _order,
    "between": _between,
    "presence": _presence,
}
QUESTION_KINDS = tuple(_KINDS)
