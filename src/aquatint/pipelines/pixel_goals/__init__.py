"""Pixel goals for trajectories that have none: depth and poses tell where the way can be seen."""

from aquatint.pipelines.pixel_goals.pipeline import create_pipeline

__all__ = ["create_pipeline"]
