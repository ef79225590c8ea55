"""A Qwen that navigates: any of its parts may train, images of several sizes in one dialogue."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from aquatint.models.length_groups import in_length_groups
from aquatint.models.qwen_vl import embed_with_images, rope_positions
from aquatint.models.vision_tower import image_features

if TYPE_CHECKING:
    from transformers import PreTrainedModel

PARTS = ("vision", "mlp", "llm")
_VISION, _MERGER = "backbone.model.visual.", "backbone.model.visual.merger."


class NavigationModel(nn.Module):
    """A backbone that reads dialogues around images.

    Args:
        backbone: Qwen2-VL or Qwen2.5-VL.
        has_checkpointing: Whether activations of the blocks are computed again in the backward
            pass, for less memory.
    """

    def __init__(self, backbone: PreTrainedModel, has_checkpointing: bool = False) -> None:
        super().__init__()
        self.backbone = backbone
        if has_checkpointing:
            # Non-reentrant: the embeddings may be frozen, and the other kind would then drop
            # gradients.
            backbone.activation_checkpointing_enable({"use_reentrant": False})

    def see(self, batch: Mapping[str, Tensor]) -> Tensor:
        """Run the vision tower and its merger.

        Args:
            batch: ``patches`` (P, C) of all images in order, ``grids`` (M, 3) in patches.

        Returns:
            Features in the language model's width, shape (N, D).
        """
        return image_features(self.backbone, batch["patches"], batch["grids"])

    def read(self, batch: Mapping[str, Tensor], extra: Tensor | None = None) -> Tensor:
        """Run the language model over dialogues.

        Args:
            batch: ``input_ids`` and ``attention_mask`` (B, T) padded on the right; ``features``
                (N, D) of the images, or ``patches`` and ``grids`` to compute them from.
            extra: Embeddings (B, T, D) that take the place of the tokens' own where they are not 0.

        Returns:
            Hidden states, shape (B, T, D); of padding they mean nothing.
        """
        ids, seen = batch["input_ids"], batch["attention_mask"]
        features = batch["features"] if "features" in batch else self.see(batch)
        # Given embeddings instead of ids, transformers would number tokens in one dimension.
        positions = rope_positions(self.backbone, ids, seen, batch["grids"])
        embeddings = embed_with_images(self.backbone, ids, features)
        if extra is not None:
            embeddings = embeddings.where(extra == 0, extra.to(embeddings.dtype))

        def encode(rows: Tensor, width: int) -> tuple[Tensor]:
            # Without a mask: padding stands at the end, where a causal model cannot see it, and
            # kernels that know no mask but the causal one are the fast ones.
            states = self.backbone.model.language_model(
                inputs_embeds=embeddings[rows, :width],
                position_ids=positions[:, rows, :width],
                use_cache=False,
            ).last_hidden_state
            return (F.pad(states, (0, 0, 0, ids.shape[1] - width)),)

        if seen.device.type != "cpu":
            # A pass more costs an accelerator more than padding does, and lengths a wait for it.
            return encode(torch.arange(len(ids), device=ids.device), ids.shape[1])[0]
        return in_length_groups(seen.sum(1).numpy(), encode)[0]

    def answer_logits(self, states: Tensor) -> Tensor:
        """Next-token logits of chosen hidden states (N, D) in float32, shape (N, V)."""
        return self.backbone.lm_head(states).float()


def parameters_by_part(model: NavigationModel) -> dict[str, list[str]]:
    """Names of all parameters: ``vision`` tower, its merger ``mlp``, language model ``llm``.

    The merger lies inside the tower's module; here each parameter stands in one part alone.
    """
    parts: dict[str, list[str]] = {part: [] for part in PARTS}
    for name, _ in model.named_parameters():
        if name.startswith(_MERGER):
            parts["mlp"].append(name)
        elif name.startswith(_VISION):
            parts["vision"].append(name)
        else:
            parts["llm"].append(name)
    return parts
