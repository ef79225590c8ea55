"""The curriculum: which format a sample has is a function of the optimizer step alone."""

from __future__ import annotations

from dataclasses import dataclass

from aquatint.data.visual_thought_prompts import (
    EFFICIENT,
    GENERATION,
    REASONING,
    UNDERSTANDING,
)


@dataclass(frozen=True)
class Curriculum:
    """Optimizer steps, counted from 0, at which formats change.

    The published code counts samples that a data loader's process has fetched: its stages end
    early or late with every other number of workers, devices and accumulated batches, and begin
    anew after a resume. Here the training loop says which step it is.

    Attributes:
        understanding_until: First step that is not of stage 1.
        generation_until: First step that is not of stage 2.
        reasoning_until: First step of stage 4.
        anchors_until: Last step with losses of anchors; beyond it text alone is learned.
    """

    understanding_until: int
    generation_until: int
    reasoning_until: int
    anchors_until: int

    def __post_init__(self) -> None:
        limits = (self.understanding_until, self.generation_until, self.reasoning_until)
        if list(limits) != sorted(limits) or limits[0] < 0:
            raise ValueError(f"Steps of a curriculum must ascend from 0, got {limits}.")

    def stage_at(self, step: int) -> int:
        """Return the stage of an optimizer step, 1 to 4."""
        if step < self.understanding_until:
            return UNDERSTANDING
        if step < self.generation_until:
            return GENERATION
        return REASONING if step < self.reasoning_until else EFFICIENT

    def has_anchors(self, step: int) -> bool:
        """Whether the losses of anchors count in an optimizer step."""
        return step <= self.anchors_until
