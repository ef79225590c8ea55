"""Vision-language-action policies in two stages: one graph, by regression or by diffusion."""

from aquatint.pipelines.vla.pipeline import create_pipeline

__all__ = ["create_pipeline"]
