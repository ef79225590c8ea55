"""A dual system in the closed loop: System 2 points, System 1 plans the way and follows it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from aquatint.data.navigation_prompts import FORWARD, LEFT, STOP
from aquatint.data.trajectory_targets import decode_trajectory
from aquatint.geometry.poses import planar_poses, to_local_frame
from aquatint.models.dual_system import DualSystem, Memory
from aquatint.training.dual_evaluation import sample_trajectories
from aquatint.training.dual_memory import remember_turns
from aquatint.training.navdp_sampling import start_noise
from aquatint.training.system2_actor import Reply, System2Asker
from aquatint.training.trajectory_control import Floats, PurePursuit
from aquatint.training.trajectory_samples import PictureStyle, as_picture


@dataclass(frozen=True)
class LocalPlanning:
    """How System 1 plans.

    Attributes:
        num_samples: Trajectories that are sampled and averaged.
        scale: Factor of their increments.
        pictures: How look-down images are seen.
        max_local_actions: Actions after which it plans anew.
        seed: Of the noise.
    """

    num_samples: int
    scale: float
    pictures: PictureStyle
    max_local_actions: int
    seed: int


@dataclass
class DualPlanState:
    """What an agent is about to do.

    Attributes:
        actions: Actions still to be carried out.
        latents: What System 2's goal is to System 1, shape (N, E); None without a goal.
        goal_picture: The image in which the goal was set, shape (4, S, S).
        goal_pose: World x, y and heading there, shape (3,).
        num_forward: Steps forward towards it so far.
        num_plans: Plans towards it so far.
        asked: Answers so far by kind.
        pixels: Frame, row and column of every pixel that was named.
    """

    actions: list[int] = field(default_factory=list)
    latents: Tensor | None = None
    goal_picture: NDArray[Any] | None = None
    goal_pose: Floats | None = None
    num_forward: int = 0
    num_plans: int = 0
    asked: dict[str, int] = field(default_factory=dict)
    pixels: list[tuple[int, int, int]] = field(default_factory=list)


class DualActor:
    """System 2 with a System 1.

    Args:
        asker: System 2.
        model: Latent queries and System 1, around the same System 2.
        planning: How System 1 plans.
        control: From a trajectory to actions.
    """

    def __init__(
        self,
        asker: System2Asker,
        model: DualSystem,
        planning: LocalPlanning,
        control: PurePursuit,
    ) -> None:
        self._asker, self._model = asker, model
        self._planning, self._control = planning, control
        self.plans: list[DualPlanState] = []

    def begin(self, simulator: Any, num_agents: int) -> None:  # noqa: ANN401 - of the world
        """Forget earlier episodes."""
        self._asker.forget()
        self.plans = [DualPlanState() for _ in range(num_agents)]

    def decide(self, simulator: Any, agents: list[int]) -> NDArray[np.int64]:  # noqa: ANN401
        """Action of each of these agents; both systems are asked where their plans have ended."""
        self._plan_locally(simulator, [a for a in agents if self._needs_plan(a)])
        waiting = [agent for agent in agents if not self.plans[agent].actions]
        if waiting:
            self._ask(simulator, waiting)
            self._plan_locally(simulator, [a for a in waiting if self._needs_plan(a)])
        actions = []
        for agent in agents:
            plan = self.plans[agent]
            # No way forward from a fresh goal: as in the source, the agent looks elsewhere.
            action = plan.actions.pop(0) if plan.actions else LEFT
            plan.num_forward += action == FORWARD
            actions.append(action)
        return np.array(actions, np.int64)

    def _needs_plan(self, agent: int) -> bool:
        plan = self.plans[agent]
        return plan.latents is not None and not plan.actions

    def _ask(self, simulator: Any, agents: list[int]) -> None:  # noqa: ANN401
        replies = self._asker.answer(simulator, agents)
        for agent, reply in zip(agents, replies, strict=True):
            self._take(simulator, agent, reply)
        pointing = [(agent, reply) for agent, reply in zip(agents, replies, strict=True)
                    if reply.answer.kind == "pixel"]  # fmt: skip
        size = self._asker.guidance.batch_size
        for start in range(0, len(pointing), size):
            self._remember(pointing[start : start + size])

    def _take(self, simulator: Any, agent: int, reply: Reply) -> None:  # noqa: ANN401
        plan, answer = self.plans[agent], reply.answer
        plan.latents, plan.num_forward, plan.num_plans = None, 0, 0
        plan.asked[answer.kind] = plan.asked.get(answer.kind, 0) + 1
        if answer.kind == "stop":
            plan.actions = [STOP]
        elif answer.kind == "turn":
            plan.actions = list(answer.actions)
        elif answer.kind == "pixel" and reply.pixels is not None and reply.depth_m is not None:
            style = self._planning.pictures
            plan.goal_picture = as_picture(Image.fromarray(reply.pixels), reply.depth_m, style)
            plan.goal_pose = planar_poses(simulator.camera_pose(agent, "down")[None])[0]
            frame = simulator.num_frames(agent) - 1
            plan.pixels.append((frame, answer.row, answer.column))
        else:
            plan.actions = [LEFT]

    @torch.inference_mode()
    def _remember(self, pointing: Sequence[tuple[int, Reply]]) -> None:
        asker = self._asker
        turns = [reply.turns for _, reply in pointing]
        memory = remember_turns(asker.model, asker.writer, turns)
        latents = self._model.latents(Memory(*(value.clone() for value in memory)))
        for (agent, _), of_agent in zip(pointing, latents, strict=True):
            self.plans[agent].latents = of_agent

    def _plan_locally(self, simulator: Any, agents: list[int]) -> None:  # noqa: ANN401
        """Plan the next actions of these agents; a plan that ends at once ends the goal."""
        size = self._asker.guidance.batch_size
        limit = self._asker.guidance.max_forward_steps
        ready = [agent for agent in agents if self.plans[agent].num_forward < limit]
        for agent in set(agents) - set(ready):
            self.plans[agent].latents = None
        for start in range(0, len(ready), size):
            self._plan_batch(simulator, ready[start : start + size])

    def _plan_batch(self, simulator: Any, agents: list[int]) -> None:  # noqa: ANN401
        points = self._sample(simulator, agents)
        for agent, of_agent in zip(agents, points, strict=True):
            plan = self.plans[agent]
            here = planar_poses(simulator.camera_pose(agent, "down")[None])[0]
            if not self._model.system1.sees_pictures and plan.goal_pose is not None:
                # It knows the way from where the goal was set, and not how far along one is.
                of_agent = self._from_goal(of_agent, plan.goal_pose, here)
            actions = self._control.plan(of_agent[:, :2], self._planning.max_local_actions)
            plan.actions = [action for action in actions if action != STOP]
            plan.num_plans += 1
            if not plan.actions:
                plan.latents = None

    @staticmethod
    def _from_goal(points: Floats, goal_pose: Floats, here: Floats) -> Floats:
        """Points as seen from where the goal was set, as seen from here."""
        from aquatint.geometry.poses import to_world_frame

        return to_local_frame(to_world_frame(points, goal_pose), here)

    def _sample(self, simulator: Any, agents: list[int]) -> NDArray[Any]:  # noqa: ANN401
        """Points of the mean trajectory of each agent, shape (B, H, 3)."""
        planning, system1 = self._planning, self._model.system1
        plans = [self.plans[agent] for agent in agents]
        latents = torch.stack([plan.latents for plan in plans if plan.latents is not None])
        pairs = None
        if system1.sees_pictures:
            frames = [(agent, simulator.num_frames(agent) - 1) for agent in agents]
            views = simulator.observe_frames(frames, "down")
            now = [as_picture(Image.fromarray(pixels), depth, planning.pictures)
                   for pixels, depth in views]  # fmt: skip
            goals = [plan.goal_picture for plan in plans if plan.goal_picture is not None]
            stacked = np.stack([np.stack(goals), np.stack(now)], axis=1)
            pairs = torch.from_numpy(stacked.astype(np.float32)).to(latents.device)
        # By agent and plan, so that who else is asked at the same time decides nothing.
        names = [f"{agent} {len(plan.pixels)} {plan.num_plans if system1.sees_pictures else 0}"
                 for agent, plan in zip(agents, plans, strict=True)]  # fmt: skip
        noise = start_noise(names, planning.num_samples, system1.horizon, planning.seed)
        fan = sample_trajectories(
            self._model, latents, pairs, noise.to(latents.device), planning.seed
        )
        return decode_trajectory(fan.mean(1).double().cpu().numpy(), planning.scale)
