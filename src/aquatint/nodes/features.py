"""Everything frozen, computed once."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

import pandas as pd
from kedro.pipeline import Node
from pydantic import PositiveInt

from aquatint.data.near_duplicates import near_duplicates
from aquatint.data.sources import GeoTextFolder
from aquatint.features.cache import FeatureCache, FeatureStore
from aquatint.models.backbone import Backbone
from aquatint.nodes.graph import Part
from aquatint.params import Params, RunParams
from aquatint.remote import local_path


class FeatureParams(Params):
    """Which features of the frozen backbone are kept, and how."""

    token_grid: PositiveInt | None  # patch tokens are averaged to this grid; null keeps them all
    max_tokens: PositiveInt  # longest text, its end included
    batch_size: PositiveInt
    dtype: Literal["float16", "bfloat16", "float32"]

    def resolve_grid(self, backbone: Backbone) -> int:
        """Edge of the patch grid that is kept."""
        return self.token_grid or backbone.sizes.grid


def describe_backbone(backbone: Backbone) -> dict[str, Any]:
    """State what a recipe starts from.

    Needs nothing else of a recipe, so that a pocket backbone is built while raw data are read.
    """
    return backbone.card


def backbone_node(recipe: str, backbone: str) -> Node:
    """Node that describes a recipe's backbone.

    Args:
        recipe: Recipe.
        backbone: Its backbone's name in the catalog.
    """
    return Part(recipe, "features").node(
        describe_backbone,
        f"describe_backbone_of_{recipe}",
        {"backbone": backbone},
        "backbone_card",
        ["features"],
    )


def decode_images(
    folder: GeoTextFolder, images: pd.DataFrame, store: FeatureStore, backbone: Backbone
) -> FeatureCache:
    """Decode and resize every image once, to the backbone's size."""
    from aquatint.features.images import cache_pixels

    paths = [Path(folder.image_root) / path for path in images["path"]]
    return cache_pixels(store, paths, images["sha256"].tolist(), backbone.sizes.image_size_px)


def find_near_duplicates(images: pd.DataFrame, pixels: FeatureCache) -> dict[str, Any]:
    """Look for pictures that stand, nearly the same, in more than one split."""
    from aquatint.features.images import hash_pixels

    return near_duplicates(images, hash_pixels(pixels, images["sha256"].tolist()))


def encode_images(
    images: pd.DataFrame,
    pixels: FeatureCache,
    store: FeatureStore,
    backbone: Backbone,
    params: FeatureParams,
    run: RunParams,
) -> FeatureCache:
    """Run the frozen vision tower once over every image."""
    from aquatint.features.frozen import Encoding, cache_image_tokens
    from aquatint.training.launch import launch
    from aquatint.training.precision import prepare_device

    encoding = Encoding(params.batch_size, params.dtype, str(prepare_device(run)))
    keys = images["sha256"].tolist()
    arguments = (store, backbone, pixels, keys, params.resolve_grid(backbone), encoding)
    return launch(cache_image_tokens, arguments, run, local_path(store.root))


def encode_texts(
    captions: pd.DataFrame,
    regions: pd.DataFrame,
    store: FeatureStore,
    backbone: Backbone,
    params: FeatureParams,
    run: RunParams,
) -> FeatureCache:
    """Run the frozen language model once over every caption and every region's sentence."""
    from aquatint.features.frozen import Encoding, cache_text_tokens
    from aquatint.training.launch import launch
    from aquatint.training.precision import prepare_device

    encoding = Encoding(params.batch_size, params.dtype, str(prepare_device(run)))
    texts = [*captions["text"], *regions["sentence"].dropna()]
    arguments = (store, backbone, texts, params.max_tokens, encoding)
    return launch(cache_text_tokens, arguments, run, local_path(store.root))
