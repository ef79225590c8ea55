"""System 2 in the closed loop: it points, and a controller flies there in a straight line."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from aquatint.data.navigation_prompts import (
    CONJUNCTIONS,
    FORWARD,
    LEFT,
    STOP,
    Answer,
    ask,
    ask_for_pixel,
    parse_answer,
)
from aquatint.data.navigation_samples import history_frames
from aquatint.models.navigator import NavigationModel
from aquatint.training.navigation_dialogues import DialogueWriter, Turn
from aquatint.training.navigation_samples import DOWN
from aquatint.training.point_goal_control import Floats, StraightLine, pixel_to_point
from aquatint.training.system2_inference import KnownImages, write_answers


@dataclass(frozen=True)
class Guidance:
    """How System 2 is asked while an agent acts.

    Attributes:
        num_history: Most earlier frames that are shown.
        max_new_tokens: Longest answer.
        max_forward_steps: Steps forward after which it is asked again.
        batch_size: Agents of one pass.
    """

    num_history: int
    max_new_tokens: int
    max_forward_steps: int
    batch_size: int


@dataclass
class Plan:
    """What an agent is about to do.

    Attributes:
        actions: Actions still to be carried out.
        point: Place to fly to, shape (2,), or None.
        num_forward: Steps forward towards it so far.
        position: Where the agent was when it last went forward.
        asked: Answers so far by kind.
        pixels: Frame, row and column of every pixel that was named.
    """

    actions: list[int] = field(default_factory=list)
    point: Floats | None = None
    num_forward: int = 0
    position: Floats | None = None
    asked: dict[str, int] = field(default_factory=dict)
    pixels: list[tuple[int, int, int]] = field(default_factory=list)


class Reply(NamedTuple):
    """What System 2 answered.

    Attributes:
        answer: Its answer.
        turns: The whole dialogue, answers included.
        pixels: Look-down image where a pixel was named, uint8, shape (S, S, 3).
        depth_m: Its depth, shape (S, S).
    """

    answer: Answer
    turns: list[Turn]
    pixels: NDArray[np.uint8] | None = None
    depth_m: Floats | None = None


class System2Asker:
    """Asks System 2 for many agents at once.

    Args:
        model: Model in evaluation mode.
        writer: Turns to tensors.
        guidance: How it is asked.
    """

    def __init__(self, model: NavigationModel, writer: DialogueWriter, guidance: Guidance) -> None:
        self.model, self.writer, self.guidance = model, writer, guidance
        self._known: KnownImages = {}

    def forget(self) -> None:
        """Forget what images showed: not who flew before decides how features are rounded."""
        self._known = {}

    def first_turns(self, simulator: Any, agents: list[int]) -> list[Turn]:  # noqa: ANN401 - of the world
        """The question over history and view of each of these agents."""
        told = simulator.instructions()
        turns = []
        for agent in agents:
            now = simulator.num_frames(agent) - 1
            past = history_frames(now, self.guidance.num_history)
            seen = simulator.observe_frames([(agent, frame) for frame in (*past, now)], "ahead")
            images = [Image.fromarray(pixels) for pixels, _ in seen]
            shown = [self.writer.earlier(image) for image in images[:-1]]
            shown.append(self.writer.current(images[-1]))
            question = ask(told[agent], len(past), CONJUNCTIONS[now % len(CONJUNCTIONS)])
            turns.append(Turn(question, shown, None))
        return turns

    def second_turn(self, pixels: NDArray[np.uint8], frame: int, instruction: str) -> Turn:
        """The question over a look-down image."""
        image = self.writer.look_down(Image.fromarray(pixels))
        again = instruction if self.writer.style.repeats_instruction else ""
        conjunction = CONJUNCTIONS[frame % len(CONJUNCTIONS)]
        return Turn(ask_for_pixel(conjunction, again), [image], None)

    def answer(self, simulator: Any, agents: list[int]) -> list[Reply]:  # noqa: ANN401
        """Ask for each of these agents."""
        size = self.guidance.batch_size
        return [
            reply
            for start in range(0, len(agents), size)
            for reply in self._answer(simulator, agents[start : start + size])
        ]

    def _answer(self, simulator: Any, agents: list[int]) -> list[Reply]:  # noqa: ANN401
        turns = self.first_turns(simulator, agents)
        longest = self.guidance.max_new_tokens
        texts = write_answers(self.model, self.writer, [[turn] for turn in turns], longest,
                              self._known)  # fmt: skip
        replies = [
            Reply(_usable(parse_answer(text)), [turn._replace(answer=text)])
            for turn, text in zip(turns, texts, strict=True)
        ]
        looking = [i for i, text in enumerate(texts) if parse_answer(text).kind == "look_down"]
        if not looking:
            return replies
        frames = {i: simulator.num_frames(agents[i]) - 1 for i in looking}
        views = simulator.observe_frames([(agents[i], frames[i]) for i in looking], "down")
        told = simulator.instructions()
        dialogues = [
            [turns[i]._replace(answer=DOWN), self.second_turn(pixels, frames[i], told[agents[i]])]
            for i, (pixels, _) in zip(looking, views, strict=True)
        ]
        said = write_answers(self.model, self.writer, dialogues, longest, self._known)
        for i, text, asked, (pixels, depth_m) in zip(looking, said, dialogues, views, strict=True):
            pixel = parse_answer(text)
            answer = pixel if pixel.kind == "pixel" else Answer("invalid")
            whole = [asked[0], asked[1]._replace(answer=text)]
            replies[i] = Reply(answer, whole, pixels, depth_m)
        return replies


def _usable(answer: Answer) -> Answer:
    """Steps forward by name, which no sample teaches, and all else that is no plan, are invalid."""
    if answer.kind == "turn" and FORWARD in answer.actions:
        return Answer("invalid")
    return answer if answer.kind in ("pixel", "turn", "stop") else Answer("invalid")


class System2Actor:
    """System 2 with a controller that flies straight to the pixel it names.

    Args:
        asker: System 2.
        control: The controller.
    """

    def __init__(self, asker: System2Asker, control: StraightLine) -> None:
        self._asker, self._control = asker, control
        self.plans: list[Plan] = []

    def begin(self, simulator: Any, num_agents: int) -> None:  # noqa: ANN401 - of the world
        """Forget earlier episodes."""
        self._asker.forget()
        self.plans = [Plan() for _ in range(num_agents)]

    def decide(self, simulator: Any, agents: list[int]) -> NDArray[np.int64]:  # noqa: ANN401
        """Action of each of these agents; System 2 is asked where a plan has ended."""
        actions = {agent: self._next(simulator, agent) for agent in agents}
        waiting = [agent for agent in agents if actions[agent] is None]
        replies = self._asker.answer(simulator, waiting)
        for agent, reply in zip(waiting, replies, strict=True):
            self._take(simulator, agent, reply)
            action = self._next(simulator, agent)
            if action is None:
                # The place is where the agent stands. As in the source, it looks elsewhere.
                self.plans[agent].point = None
                action = LEFT
            actions[agent] = action
        return np.array([actions[agent] for agent in agents], np.int64)

    def _next(self, simulator: Any, agent: int) -> int | None:  # noqa: ANN401
        """The next action of a plan, None where it has ended."""
        plan = self.plans[agent]
        if plan.actions:
            return plan.actions.pop(0)
        if plan.point is None:
            return None
        pose = simulator.camera_pose(agent, "down")
        is_stuck = plan.position is not None and np.allclose(plan.position, pose[:2, 3])
        action = self._control.act(plan.point, pose)
        if action is None or is_stuck or plan.num_forward >= self._asker.guidance.max_forward_steps:
            plan.point = None
            return None
        if action == FORWARD:
            plan.num_forward += 1
            plan.position = pose[:2, 3].copy()
        return action

    def _take(self, simulator: Any, agent: int, reply: Reply) -> None:  # noqa: ANN401
        plan, (answer, _, _, depth_m) = self.plans[agent], reply
        plan.point, plan.num_forward, plan.position = None, 0, None
        if answer.kind == "pixel" and depth_m is not None:
            pose = simulator.camera_pose(agent, "down")
            plan.point = pixel_to_point(
                answer.row, answer.column, depth_m, pose, simulator.intrinsics
            )
            plan.pixels.append((simulator.num_frames(agent) - 1, answer.row, answer.column))
        is_lost = answer.kind == "invalid" or (answer.kind == "pixel" and plan.point is None)
        kind = "invalid" if is_lost else answer.kind
        plan.asked[kind] = plan.asked.get(kind, 0) + 1
        if is_lost:
            plan.actions = [LEFT]
        elif answer.kind != "pixel":
            plan.actions = [STOP] if answer.kind == "stop" else list(answer.actions)
