"""What a pocket backbone reads about sparse scenes: questions as dialogues, answers as a text."""

from typing import Any

import numpy as np

from aquatint.io.pocket_recipe import PocketRecipe
from aquatint.models.architectures import require_architecture


def all_answers(view: Any) -> str:  # noqa: ANN401 - light signature
    """All questions about a view with their answers, as one text: many words to see, one image."""
    return " ".join(f"{question.text} {question.answer}." for question in view.questions)


def questions_of(view: Any, architecture_name: str) -> list[Any]:  # noqa: ANN401 - light signature
    """Questions about a view as dialogues with a plain answer."""
    from aquatint.data.visual_thought_prompts import chat_prompt, example_requests
    from aquatint.training.captioning import Dialogue

    architecture = require_architecture(architecture_name)
    marks = architecture.image_start + architecture.image_token + architecture.image_end
    asked = [
        Dialogue(chat_prompt(f"\n{question.text}", marks), question.answer, True)
        for question in view.questions
    ]
    # A word that no training ever wrote cannot be written later: its row is frozen by then.
    read = [Dialogue(chat_prompt(request, ""), text, False) for request, text in example_requests()]
    return [*asked, *read]


# Of documents about pads: the others describe the aerial world.
_POINTING_SHARE = 0.95


def with_pointings(pixels: list[Any], texts: list[list[str]], recipe: PocketRecipe) -> Any:  # noqa: ANN401
    """Add views of landing pads, and questions at which pixel one is, or on which side.

    As large models learn it from boxes and points in pixels of the image. Whether to fly, to turn
    or to stop, nothing here says.

    Args:
        pixels: Images of the aerial world, uint8.
        texts: Their texts.
        recipe: Of the pocket backbone.
    """
    from aquatint.data.navigation_prompts import CONJUNCTIONS, user_turn, write_pixel
    from aquatint.training.captioning import CaptionedImages, Dialogue
    from aquatint.world.pad_views import view_pads

    architecture = require_architecture(recipe.architecture)
    marks = architecture.image_start + architecture.image_token + architecture.image_end
    views = list(view_pads(recipe.num_pointings, recipe.image_size_px, recipe.seed))

    def question(number: int, color: str) -> str:
        words = CONJUNCTIONS[number % len(CONJUNCTIONS)]
        return user_turn(f"{words} this view. Point to the {color} pad and stop. {marks}")

    dialogues = []
    for number, view in enumerate(views):
        # Each that is seen, so that colors must be told apart; none for a view without any.
        asked = [
            (color, write_pixel(*place))
            for color, place in view.places.items()
            if place is not None
        ]
        dialogues.append(
            [
                Dialogue(question(number + place, color), answer, True)
                for place, (color, answer) in enumerate(asked)
            ]
        )
    captions = [[_describe(view.places)] for view in views]
    return CaptionedImages(
        np.stack([*pixels, *(view.pixels for view in views)]),
        [*texts, *captions],
        [*([] for _ in texts), *dialogues],
        _POINTING_SHARE,
    )


def _describe(places: dict[str, Any]) -> str:
    seen = [color for color, place in places.items() if place is not None]
    return f"Pads: {', '.join(seen)}." if seen else "No pads."
