"""Where a teacher of anchors is: a name that a catalog gives, before anything is loaded."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, Literal

# Of the exact teachers: raise it when they say something else of the same image.
WORLD_VERSION = 1


@dataclass(frozen=True)
class TeacherSource:
    """Where a teacher is; cheap to copy, loaded where it is needed.

    Attributes:
        name: Anchor.
        source: ``world`` (exact, for images of the embedded world), or ``folder`` with weights,
            also of a hub after its download.
        folder: Folder, or for pidinet the file, of published weights; empty for ``world``.
        digest: sha256 of the weights; empty for ``world``.
        image_px: Edge that images are resized to before the teacher sees them; 0 for its own.
    """

    name: str
    source: Literal["world", "folder"]
    folder: str = ""
    digest: str = ""
    image_px: int = 0

    @property
    def recipe(self) -> dict[str, Any]:
        """What its outputs depend on besides the image; part of a cache's address."""
        values = {key: value for key, value in asdict(self).items() if key != "folder"}
        return {**values, "version": WORLD_VERSION}
