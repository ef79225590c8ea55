"""Chain of visual thought: a Qwen2.5-VL that thinks in anchors, in four stages and two merges."""

from aquatint.pipelines.covt.pipeline import create_pipeline
from aquatint.pipelines.covt.predict import create_predict

__all__ = ["create_pipeline", "create_predict"]
