"""Parameter models shared by recipes: strict, frozen, checked before anything runs."""

from __future__ import annotations

from typing import Any, ClassVar, Literal

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    NonNegativeFloat,
    NonNegativeInt,
    PositiveFloat,
    PositiveInt,
    model_validator,
)

from aquatint.parameter_names import suggest

AnchorName = Literal["sam", "depth", "dino", "pidinet", "siglip", "metaclip"]
LossName = (
    Literal[
        "itc",
        "itm",
        "bbox",
        "spatial",
        "caption",
        "words",
        "asked",
        "answer",
        "next_token",
        "action",
        "progress",
        "stop_progress",
        "critic",
        "goal",
    ]
    | AnchorName
)


class Params(BaseModel):
    """Base of every parameter model: an unknown key is an error, a value never changes."""

    model_config = ConfigDict(frozen=True, extra="forbid", defer_build=True)
    # Fields that change no result; a node is not rerun because of them.
    without_effect: ClassVar[frozenset[str]] = frozenset()

    @model_validator(mode="before")
    @classmethod
    def _unknown_keys_name_their_neighbour(cls, values: object) -> object:
        unknown = sorted(set(values) - set(cls.model_fields)) if isinstance(values, dict) else []
        if unknown:
            raise ValueError(
                f"There is no parameter {unknown[0]!r}; {suggest(unknown[0], cls.model_fields)}"
                f"{cls.__name__} has {', '.join(cls.model_fields)}."
            )
        return values

    def result_fields(self) -> dict[str, Any]:
        """All values that results depend on, as plain JSON values."""
        return self.model_dump(mode="json", exclude=set(self.without_effect))


class RunParams(Params):
    """What belongs to the machine and the run, not to a recipe."""

    without_effect = frozenset(
        {
            "save_state_every_steps",
            "save_state_every_minutes",
            "gradient_checkpointing",
            "rdzv_endpoint",
            "concurrent_nodes",
            "dry_run",
            "label",
            "trackers",
        }
    )

    seed: NonNegativeInt
    device: Literal["auto", "cpu", "cuda"]
    precision: Literal["float32", "bfloat16", "float16"]
    num_threads: PositiveInt  # part of the reproducibility key: sums depend on it
    save_state_every_steps: PositiveInt
    save_state_every_minutes: PositiveFloat
    # Compute activations of open blocks twice instead of keeping them; the numbers stay the same.
    gradient_checkpointing: bool = False
    # Nodes that may run at the same time, num_threads each; the numbers stay the same.
    concurrent_nodes: PositiveInt = 1
    # As for num_threads: another number of processes adds in another order.
    num_processes: PositiveInt = 1  # on each host; above 1 through torch.distributed.run
    num_nodes: PositiveInt = 1  # hosts; above 1 through Slurm's srun
    rdzv_endpoint: str = Field(default="", pattern=r"^([A-Za-z0-9_.-]+:[0-9]+)?$")  # host:port
    parallelism: Literal["ddp", "fsdp2"] = "ddp"  # fsdp2 shards the weights over the processes
    dry_run: bool = False
    trackers: tuple[Literal["tensorboard", "wandb", "mlflow"], ...] = ()
    label: str = Field(default="", pattern=r"^[A-Za-z0-9_.-]*$", max_length=40)

    @property
    def num_ranks(self) -> int:
        """Processes on all hosts."""
        return self.num_nodes * self.num_processes

    @property
    def nodes_at_once(self) -> int:
        """Nodes that run at the same time: a node of several processes has the machine alone."""
        return 1 if self.num_ranks > 1 else self.concurrent_nodes

    @model_validator(mode="after")
    def _several_hosts_can_meet(self) -> RunParams:
        if self.num_nodes > 1 and not self.rdzv_endpoint:
            raise ValueError(
                f"num_nodes {self.num_nodes} needs rdzv_endpoint, the first host and a free port "
                "of it, e.g. node01:29400."
            )
        return self

    @model_validator(mode="after")
    def _shards_have_no_loss_scaler(self) -> RunParams:
        if self.parallelism == "fsdp2" and self.precision == "float16":
            raise ValueError(
                "parallelism fsdp2 does not go with precision float16: each shard would skip its "
                "own overflows. Take bfloat16 or ddp."
            )
        return self


class OptimizerParams(Params):
    """AdamW, by the names of its constructor, and its learning-rate schedule."""

    learning_rate: PositiveFloat
    weight_decay: NonNegativeFloat
    betas: tuple[float, float] = (0.9, 0.98)
    eps: PositiveFloat = 1e-8
    warmup_fraction: float = Field(ge=0, lt=1)
    hold_fraction: float = Field(default=0.0, ge=0, lt=1)  # of the steps, at the peak, after it
    min_learning_rate: NonNegativeFloat = 0.0  # where the cosine ends
    max_grad_norm: PositiveFloat = 1.0
    # Factors on learning_rate by group of parameters, e.g. {"backbone": 0.1}.
    group_factors: dict[str, PositiveFloat] = {}

    @model_validator(mode="after")
    def _schedule_fits(self) -> OptimizerParams:
        if self.warmup_fraction + self.hold_fraction >= 1:
            raise ValueError(
                f"warmup_fraction {self.warmup_fraction:g} and hold_fraction "
                f"{self.hold_fraction:g} must leave steps for the decay."
            )
        if self.min_learning_rate > self.learning_rate:
            raise ValueError(
                f"min_learning_rate {self.min_learning_rate:g} exceeds learning_rate "
                f"{self.learning_rate:g}."
            )
        return self


class StageParams(Params):
    """One training stage: what it optimises, for how long and with which losses."""

    epochs: PositiveInt
    # Optimizer steps after which the training ends, in whichever epoch; null for whole epochs.
    max_steps: PositiveInt | None = None
    batch_size: PositiveInt
    gradient_accumulation_steps: PositiveInt = 1
    optimizer: OptimizerParams
    loss_weights: dict[LossName, NonNegativeFloat]
    ramped_losses: tuple[LossName, ...] = ()
    loss_ramp: tuple[NonNegativeFloat, ...] = (1.0,)  # factor in epochs 0, 1, ...; the last holds
    validate_every_epochs: PositiveInt = 1  # the last epoch is always looked at
    early_stopping_patience: PositiveInt | None = None  # validations without a better score

    @model_validator(mode="after")
    def _ramped_losses_have_weights(self) -> StageParams:
        unknown = sorted(set(self.ramped_losses) - set(self.loss_weights))
        if unknown:
            raise ValueError(
                f"ramped_losses {unknown} have no weight; loss_weights has "
                f"{sorted(self.loss_weights)}."
            )
        if not self.loss_ramp:
            raise ValueError("loss_ramp needs at least one factor, got ().")
        return self


class HeldOutParams(Params):
    """What is predicted of held-out samples."""

    without_effect = frozenset({"batch_size"})

    batch_size: PositiveInt
    num_samples: PositiveInt  # most of the test split


class LoopParams(Params):
    """Agents that follow instructions in closed loop."""

    max_steps: PositiveInt
    success_radius_m: PositiveFloat
    oracle_radius_m: PositiveFloat
    requires_stop: bool
    wording: NonNegativeInt  # which of an episode's instructions


class PointedLoopParams(LoopParams):
    """The same where a System 2 points the way."""

    without_effect = frozenset({"batch_size"})

    num_episodes: PositiveInt
    max_forward_steps: PositiveInt  # after which System 2 is asked again
    batch_size: PositiveInt
