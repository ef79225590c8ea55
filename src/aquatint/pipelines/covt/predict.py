"""The pipeline that answers questions about new images, with its thoughts decoded."""

from __future__ import annotations

from typing import Any

import pandas as pd
from kedro.pipeline import Pipeline

from aquatint.data.sources import ImageQuestions
from aquatint.features.cache import FeatureStore
from aquatint.models.backbone import Backbone
from aquatint.nodes.graph import Part
from aquatint.params import RunParams
from aquatint.pipelines.covt.params import PredictParams
from aquatint.training.checkpoint import Checkpoint


def read_new_questions(
    folder: ImageQuestions, params: PredictParams
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Read images and questions; return turns without answers, and images."""
    from aquatint.data.image_questions import read_questions

    return read_questions(folder.questions_file, folder.image_root, params.max_pixels)


def answer_new_questions(  # noqa: PLR0913 - one argument for each catalog entry
    folder: ImageQuestions,
    turns: pd.DataFrame,
    images: pd.DataFrame,
    backbone: Backbone,
    checkpoint: Checkpoint,
    teachers: dict[str, Any],
    store: FeatureStore,
    params: PredictParams,
    run: RunParams,
) -> tuple[pd.DataFrame, dict[str, Any]]:
    """Answer every question and decode its thought; return answers and maps."""
    from aquatint.features.conversation_images import ConversationImages
    from aquatint.training.covt_inference import Manner, Writing
    from aquatint.training.covt_predict import Asking, predict_thoughts

    writing = Writing(params.max_new_tokens, params.batch_size, 0)
    manner = Manner("thinking", "think") if params.forces_thought else Manner("free")
    shown = ConversationImages(images, folder.image_root)
    how = Asking(writing, manner, store)
    return predict_thoughts((backbone, checkpoint), turns, shown, teachers, how, run)


def render_answers(
    folder: ImageQuestions,
    images: pd.DataFrame,
    turns: pd.DataFrame,
    predictions: pd.DataFrame,
    maps: dict[str, Any],
    params: PredictParams,
) -> str:
    """Show images with answers and decoded thoughts on one page."""
    from aquatint.features.conversation_images import ConversationImages
    from aquatint.reports.covt_gallery import render_answer_page

    shown = ConversationImages(images, folder.image_root)
    return render_answer_page(shown, turns, predictions, maps, params.num_shown)


def create_predict() -> Pipeline:
    """Images and questions to answers, maps and a page."""
    part = Part("covt_predict", "answers")
    raw, settings = {"folder": "raw"}, {"params": "params:settings"}
    tables = {"turns": "questions", "images": "images"}
    model = {
        "backbone": "covt.stage234.merged_backbone",
        "checkpoint": "covt.stage234.checkpoint",
        "teachers": "covt.anchors.teachers",
    }
    return Pipeline(
        [
            part.node(
                read_new_questions,
                "read_new_questions",
                {**raw, **settings},
                list(tables.values()),
                ["ingest"],
            ),
            part.node(
                answer_new_questions,
                "answer_new_questions",
                {**raw, **settings, **tables, **model, "store": "feature_store",
                 "run": "params:run"},
                ["predictions", "maps"],
                ["eval", "gpu"],
            ),
            part.node(
                render_answers,
                "render_answers",
                {**raw, **settings, **tables, "predictions": "predictions", "maps": "maps"},
                "page",
                ["report"],
            ),
        ]
    )  # fmt: skip
