"""Build a pocket backbone: tokenizer and a captioning model trained on the embedded world."""

import json
import logging
import shutil
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from aquatint.locks import one_builder
from aquatint.models.architectures import (
    Architecture,
    ArchitectureName,
    require_architecture,
)
from aquatint.storage import is_complete as is_folder_complete
from aquatint.storage import publish_folder

logger = logging.getLogger(__name__)

# Of documents about sparse scenes; the others describe them, which teaches to see faster.
_QUESTION_SHARE = 1 / 3
# Part of a pocket backbone's address: raise it when this file builds another model.
_BUILD_VERSION = 2
_INSTRUCTION_REPEATS = 60


@dataclass(frozen=True)
class PocketRecipe:
    """Size and training of a pocket backbone; all of it is part of its address.

    Attributes:
        width: Hidden width of both towers.
        num_blocks: Transformer blocks of each tower.
        image_size_px: Edge of the input image.
        patch_size_px: Edge of a patch.
        vocab_size: Upper limit of the tokenizer's vocabulary.
        num_buildings: Buildings of the pretraining world, disjoint from every recipe's.
        views_per_building: Views of each.
        epochs: Epochs of captioning; 0 leaves the weights random.
        batch_size: Documents of a step.
        learning_rate: Peak rate of AdamW.
        max_tokens: Longest document, image tokens included.
        seed: Decides scenes, weights and order.
        num_threads: Threads; sums depend on them.
        architecture: ``internvl``, ``qwen2_vl`` or ``qwen2_5_vl``.
        num_inspections: Photographs of slopes whose structures are described too.
        num_flights: Views of landing pads that are described and asked about too.
        num_visual_questions: Images of sparse scenes that are described and asked about too.
        weight_scale: Factor on the first weights of matrices. transformers draws them with a
            deviation of 0.02 whatever the width; at 96, whose inverse root is 0.1, they learn to
            see sooner when they begin larger.
        num_pointings: Views of landing pads in which it learns to point at a pixel.
        rope_theta: Base of the language model's rotary positions; small models over few image
            tokens need a small one to tell places apart.
    """

    width: int
    num_blocks: int
    image_size_px: int
    patch_size_px: int
    vocab_size: int
    num_buildings: int
    views_per_building: int
    epochs: int
    batch_size: int
    learning_rate: float
    max_tokens: int
    seed: int
    num_threads: int = 2
    architecture: ArchitectureName = "internvl"
    num_inspections: int = 0
    num_flights: int = 0
    num_visual_questions: int = 0
    weight_scale: float = 1.0
    num_pointings: int = 0
    rope_theta: float = 1e4


def pocket_digest(recipe: PocketRecipe) -> str:
    """Return the address of a pocket backbone: its recipe, and the code versions that build it."""
    from aquatint.training.lineage import fingerprint
    from aquatint.world.flights import FORMAT_VERSION as FLIGHT_VERSION
    from aquatint.world.geotext import FORMAT_VERSION
    from aquatint.world.inspection import FORMAT_VERSION as INSPECTION_VERSION
    from aquatint.world.visual_records import FORMAT_VERSION as QUESTION_VERSION

    # Left out at their defaults: the address of a model that was built before them stays.
    later = {"architecture": "internvl", "num_inspections": 0, "num_flights": 0,
             "num_visual_questions": 0, "weight_scale": 1.0, "num_pointings": 0,
             "rope_theta": 1e4}  # fmt: skip
    content = {key: v for key, v in asdict(recipe).items() if later.get(key, ...) != v}
    if recipe.num_inspections:
        content["inspections"] = INSPECTION_VERSION
    if recipe.num_flights:
        content["flights"] = FLIGHT_VERSION
    if recipe.num_visual_questions:
        content["visual_questions"] = QUESTION_VERSION
    if recipe.num_pointings:
        from aquatint.data.navigation_prompts import TEMPLATE_VERSION
        from aquatint.world.pad_views import FORMAT_VERSION as PAD_VERSION

        content["pointings"] = [PAD_VERSION, TEMPLATE_VERSION]
    return fingerprint({**content, "build": _BUILD_VERSION, "world": FORMAT_VERSION})


def build_pocket(root: Path, recipe: PocketRecipe) -> Path:
    """Return the folder of the pocket backbone, building it unless it is there.

    Args:
        root: Folder below which pocket backbones lie, one for each recipe.
        recipe: Size and training.
    """
    digest = pocket_digest(recipe)
    final = root / f"{recipe.architecture}_{recipe.width}x{recipe.num_blocks}_{digest[:12]}"
    if is_folder_complete(final):
        return final
    with one_builder(final):
        if is_folder_complete(final):
            return final
        logger.info("Building the pocket backbone %s (once).", final.name)
        states = root / ".states" / digest[:12]
        publish_folder(final, lambda folder: _build(folder, recipe, states), asdict(recipe))
        shutil.rmtree(states, ignore_errors=True)
    return final


def _build(folder: Path, recipe: PocketRecipe, states: Path) -> None:
    from aquatint.models.pocket import train_tokenizer

    architecture = require_architecture(recipe.architecture)
    images = _captioned_images(recipe, states)
    texts = [text for texts in images.texts for text in texts]
    if recipe.num_inspections:
        from aquatint.data.inspection_prompts import example_dialogues

        # So that a dialogue is not spelt out letter by letter; no weight is trained on it.
        texts += example_dialogues()
    if recipe.num_flights:
        # The words of instructions, so that they are few tokens; no weight is trained on them.
        texts += example_instructions()
    if recipe.num_visual_questions:
        from aquatint.data.visual_thought_prompts import example_thoughts

        texts += 8 * example_thoughts()
        texts += [d.question.rpartition("user")[2] for of in images.dialogues for d in of]
        texts += [dialogue.answer for of_image in images.dialogues for dialogue in of_image]
    if recipe.num_pointings:
        from aquatint.data.navigation_prompts import example_texts

        texts += _INSTRUCTION_REPEATS * example_texts()
        texts += [d.question.rpartition("user")[2] for of in images.dialogues for d in of]
    tokenizer = train_tokenizer(texts, recipe.vocab_size, architecture)
    model = _random_model(recipe, architecture, tokenizer)
    if recipe.epochs:
        _train_captioning(model, tokenizer, images, recipe, states)
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    _image_processor(recipe, model).save_pretrained(folder)


def _random_model(recipe: PocketRecipe, architecture: Architecture, tokenizer: Any) -> Any:  # noqa: ANN401
    from aquatint.models.pocket import internvl_config, qwen_config, random_internvl, random_qwen

    sizes = {
        "width": recipe.width,
        "num_blocks": recipe.num_blocks,
        "image_size_px": recipe.image_size_px,
        "patch_size_px": recipe.patch_size_px,
        "tokenizer": tokenizer,
    }
    if architecture.name == "internvl":
        return random_internvl(internvl_config(**sizes), recipe.seed)
    config = qwen_config(architecture, **sizes, rope_theta=recipe.rope_theta)
    model = random_qwen(architecture, config, recipe.seed)
    for parameter in model.parameters():
        if parameter.ndim == 2 and recipe.weight_scale != 1:
            parameter.data *= recipe.weight_scale
    return model


def _image_processor(recipe: PocketRecipe, model: Any) -> Any:  # noqa: ANN401 - light signature
    from transformers import GotOcr2ImageProcessorPil, Qwen2VLImageProcessorPil

    edge = recipe.image_size_px
    mean, std = require_architecture(recipe.architecture).image_statistics
    statistics = {"image_mean": list(mean), "image_std": list(std)}
    if recipe.architecture == "internvl":
        size = {"height": edge, "width": edge}
        return GotOcr2ImageProcessorPil(size=size, crop_to_patches=False, **statistics)
    return Qwen2VLImageProcessorPil(
        patch_size=recipe.patch_size_px,
        merge_size=model.config.vision_config.spatial_merge_size,
        size={"shortest_edge": edge**2, "longest_edge": 4 * edge**2},
        **statistics,
    )


def _captioned_images(recipe: PocketRecipe, scratch: Path) -> Any:  # noqa: ANN401 - light signature
    """Render the pretraining world, read it back like any GeoText folder, and drop the files."""
    import numpy as np

    from aquatint.features.images import load_image
    from aquatint.io.pocket_questions import all_answers, questions_of, with_pointings
    from aquatint.training.captioning import CaptionedImages
    from aquatint.world.geotext import GeoTextWorldSpec, is_complete, write_geotext
    from aquatint.world.inspection import describe_structures
    from aquatint.world.visual_records import ask_about_scenes

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
    if not recipe.num_inspections and not recipe.num_visual_questions:
        return CaptionedImages(np.stack(pixels), kept)
    dialogues: list[list[Any]] = [[] for _ in kept]
    if recipe.num_inspections:
        views = list(describe_structures(recipe.num_inspections, recipe.image_size_px, recipe.seed))
        pixels += [view.pixels for view in views]
        kept += [[view.caption] for view in views]
        dialogues += _dialogues(views, recipe)
    if recipe.num_visual_questions:
        asked = list(
            ask_about_scenes(recipe.num_visual_questions, recipe.image_size_px, recipe.seed)
        )
        pixels += [view.pixels for view in asked]
        kept += [[*view.captions, *2 * [all_answers(view)]] for view in asked]
        dialogues += [questions_of(view, recipe.architecture) for view in asked]
    share = _QUESTION_SHARE if recipe.num_visual_questions else CaptionedImages.dialogue_share
    return CaptionedImages(np.stack(pixels), kept, dialogues, share)


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


def example_instructions() -> list[str]:
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


def _train_captioning(
    model: Any,  # noqa: ANN401 - light signature
    tokenizer: Any,  # noqa: ANN401
    images: Any,  # noqa: ANN401
    recipe: PocketRecipe,
    states: Path,
) -> None:
    from aquatint.params import OptimizerParams, RunParams, StageParams
    from aquatint.training.captioning import CaptioningModel, CaptioningSamples, captioning_losses
    from aquatint.training.fit import fit
    from aquatint.training.objective import Objective, Opening

    architecture = require_architecture(recipe.architecture)
    samples = CaptioningSamples(
        images,
        tokenizer,
        # Both architectures make one token of two by two patches.
        (recipe.image_size_px // recipe.patch_size_px // 2) ** 2,
        recipe.max_tokens,
        recipe.seed,
        architecture,
    )
    wrapper = CaptioningModel(model, *architecture.image_statistics)
    names = [name for name, _ in wrapper.named_parameters()]
    params = StageParams(
        epochs=recipe.epochs,
        batch_size=recipe.batch_size,
        optimizer=OptimizerParams(
            learning_rate=recipe.learning_rate, weight_decay=0.01, warmup_fraction=0.05
        ),
        loss_weights={"caption": 1.0},
    )
    run = RunParams(
        seed=recipe.seed,
        device="auto",
        precision="float32",
        num_threads=recipe.num_threads,
        save_state_every_steps=200,
        save_state_every_minutes=5,
    )
    opening = Opening({"all": names}, lambda epoch: {"all"})
    fit(wrapper, Objective(samples, captioning_losses), opening, params, run, states / "fit")
    model.cpu().eval()
