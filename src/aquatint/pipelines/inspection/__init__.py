"""Condition of inspected objects: zero-shot, a LoRA-tuned Qwen2-VL, and what needs no image."""

from aquatint.pipelines.inspection.ablation import create_ablation
from aquatint.pipelines.inspection.dry_run import create_dry_run
from aquatint.pipelines.inspection.pipeline import create_pipeline

__all__ = ["create_ablation", "create_dry_run", "create_pipeline"]
