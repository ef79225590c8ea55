"""NavDP: a diffusion policy with a critic that plans around obstacles, by several kinds of goal."""

from aquatint.pipelines.navdp.pipeline import create_pipeline

__all__ = ["create_pipeline"]
