"""Flights over a town that follow an instruction: where to, how, and in which words."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, replace

import numpy as np

from aquatint.world.arrays import FloatArray, Rng
from aquatint.world.layout import CORE_HALF_M
from aquatint.world.objects import FLAT_KINDS, UNBOXED_KINDS, VEHICLES, SceneObject
from aquatint.world.scenes import Scene
from aquatint.world.town_agent import Action, AgentSpec, AgentState, Expert, act
from aquatint.world.town_map import TownMap

_MAX_TRIES = 60
_PASSED_M = 14.0
# How far beside its footprint a landmark's goal may lie.
_BESIDE_M = 6.0
_SIDE_WORDS = ((22.5, "straight ahead"), (67.5, "ahead on the {side}"), (112.5, "on the {side}"),
               (157.5, "behind you on the {side}"), (181.0, "behind you"))  # fmt: skip


@dataclass(frozen=True, eq=False)
class Route:
    """One flight of the expert.

    Args:
        instructions: The same flight in several wordings.
        states: States of the agent, one for each frame.
        actions: What it did at each frame; the last is STOP.
        goal: Place of the landmark's side that it flies to, shape (2,).
        geodesic_m: Length of the shortest way.
        landmark: Name of the landmark.
    """

    instructions: tuple[str, ...]
    states: tuple[AgentState, ...]
    actions: tuple[Action, ...]
    goal: FloatArray
    geodesic_m: float
    landmark: str


@dataclass(frozen=True)
class FlightRule:
    """What flights are drawn.

    Args:
        min_length_m: Least length of the shortest way.
        max_length_m: Largest length of it.
        max_steps: Most actions, STOP included.
        gust_share: Share of the steps behind which a gust turns the agent by up to 60 degrees, and
            the expert turns back: who learns from flights without any has never seen how to come
            back to the way.
    """

    min_length_m: float = 15.0
    max_length_m: float = 60.0
    max_steps: int = 60
    gust_share: float = 0.0


def sample_route(
    scene: Scene, town: TownMap, spec: AgentSpec, rng: Rng, rule: FlightRule = FlightRule()
) -> Route | None:
    """Draw a flight to a landmark; None if the scene has none that can be named and reached.

    Args:
        scene: The scene.
        town: Where an agent may fly.
        spec: The agent.
        rng: Source of all choices.
        rule: What flights are drawn.
    """
    landmarks = find_landmarks(scene)
    for _ in range(_MAX_TRIES if landmarks else 0):
        landmark = landmarks[int(rng.integers(len(landmarks)))]
        start = rng.uniform(-CORE_HALF_M, CORE_HALF_M, 2)
        goal = _goal_beside(landmark, town, start)
        if goal is None or not town.is_free(start[None])[0]:
            continue
        expert = Expert(town, goal, spec)
        if not rule.min_length_m <= expert.distance_m(start) <= rule.max_length_m:
            continue
        state = AgentState(float(start[0]), float(start[1]), float(rng.uniform(-np.pi, np.pi)))
        flown = fly(expert, state, town, spec, rng, rule)
        if flown is None:
            continue
        states, actions = flown
        words = _instructions(landmark, landmarks, states, rng)
        geodesic_m = expert.distance_m(start)
        return Route(words, states, actions, goal, geodesic_m, landmark.name)
    return None


def find_landmarks(scene: Scene) -> list[SceneObject]:
    """Return solids in the middle of a scene that their name tells apart."""
    uses = Counter(item.name for item in scene.objects)
    skipped = (*FLAT_KINDS, *UNBOXED_KINDS, *VEHICLES)
    return [
        item
        for item in scene.objects
        if uses[item.name] == 1
        and item.kind not in skipped
        and max(abs(item.x_m), abs(item.y_m)) < CORE_HALF_M
    ]


def fly(
    expert: Expert, state: AgentState, town: TownMap, spec: AgentSpec, rng: Rng, rule: FlightRule
) -> tuple[tuple[AgentState, ...], tuple[Action, ...]] | None:
    """Let the expert fly to its end; None if it does not get there within the steps."""
    states: list[AgentState] = [state]
    actions: list[Action] = []
    while len(actions) < rule.max_steps:
        action = expert.decide(states[-1])
        if action is None:
            return None
        actions.append(action)
        if action == Action.STOP:
            return tuple(states), tuple(actions)
        state = act(states[-1], action, town, spec)[0]
        # Asked first: where there are no gusts, none of the later draws may change.
        if rule.gust_share and rng.random() < rule.gust_share:
            turned = state.heading_rad + rng.uniform(-np.pi / 3, np.pi / 3)
            state = replace(state, heading_rad=float((turned + np.pi) % (2 * np.pi) - np.pi))
        states.append(state)
    return None


def _goal_beside(landmark: SceneObject, town: TownMap, start: FloatArray) -> FloatArray | None:
    """The free place beside a landmark that lies nearest to the start."""
    rim = landmark.footprint(_BESIDE_M)
    sides = np.concatenate([rim, (rim + np.roll(rim, -1, axis=0)) / 2])
    free = sides[town.is_free(sides)]
    if not len(free):
        return None
    return free[np.linalg.norm(free - start, axis=1).argmin()]


def _instructions(
    landmark: SceneObject,
    landmarks: list[SceneObject],
    states: tuple[AgentState, ...],
    rng: Rng,
) -> tuple[str, ...]:
    """Three wordings: the landmark, its direction from the start, and what is passed."""
    name = landmark.name
    openings = ("Fly to", "Go to", "Head for")
    first = f"{openings[rng.integers(3)]} the {name} and stop."
    side = side_words(states[0], np.array([landmark.x_m, landmark.y_m]))
    second = f"The {name} is {side}. Fly there and stop next to it."
    passed = _passed(landmark, landmarks, states)
    third = (
        f"Pass the {passed.name} and stop at the {name}."
        if passed
        else f"Look for the {name}, fly to it and stop."
    )
    return first, second, third


def side_words(state: AgentState, place: FloatArray) -> str:
    """Say where a place of shape (2,) lies as seen from an agent."""
    offset = place - state.position
    angle = np.degrees(np.arctan2(offset[1], offset[0]) - state.heading_rad)
    angle = float((angle + 180) % 360 - 180)
    side = "left" if angle > 0 else "right"
    return next(words for limit, words in _SIDE_WORDS if abs(angle) < limit).format(side=side)


def all_side_words() -> list[str]:
    """All that ``side_words`` can say."""
    sides = ("left", "right")
    return sorted({words.format(side=side) for _, words in _SIDE_WORDS for side in sides})


def _passed(
    landmark: SceneObject, landmarks: list[SceneObject], states: tuple[AgentState, ...]
) -> SceneObject | None:
    """The other landmark that the flight comes nearest to, halfway and not at its ends."""
    middle = np.array([s.position for s in states[len(states) // 4 : -max(1, len(states) // 4)]])
    gaps = [
        (float(np.linalg.norm(middle - (item.x_m, item.y_m), axis=1).min()), number)
        for number, item in enumerate(landmarks)
        if item is not landmark and len(middle)
    ]
    if not gaps or min(gaps)[0] > _PASSED_M:
        return None
    return landmarks[min(gaps)[1]]
