"""Published vision models as teachers of anchors: transformers' own classes, and PiDiNet."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from aquatint.models.anchor_heads import NUM_MASKS, AnchorShape, MaskDecoder
from aquatint.models.architectures import CLIP_STATISTICS, IMAGENET_STATISTICS
from aquatint.models.automatic_masks import automatic_masks
from aquatint.models.pidinet import load_pidinet
from aquatint.models.teacher_source import TeacherSource
from aquatint.models.teachers import Teacher

_CLASSES = {
    "sam": "SamModel",
    "depth": "DepthAnythingForDepthEstimation",
    "dino": "Dinov2Model",
    "metaclip": "CLIPVisionModelWithProjection",
    "siglip": "SiglipVisionModel",
}
# What the model types must be: a SigLIP folder loads into a CLIP without an error otherwise.
_TYPES = {
    "sam": ("sam",),
    "depth": ("depth_anything",),
    "dino": ("dinov2",),
    "metaclip": ("clip", "clip_vision_model"),
    "siglip": ("siglip", "siglip_vision_model"),
}
_HALF_STATISTICS = ((0.5, 0.5, 0.5), (0.5, 0.5, 0.5))
_STATISTICS = {
    "sam": IMAGENET_STATISTICS,
    "depth": IMAGENET_STATISTICS,
    "dino": IMAGENET_STATISTICS,
    "metaclip": CLIP_STATISTICS,
    "siglip": _HALF_STATISTICS,
}


def load_published(source: TeacherSource, device: str) -> Teacher:
    """Load the teacher of an anchor from its folder, or PiDiNet from its file.

    Raises:
        ValueError: If the folder holds another kind of model, or weights do not fit.
    """
    if source.name == "pidinet":
        return EdgeTeacher(load_pidinet(Path(source.folder)).to(device), source, device)
    model = load_model(source, device)
    match source.name:
        case "sam":
            return MaskTeacher(model, source, device)
        case "depth":
            return DepthTeacher(model, source, device)
        case _:
            return FeatureTeacher(model, source, device)


def load_model(source: TeacherSource, device: str) -> Any:  # noqa: ANN401 - by anchor
    """Load transformers' model of a teacher, frozen and in evaluation mode.

    Raises:
        ValueError: If the folder holds another kind of model, or weights do not fit.
    """
    import transformers

    folder = Path(source.folder)
    config = json.loads((folder / "config.json").read_text())
    if config.get("model_type") not in _TYPES[source.name]:
        raise ValueError(
            f"The {source.name} teacher must have model_type {' or '.join(_TYPES[source.name])}, "
            f"got {config.get('model_type')!r} in {folder}."
        )
    found, info = getattr(transformers, _CLASSES[source.name]).from_pretrained(
        folder,
        dtype=torch.float32,
        local_files_only=True,
        # Nothing that a user hands in is ever unpickled.
        use_safetensors=True,
        output_loading_info=True,
    )
    # Unexpected ones are the text tower of CLIP and SigLIP, which is not needed.
    missing = sorted(map(str, [*info["missing_keys"], *info.get("mismatched_keys", ())]))
    if missing:
        raise ValueError(
            f"The weights in {folder} lack {missing[:5]} of the {source.name} teacher."
        )
    return found.to(device).eval().requires_grad_(False)


def _count(model: nn.Module) -> int:
    return sum(parameter.numel() for parameter in model.parameters())


def _prepare(images: Sequence[np.ndarray], name: str, size: tuple[int, int], device: str) -> Tensor:
    """Resize and normalise images, shape (B, 3, H, W)."""
    mean, std = (torch.tensor(v).view(1, 3, 1, 1) for v in _STATISTICS[name])
    resized = [
        F.interpolate(
            torch.from_numpy(image.copy()).permute(2, 0, 1)[None].float() / 255,
            size,
            mode="bicubic",
            antialias=True,
        ).clamp(0, 1)
        for image in images
    ]
    return ((torch.cat(resized) - mean) / std).to(device)


def _half(values: Tensor) -> np.ndarray:
    return values.detach().to(torch.float16).cpu().numpy()


class MaskTeacher:
    """SAM: its own automatic masks, the best eight by predicted quality times stability.

    They are what SAM finds everywhere, not objects of any meaning.

    Args:
        model: ``SamModel``.
        source: Where it is.
        device: Where it computes.
    """

    def __init__(self, model: Any, source: TeacherSource, device: str) -> None:  # noqa: ANN401
        self._model, self._source, self._device = model, source, device
        self._edge = model.config.vision_config.image_size
        self._grid = self._edge // model.config.vision_config.patch_size
        self._width = model.config.mask_decoder_config.hidden_size
        self.num_parameters = _count(model)

    @property
    def shape(self) -> AnchorShape:
        """Masks at four times the grid of the image embedding, as its decoder gives them."""
        size = 4 * self._grid
        context = (self._width, self._grid, self._grid)
        return AnchorShape("sam", (NUM_MASKS, size, size), context, self._width)

    @torch.inference_mode()
    def look(self, images: Sequence[np.ndarray]) -> np.ndarray:
        """Embed images."""
        pixels = _prepare(images, "sam", (self._edge, self._edge), self._device)
        # One at a time: the published tower takes gigabytes for each.
        parts = [_half(self._model.get_image_embeddings(image[None])) for image in pixels]
        return np.concatenate(parts)

    @torch.inference_mode()
    def encode(self, images: Sequence[np.ndarray], keys: Sequence[str]) -> dict[str, np.ndarray]:
        """Find masks everywhere in each image, from one embedding of it."""
        contexts = self.look(images)
        packed = []
        for context in contexts:
            embedding = torch.from_numpy(context[None]).float().to(self._device)
            masks = automatic_masks(self._model, embedding, self.shape.target)
            packed.append(np.packbits(masks.reshape(NUM_MASKS, -1), axis=-1))
        return {"target": np.stack(packed), "context": contexts}


class DepthTeacher:
    """Depth-Anything-V2: its own depth map, and patch features of the layers it is made from."""

    def __init__(self, model: Any, source: TeacherSource, device: str) -> None:  # noqa: ANN401
        self._model, self._device = model, device
        config = model.config.backbone_config
        self._patch = config.patch_size
        self._edge = source.image_px // self._patch * self._patch or config.image_size
        self._layers = len(config.out_indices)
        self._width = config.hidden_size
        self.num_parameters = _count(model)

    @property
    def shape(self) -> AnchorShape:
        """A map of the teacher's input size; features of its layers by patch."""
        grid = self._edge // self._patch
        return AnchorShape("depth", (self._edge,) * 2, (self._layers, self._width, grid, grid))

    @torch.inference_mode()
    def look(self, images: Sequence[np.ndarray]) -> np.ndarray:
        """Run the backbone for the features of its layers."""
        pixels = _prepare(images, "depth", (self._edge, self._edge), self._device)
        grid = self._edge // self._patch
        maps = self._model.backbone(pixels).feature_maps
        # The first token stands for the whole image and has no place.
        layers = [
            m[:, 1:].transpose(1, 2).reshape(len(pixels), -1, grid, grid) if m.ndim == 3 else m
            for m in maps
        ]
        return _half(torch.stack(layers, 1))

    @torch.inference_mode()
    def encode(self, images: Sequence[np.ndarray], keys: Sequence[str]) -> dict[str, np.ndarray]:
        """Run the model, and its backbone for the features."""
        pixels = _prepare(images, "depth", (self._edge, self._edge), self._device)
        depth = self._model(pixel_values=pixels).predicted_depth
        return {"target": _half(depth), "context": self.look(images)}


class FeatureTeacher:
    """DINOv2's tokens, or the pooled vector of a CLIP or SigLIP."""

    def __init__(self, model: Any, source: TeacherSource, device: str) -> None:  # noqa: ANN401
        self._model, self._name, self._device = model, source.name, device
        config = getattr(model.config, "vision_config", model.config)
        self._patch = config.patch_size
        self._edge = source.image_px or config.image_size
        self._width = config.hidden_size
        if self._name == "metaclip":
            self._width = model.config.projection_dim
        self.num_parameters = _count(model)

    @property
    def shape(self) -> AnchorShape:
        """Tokens with the class token first, or one vector."""
        if self._name != "dino":
            return AnchorShape(self._name, (self._width,))
        return AnchorShape("dino", (1 + (self._edge // self._patch) ** 2, self._width))

    def look(self, images: Sequence[np.ndarray]) -> None:
        """Nothing: a head of features needs none."""

    @torch.inference_mode()
    def encode(self, images: Sequence[np.ndarray], keys: Sequence[str]) -> dict[str, np.ndarray]:
        """Run the encoder."""
        pixels = _prepare(images, self._name, (self._edge, self._edge), self._device)
        found = self._model(pixel_values=pixels)
        match self._name:
            case "dino":
                return {"target": _half(found.last_hidden_state)}
            case "metaclip":
                return {"target": _half(found.image_embeds)}
            case _:
                return {"target": _half(found.pooler_output)}


class EdgeTeacher:
    """PiDiNet: its edges as probabilities, and its 60-channel features."""

    def __init__(self, model: Any, source: TeacherSource, device: str) -> None:  # noqa: ANN401
        self._model, self._device = model, device
        self._edge = source.image_px or 256
        self.num_parameters = _count(model)

    @property
    def shape(self) -> AnchorShape:
        """Edges and features at the teacher's input size, features at half of it."""
        half = self._edge // 2
        return AnchorShape("pidinet", (self._edge,) * 2, (self._model.width, half, half))

    @torch.inference_mode()
    def look(self, images: Sequence[np.ndarray]) -> np.ndarray:
        """Run the network for its features."""
        pixels = _prepare(images, "dino", (self._edge, self._edge), self._device)
        return _half(self._model(pixels)[1])

    @torch.inference_mode()
    def encode(self, images: Sequence[np.ndarray], keys: Sequence[str]) -> dict[str, np.ndarray]:
        """Run the network."""
        pixels = _prepare(images, "dino", (self._edge, self._edge), self._device)
        edges, features = self._model(pixels)
        return {"target": _half(edges.sigmoid()[:, 0]), "context": _half(features)}


def load_mask_decoder(source: TeacherSource, device: str) -> MaskDecoder:
    """Return SAM's own mask decoder, frozen, with prompts in the place of points and boxes."""
    model = load_model(source, device)
    # A large tower that nothing asks any more: embeddings are cached.
    model.vision_encoder = None
    places = model.get_image_wide_positional_embeddings()

    def decode(prompts: Tensor, context: Tensor, size: int) -> Tensor:
        count, num_prompts, width = prompts.shape
        grid = context.shape[-1]
        dense = model.prompt_encoder.no_mask_embed.weight.reshape(1, width, 1, 1)
        masks = model.mask_decoder(
            image_embeddings=context,
            image_positional_embeddings=places.expand(count, -1, -1, -1),
            sparse_prompt_embeddings=prompts[:, :, None],
            dense_prompt_embeddings=dense.expand(count, width, grid, grid),
            multimask_output=False,
        )[0][:, :, 0]
        if masks.shape[-1] == size:
            return masks
        return F.interpolate(masks, (size, size), mode="bilinear", align_corners=False)

    return decode
