"""System 2 of a dual-system navigator: a vision-language model that points at where to go."""

from aquatint.pipelines.system2.pipeline import create_pipeline, create_training

__all__ = ["create_pipeline", "create_training"]
