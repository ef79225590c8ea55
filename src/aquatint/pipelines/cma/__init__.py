"""Imitation baselines of navigation: CMA and Seq2Seq on recorded flights, judged in closed loop."""

from aquatint.pipelines.cma.pipeline import create_pipeline

__all__ = ["create_pipeline"]
