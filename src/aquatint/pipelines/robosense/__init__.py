"""RoboSense 2025, track 4: rank a challenge's images for each text and write the submission."""

from aquatint.pipelines.robosense.pipeline import create_pipeline

__all__ = ["create_pipeline"]
