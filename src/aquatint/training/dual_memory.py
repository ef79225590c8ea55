"""Dialogues that a frozen System 2 remembers: computed once, read by latent queries ever after."""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch

from aquatint.data.navigation_prompts import TEMPLATE_VERSION
from aquatint.features.cache import FeatureCache, FeatureStore, build_cache
from aquatint.models.backbone import Backbone
from aquatint.models.dual_system import Memory, remember
from aquatint.models.navigator import NavigationModel
from aquatint.params import RunParams
from aquatint.storage import file_digest
from aquatint.training.checkpoint import Checkpoint
from aquatint.training.navigation_dialogues import DialogueWriter, FrameStyle
from aquatint.training.navigation_samples import FrameFiles, NavigationData, NavigationDialogues
from aquatint.training.system2_stage import restore_system2

# Of a row: how many tokens there are, and the position of the next one.
_HEAD = 2
COMPARED_BATCHES = 4  # of test samples, in a report on drift
_LARGEST_EXACT = 2048  # whole numbers up to here are exact in 16 bits


@dataclass(frozen=True)
class MemoryStyle:
    """How dialogues are remembered.

    Attributes:
        max_tokens: Room for each dialogue; a longer one is an error.
        dtype: Stored type: ``float16`` or ``float32``.
        batch_size: Dialogues of one pass.
    """

    max_tokens: int
    dtype: str
    batch_size: int


def memory_shape(config: Any, max_tokens: int) -> tuple[int, ...]:  # noqa: ANN401 - a text config
    """Shape of one dialogue's keys and values: blocks, both, groups, tokens, width of a head."""
    heads = config.num_attention_heads
    head_width = getattr(config, "head_dim", None) or config.hidden_size // heads
    return (config.num_hidden_layers, 2, config.num_key_value_heads, max_tokens, head_width)


def pack_memory(memory: Memory, max_tokens: int, dtype: str) -> np.ndarray:
    """Return dialogues as rows of equal length, shape (B, 2 + values).

    Raises:
        ValueError: If a dialogue has more than ``max_tokens`` tokens.
    """
    longest = int(memory.lengths.max())
    if longest > min(max_tokens, _LARGEST_EXACT):
        raise ValueError(
            f"A dialogue has {longest} tokens, more than max_tokens {max_tokens} (at most "
            f"{_LARGEST_EXACT}). Raise max_tokens, or show fewer or smaller frames."
        )
    values = memory.values[:, :, :, :, :max_tokens]
    room = max_tokens - values.shape[4]
    padded = torch.nn.functional.pad(values.float(), (0, 0, 0, room)).flatten(1)
    head = torch.stack([memory.lengths, memory.places], 1).float()
    return torch.cat([head, padded], 1).cpu().numpy().astype(dtype)


def unpack_memory(rows: np.ndarray, shape: tuple[int, ...]) -> Memory:
    """Return what ``pack_memory`` packed, cut to the longest dialogue."""
    head = torch.from_numpy(rows[:, :_HEAD].astype(np.int64))
    longest = int(head[:, 0].max())
    values = rows[:, _HEAD:].reshape(len(rows), *shape)[:, :, :, :, :longest]
    # By torch, which has an instruction for it; numpy converts half floats one by one.
    return Memory(torch.from_numpy(np.ascontiguousarray(values)).float(), head[:, 0], head[:, 1])


def memory_keys(dialogues: NavigationDialogues, data: NavigationData) -> list[str]:
    """Content key of each dialogue: words, answers, and the bytes of the frames that it shows."""
    files, root = FrameFiles(data), Path(data.root)
    # By name: a frame is in many dialogues, and to make a path of a name takes longer than to ask.
    digest = functools.cache(lambda name: file_digest(root / name))
    keys = []
    for position, row in enumerate(dialogues.rows):
        shown = files.shown_names(row["flight_id"], dialogues.past_frames(position),
                                  int(row["frame"]))  # fmt: skip
        parts = [row["instruction"], row["answer"], *dialogues.conjunctions(position),
                 *(digest(name) for name in shown)]  # fmt: skip
        keys.append(hashlib.sha256("\n".join(map(str, parts)).encode()).hexdigest())
    return keys


def compared_samples(samples: pd.DataFrame, batch_size: int) -> pd.DataFrame:
    """Return the test samples that ``measure_drift`` looks at in passes of ``batch_size``."""
    return NavigationData("", samples[:0], samples).of_split("test", "pixel").thinned(
        COMPARED_BATCHES * batch_size
    ).samples  # fmt: skip


def cache_memories(
    store: FeatureStore,
    data: NavigationData,
    backbone: Backbone,
    system2: Checkpoint,
    style: MemoryStyle,
    run: RunParams,
) -> tuple[FeatureCache, pd.DataFrame]:
    """Run the frozen System 2 once over the dialogue of every pixel sample, its answer included.

    Args:
        store: Where caches lie.
        data: Pixel samples.
        backbone: What System 2 was trained from.
        system2: Its training.
        style: Room, type, batch size.
        run: Seed, device.

    Returns:
        Cache of rows as ``pack_memory`` gives them, and a table that says which of them each
        sample's is: ``sample_id`` and ``key``.
    """
    spec = system2.spec
    writer = DialogueWriter(backbone, FrameStyle(**spec["style"]))
    dialogues = NavigationDialogues(data, writer, spec["num_history"], run.seed)
    loaded: list[NavigationModel] = []

    def compute(positions: Sequence[int]) -> np.ndarray:
        if not loaded:
            loaded.append(restore_system2(backbone, system2, run))
        parts = []
        for start in range(0, len(positions), style.batch_size):
            chosen = positions[start : start + style.batch_size]
            turns = [dialogues.turns(i, has_answers=True) for i in chosen]
            parts.append(pack_memory(remember_turns(loaded[0], writer, turns), style.max_tokens,
                                     style.dtype))  # fmt: skip
        return np.concatenate(parts)

    recipe = {
        "kind": "dialogue_memory",
        "backbone": backbone.digest,
        "system2": system2.digest,
        "style": spec["style"],
        "template": TEMPLATE_VERSION,
        **{name: value for name, value in asdict(style).items() if name != "batch_size"},
    }
    keys = memory_keys(dialogues, data)
    cache = build_cache(store, recipe, keys, compute, description="dialogues")
    return cache, pd.DataFrame({"sample_id": data.samples["sample_id"].to_list(), "key": keys})


@torch.inference_mode()
def remember_turns(model: NavigationModel, writer: DialogueWriter, turns: Sequence[Any]) -> Memory:
    """Run System 2 over dialogues that end with an answer; what several show is seen once."""
    device = next(model.parameters()).device
    shown, which = writer.distinct_images(turns)
    features = model.see({name: value.to(device) for name, value in shown.items()})
    counts = shown["grids"].prod(1)
    of_image = features.split((counts * len(features) // int(counts.sum())).tolist())
    batch = {name: value.to(device) for name, value in writer.write_words(turns).items()}
    grids = shown["grids"][which].to(device)
    seen = torch.cat([of_image[number] for number in which])
    return remember(model, {**batch, "grids": grids, "features": seen})
