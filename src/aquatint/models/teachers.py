"""Teachers of anchors behind one interface: exact ones of the embedded world, published ones."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
import torch.nn.functional as F

from aquatint.models import small_encoders
from aquatint.models.anchor_heads import NUM_MASKS, AnchorShape, MaskDecoder, decode_by_kernels
from aquatint.models.teacher_source import TeacherSource

_PLACE_CHANNELS = 6
# Usual depth and spread of the world's cameras, in metres.
_DEPTH_OFFSET_M, _DEPTH_SCALE_M = 95.0, 25.0


class Teacher(Protocol):
    """A frozen vision model that says what an anchor shall hold."""

    @property
    def shape(self) -> AnchorShape:
        """Shapes of what it gives."""

    @property
    def num_parameters(self) -> int:
        """Parameters of its networks."""

    def encode(self, images: Sequence[np.ndarray], keys: Sequence[str]) -> dict[str, np.ndarray]:
        """Map uint8 images (H, W, 3) with their content keys to arrays of one row an image.

        Returns:
            ``target``, and ``context`` where heads look into one. Masks are packed bits, (B, 8,
            M * M / 8) uint8; all else is float16.
        """

    def look(self, images: Sequence[np.ndarray]) -> np.ndarray | None:
        """Return the ``context`` alone, for images without targets; None where there is none."""


def build_teacher(source: TeacherSource, truth_root: str, device: str = "cpu") -> Teacher:
    """Load a teacher.

    Args:
        source: Which one.
        truth_root: Folder of exact anchors, for ``world``.
        device: Where published ones compute.

    Raises:
        ValueError: If ``world`` teachers are asked about images that are not of the world.
    """
    if source.source == "world":
        if not truth_root:
            raise ValueError(
                f"The {source.name} teacher has source world, but these images have no exact "
                "anchors. Give covt.anchors.teachers in the catalog a folder or a hub id."
            )
        return WorldTeacher(source.name, Path(truth_root))
    from aquatint.models.published_teachers import load_published

    return load_published(source, device)


class WorldTeacher:
    """Exact masks, depth in metres and edges of rendered images; small encoders for features.

    Args:
        name: Anchor.
        truth_root: Folder with ``<sha256 of the image>.npz``.
    """

    num_parameters = 0

    def __init__(self, name: str, truth_root: Path) -> None:
        self._name, self._root = name, truth_root

    @property
    def shape(self) -> AnchorShape:
        """Shapes of what it gives."""
        size = small_encoders.MAP_PX
        match self._name:
            case "sam":
                context = (10, size, size)
                return AnchorShape(
                    "sam", (NUM_MASKS, size, size), context, context[0] + _PLACE_CHANNELS
                )
            case "depth":
                layers = (small_encoders.NUM_LAYERS, 16, size // 2, size // 2)
                return AnchorShape(
                    "depth", (size, size), layers, 0, _DEPTH_OFFSET_M, _DEPTH_SCALE_M
                )
            case "pidinet":
                return AnchorShape("pidinet", (size, size), (12, size, size))
            case "dino":
                return AnchorShape("dino", (37, 32))
            case _:
                return AnchorShape(self._name, (32,))

    def look(self, images: Sequence[np.ndarray]) -> np.ndarray | None:
        """Run the small encoder that masks, depth or edges are read from."""
        maps = _MAPS.get(self._name)
        return None if maps is None else _half(maps(torch.from_numpy(np.stack(images))))

    def encode(self, images: Sequence[np.ndarray], keys: Sequence[str]) -> dict[str, np.ndarray]:
        """Look up what was rendered, and run the small encoders."""
        context = self.look(images)
        if context is None:
            pixels = torch.from_numpy(np.stack(images))
            features = small_encoders.grid_features(pixels, self._name)
            return {"target": _half(features if self._name == "dino" else features[:, 0])}
        truths = [self._truth(key) for key in keys]
        match self._name:
            case "sam":
                masks = np.stack([_largest_masks(truth["instance_ids"]) for truth in truths])
                target = np.packbits(masks.reshape(len(keys), NUM_MASKS, -1), axis=-1)
            case "depth":
                target = np.stack([_shrink(truth["depth_m"], np.median) for truth in truths])
            case _:
                target = np.stack([_shrink(truth["edges"], np.max) for truth in truths])
        is_packed = self._name == "sam"
        return {"target": target if is_packed else target.astype(np.float16), "context": context}

    def _truth(self, key: str) -> Any:  # noqa: ANN401 - numpy's archive
        path = self._root / f"{key}.npz"
        if not path.is_file():
            raise ValueError(
                f"No exact anchors are known of the image {key}: {path} is missing. World teachers "
                "know rendered images alone; give covt.anchors.teachers a folder or a hub id."
            )
        return np.load(path, allow_pickle=False)


_MAPS = {
    "sam": small_encoders.color_maps,
    "depth": small_encoders.layered_maps,
    "pidinet": small_encoders.edge_maps,
}


def _half(values: torch.Tensor) -> np.ndarray:
    return values.to(torch.float16).numpy()


def _shrink(values: np.ndarray, reduce: Any) -> np.ndarray:  # noqa: ANN401 - a numpy function
    """Reduce a square array to the maps' size, cell by cell."""
    size = small_encoders.MAP_PX
    edge = len(values)
    if edge % size:
        tensor = torch.from_numpy(values.astype(np.float32))[None, None]
        return F.interpolate(tensor, (size, size), mode="nearest")[0, 0].numpy()
    step = edge // size
    cells = values.reshape(size, step, size, step).transpose(0, 2, 1, 3).reshape(size, size, -1)
    return reduce(cells.astype(np.float32), axis=-1)


def _largest_masks(ids: np.ndarray) -> np.ndarray:
    """Masks of the largest objects, empty ones behind, bool, shape (8, M, M)."""
    size = small_encoders.MAP_PX
    places = (np.arange(size) * len(ids)) // size
    small = ids[places][:, places]
    names, counts = np.unique(small[small > 0], return_counts=True)
    # A handful of pixels at the border is no object that anything could be asked about.
    kept = [
        int(n) for n, c in sorted(zip(names, counts, strict=True), key=lambda x: -x[1]) if c > 8
    ]
    masks = np.zeros((NUM_MASKS, size, size), bool)
    for index, name in enumerate(kept[:NUM_MASKS]):
        masks[index] = small == name
    return masks


def mask_decoder_of(source: TeacherSource, device: str) -> MaskDecoder:
    """Return what turns prompts into masks: kernels for the world, SAM's own decoder for SAM."""
    if source.source == "world":
        return decode_by_kernels
    from aquatint.models.published_teachers import load_mask_decoder

    return load_mask_decoder(source, device)
