"""Frozen pretrained models: a light handle, and the towers of an InternVL behind it."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import torch
    from transformers import InternVLForConditionalGeneration, PreTrainedTokenizerBase

_WEIGHTS, _WEIGHT_INDEX = "model*.safetensors", "model.safetensors.index.json"
# What decides a backbone's outputs; READMEs and licences may change without a new digest.
_DIGEST_SUFFIXES = {".safetensors", ".json", ".jinja", ".txt", ".model"}
IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)


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
    """

    folder: str
    digest: str
    name: str
    dtype: str = "float32"

    def load(
        self, device: str = "cpu", dtype: str | None = None
    ) -> InternVLForConditionalGeneration:
        """Load the whole model in evaluation mode, every parameter frozen.

        Args:
            device: torch device.
            dtype: Overrides the handle's ``dtype``; merging asks for float32.

        Raises:
            BackboneError: If the folder is no InternVL, or its weights do not fit its config.
        """
        return load_internvl(Path(self.folder), device, dtype or self.dtype)

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


def read_config(folder: Path) -> dict[str, Any]:
    """Read ``config.json`` of an InternVL folder.

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
    if config.get("model_type") != "internvl":
        raise BackboneError(
            f"The backbone must be an InternVL in transformers' own format (model_type internvl, "
            f"hub names end in -hf), got {config.get('model_type')!r} in {path}."
        )
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
    # InternVL was trained with ImageNet's statistics (OpenGVLab/InternVL, constants.py).
    return IMAGENET_MEAN, IMAGENET_STD


def load_internvl(folder: Path, device: str, dtype: str) -> InternVLForConditionalGeneration:
    """Load an InternVL strictly: a missing, extra or misshapen tensor is an error."""
    import torch
    from transformers import InternVLForConditionalGeneration

    read_config(folder)
    stored = stored_tensors(folder)
    model, info = InternVLForConditionalGeneration.from_pretrained(
        folder,
        dtype=getattr(torch, dtype),
        # The flag is absent from hub-era configs and True by default: a later tie_weights() would
        # then overwrite a trained lm_head without a word.
        tie_word_embeddings=not any(name.endswith("lm_head.weight") for name in stored),
        # Not ignored: found in the info and refused below, by name.
        ignore_mismatched_sizes=True,
        local_files_only=True,
        output_loading_info=True,
    )
    faults = {
        key: sorted(map(str, info.get(key) or ()))
        for key in ("missing_keys", "unexpected_keys", "mismatched_keys", "error_msgs")
    }
    faults = {key: names[:5] for key, names in faults.items() if names}
    if faults:
        raise BackboneError(f"The weights in {folder} do not fit its config.json: {faults}.")
    return model.to(device).eval().requires_grad_(False)


def stored_tensors(folder: Path) -> set[str]:
    """Return the names of all tensors in a folder's weight files, reading their headers alone.

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
    names: set[str] = set()
    for path in files:
        try:
            with safe_open(path, framework="pt") as file:
                names.update(file.keys())
        except SafetensorError as error:
            raise BackboneError(f"{path} cannot be read: {error}. Download it again.") from error
    return names


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
    model: InternVLForConditionalGeneration,
    input_ids: torch.Tensor,
    attention_mask: torch.Tensor,
) -> torch.Tensor:
    """Run the language model on text alone.

    Args:
        model: InternVL whose language model runs.
        input_ids: Token ids padded on the right, shape (B, T).
        attention_mask: 1 where a token is real, shape (B, T).

    Returns:
        Hidden states after the last norm, shape (B, T, D); padding rows carry no meaning.
    """
    language_model = model.model.language_model
    # Without a key-value cache, which training and feature extraction would only pay memory for.
    output = language_model(input_ids=input_ids, attention_mask=attention_mask, use_cache=False)
    return output.last_hidden_state
