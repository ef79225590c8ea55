"""Images with questions that nobody has answered: read and checked."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd

from aquatint.data.conversation_files import read_records
from aquatint.data.conversations import RULE_EMPTY_TURN, RULE_MARKS, has_marks
from aquatint.data.image_files import inspect_image
from aquatint.data.rejects import RULE_FIELD, RejectLog, RuleViolation


def read_questions(
    questions_file: str, image_root: str, max_pixels: int
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Read questions about new images; the first finding stops.

    Args:
        questions_file: JSON list or JSON lines of ``{"image": path, "question": text}``.
        image_root: Folder of the images.
        max_pixels: Of one image.

    Returns:
        Turns, with an empty answer each, and images, as ``read_conversations`` gives them.

    Raises:
        ValueError: With file, record, rule and value.
    """
    file, root = Path(questions_file), Path(image_root).resolve()
    log = RejectLog(file, "strict")
    turns: list[dict[str, Any]] = []
    images: dict[str, dict[str, Any]] = {}
    for record in read_records(file, log):
        path, question = record.content.get("image"), record.content.get("question")
        for name, value in (("image", path), ("question", question)):
            if not isinstance(value, str):
                log.add(record.number, None, name, RuleViolation(RULE_FIELD, value))
        path, question = str(path), str(question)
        if not question.strip():
            log.add(record.number, path, "question", RuleViolation(RULE_EMPTY_TURN, question))
        if has_marks(question):
            log.add(record.number, path, "question", RuleViolation(RULE_MARKS, question))
        try:
            facts = inspect_image(root, path, max_pixels)
        except RuleViolation as violation:
            log.add(record.number, path, "image", violation)
            continue
        images.setdefault(
            facts.sha256,
            {"image_key": facts.sha256, "path": path, "file": "", "row": -1,
             "width": facts.width, "height": facts.height, "group": path},
        )  # fmt: skip
        turns.append(
            {"turn_id": f"{path}#{record.number}", "record_id": f"{path}#{record.number}",
             "turn": 0, "question": question.strip(), "answer": "", "kind": "question",
             "group": path, "split": "new", "image_keys": [facts.sha256]}
        )  # fmt: skip
    if not turns:
        raise ValueError(f"{file} holds no questions.")
    return pd.DataFrame(turns), pd.DataFrame(list(images.values()))
