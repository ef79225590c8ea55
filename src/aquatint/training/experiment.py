"""Experiments of imitation learning, by the names of InternNav's configuration classes."""

from __future__ import annotations

from typing import Any

from pydantic import (
    Field,
    NonNegativeFloat,
    NonNegativeInt,
    PositiveFloat,
    PositiveInt,
    model_validator,
)

from aquatint.params import LossName, OptimizerParams, Params, RunParams, StageParams


class IlCfg(Params):
    """What is learnt, and from which recordings."""

    epochs: PositiveInt
    batch_size: PositiveInt
    lr: PositiveFloat
    weight_decay: NonNegativeFloat = 0.0
    warmup_ratio: float = Field(default=0.0, ge=0, lt=1)
    gradient_accumulation_steps: PositiveInt = 1
    loss_weights: dict[LossName, NonNegativeFloat] = {"action": 1.0, "progress": 1.0}
    inflection_weight_coef: float = Field(default=3.2, ge=1)
    # Folders of recordings: Parquet and arrays, or LMDB. One of both is read.
    dataset_r2r_root_dir: str = ""
    lmdb_features_dir: str = ""
    filter_failure: bool = False
    min_failed_frames: NonNegativeInt = 15
    num_stuck_frames: NonNegativeInt = 25
    max_step: PositiveInt = 200

    @model_validator(mode="after")
    def _one_source(self) -> IlCfg:
        if self.dataset_r2r_root_dir and self.lmdb_features_dir:
            raise ValueError(
                f"dataset_r2r_root_dir {self.dataset_r2r_root_dir!r} and lmdb_features_dir "
                f"{self.lmdb_features_dir!r} name two sources; give one."
            )
        return self

    @property
    def recordings_root(self) -> str:
        """Folder of the recordings, whichever kind they are of; empty for the embedded ones."""
        return self.dataset_r2r_root_dir or self.lmdb_features_dir

    @property
    def stage(self) -> StageParams:
        """The same as the engine takes it."""
        return StageParams(
            epochs=self.epochs,
            batch_size=self.batch_size,
            gradient_accumulation_steps=self.gradient_accumulation_steps,
            optimizer=OptimizerParams(
                learning_rate=self.lr,
                weight_decay=self.weight_decay,
                warmup_fraction=self.warmup_ratio,
            ),
            loss_weights=self.loss_weights,
        )

    @property
    def reading(self) -> dict[str, Any]:
        """Arguments of ``RecordRule`` that are stated here."""
        return {
            "keeps_failed": not self.filter_failure,
            "min_failed_steps": self.min_failed_frames,
            "num_stuck_steps": self.num_stuck_frames,
            "max_steps": self.max_step,
        }


class EvalCfg(Params):
    """How a policy is judged in closed loop."""

    split: str = Field(default="val_unseen", pattern="^(val_seen|val_unseen)$")
    max_steps: PositiveInt = 200
    success_distance: PositiveFloat = 3.0
    oracle_success_distance: PositiveFloat = 3.0
    requires_stop: bool = True

    @property
    def town(self) -> dict[str, str]:
        """Fields of the catalog entry ``cma.rollout.town`` that are stated here."""
        return {"split": self.split}

    @property
    def loop(self) -> dict[str, Any]:
        """Fields of ``cma.rollout.loop`` that are stated here."""
        return {
            "max_steps": self.max_steps,
            "success_radius_m": self.success_distance,
            "oracle_radius_m": self.oracle_success_distance,
            "requires_stop": self.requires_stop,
        }


class ExpCfg(Params):
    """An experiment: a name, a registered model, and how both are trained and judged."""

    name: str = Field(pattern=r"^[A-Za-z0-9_.-]+$", max_length=40)
    model_name: str  # as in register_model
    model: dict[str, Any] = {}  # arguments of its builder
    seed: NonNegativeInt = 0
    num_gpus: PositiveInt = 1
    il: IlCfg
    eval: EvalCfg = EvalCfg()

    def recipe_parameters(self) -> dict[str, Any]:
        """Return the experiment as parameters of the ``cma`` recipe, to write to a YAML file.

        Catalog entries are no parameters: ``il.recordings_root`` goes to the ``filepath`` of
        ``cma.data.raw``, ``eval.split`` to ``cma.rollout.town``.

        Raises:
            ValueError: If ``model_name`` is none of the recipe's policies.
        """
        policies = ("cma", "seq2seq", "rdp")
        if self.model_name not in policies:
            raise ValueError(
                f"model_name must be one of {', '.join(policies)} for the recipe, got "
                f"{self.model_name!r}; others are trained by training.trainer.PolicyTrainer."
            )
        stage = self.il.stage.model_dump(mode="json", exclude_defaults=True)
        # RDP learns increments of all steps alike.
        weight = {"inflection_weight": self.il.inflection_weight_coef}
        train = {**stage, **({} if self.model_name == "rdp" else weight), **self.model}
        return {
            "run": {"seed": self.seed, "num_processes": self.num_gpus, "label": self.name},
            "cma": {
                "data": {"reading": self.il.reading},
                self.model_name: {"train": train},
                "rollout": {"loop": self.eval.loop},
            },
        }

    def run_params(self, base: RunParams) -> RunParams:
        """What the experiment says of a run: seed, processes, and the label of its outputs."""
        return base.model_copy(
            update={"seed": self.seed, "num_processes": self.num_gpus, "label": self.name}
        )
