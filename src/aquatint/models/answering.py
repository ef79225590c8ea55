"""A Qwen2-VL that answers from a list: cached image features in, likelihoods of answers out."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from aquatint.models.qwen_vl import embed_with_images, rope_positions

if TYPE_CHECKING:
    from transformers import PreTrainedModel

IGNORE_INDEX = -100
LORA_TARGETS = r"model\.language_model\.layers\.\d+\.self_attn\.(q|k|v|o)_proj"


class AnsweringModel(nn.Module):
    """A backbone, with LoRA or not, that reads a dialogue around one image.

    Args:
        backbone: Qwen2-VL or Qwen2.5-VL with every parameter frozen.
        num_classes: Classes of a linear head on the last prompt token; 0 for none.
        has_checkpointing: Whether activations of the blocks are computed again in the backward
            pass, for less memory.
    """

    def __init__(
        self, backbone: PreTrainedModel, num_classes: int = 0, has_checkpointing: bool = False
    ) -> None:
        super().__init__()
        self.backbone = backbone
        width = backbone.config.text_config.hidden_size
        self.head = nn.Linear(width, num_classes) if num_classes else None
        self._has_checkpointing = has_checkpointing
        if has_checkpointing:
            # Non-reentrant: the inputs are frozen, and the other kind would then drop gradients.
            backbone.activation_checkpointing_enable({"use_reentrant": False})

    def read(self, batch: Mapping[str, Tensor], mask: Tensor | None = None) -> Tensor:
        """Run the language model over dialogues.

        Args:
            batch: ``input_ids`` and ``attention_mask`` (B, T) padded on the right, ``features``
                (N, D) of the images in order, ``grids`` (M, 3); ``position_ids`` (3, B, T) where
                they differ from what the ids say.
            mask: Additive mask over pairs of tokens, shape (B, 1, T, T), instead of the causal one.

        Returns:
            Hidden states, shape (B, T, D).
        """
        ids, seen = batch["input_ids"], batch["attention_mask"]
        positions = batch.get("position_ids")
        if positions is None:
            positions = rope_positions(self.backbone, ids, seen, batch["grids"])
        embeddings = embed_with_images(self.backbone, ids, batch["features"])
        if self.training and self._has_checkpointing:
            # Checkpointed blocks pass a gradient on only if their input asks for one.
            embeddings = embeddings.detach().requires_grad_(True)
        return self.backbone.model.language_model(
            inputs_embeds=embeddings,
            attention_mask=seen if mask is None else mask,
            position_ids=positions,
        ).last_hidden_state

    def answer_logits(self, states: Tensor) -> Tensor:
        """Next-token logits of chosen hidden states (N, D) in float32, shape (N, V)."""
        return self.backbone.lm_head(states).float()


def pack_candidates(
    prompt_ids: Tensor, prompt_mask: Tensor, positions: Tensor, candidates: list[list[list[int]]]
) -> dict[str, Tensor]:
    """Lay all candidates of every prompt behind it, each blind to the others.

    Args:
        prompt_ids: Prompts padded on the right, shape (B, P).
        prompt_mask: 1 where a token is real, shape (B, P).
        positions: M-RoPE positions of the prompts, shape (3, B, P).
        candidates: Token ids of each candidate of each prompt.

    Returns:
        ``input_ids`` (B, P + Q), ``position_ids`` (3, B, P + Q), ``mask`` (B, 1, P + Q, P + Q)
        bool, ``targets`` (B, Q) with -100 for padding, ``sources`` (B, Q): the token whose state
        predicts each target, and ``owners`` (B, Q): the candidate of each target, -1 for padding.
    """
    batch, length = prompt_ids.shape
    rows = [_candidate_row(row, length) for row in candidates]
    width = max(len(row["ids"]) for row in rows)
    tail = {
        name: torch.tensor(
            [row[name] + [fill] * (width - len(row[name])) for row in rows],
            device=prompt_ids.device,
        )
        for name, fill in (("ids", 0), ("owners", -1), ("offsets", 0), ("sources", 0))
    }
    is_real = tail["owners"] >= 0
    last = prompt_mask.sum(1) - 1
    ends = torch.where(prompt_mask.bool(), positions.amax(0), -1).amax(1)
    after = (ends[:, None] + 1 + tail["offsets"]).expand(3, batch, width)
    size = length + width
    mask = torch.zeros(batch, 1, size, size, dtype=torch.bool, device=prompt_ids.device)
    causal = torch.ones(length, length, dtype=torch.bool, device=prompt_ids.device).tril()
    mask[:, 0, :length, :length] = causal & prompt_mask.bool()[:, None, :]
    mask[:, 0, length:, :length] = prompt_mask.bool()[:, None, :]
    same = (tail["owners"][:, :, None] == tail["owners"][:, None, :]) & is_real[:, None, :]
    earlier = torch.ones(width, width, dtype=torch.bool, device=prompt_ids.device).tril()
    mask[:, 0, length:, length:] = same & earlier
    # A row of a softmax must see something, also where it is padding.
    mask |= torch.eye(size, dtype=torch.bool, device=prompt_ids.device)
    is_first = tail["offsets"] == 0
    return {
        "input_ids": torch.cat([prompt_ids, tail["ids"]], 1),
        "position_ids": torch.cat([positions, after], 2),
        "mask": mask,
        "targets": torch.where(is_real, tail["ids"], IGNORE_INDEX),
        "sources": torch.where(is_first, last[:, None], tail["sources"]),
        "owners": tail["owners"],
    }


def _candidate_row(candidates: list[list[int]], length: int) -> dict[str, list[int]]:
    """Token ids of a row's candidates in sequence, with owner, offset and predicting token."""
    row: dict[str, list[int]] = {"ids": [], "owners": [], "offsets": [], "sources": []}
    for owner, ids in enumerate(candidates):
        for offset, token in enumerate(ids):
            row["sources"].append(length + len(row["ids"]) - 1)
            row["ids"].append(token)
            row["owners"].append(owner)
            row["offsets"].append(offset)
    return row


@torch.inference_mode()
def score_candidates(
    model: AnsweringModel, batch: Mapping[str, Tensor], candidates: list[list[list[int]]]
) -> list[tuple[list[float], list[float]]]:
    """Log-likelihood of every candidate answer in one pass over prompts and candidates.

    Args:
        model: Model in evaluation mode.
        batch: Prompts, as ``AnsweringModel.read`` takes them.
        candidates: Token ids of each candidate of each prompt, their end-of-turn token included.

    Returns:
        For each prompt the sums, and the means over tokens, of the candidates' log-likelihoods in
        nats.
    """
    ids, seen = batch["input_ids"], batch["attention_mask"]
    positions = rope_positions(model.backbone, ids, seen, batch["grids"])
    packed = pack_candidates(ids, seen, positions, candidates)
    dtype = model.backbone.get_input_embeddings().weight.dtype
    allowed = torch.zeros(packed["mask"].shape, dtype=dtype, device=ids.device)
    mask = allowed.masked_fill(~packed["mask"], torch.finfo(dtype).min)
    states = model.read({**batch, **{k: packed[k] for k in ("input_ids", "position_ids")}}, mask)
    rows, columns = torch.nonzero(packed["owners"] >= 0, as_tuple=True)
    chosen = states[rows, packed["sources"][rows, columns]]
    logits = model.answer_logits(chosen).log_softmax(-1)
    values = logits.gather(1, packed["targets"][rows, columns][:, None])[:, 0].double().cpu()
    owners, rows = packed["owners"][rows, columns].cpu(), rows.cpu()
    scores = []
    for row, of_row in enumerate(candidates):
        sums = [
            float(values[(rows == row) & (owners == owner)].sum()) for owner in range(len(of_row))
        ]
        means = [total / len(ids) for total, ids in zip(sums, of_row, strict=True)]
        scores.append((sums, means))
    return scores
