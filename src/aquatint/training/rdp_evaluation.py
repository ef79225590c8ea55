"""What RDP plans at every step of recorded flights, and what its chunks are worth."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from torch import Tensor
from tqdm import tqdm

from aquatint.collective import hides_bars
from aquatint.data.increments import IncrementRule, actions_of_chunk, displacements
from aquatint.data.navigation_prompts import STOP
from aquatint.metrics.paired import group_bootstrap_interval
from aquatint.metrics.trajectories import average_displacement_error, final_displacement_error
from aquatint.models.rdp import Reading, RecurrentDiffusionPolicy
from aquatint.training.navdp_sampling import generators_of, start_noise
from aquatint.training.precision import to_device
from aquatint.training.rdp_samples import RdpSamples, journey

Floats = NDArray[Any]
_ERRORS = ("average_error_m", "final_error_m")


def sample_chunks(
    model: RecurrentDiffusionPolicy, read: Reading, names: list[str], seed: int
) -> Tensor:
    """Sample one chunk for each step that was read.

    Args:
        model: The policy.
        read: What it made of R steps.
        names: Of the steps; each one's noise is a function of its name and the seed.
        seed: Of the noise.

    Returns:
        Scaled increments, shape (R, H, 3).
    """
    start = start_noise(names, 1, model.decoder.horizon, seed).to(read.condition.device)
    return model.sample(read.condition, start[:, 0], generators_of(start))


def first_actions(
    chunks: Floats, stop_progress: Floats, threshold: float, count: int
) -> list[list[int]]:
    """Return the actions that begin each chunk, a stop alone where the way is over.

    Args:
        chunks: Scaled increments, shape (R, H, 3).
        stop_progress: Share of the steps that are behind, shape (R,).
        threshold: Share from which on the policy stops.
        count: Most actions of each.
    """
    return [
        [STOP] if behind > threshold else actions_of_chunk(chunk, count)
        for chunk, behind in zip(chunks, stop_progress, strict=True)
    ]


@torch.inference_mode()
def follow_rdp(
    model: RecurrentDiffusionPolicy,
    samples: RdpSamples,
    spec: Mapping[str, Any],
    batch_size: int,
    seed: int,
    device: torch.device,
) -> pd.DataFrame:
    """What a policy would do at every recorded step, told the recorded way so far.

    Args:
        model: The policy.
        samples: Flights.
        spec: Specification of its checkpoint.
        batch_size: Flights at once.
        seed: Of the noise.
        device: Where to compute.

    Returns:
        Table as that of ``imitation_evaluation.follow``, and for each step ``average_error_m`` and
        ``final_error_m`` of the chunk, with those of ``forward_`` (straight on) and ``still_``.
    """
    model.eval()
    rule = IncrementRule(**spec["rule"])
    ahead = np.zeros((rule.horizon, 3))
    ahead[:, 0] = 1
    rows = []
    batches = torch.arange(len(samples)).split(batch_size)
    for positions in tqdm(batches, desc="following flights", disable=hides_bars(), leave=False):
        batch = to_device(samples.batch(positions), device)
        is_step = batch["is_step"].bool()
        number, step = (values.cpu().numpy() for values in is_step.nonzero(as_tuple=True))
        ids = np.array(samples.identify(positions))[number]
        read = model.read(journey(batch), is_step=batch["is_step"])
        names = [f"{name}@{at}" for name, at in zip(ids, step, strict=True)]
        chunks = sample_chunks(model, read, names, seed).float().cpu().numpy().astype(float)
        actions = first_actions(
            chunks, read.stop_progress.float().cpu().numpy(), spec["stop_threshold"], 1
        )
        target = batch["chunk"][is_step].cpu().numpy().astype(float)
        found = {
            "instruction_id": ids,
            "flight_id": [name.rpartition("#")[0] for name in ids],
            "step": step,
            "target": batch["actions"][is_step].cpu().numpy(),
            "predicted": [first[0] for first in actions],
            "progress_target": batch["progress"][is_step].cpu().numpy(),
            "progress": read.progress.float().cpu().numpy(),
            **_errors("", chunks, target, rule),
            **_errors("forward_", np.broadcast_to(ahead, target.shape), target, rule),
            **_errors("still_", np.zeros_like(target), target, rule),
        }
        rows.append(pd.DataFrame(found))
    return pd.concat(rows, ignore_index=True)


def _errors(prefix: str, chunks: Floats, target: Floats, rule: IncrementRule) -> dict[str, Floats]:
    places, true_places = displacements(chunks, rule), displacements(target, rule)
    return {
        f"{prefix}average_error_m": average_displacement_error(places, true_places),
        f"{prefix}final_error_m": final_displacement_error(places, true_places),
    }


def chunk_metrics(predictions: pd.DataFrame) -> dict[str, Any]:
    """Judge chunks by how far their places are from the recorded ones.

    Args:
        predictions: Tables of ``follow_rdp`` with a column ``told``: ``own`` or ``other``.

    Returns:
        For ``own``, ``other``, ``forward`` and ``still``: mean of both errors in metres, with the
        interval of the first by flight; ``num_steps``.
    """
    own = predictions[predictions["told"] == "own"]
    other = predictions[predictions["told"] == "other"]
    found: dict[str, Any] = {"num_steps": len(own)}
    judged = (("own", own, ""), ("other", other, ""))
    for name, rows, prefix in (*judged, *((n, own, f"{n}_") for n in ("forward", "still"))):
        average, final = (rows[f"{prefix}{error}"].to_numpy() for error in _ERRORS)
        found[name] = {
            "average_error_m": float(average.mean()),
            "average_error_m_interval": group_bootstrap_interval(
                average, rows["flight_id"].to_numpy()
            ),
            "final_error_m": float(final.mean()),
        }
    return found
