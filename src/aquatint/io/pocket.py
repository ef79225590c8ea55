"""Build a pocket backbone: tokenizer and a captioning model trained on the embedded world."""

import logging
import shutil
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

from aquatint.io.pocket_documents import captioned_images, tokenizer_texts
from aquatint.io.pocket_recipe import PocketRecipe
from aquatint.locks import one_builder
from aquatint.models.architectures import (
    Architecture,
    require_architecture,
)
from aquatint.storage import is_complete as is_folder_complete
from aquatint.storage import publish_folder

logger = logging.getLogger(__name__)

# Part of a pocket backbone's address: raise it when this file builds another model.
_BUILD_VERSION = 2


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
             "rope_theta": 1e4, "word_weight": 0.0, "asked_weight": 0.0,
             "num_key_value_heads": 0, "num_vision_blocks": 0,
             "mrope_section": (4, 6, 6), "marks_turns": False}  # fmt: skip
    content = {key: v for key, v in asdict(recipe).items() if later.get(key, ...) != v}
    if recipe.architecture != "internvl":
        # Sums of another order than those of transformers' convolution.
        content["patches"] = "product"
    if recipe.num_inspections:
        content["inspections"] = INSPECTION_VERSION
    if recipe.num_flights:
        content["flights"] = FLIGHT_VERSION
    if recipe.num_visual_questions:
        content["visual_questions"] = QUESTION_VERSION
    if recipe.reads_aerial_words:
        from aquatint.world.aerial_views import FORMAT_VERSION as AERIAL_VERSION

        content["aerial_words"] = AERIAL_VERSION
    if recipe.num_pointings:
        from aquatint.data.navigation_prompts import TEMPLATE_VERSION
        from aquatint.io.pocket_questions import POINTINGS_VERSION
        from aquatint.world.pad_views import FORMAT_VERSION as PAD_VERSION

        content["pointings"] = [PAD_VERSION, TEMPLATE_VERSION, POINTINGS_VERSION]
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
    with _importing_model(architecture):
        images = captioned_images(recipe, states)
    tokenizer = train_tokenizer(
        tokenizer_texts(images, recipe),
        recipe.vocab_size,
        architecture,
        marks_turns=recipe.marks_turns,
    )
    model = _random_model(recipe, architecture, tokenizer)
    if recipe.epochs:
        _train_captioning(model, tokenizer, images, recipe, states)
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    _image_processor(recipe, model).save_pretrained(folder)


@contextmanager
def _importing_model(architecture: Architecture) -> Iterator[None]:
    """Import the model's class meanwhile, which takes seconds in which other processes render."""
    with ThreadPoolExecutor(1) as thread:
        imported = thread.submit(architecture.load_class)
        yield
        imported.result()


def _random_model(recipe: PocketRecipe, architecture: Architecture, tokenizer: Any) -> Any:  # noqa: ANN401
    from aquatint.models.pocket import internvl_config, qwen_config, random_internvl, random_qwen

    sizes = {
        "width": recipe.width,
        "num_blocks": recipe.num_blocks,
        "image_size_px": recipe.image_size_px,
        "patch_size_px": recipe.patch_size_px,
        "tokenizer": tokenizer,
    }
    model: Any
    if architecture.name == "internvl":
        model = random_internvl(internvl_config(**sizes), recipe.seed)
    else:
        config = qwen_config(
            architecture,
            **sizes,
            rope_theta=recipe.rope_theta,
            mrope_section=recipe.mrope_section,
            num_key_value_heads=recipe.num_key_value_heads,
            num_vision_blocks=recipe.num_vision_blocks,
        )
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
    from aquatint.training.image_words import first_token_ids
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
    word_ids = first_token_ids(images.words.words, tokenizer) if images.words else []
    wrapper = CaptioningModel(
        model, *architecture.image_statistics, word_ids, reads_asked=recipe.asked_weight > 0
    )
    names = [name for name, _ in wrapper.named_parameters()]
    params = StageParams(
        epochs=recipe.epochs,
        batch_size=recipe.batch_size,
        optimizer=OptimizerParams(
            learning_rate=recipe.learning_rate, weight_decay=0.01, warmup_fraction=0.05
        ),
        loss_weights={
            "caption": 1.0,
            **({"words": recipe.word_weight} if word_ids else {}),
            **({"asked": recipe.asked_weight} if recipe.asked_weight else {}),
        },
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
