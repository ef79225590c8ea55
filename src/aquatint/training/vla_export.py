"""What leaves the project: a policy for a robot, a LeRobot data set, checkpoints as published."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from aquatint.data.action_chunks import chunk_actions
from aquatint.data.frame_refs import load_frame
from aquatint.data.lerobot_writer import LeRobotEpisode, write_lerobot
from aquatint.data.robot_rows import STATE_NAMES
from aquatint.models.backbone import Backbone, folder_digest
from aquatint.params import RunParams
from aquatint.training.checkpoint import Checkpoint
from aquatint.training.vla_actor import Observation, VlaActor, open_actor

POLICY, WEIGHTS = "policy.json", "policy.safetensors"
STAGE1_KEYS = ("epoch", "sensor_encoder", "action_expert", "optimizer_state_dict",
               "scheduler_state_dict", "val_loss", "training_stage")  # fmt: skip
STAGE2_KEYS = ("epoch", "model_state_dict", "optimizer_state_dict", "scheduler_state_dict",
               "val_loss", "training_stage")  # fmt: skip


@dataclass(frozen=True)
class PolicyExport:
    """A policy on its way to a robot: its weights, and which backbone they stand on.

    Attributes:
        weights: Tensors of sensor encoder and action expert.
        spec: Specification, its backbone closed: what was trained in it is merged.
        backbone: The merged backbone.
        settings: ``num_views``, ``dtype`` of features, ``num_executed_actions``.
        lineage: Where it comes from.
    """

    weights: dict[str, Any]
    spec: dict[str, Any]
    backbone: Backbone
    settings: dict[str, Any]
    lineage: dict[str, Any] = field(default_factory=dict)

    def save(self, folder: Path) -> None:
        """Write ``policy.json`` and ``policy.safetensors``."""
        from safetensors.torch import save_file

        save_file({k: v.contiguous() for k, v in self.weights.items()}, folder / WEIGHTS)
        place = {
            "folder": self.backbone.folder,
            "name": self.backbone.name,
            "sha256": folder_digest(Path(self.backbone.folder)),
        }
        content = {"spec": self.spec, "backbone": place, "settings": self.settings}
        (folder / POLICY).write_text(json.dumps(content, indent=1))


def export_policy(
    checkpoint: Checkpoint, merged: Backbone, settings: Mapping[str, Any]
) -> PolicyExport:
    """Take a policy and its merged backbone together."""
    weights = {n: t for n, t in checkpoint.weights.items() if not n.startswith("backbone.")}
    spec = {**checkpoint.spec, "opening": {**checkpoint.spec["opening"], "mode": "none"}}
    lineage = {"checkpoint": checkpoint.digest, "backbone": merged.digest}
    return PolicyExport(weights, spec, merged, dict(settings), lineage)


class PolicyRunner:
    """A policy on a robot: call ``select_action`` once a control step.

    Args:
        actor: What chooses chunks.
        num_executed_actions: Actions of a chunk before it looks again.
    """

    def __init__(self, actor: VlaActor, num_executed_actions: int) -> None:
        self.actor, self.num_executed_actions = actor, num_executed_actions
        self.reset()

    def reset(self) -> None:
        """Begin an episode: forget chunk, states and actions."""
        self._chunk: list[np.ndarray] = []
        self._states: list[np.ndarray] = []
        self._last = np.full(7, np.nan)
        # The noise of a diffusion is a function of the call's number: an episode can be replayed.
        self.actor.num_calls = 0

    def select_action(
        self,
        views: list[np.ndarray],
        instruction: str,
        state: np.ndarray,
        sensor: np.ndarray | None,
    ) -> np.ndarray:
        """Return the next action.

        Args:
            views: Pictures in the order of the policy's views, each (H, W, 3) uint8.
            instruction: What the robot was told.
            state: Joints and pose in mm and degrees, shape (12,).
            sensor: Rows of force and echo since 100 ms or more, shape (N, 1026); None without.

        Returns:
            Changes of x, y, z in mm and of three angles in degrees, and the gripper, shape (7,).
        """
        self._states.append(np.asarray(state, np.float64))
        if not self._chunk:
            size = int(self.actor.spec["rules"]["state_window"])
            states = self._states[-size:]
            states = [states[0]] * (size - len(states)) + states
            seen = Observation(
                [views], [instruction], np.stack(states)[None], [sensor], self._last[None]
            )
            self._chunk = list(self.actor.act(seen)[0][: self.num_executed_actions])
        self._last = self._chunk.pop(0)
        return self._last


def load_policy(folder: Path, run: RunParams, backbone: Path | None = None) -> PolicyRunner:
    """Open an exported policy.

    Args:
        folder: Folder that the export wrote.
        run: Device and seed.
        backbone: Where the merged backbone lies now; where it lay at the export if not given.

    Raises:
        ValueError: If the backbone is not the one that the policy was exported with.
    """
    from safetensors.torch import load_file

    content = json.loads((folder / POLICY).read_text())
    place = backbone or Path(content["backbone"]["folder"])
    found = folder_digest(place)
    if found != content["backbone"]["sha256"]:
        raise ValueError(
            f"The policy in {folder} needs the backbone it was exported with, sha256 "
            f"{content['backbone']['sha256'][:16]}, got {found[:16]} in {place}."
        )
    handle = Backbone(str(place), found, content["backbone"]["name"])
    checkpoint = Checkpoint(load_file(folder / WEIGHTS), content["spec"])
    settings = content["settings"]
    actor = open_actor(handle, checkpoint, run, settings["num_views"], settings["dtype"])
    return PolicyRunner(actor, settings["num_executed_actions"])


@dataclass(frozen=True)
class LeRobotExport:
    """Episodes on their way into a LeRobot data set.

    Attributes:
        root: Folder that references of frames are relative to.
        steps: Table of steps.
        fps: Steps a second.
        layout: ``v2.1`` or ``v3.0``.
        lineage: Where they come from.
    """

    root: str
    steps: pd.DataFrame
    fps: int
    layout: Any = "v3.0"
    lineage: dict[str, Any] = field(default_factory=dict)

    def save(self, folder: Path) -> None:
        """Write the data set; steps without an action or a state, and the sensor, stay out."""
        usable = self.steps[self.steps["has_action"] & self.steps["has_state"]]
        episodes = [self._episode(rows) for _, rows in usable.groupby("episode_id", sort=False)]
        write_lerobot(folder / "dataset", episodes, self.layout, self.fps)

    def _episode(self, rows: pd.DataFrame) -> LeRobotEpisode:
        views = list(rows["views"].iloc[0])
        frames = {}
        for number, view in enumerate(views):
            known: dict[str, np.ndarray] = {}
            pictures = []
            for refs in rows["image_refs"]:
                ref = refs[number]
                if ref not in known:
                    known = {ref: load_frame(Path(self.root), ref)}
                pictures.append(known[ref])
            frames[view.replace("/", "_")] = np.stack(pictures)
        actions, _ = chunk_actions(rows, 1)
        return LeRobotEpisode(
            task=str(rows["instruction"].iloc[0]),
            state=rows[list(STATE_NAMES)].to_numpy(np.float32),
            state_names=STATE_NAMES,
            action=actions[:, 0],
            frames=frames,
        )


@dataclass(frozen=True)
class SourceCheckpoint:
    """A checkpoint with the keys that the source document gives for its stage.

    Attributes:
        content: Values by key; tensors by name where the source has a state dict.
        lineage: Where it comes from.
    """

    content: dict[str, Any]
    lineage: dict[str, Any] = field(default_factory=dict)

    def save(self, folder: Path) -> None:
        """Write ``checkpoint.pt``, which ``torch.load(weights_only=True)`` reads."""
        import torch

        torch.save(self.content, folder / "checkpoint.pt")


def source_checkpoint(checkpoint: Checkpoint, history: pd.DataFrame) -> SourceCheckpoint:
    """Arrange a checkpoint as the source shows it for its stage.

    Moments of the optimizer are no part of a finished checkpoint here (a running training keeps
    them in its state); its settings stand in their place.
    """
    best = history.iloc[int(history["val_loss"].argmin())]
    common = {
        "epoch": int(best["epoch"]) + 1,
        "optimizer_state_dict": {
            "state": {},
            "param_groups": [dict(checkpoint.lineage["params"]["optimizer"])],
        },
        "scheduler_state_dict": {
            "last_epoch": int(best["step"]) + 1,
            "learning_rate": float(best["learning_rate"]),
        },
        "val_loss": float(best["val_loss"]),
        "training_stage": checkpoint.lineage["stage"],
    }
    lineage = {"checkpoint": checkpoint.digest}
    weights = {n: t.detach().cpu().contiguous() for n, t in checkpoint.weights.items()}
    if checkpoint.lineage["stage"] == "stage2":
        content = {**common, "model_state_dict": weights}
        return SourceCheckpoint({key: content[key] for key in STAGE2_KEYS}, lineage)
    parts = {
        prefix: {
            n.removeprefix(f"{prefix}."): t
            for n, t in weights.items()
            if n.startswith(f"{prefix}.")
        }
        for prefix in ("sensor_encoder", "action_expert")
    }
    content = {**common, **parts}
    return SourceCheckpoint({key: content[key] for key in STAGE1_KEYS}, lineage)


def inspect_checkpoint(checkpoint: Checkpoint, export: Mapping[str, Any]) -> dict[str, Any]:
    """List what a checkpoint holds, by the source's keys and by module.

    Args:
        checkpoint: A stage's checkpoint.
        export: What ``source_checkpoint`` arranged it to.
    """
    by_module: dict[str, dict[str, int]] = {}
    for name, tensor in checkpoint.weights.items():
        module = ".".join(name.split(".")[:2])
        entry = by_module.setdefault(module, {"tensors": 0, "parameters": 0})
        entry["tensors"] += 1
        entry["parameters"] += int(tensor.numel())
    return {
        "training_stage": checkpoint.lineage["stage"],
        "keys": list(export),
        "epoch": export["epoch"],
        "val_loss": export["val_loss"],
        "modules": by_module,
        "digest": checkpoint.digest,
        "parents": checkpoint.lineage["parents"],
        "trainable": checkpoint.lineage["efficiency"]["num_trainable_by_group"],
        "num_parameters": checkpoint.lineage["efficiency"]["num_parameters"],
    }
