"""A dual-system navigator: latents of a frozen System 2 guide a System 1 that plans the way."""

from aquatint.pipelines.dual_system.pipeline import create_pipeline

__all__ = ["create_pipeline"]
