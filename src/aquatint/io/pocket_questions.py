"""What a pocket backbone is told about its scenes, and asked about sparse ones and landing pads."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from aquatint.io.pocket_recipe import PocketRecipe
from aquatint.models.architectures import require_architecture

# Of documents about sparse scenes; the others describe them. Enough to know how a question is
# answered; to answer well is what the recipe's stages are for.
_QUESTION_SHARE = 0.1
# Of documents about pads: the others describe the aerial world.
_POINTING_SHARE = 0.95
_OTHERS = "And the others?"
# Part of the address of a backbone that points: raise it when its questions change.
POINTINGS_VERSION = 3


def aerial_words(recipe: PocketRecipe) -> Any:  # noqa: ANN401 - light signature
    """Aerial scenes with their captions, and which words lie where in them."""
    from aquatint.training.captioning import CaptionedImages
    from aquatint.world.aerial_views import CELL_WORDS, view_aerial_scenes

    views = list(
        view_aerial_scenes(
            recipe.num_buildings,
            recipe.views_per_building,
            recipe.image_size_px,
            recipe.seed,
            _num_cells(recipe),
        )
    )
    return CaptionedImages(
        np.stack([view.pixels for view in views]),
        [view.texts for view in views],
        words=_image_words(CELL_WORDS, 0, views),
    )


def with_questions(pixels: list[Any], texts: list[list[str]], recipe: PocketRecipe) -> Any:  # noqa: ANN401
    """Add sparse scenes with captions and questions, and say which words lie where in them.

    Args:
        pixels: Images of the aerial world, uint8.
        texts: Their texts.
        recipe: Of the pocket backbone.
    """
    from aquatint.training.captioning import CaptionedImages
    from aquatint.world.visual_views import CELL_WORDS, ask_about_scenes

    sizes = (recipe.num_visual_questions, recipe.image_size_px, recipe.seed)
    views = list(ask_about_scenes(*sizes, _num_cells(recipe)))
    return CaptionedImages(
        np.stack([*pixels, *(view.pixels for view in views)]),
        [*texts, *([*view.captions] for view in views)],
        [*([] for _ in texts), *(_questions_of(view, recipe.architecture) for view in views)],
        _QUESTION_SHARE,
        _image_words(CELL_WORDS, len(pixels), views) if recipe.word_weight else None,
    )


def _num_cells(recipe: PocketRecipe) -> int:
    """Image tokens along an edge: every architecture makes one of two by two patches."""
    return recipe.image_size_px // recipe.patch_size_px // 2


def _image_words(words: Sequence[str], num_unknown: int, views: Sequence[Any]) -> Any:  # noqa: ANN401
    """What lies where in the views; of the images before them nothing is known."""
    from aquatint.training.image_words import UNKNOWN, ImageWords

    known = np.stack([view.word_cells for view in views])
    unknown = np.full((num_unknown, *known.shape[1:]), UNKNOWN, dtype=np.int8)
    return ImageWords(tuple(words), np.concatenate([unknown, known]))


def _questions_of(view: Any, architecture_name: str) -> list[Any]:  # noqa: ANN401 - light signature
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


def with_pointings(pixels: list[Any], texts: list[list[str]], recipe: PocketRecipe) -> Any:  # noqa: ANN401
    """Add views of several landing pads, and questions at which pixel one is.

    As large models learn it from boxes and points in pixels of the image. Whether to fly, to turn
    or to stop, nothing here says.

    Args:
        pixels: Images of the aerial world, uint8.
        texts: Their texts.
        recipe: Of the pocket backbone.
    """
    from aquatint.training.captioning import CaptionedImages
    from aquatint.world.flight_sites import PAD_COLORS
    from aquatint.world.pad_views import view_pads

    sizes = (recipe.num_pointings, recipe.image_size_px, recipe.seed)
    views = list(view_pads(*sizes, _num_cells(recipe)))
    rng = np.random.default_rng([recipe.seed, 67])
    return CaptionedImages(
        np.stack([*pixels, *(view.pixels for view in views)]),
        [*texts, *([_describe(view.places)] for view in views)],
        [
            *([] for _ in texts),
            *(_pointings(number, view.places, recipe, rng) for number, view in enumerate(views)),
        ],
        _POINTING_SHARE,
        _image_words(tuple(PAD_COLORS), len(pixels), views) if recipe.word_weight else None,
    )


def _pointings(
    number: int, places: dict[str, Any], recipe: PocketRecipe, rng: np.random.Generator
) -> list[Any]:
    """Ask for each pad that is seen; the places of the others are told behind the answer.

    Each behind its own color, in any order: there a small model learns to find a word's place in
    the image some hundred steps before it can do so from a question in front of the image. Of the
    colors that are not seen one is asked for; of the others there is nothing more to learn.
    """
    from aquatint.data.navigation_prompts import CONJUNCTIONS, user_turn, write_pixel
    from aquatint.training.captioning import Dialogue

    architecture = require_architecture(recipe.architecture)
    marks = architecture.image_start + architecture.image_token + architecture.image_end
    said = {
        color: "none" if place is None else write_pixel(*place) for color, place in places.items()
    }
    dialogues: list[Dialogue] = []
    for color in (color for color, place in places.items() if place is not None):
        words = CONJUNCTIONS[(number + len(dialogues)) % len(CONJUNCTIONS)]
        question = user_turn(f"{words} this view. Point to the {color} pad and stop. {marks}")
        seen = [other for other, place in places.items() if place is not None and other != color]
        unseen = [other for other, place in places.items() if place is None]
        one = [str(rng.choice(unseen))] if unseen else []
        others = rng.permutation([*seen, *one]).tolist()
        further = [(f" {other}", f" {said[other]}.") for other in others]
        first = (user_turn(_OTHERS) + further[0][0], further[0][1])
        asked = _cell_of(places[color], recipe)
        dialogues.append(Dialogue(question, said[color], True, [first, *further[1:]], asked))
    return dialogues


def _cell_of(place: tuple[int, int], recipe: PocketRecipe) -> int:
    """Image token in whose area a pixel lies, counted row by row."""
    row, column = (at * _num_cells(recipe) // recipe.image_size_px for at in place)
    return row * _num_cells(recipe) + column


def _describe(places: dict[str, Any]) -> str:
    seen = [color for color, place in places.items() if place is not None]
    return f"Pads: {', '.join(seen)}." if seen else "No pads."
