"""Responses with what their anchors decode to, beside the image and the targets, as HTML."""

from __future__ import annotations

import base64
import html
import io
import re
from typing import Any

import numpy as np
import pandas as pd
from PIL import Image

from aquatint.features.cache import FeatureReader
from aquatint.features.conversation_images import ConversationImages
from aquatint.reports.blocks import Gallery, Section
from aquatint.reports.maps import paint_depth, picture_of
from aquatint.reports.page import render_page

_EDGE_PX = 128
_PADS = re.compile(r"(<\|(\w+)_pad\|>)+")
_STYLE = """<style>
.thought { border: 1px solid var(--line); border-radius: 10px; padding: 12px 14px; margin: 12px 0; }
.thought.wrong { border-left: 4px solid var(--worse); }
.thought.right { border-left: 4px solid var(--better); }
.thought .maps { display: flex; flex-wrap: wrap; gap: 10px; margin-top: 8px; }
.thought figure { margin: 0; font-size: 12px; color: var(--faint); }
.thought img { width: 128px; height: 128px; display: block; image-rendering: pixelated;
  border-radius: 4px; border: 1px solid var(--line); }
.thought q { quotes: none; font-weight: 600; }
.thought code { font-size: 12px; color: var(--faint); overflow-wrap: anywhere; }
</style>"""


def render_thoughts(
    predictions: pd.DataFrame,
    turns: pd.DataFrame,
    pixels: FeatureReader,
    maps: dict[str, dict[str, np.ndarray]],
    num_samples: int,
) -> str:
    """Return one block for each response whose maps were kept: the first ones, unpicked.

    Args:
        predictions: Table of ``answer_all``.
        turns: All turns.
        pixels: Cached squares.
        maps: Decoded maps and targets by turn.
        num_samples: Most responses shown.
    """
    thinking = predictions[
        (predictions["system"] == "trained") & (predictions["manner"] == "thinking")
    ].set_index("turn_id")
    keys = turns.set_index("turn_id")["image_keys"]
    blocks = [_STYLE]
    for turn_id, found in list(maps.items())[:num_samples]:
        image = pixels.read(pixels.places([keys[turn_id][0]]))[0]
        blocks.append(thought_block(_named(thinking.loc[turn_id].to_dict()), image, found))
    if not maps:
        blocks.append("<p>No response held a sound thought: there is nothing to decode.</p>")
    return "\n".join(blocks)


def render_answer_page(
    images: ConversationImages,
    turns: pd.DataFrame,
    predictions: pd.DataFrame,
    maps: dict[str, dict[str, np.ndarray]],
    num_shown: int,
) -> str:
    """Return a page of answers to new questions.

    Args:
        images: The new images.
        turns: Questions.
        predictions: Answers.
        maps: Decoded maps by turn.
        num_shown: Most questions shown.
    """
    place = {key: index for index, key in enumerate(images.keys)}
    blocks = [_STYLE]
    for row, keys in list(
        zip(predictions.to_dict(orient="records"), turns["image_keys"], strict=True)
    )[:num_shown]:
        image = images.load([place[keys[0]]])[0]
        blocks.append(thought_block(_named(row), image, maps.get(row["turn_id"], {})))
    count = int(predictions["has_thought"].sum())
    lead = f"{len(predictions)} questions, {count} answered with a visual thought."
    section = Section("answers", "Answers", [Gallery("\n".join(blocks))])
    return render_page("covt: answers with their thoughts", lead, [section])


def thought_block(row: dict[str, Any], image: np.ndarray, maps: dict[str, np.ndarray]) -> str:
    """Return a response with its pictures.

    Args:
        row: Row of ``write_answers``; without a target nothing is called right or wrong.
        image: The image, uint8 (S, S, 3).
        maps: Decoded maps, and targets where there are any.
    """
    target = row.get("target")
    tone = "" if target is None else "right" if row["is_correct"] else "wrong"
    truth = "" if target is None else f" · annotated: {html.escape(str(target))}"
    pictures = [_figure(image, "image")]
    low, high = _depth_range(maps)
    for name in [key for key in maps if not key.endswith("_target")]:
        for key, label in ((name, name), (f"{name}_target", f"{name}, exact")):
            if key in maps:
                is_depth = name == "depth"
                shown = (
                    paint_depth(maps[key], low, high) if is_depth else picture_of(name, maps[key])
                )
                if shown is not None:
                    pictures.append(_figure(shown, label))
    text = _PADS.sub(lambda m: f"[{m.group(0).count('|>')} × {m.group(2)}]", str(row["text"]))
    text = text.replace("<|anchor_start|>", "").replace("<|anchor_end|>", "")
    return (
        f'<div class="thought {tone}"><q>{html.escape(str(row["question"]))}</q><br>'
        f"answer: <b>{html.escape(str(row['answer']))}</b>{truth}<br>"
        f"<code>{html.escape(text)}</code>"
        f'<div class="maps">{"".join(pictures)}</div></div>'
    )


def _named(row: dict[Any, Any]) -> dict[str, Any]:
    return {str(name): value for name, value in row.items()}


def _depth_range(maps: dict[str, np.ndarray]) -> tuple[float, float]:
    """One scale for prediction and target, so that colors can be compared."""
    held = [maps[key].astype(float) for key in ("depth", "depth_target") if key in maps]
    if not held:
        return 0.0, 1.0
    return min(map(np.min, held)), max(map(np.max, held))


def _figure(picture: np.ndarray, label: str) -> str:
    image = Image.fromarray(picture)
    if image.width < _EDGE_PX:
        image = image.resize((_EDGE_PX, _EDGE_PX), Image.Resampling.NEAREST)
    buffer = io.BytesIO()
    image.save(buffer, format="PNG")
    content = base64.b64encode(buffer.getvalue()).decode()
    return (
        f'<figure><img alt="{label}" src="data:image/png;base64,{content}">'
        f"<figcaption>{label}</figcaption></figure>"
    )
