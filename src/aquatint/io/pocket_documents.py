"""What a pocket backbone reads: the embedded world in captions, and questions about it."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from aquatint.io.pocket_recipe import PocketRecipe
from aquatint.models.architectures import require_architecture

_INSTRUCTION_REPEATS = 60


def tokenizer_texts(images: Any, recipe: PocketRecipe) -> list[str]:  # noqa: ANN401 - light signature
    """Texts that the tokenizer is made from: what is read, and what trainings will write."""
    texts = [text for texts in images.texts for text in texts]
    if recipe.num_inspections:
        from aquatint.data.inspection_prompts import example_dialogues

        # So that a dialogue is not spelt out letter by letter; no weight is trained on it.
        texts += example_dialogues()
    if recipe.num_flights:
        # The words of instructions, so that they are few tokens; no weight is trained on them.
        texts += _example_instructions()
    if recipe.num_visual_questions:
        from aquatint.data.visual_thought_prompts import example_thoughts

        texts += 8 * example_thoughts()
        texts += [d.question.rpartition("user")[2] for of in images.dialogues for d in of]
        texts += [dialogue.answer for of_image in images.dialogues for dialogue in of_image]
    if images.words:
        # Each must begin with a token of its own, however few images name it.
        texts += _INSTRUCTION_REPEATS * [f" {word}" for word in images.words.words]
    if recipe.num_pointings:
        from aquatint.data.navigation_prompts import example_texts
        from aquatint.world.pad_routes import example_instructions

        texts += _INSTRUCTION_REPEATS * [*example_texts(), " ".join(example_instructions())]
        pointings = [dialogue for of_image in images.dialogues for dialogue in of_image]
        texts += [dialogue.question.rpartition("user")[2] for dialogue in pointings]
        texts += ["".join(given + said for given, said in d.further) for d in pointings]
    return texts


def captioned_images(recipe: PocketRecipe, scratch: Path) -> Any:  # noqa: ANN401 - light signature
    """Render the pretraining world and say what a backbone reads about it.

    Scenes that only have captions are read back like any GeoText folder, and the files dropped.
    """
    import numpy as np

    from aquatint.features.images import load_image
    from aquatint.io.pocket_questions import aerial_words, with_pointings, with_questions
    from aquatint.training.captioning import CaptionedImages
    from aquatint.world.geotext import GeoTextWorldSpec, is_complete, write_geotext
    from aquatint.world.inspection import describe_structures

    if recipe.reads_aerial_words:
        return aerial_words(recipe)
    folder = scratch / "world"
    spec = GeoTextWorldSpec(
        num_train_buildings=recipe.num_buildings,
        num_test_buildings=1,
        views_per_building=recipe.views_per_building,
        size_px=recipe.image_size_px,
        seed=recipe.seed,
        has_flaws=False,
    )
    if not is_complete(folder, spec):
        write_geotext(folder, spec)
    texts: dict[str, list[str]] = {}
    for record in json.loads((folder / "train.json").read_text()):
        known = texts.setdefault(record["image"], [])
        if not known:
            known.append(" ".join(text for text in record["sentences"] if text))
        known.append(record["caption"])
    pixels = [load_image(folder / "images" / name, recipe.image_size_px) for name in texts]
    kept = [[text for text in of_image if text] for of_image in texts.values()]
    if recipe.num_pointings or recipe.num_flights:
        add = with_pointings if recipe.num_pointings else _with_flights
        return add(pixels, kept, recipe)
    if recipe.num_visual_questions:
        return with_questions(pixels, kept, recipe)
    if not recipe.num_inspections:
        return CaptionedImages(np.stack(pixels), kept)
    views = list(describe_structures(recipe.num_inspections, recipe.image_size_px, recipe.seed))
    return CaptionedImages(
        np.stack([*pixels, *(view.pixels for view in views)]),
        [*kept, *([view.caption] for view in views)],
        [*([] for _ in kept), *_dialogues(views, recipe)],
    )


def _with_flights(pixels: list[Any], texts: list[list[str]], recipe: PocketRecipe) -> Any:  # noqa: ANN401
    """Add views of landing pads with a caption, and questions where each is and what lies where.

    As large models learn it from boxes and pointing. What a drone should do then, and how far away
    a pad is, nothing here says.
    """
    import numpy as np

    from aquatint.training.captioning import CaptionedImages, Dialogue
    from aquatint.world.flights import describe_sites

    architecture = require_architecture(recipe.architecture)
    marks = architecture.image_start + architecture.image_token + architecture.image_end
    views = list(describe_sites(recipe.num_flights, recipe.image_size_px, recipe.seed))
    asked = [
        [
            Dialogue(
                f"<|im_start|>user\n{marks}{question}<|im_end|>\n<|im_start|>assistant\n",
                f"{answer[:1].upper()}{answer[1:]}.",
                True,
            )
            for question, answer in questions
        ]
        for _, _, questions in views
    ]
    return CaptionedImages(
        np.stack([*pixels, *(view for view, _, _ in views)]),
        [*texts, *([caption] for _, caption, _ in views)],
        [*([] for _ in texts), *asked],
    )


def _example_instructions() -> list[str]:
    """Instructions of every kind, for the tokenizer."""
    from aquatint.world.flight_physics import HEADINGS_DEG, Goal
    from aquatint.world.flight_sites import PAD_COLORS

    sentences = [
        Goal(color, heading).instruction for color in PAD_COLORS for heading in HEADINGS_DEG
    ]
    # Often enough to outweigh captions, whose words would otherwise take up the vocabulary.
    return [f"user\n{text}\nassistant\n" for text in sentences] * _INSTRUCTION_REPEATS


def _dialogues(views: Sequence[Any], recipe: PocketRecipe) -> list[list[Any]]:
    """Two exercises for each view: see what it is in everyday words; find a name in a list.

    The second has no image. It teaches to answer with a name that stands in the question, so that
    the names of a site can be written at all; which of them fits a picture, it does not say.
    """
    import numpy as np

    from aquatint.data.inspection_prompts import SITE_TYPES, chat_text
    from aquatint.training.captioning import Dialogue

    architecture = require_architecture(recipe.architecture)
    marks = architecture.image_start + architecture.image_token + architecture.image_end
    rng = np.random.default_rng([recipe.seed, 61])
    found = []
    for view in views:
        others = [look for look in view.looks if look != view.look]
        looks = rng.permutation([view.look, *rng.choice(others, 2, replace=False)]).tolist()
        names = rng.permutation(SITE_TYPES[int(rng.integers(len(SITE_TYPES)))][1]).tolist()
        name = str(rng.choice(names))
        seen = Dialogue(chat_text("This is the object.", looks, marks), view.look, True)
        read = Dialogue(chat_text(f"This is the {name}.", names, ""), name, False)
        found.append([seen, seen, read])
    return found
