"""Low-rank weights for others: on their way into the catalog, in peft's own layout."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from aquatint.training.checkpoint import weights_digest


@dataclass(frozen=True)
class LoraAdapter:
    """Low-rank weights on their way into the catalog, in peft's own layout.

    Attributes:
        weights: Tensors by peft's names.
        config: Arguments of ``peft.LoraConfig``.
        targets: Pattern of the linears that the weights stand beside.
        backbone: Folder of the backbone, kept in the config for ``AutoPeftModel``.
        lineage: Checkpoint they come from.
    """

    weights: dict[str, Any]
    config: dict[str, Any]
    targets: str
    backbone: str
    lineage: dict[str, Any]

    @property
    def digest(self) -> str:
        """sha256 over the weights."""
        return weights_digest(self.weights)

    def save_pretrained(self, folder: Path) -> None:
        """Write ``adapter_config.json`` and ``adapter_model.safetensors``."""
        from peft import LoraConfig
        from safetensors.torch import save_file

        LoraConfig(
            target_modules=self.targets,
            bias="none",
            base_model_name_or_path=self.backbone,
            task_type="CAUSAL_LM",
            inference_mode=True,
            **self.config,
        ).save_pretrained(folder)
        save_file(self.weights, folder / "adapter_model.safetensors")
        (folder / "lineage.json").write_text(json.dumps(self.lineage, indent=1))
