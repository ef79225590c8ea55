"""Targets of anchors, computed once for each image by its content, and their costs."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch

from aquatint.features.cache import FeatureCache, FeatureReader, FeatureStore, build_cache
from aquatint.features.conversation_images import ConversationImages, resize
from aquatint.models.anchor_heads import AnchorShape, shapes_from
from aquatint.models.teacher_source import TeacherSource
from aquatint.models.teachers import Teacher, build_teacher

_SHARD = 128


@dataclass(frozen=True)
class AnchorTargets:
    """Where the targets of all anchors lie; cheap to copy.

    Attributes:
        targets: Cache of targets by anchor.
        contexts: Cache of what heads look into, by anchor; only of those that do.
        shapes: Arguments of ``AnchorShape`` by anchor.
        costs: Seconds, bytes and parameters by anchor, as measured when they were computed.
        teachers: Teachers by anchor.
    """

    targets: dict[str, FeatureCache]
    contexts: dict[str, FeatureCache]
    shapes: dict[str, dict[str, Any]]
    costs: dict[str, dict[str, Any]]
    teachers: dict[str, TeacherSource]

    def shape_of(self, names: Sequence[str]) -> dict[str, AnchorShape]:
        """Shapes of some anchors.

        Raises:
            ValueError: If an anchor has no targets.
        """
        missing = sorted(set(names) - set(self.shapes))
        if missing:
            raise ValueError(
                f"There are no targets of {', '.join(missing)}; there are those of "
                f"{', '.join(self.shapes)}. Run --tags=features with covt.visual_models naming all."
            )
        return {name: shape for name, shape in shapes_from(self.shapes).items() if name in names}

    @property
    def digest(self) -> dict[str, str]:
        """Address of each cache of targets: what they are made from."""
        return {name: cache.digest for name, cache in self.targets.items()}


class AnchorReader:
    """Targets and contexts of images as tensors.

    Args:
        anchors: Where they lie.
        names: Which anchors.
    """

    def __init__(self, anchors: AnchorTargets, names: Sequence[str]) -> None:
        self._shapes = anchors.shape_of(names)
        self._targets = {name: anchors.targets[name].open() for name in names}
        self._contexts = {
            name: anchors.contexts[name].open() for name in names if name in anchors.contexts
        }

    def read(self, name: str, keys: Sequence[str]) -> tuple[torch.Tensor, torch.Tensor]:
        """Return targets and contexts of images, one row each; contexts may be empty (B, 0).

        Masks are bool (B, 8, M, M), empty ones behind; all else is float32.
        """
        shape = self._shapes[name]
        target = _rows(self._targets[name], keys)
        if name == "sam":
            masks = np.unpackbits(target, axis=-1).reshape(len(keys), *shape.target).astype(bool)
            found = torch.from_numpy(masks)
        else:
            found = torch.from_numpy(target.astype(np.float32))
        if name not in self._contexts:
            return found, torch.zeros(len(keys), 0)
        return found, torch.from_numpy(_rows(self._contexts[name], keys).astype(np.float32))


def _rows(reader: FeatureReader, keys: Sequence[str]) -> np.ndarray:
    return reader.read(reader.places(list(keys)))


def cache_anchors(
    store: FeatureStore,
    images: ConversationImages,
    sources: Mapping[str, TeacherSource],
    truth_root: str,
    device: str = "cpu",
) -> AnchorTargets:
    """Run every teacher once over every image that it has not seen yet.

    Args:
        store: Where caches lie and how large one may grow.
        images: The images.
        sources: Teachers by anchor.
        truth_root: Folder of exact anchors, for teachers of the world.
        device: Where published teachers compute; the training may be elsewhere.
    """
    found = AnchorTargets({}, {}, {}, {}, dict(sources))
    for name, source in sources.items():
        started, memory = time.monotonic(), _allocated(device)
        teacher = build_teacher(source, truth_root, device)
        work = _Work(teacher, images, source.image_px)
        for part, caches in (("target", found.targets), ("context", found.contexts)):
            if part == "context" and not teacher.shape.context:
                continue
            recipe = {"kind": f"anchor_{part}", **source.recipe}
            caches[name] = build_cache(
                store, recipe, images.keys, work.part(part), shard_size=_SHARD,
                description=f"{name} {part}s",
            )  # fmt: skip
        shape = asdict(teacher.shape)
        found.shapes[name] = {key: _listed(value) for key, value in shape.items()}
        found.costs[name] = {
            "num_parameters": teacher.num_parameters,
            "num_computed": work.num_images,
            "seconds_per_image": work.seconds / work.num_images if work.num_images else None,
            "bytes_per_image": work.num_bytes // work.num_images if work.num_images else None,
            "seconds": time.monotonic() - started,
            "gpu_megabytes": _allocated(device) - memory,
        }
    return found


def _listed(value: object) -> object:
    return list(value) if isinstance(value, tuple) else value


class _Work:
    """Runs a teacher once for both of its caches, and measures."""

    def __init__(self, teacher: Teacher, images: ConversationImages, image_px: int) -> None:
        self._teacher, self._images, self._image_px = teacher, images, image_px
        self._kept: dict[tuple[int, ...], dict[str, np.ndarray]] = {}
        self.seconds, self.num_images, self.num_bytes = 0.0, 0, 0

    def part(self, name: str) -> Any:  # noqa: ANN401 - what build_cache calls
        def compute(positions: Sequence[int]) -> np.ndarray:
            return self._encode(tuple(positions))[name]

        return compute

    def _encode(self, positions: tuple[int, ...]) -> dict[str, np.ndarray]:
        if positions in self._kept:
            return self._kept.pop(positions)
        started = time.monotonic()
        images = self._images.load(positions)
        if self._image_px:
            images = [resize(image, self._image_px) for image in images]
        found = self._teacher.encode(images, [self._images.keys[i] for i in positions])
        self.seconds += time.monotonic() - started
        self.num_images += len(positions)
        self.num_bytes += sum(values.nbytes for values in found.values())
        # Bounded: what a large data set would need in between is computed a second time.
        if "context" in found and len(self._kept) < 64:
            self._kept[positions] = found
        return found


def _allocated(device: str) -> float:
    """Megabytes on the GPU; 0 without one."""
    return torch.cuda.memory_allocated() / 1e6 if device.startswith("cuda") else 0.0
