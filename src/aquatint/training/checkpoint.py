"""A checkpoint: weights, the specification that rebuilds their module, and their lineage."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch import Tensor, nn


class CheckpointMismatchError(ValueError):
    """A checkpoint's weights are not those that a module needs."""


@dataclass(frozen=True)
class Checkpoint:
    """Weights of whatever a stage trained, with all that is needed to use them.

    Attributes:
        weights: The last tensors by parameter name, or the best ones by validation score.
        spec: Arguments that rebuild the module; plain JSON values.
        lineage: Stage, parents with digests, parameters, data digest, library versions, trainable
            and total parameters, steps, wall time, peak memory, metrics; plain JSON values.
        last_weights: Weights after the last step, where ``weights`` are the best ones.
    """

    weights: dict[str, Any]
    spec: dict[str, Any]
    lineage: dict[str, Any] = field(default_factory=dict)
    last_weights: dict[str, Any] = field(default_factory=dict)

    @property
    def digest(self) -> str:
        """sha256 over specification, names, shapes and bits of the weights."""
        return weights_digest(self.weights, self.spec)


def weights_digest(weights: dict[str, Tensor], spec: dict[str, Any] | None = None) -> str:
    """Return a sha256 that changes with every bit of every tensor and with ``spec``."""
    import torch

    total = hashlib.sha256(json.dumps(spec or {}, sort_keys=True).encode())
    for name in sorted(weights):
        tensor = weights[name].detach().cpu().contiguous()
        total.update(f"{name}{tuple(tensor.shape)}{tensor.dtype}".encode())
        # Through bytes, because numpy has no bfloat16.
        total.update(tensor.reshape(-1).view(torch.uint8).numpy().tobytes())
    return total.hexdigest()


def load_weights(module: nn.Module, weights: dict[str, Tensor], origin: str) -> None:
    """Copy ``weights`` into ``module``, which must have exactly these tensors.

    Args:
        module: Module whose state dict has the names and shapes of ``weights``.
        weights: Tensors by name.
        origin: What the weights are, for the message: ``the stage-1 checkpoint``.

    Raises:
        CheckpointMismatchError: Listing missing and unexpected names and differing shapes.
    """
    wanted = {name: tuple(tensor.shape) for name, tensor in module.state_dict().items()}
    found = {name: tuple(tensor.shape) for name, tensor in weights.items()}
    faults = {
        "missing": sorted(set(wanted) - set(found)),
        "unexpected": sorted(set(found) - set(wanted)),
        "other shape": [
            f"{name} {found[name]} instead of {wanted[name]}"
            for name in sorted(set(wanted) & set(found))
            if wanted[name] != found[name]
        ],
    }
    listed = "; ".join(
        f"{len(names)} {kind}: {', '.join(names[:4])}" for kind, names in faults.items() if names
    )
    if listed:
        raise CheckpointMismatchError(
            f"{origin} does not fit {type(module).__name__}: {listed}. It was trained with another "
            "architecture; pin one that fits with --load-versions, or train the stage again."
        )
    module.load_state_dict(weights, strict=True)
