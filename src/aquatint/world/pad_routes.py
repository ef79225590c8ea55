"""Flights to a landing pad that an instruction names by its color."""

from __future__ import annotations

import itertools

import numpy as np

from aquatint.world.arrays import FloatArray, Rng
from aquatint.world.flight_sites import PAD_COLORS, Pad
from aquatint.world.pads import PAD_HALF_M
from aquatint.world.town_agent import AgentSpec, AgentState, Expert
from aquatint.world.town_map import TownMap
from aquatint.world.town_routes import FlightRule, Route, all_side_words, fly, side_words

PAD_RULE = FlightRule(min_length_m=8.0, max_length_m=32.0, max_steps=40, gust_share=0.08)
_MAX_TRIES = 60
_START_HALF_M = PAD_HALF_M + 8.0
_HEADING_STD_RAD = 0.35
_OPENINGS = ("Fly to", "Go to", "Head for")


def sample_pad_route(
    pads: tuple[Pad, ...], town: TownMap, spec: AgentSpec, rng: Rng, rule: FlightRule = PAD_RULE
) -> Route | None:
    """Draw a flight to one of the pads; None if no start within reach is found.

    Args:
        pads: Pads of the town.
        town: Where an agent may fly.
        spec: The agent.
        rng: Source of all choices.
        rule: What flights are drawn.
    """
    for _ in range(_MAX_TRIES if pads else 0):
        pad = pads[int(rng.integers(len(pads)))]
        goal = np.array([pad.x_m, pad.y_m])
        start = rng.uniform(-_START_HALF_M, _START_HALF_M, 2)
        if not town.is_free(start[None])[0]:
            continue
        expert = Expert(town, goal, spec)
        if not rule.min_length_m <= expert.distance_m(start) <= rule.max_length_m:
            continue
        flown = fly(expert, _first_state(start, pads, rng), town, spec, rng, rule)
        if flown is None:
            continue
        states, actions = flown
        words = instructions_to(pad, states[0], rng)
        geodesic_m = expert.distance_m(start)
        return Route(words, states, actions, goal, geodesic_m, f"{pad.color} pad")
    return None


def instructions_to(pad: Pad, state: AgentState, rng: Rng) -> tuple[str, ...]:
    """Three wordings: the pad, the same with where it lies as seen from the start, and another."""
    opening = _OPENINGS[int(rng.integers(len(_OPENINGS)))]
    side = side_words(state, np.array([pad.x_m, pad.y_m]))
    return _word(opening, pad.color, side)


def example_instructions() -> list[str]:
    """Return every instruction there is, for a pocket tokenizer: its words shall be few tokens."""
    drawn = itertools.product(_OPENINGS, PAD_COLORS, all_side_words())
    return sorted({text for choice in drawn for text in _word(*choice)})


def _word(opening: str, color: str, side: str) -> tuple[str, ...]:
    return (
        f"{opening} the {color} pad and stop.",
        f"It is {side}. {opening} the {color} pad and stop.",
        f"Find the {color} pad and stop.",
    )


def _first_state(start: FloatArray, pads: tuple[Pad, ...], rng: Rng) -> AgentState:
    """Look at any of the pads: what is in the middle must not tell which one is meant."""
    seen = pads[int(rng.integers(len(pads)))]
    offset = np.array([seen.x_m, seen.y_m]) - start
    heading = np.arctan2(offset[1], offset[0]) + rng.normal(0, _HEADING_STD_RAD)
    heading = (heading + np.pi) % (2 * np.pi) - np.pi
    return AgentState(float(start[0]), float(start[1]), float(heading))
