"""A backbone with trained weights folded in, on its way into the catalog."""

from __future__ import annotations

import shutil
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from aquatint.models.backbone import Backbone
from aquatint.training.checkpoint import weights_digest

HEADS_FILE = "anchor_heads.safetensors"
_EMBEDDING = "model.language_model.embed_tokens.weight"
_PROCESSOR_PATTERNS = ("token*", "vocab*", "merges*", "special*", "*processor*", "chat_template*")


@dataclass(frozen=True)
class MergedBackbone:
    """Merged weights on their way into the catalog.

    Attributes:
        parent: Backbone that the weights were merged into.
        weights: Full state dict in float32.
        lineage: Checkpoint and difference to the unmerged model.
        added_tokens: Tokens that the tokenizer has besides the parent's, if the parent lacks them.
        heads: Weights of heads that no language model needs, kept in a file of their own.
    """

    parent: Backbone
    weights: dict[str, Any]
    lineage: dict[str, Any]
    added_tokens: tuple[str, ...] = ()
    heads: dict[str, Any] = field(default_factory=dict)

    @property
    def digest(self) -> str:
        """sha256 over the weights."""
        return weights_digest(self.weights)

    def save_pretrained(self, folder: Path) -> None:
        """Write the whole model, with its tokenizer and processor, into ``folder``."""
        model = self.parent.load(dtype="float32")
        num_rows = len(self.weights[_EMBEDDING]) if self.added_tokens else 0
        if num_rows > model.get_input_embeddings().weight.shape[0]:
            model.resize_token_embeddings(num_rows, mean_resizing=False)
        model.load_state_dict(self.weights, strict=True)
        model.save_pretrained(folder)
        for pattern in _PROCESSOR_PATTERNS:
            for path in Path(self.parent.folder).glob(pattern):
                shutil.copyfile(path, folder / path.name)
        if self.added_tokens:
            # Here, for its module imports torch, which a command that only looks has no use for.
            from aquatint.models.anchor_tokens import add_tokens

            tokenizer = self.parent.load_tokenizer()
            add_tokens(tokenizer, self.added_tokens)
            tokenizer.save_pretrained(folder)
        if self.heads:
            from safetensors.torch import save_file

            save_file({n: t.contiguous() for n, t in self.heads.items()}, folder / HEADS_FILE)
