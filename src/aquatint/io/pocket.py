"""Build a pocket backbone: tokenizer and a captioning model trained on the embedded world."""

import json
import logging
import shutil
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from aquatint.locks import one_builder
from aquatint.storage import is_complete as is_folder_complete
from aquatint.storage import publish_folder

logger = logging.getLogger(__name__)

# Part of a pocket backbone's address: raise it when this file builds another model.
_BUILD_VERSION = 1


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


def pocket_digest(recipe: PocketRecipe) -> str:
    """Return the address of a pocket backbone: its recipe, and the code versions that build it."""
    from aquatint.training.lineage import fingerprint
    from aquatint.world.geotext import FORMAT_VERSION

    return fingerprint({**asdict(recipe), "build": _BUILD_VERSION, "world": FORMAT_VERSION})


def build_pocket(root: Path, recipe: PocketRecipe) -> Path:
    """Return the folder of the pocket backbone, building it unless it is there.

    Args:
        root: Folder below which pocket backbones lie, one for each recipe.
        recipe: Size and training.
    """
    digest = pocket_digest(recipe)
    final = root / f"internvl_{recipe.width}x{recipe.num_blocks}_{digest[:12]}"
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
    from transformers import GotOcr2ImageProcessorPil

    from aquatint.models.backbone import IMAGENET_MEAN, IMAGENET_STD
    from aquatint.models.pocket import internvl_config, random_internvl, train_tokenizer

    images = _captioned_images(recipe, states)
    tokenizer = train_tokenizer(
        (text for texts in images.texts for text in texts), recipe.vocab_size
    )
    config = internvl_config(
        width=recipe.width,
        num_blocks=recipe.num_blocks,
        image_size_px=recipe.image_size_px,
        patch_size_px=recipe.patch_size_px,
        tokenizer=tokenizer,
    )
    model = random_internvl(config, recipe.seed)
    if recipe.epochs:
        _train_captioning(model, tokenizer, images, recipe, states)
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    edge = recipe.image_size_px
    GotOcr2ImageProcessorPil(
        size={"height": edge, "width": edge},
        crop_to_patches=False,
        image_mean=list(IMAGENET_MEAN),
        image_std=list(IMAGENET_STD),
    ).save_pretrained(folder)


def _captioned_images(recipe: PocketRecipe, scratch: Path) -> Any:  # noqa: ANN401 - light signature
    """Render the pretraining world, read it back like any GeoText folder, and drop the files."""
    import numpy as np

    from aquatint.features.images import load_image
    from aquatint.training.captioning import CaptionedImages
    from aquatint.world.geotext import GeoTextWorldSpec, is_complete, write_geotext

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
    return CaptionedImages(np.stack(pixels), kept)


def _train_captioning(
    model: Any,  # noqa: ANN401 - light signature
    tokenizer: Any,  # noqa: ANN401
    images: Any,  # noqa: ANN401
    recipe: PocketRecipe,
    states: Path,
) -> None:
    from aquatint.models.backbone import IMAGENET_MEAN, IMAGENET_STD
    from aquatint.params import OptimizerParams, RunParams, StageParams
    from aquatint.training.captioning import CaptioningModel, CaptioningSamples, captioning_losses
    from aquatint.training.fit import fit
    from aquatint.training.objective import Objective, Opening

    samples = CaptioningSamples(
        images, tokenizer, model.config.image_seq_length, recipe.max_tokens, recipe.seed
    )
    wrapper = CaptioningModel(model, IMAGENET_MEAN, IMAGENET_STD)
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
