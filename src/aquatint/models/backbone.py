"""Frozen pretrained models: a light handle, its strict loading, and the towers of an InternVL."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import TYPE_CHECKING, Any

from aquatint.models.architectures import (
    IMAGENET_STATISTICS,
    Architecture,
    require_architecture,
)
from aquatint.models.quantization import quantization_arguments

if TYPE_CHECKING:
    import torch
    from transformers import (
        InternVLForConditionalGeneration,
        PreTrainedConfig,
        PreTrainedModel,
        PreTrainedTokenizerBase,
    )

_WEIGHTS, _WEIGHT_INDEX = "model*.safetensors", "model.safetensors.index.json"
# What decides a backbone's outputs; READMEs and licences may change without a new digest.
_DIGEST_SUFFIXES = {".safetensors", ".json", ".jinja", ".txt", ".model"}
IMAGENET_MEAN, IMAGENET_STD = IMAGENET_STATISTICS


class BackboneError(ValueError):
    """A folder does not hold the model that the catalog promises."""


@dataclass(frozen=True)
class Backbone:
    """Where a frozen pretrained model lies; cheap to copy, loaded where it is needed.

    Attributes:
        folder: A ``save_pretrained`` folder.
        digest: sha256 over the files that decide the model's outputs.
        name: Hub id, folder name or ``pocket``, for reports.
        dtype: Floating-point type to load the weights in: float32, bfloat16 or float16.
        quantization: ``int8`` or ``int4`` loads frozen weights through bitsandbytes; ``none`` not.
    """

    folder: str
    digest: str
    name: str
    dtype: str = "float32"
    quantization: str = "none"

    def load(self, device: str = "cpu", dtype: str | None = None) -> Any:  # noqa: ANN401 - by folder
        """Load the whole model in evaluation mode, every parameter frozen.

        Args:
            device: torch device.
            dtype: Overrides the handle's ``dtype`` and quantization; merging asks for float32.

        Raises:
            BackboneError: If the folder holds no architecture of this project, or its weights do
                not fit its config.
        """
        quantization = self.quantization if dtype is None else "none"
        return load_model(Path(self.folder), device, dtype or self.dtype, quantization)

    @property
    def num_bytes(self) -> int:
        """Bytes of its weight files."""
        return sum(path.stat().st_size for path in Path(self.folder).glob(_WEIGHTS))

    @property
    def card(self) -> dict[str, Any]:
        """What it is, for whoever looks at a run: name, digest, types, sizes, stored parameters."""
        config = self.load_config()
        text, vision = config.text_config, config.vision_config
        return {
            "name": self.name,
            "digest": self.digest,
            "architecture": self.architecture.name,
            "dtype": self.dtype,
            "quantization": self.quantization,
            "num_parameters": sum(stored_tensors(Path(self.folder)).values()),
            "num_bytes": self.num_bytes,
            "text_width": text.hidden_size,
            "num_text_blocks": text.num_hidden_layers,
            "vocab_size": text.vocab_size,
            "num_vision_blocks": getattr(vision, "depth", None) or vision.num_hidden_layers,
            # The hidden_size of Qwen2-VL's tower is that of the language model.
            "vision_width": getattr(vision, "embed_dim", None) or vision.hidden_size,
        }

    @property
    def architecture(self) -> Architecture:
        """Which architecture the folder's config.json names."""
        return require_architecture(read_config(Path(self.folder), None)["model_type"])

    def load_config(self) -> PreTrainedConfig:
        """The configuration as transformers reads it, old and new layouts alike."""
        return self.architecture.load_class().config_class.from_pretrained(self.folder)

    def load_tokenizer(self) -> PreTrainedTokenizerBase:
        """Load the tokenizer of the folder, padding on the right as the towers expect."""
        from transformers import AutoTokenizer

        return AutoTokenizer.from_pretrained(self.folder, padding_side="right")

    @property
    def sizes(self) -> BackboneSizes:
        """Every width the recipes need, read from ``config.json``."""
        return BackboneSizes.from_config(read_config(Path(self.folder)))

    @property
    def image_statistics(self) -> tuple[tuple[float, ...], tuple[float, ...]]:
        """Channel mean and standard deviation of the model's own image preprocessing."""
        return read_image_statistics(Path(self.folder))


@dataclass(frozen=True)
class BackboneSizes:
    """Widths, grids and block counts of an InternVL, never typed by hand.

    Attributes:
        vision_width: Width of the vision tower's patch tokens.
        text_width: Width of the language model's hidden states.
        image_size_px: Edge of the square input image.
        grid: Patches per edge.
        num_vision_blocks: Transformer blocks of the vision tower.
        num_text_blocks: Transformer blocks of the language model.
    """

    vision_width: int
    text_width: int
    image_size_px: int
    grid: int
    num_vision_blocks: int
    num_text_blocks: int

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> BackboneSizes:
        """Read the sizes out of a transformers ``config.json`` of an InternVL."""
        vision, text = config["vision_config"], config["text_config"]
        image_px, patch_px = _edge(vision["image_size"]), _edge(vision["patch_size"])
        if image_px % patch_px:
            raise BackboneError(
                f"image_size {image_px} is no multiple of patch_size {patch_px} in config.json."
            )
        return cls(
            vision_width=vision["hidden_size"],
            text_width=text["hidden_size"],
            image_size_px=image_px,
            grid=image_px // patch_px,
            num_vision_blocks=vision["num_hidden_layers"],
            num_text_blocks=text["num_hidden_layers"],
        )


def _edge(size: int | list[int]) -> int:
    return size if isinstance(size, int) else size[0]


def read_config(folder: Path, architecture: str | None = "internvl") -> dict[str, Any]:
    """Read ``config.json`` of a backbone's folder.

    Args:
        folder: A ``save_pretrained`` folder.
        architecture: Name that ``model_type`` must have; None for any of this project's.

    Raises:
        FileNotFoundError: If the folder or its ``config.json`` is missing.
        BackboneError: If the config is unreadable or of another architecture.
    """
    path = folder / "config.json"
    if not path.is_file():
        raise FileNotFoundError(
            f"A backbone folder holds config.json, tokenizer and safetensors; {path} is missing. "
            "Point the backbone's entry in conf/<env>/catalog_backbones.yml at such a folder."
        )
    config = _read_json(path)
    found = config.get("model_type")
    if architecture == "internvl" and found != architecture:
        raise BackboneError(
            f"The backbone must be an InternVL in transformers' own format (model_type internvl, "
            f"hub names end in -hf), got {found!r} in {path}."
        )
    if architecture is not None and found != architecture:
        raise BackboneError(
            f"The backbone must have model_type {architecture}, got {found!r} in {path}."
        )
    try:
        require_architecture(found)
    except ValueError as error:
        raise BackboneError(f"{path}: {error}") from error
    return config


def _read_json(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_text())
    except ValueError as error:
        raise BackboneError(f"{path} must be a JSON object, but {error}.") from error
    if not isinstance(content, dict):
        raise BackboneError(f"{path} must be a JSON object, got {type(content).__name__}.")
    return content


def read_image_statistics(folder: Path) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Read mean and standard deviation from the folder's image-processor file."""
    for name in ("processor_config.json", "preprocessor_config.json"):
        path = folder / name
        if path.is_file():
            content = _read_json(path)
            content = content.get("image_processor", content)
            if "image_mean" in content:
                return tuple(content["image_mean"]), tuple(content["image_std"])
    return require_architecture(read_config(folder, None)["model_type"]).image_statistics


def load_model(
    folder: Path, device: str, dtype: str, quantization: str = "none"
) -> PreTrainedModel:
    """Load a backbone strictly: a missing, extra or misshapen tensor is an error."""
    import torch

    from aquatint.models.vision_tower import quicken_tower

    architecture = require_architecture(read_config(folder, None)["model_type"])
    stored = stored_tensors(folder)
    model, info = architecture.load_class().from_pretrained(
        folder,
        dtype=getattr(torch, dtype),
        # The flag is absent from hub-era configs and True by default: a later tie_weights() would
        # then overwrite a trained lm_head without a word.
        tie_word_embeddings=not any(name.endswith("lm_head.weight") for name in stored),
        # Not ignored: found in the info and refused below, by name.
        ignore_mismatched_sizes=True,
        local_files_only=True,
        output_loading_info=True,
        **quantization_arguments(quantization, dtype, device),
    )
    faults = {
        key: sorted(map(str, info.get(key) or ()))
        for key in ("missing_keys", "unexpected_keys", "mismatched_keys", "error_msgs")
    }
    faults = {key: names[:5] for key, names in faults.items() if names}
    if faults:
        raise BackboneError(f"The weights in {folder} do not fit its config.json: {faults}.")
    quicken_tower(model)
    model = model if quantization != "none" else model.to(device)
    return model.eval().requires_grad_(False)


def stored_tensors(folder: Path) -> dict[str, int]:
    """Return how many numbers each tensor in a folder's weight files has, from their headers alone.

    Raises:
        FileNotFoundError: If there are no weight files, or not all that the index lists.
        BackboneError: If a file is no safetensors or was cut off.
    """
    from safetensors import SafetensorError, safe_open

    index = folder / _WEIGHT_INDEX
    listed = set(_read_json(index)["weight_map"].values()) if index.is_file() else set()
    lost = sorted(name for name in listed if not (folder / name).is_file())
    if lost:
        raise FileNotFoundError(
            f"The backbone folder {folder} lacks {', '.join(lost)}, which {index.name} lists. "
            "Download it again."
        )
    files = sorted(folder.glob(_WEIGHTS))
    if not files:
        raise FileNotFoundError(f"No {_WEIGHTS} in the backbone folder {folder}.")
    found: dict[str, int] = {}
    for path in files:
        try:
            with safe_open(path, framework="pt") as file:
                found |= {name: prod(file.get_slice(name).get_shape()) for name in file.keys()}  # noqa: SIM118 - no dict
        except SafetensorError as error:
            raise BackboneError(f"{path} cannot be read: {error}. Download it again.") from error
    return found


def folder_digest(folder: Path) -> str:
    """Return the sha256 over names and contents of the files that decide a model's outputs."""
    total = hashlib.sha256()
    for path in sorted(folder.rglob("*")):
        if path.is_file() and path.suffix in _DIGEST_SUFFIXES and path.name != "manifest.json":
            total.update(path.relative_to(folder).as_posix().encode())
            with path.open("rb") as file:
                total.update(hashlib.file_digest(file, "sha256").digest())
    return total.hexdigest()


def encode_image_tokens(
    model: InternVLForConditionalGeneration, pixels: torch.Tensor
) -> torch.Tensor:
    """Run the vision tower.

    Args:
        model: InternVL whose tower runs.
        pixels: Normalised images, shape (B, 3, S, S).

    Returns:
        Class token, then patch tokens row by row, shape (B, 1 + grid * grid, D).
    """
    return model.model.vision_tower(pixel_values=pixels).last_hidden_state


def encode_text_tokens(
    model: InternVLForConditionalGeneration, input_ids: torch.Tensor
) -> torch.Tensor:
    """Run the language model on text alone.

    Args:
        model: InternVL whose language model runs.
        input_ids: Token ids padded on the right, shape (B, T).

    Returns:
        Hidden states after the last norm, shape (B, T, D); padding rows carry no meaning.
    """
    # Without a mask: no token sees a later one, so none sees padding, and attention kernels are
    # faster. Without a key-value cache, which training would only pay memory for.
    return model.model.language_model(input_ids=input_ids, use_cache=False).last_hidden_state
