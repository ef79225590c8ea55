"""Two-stage cross-modal retrieval for drone navigation: align, then refine on all tasks."""

from aquatint.pipelines.two_stage.dry_run import create_dry_run
from aquatint.pipelines.two_stage.pipeline import create_pipeline

__all__ = ["create_dry_run", "create_pipeline"]
