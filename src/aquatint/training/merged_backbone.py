"""A backbone with trained weights folded in, on its way into the catalog."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from aquatint.models.backbone import Backbone
from aquatint.training.checkpoint import weights_digest

_PROCESSOR_PATTERNS = ("token*", "vocab*", "merges*", "special*", "*processor*", "chat_template*")


@dataclass(frozen=True)
class MergedBackbone:
    """Merged weights on their way into the catalog.

    Attributes:
        parent: Backbone that the weights were merged into.
        weights: Full state dict in float32.
        lineage: Checkpoint and difference to the unmerged model.
    """

    parent: Backbone
    weights: dict[str, Any]
    lineage: dict[str, Any]

    @property
    def digest(self) -> str:
        """sha256 over the weights."""
        return weights_digest(self.weights)

    def save_pretrained(self, folder: Path) -> None:
        """Write the whole model, with its tokenizer and processor, into ``folder``."""
        model = self.parent.load(dtype="float32")
        model.load_state_dict(self.weights, strict=True)
        model.save_pretrained(folder)
        for pattern in _PROCESSOR_PATTERNS:
            for path in Path(self.parent.folder).glob(pattern):
                shutil.copyfile(path, folder / path.name)
