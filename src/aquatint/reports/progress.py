"""What trainings reached and what it cost: steps, samples and seconds."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import pandas as pd

COSTS = ("steps", "samples", "seconds")
Cost = dict[str, float]


@dataclass(frozen=True)
class Trainings:
    """Records of the trained parts stage1, stage2 and baseline.

    Attributes:
        histories: History by part: one row a step, ``val_r_mean`` where it was validated.
        lineages: Lineage of the checkpoint by part, with ``efficiency``.
    """

    histories: dict[str, pd.DataFrame]
    lineages: dict[str, dict[str, Any]]

    def cost(self, part: str) -> Cost:
        """Steps, samples and seconds of a whole training."""
        history = self.histories[part]
        return {
            "steps": int(history["step"].iloc[-1]) + 1,
            "samples": int(history["num_samples"].sum()),
            "seconds": self.lineages[part]["efficiency"]["train_seconds"],
        }

    def curve(self, part: str) -> pd.DataFrame:
        """One row for each validation: ``steps``, ``samples``, ``seconds`` so far, ``r_mean``.

        Seconds are those of training without validation, at the mean rate of the part: single
        steps are not timed.
        """
        history, cost = self.histories[part], self.cost(part)
        steps = history["step"] + 1
        curve = pd.DataFrame(
            {
                "steps": steps,
                "samples": history["num_samples"].cumsum(),
                "seconds": steps * (cost["seconds"] / cost["steps"]),
                "r_mean": history["val_r_mean"],
            }
        )
        return curve.dropna(subset=["r_mean"]).reset_index(drop=True)

    def two_stage_curve(self) -> pd.DataFrame:
        """Curve of stage 1 and, from where the whole of stage 1 ends, of stage 2."""
        cost = self.cost("stage1")
        second = self.curve("stage2")
        moved = second.assign(**{name: second[name] + cost[name] for name in COSTS})
        return pd.concat([self.curve("stage1"), moved], ignore_index=True)


def cost_to_reach(curve: pd.DataFrame, target: float) -> Cost | None:
    """Return the cost at the first validation with ``target`` or more.

    Args:
        curve: Curve of a training.
        target: Score in [0, 1].

    Returns:
        Cost by name; None if the target was never reached.
    """
    reached = curve[curve["r_mean"] >= target]
    return None if reached.empty else {name: float(reached.iloc[0][name]) for name in COSTS}
