"""Sample predictions as HTML: captions with the images found, images with boxes drawn."""

from __future__ import annotations

from typing import Any

from aquatint.reports.markup import TEMPLATES
from aquatint.reports.samples import BoxSample, LocatedSentence, RetrievalSample
from aquatint.reports.wording import label_part

# Told apart on roofs, grass and water alike.
BOX_COLORS = ("#FFD500", "#00C2FF", "#FF5CA8", "#7CFF6B", "#FF9640", "#C9A7FF")


def render_gallery(
    retrievals: list[RetrievalSample], boxes: list[BoxSample], shown_part: str
) -> str:
    """Return a gallery as one line of HTML without scripts, to be put into any page.

    Kedro-Viz reads an HTML preview as Markdown once more, so there is no line break in it and no
    underscore in an attribute.

    Args:
        retrievals: Captions with the images found.
        boxes: Images with boxes.
        shown_part: Part whose predictions these are.
    """
    html = TEMPLATES.get_template("gallery.html").render(
        part=label_part(shown_part),
        retrievals=[_describe_retrieval(sample, shown_part) for sample in retrievals],
        boxes=[_describe_boxes(sample) for sample in boxes],
    )
    return " ".join(html.split())


def _describe_retrieval(sample: RetrievalSample, shown_part: str) -> dict[str, Any]:
    rank = sample.ranks[shown_part]
    others = [
        f"{label_part(part)}: {other + 1}"
        for part, other in sample.ranks.items()
        if part != shown_part and other >= 0
    ]
    return {
        "text": sample.text,
        "rank": rank + 1,
        "is_found": rank < len(sample.found),
        "others": " · ".join(others),
        "target": sample.target,
        "found": [
            {
                "image": image,
                "place": place,
                "is_own": image.image_id == sample.target.image_id,
                "is_right": image.building_id == sample.target.building_id,
            }
            for place, image in enumerate(sample.found, start=1)
        ],
    }


def _describe_boxes(sample: BoxSample) -> dict[str, Any]:
    image = sample.image
    sentences = [
        {
            "text": sentence.text,
            "iou": f"{sentence.iou:.2f}",
            "color": BOX_COLORS[index % len(BOX_COLORS)],
            "rectangles": place_rectangles(sentence, image.width, image.height),
        }
        for index, sentence in enumerate(sample.sentences)
    ]
    return {"image": image, "sentences": sentences}


def place_rectangles(sentence: LocatedSentence, width: int, height: int) -> list[dict[str, Any]]:
    """Return the target's and the predicted rectangle of a sentence in pixels of the image.

    Args:
        sentence: Sentence with both boxes, normalised.
        width: Width of the image in pixels.
        height: Height of the image in pixels.
    """
    sides = ((sentence.target, False), (sentence.predicted, True))
    return [
        {
            "x": f"{(cx - w / 2) * width:.1f}",
            "y": f"{(cy - h / 2) * height:.1f}",
            "width": f"{w * width:.1f}",
            "height": f"{h * height:.1f}",
            "is_predicted": is_predicted,
        }
        for (cx, cy, w, h), is_predicted in sides
    ]
