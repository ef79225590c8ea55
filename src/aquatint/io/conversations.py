"""Conversations about images, questions without answers, teachers and targets of anchors."""

from __future__ import annotations

import hashlib
import json
import logging
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kedro.io.core import AbstractDataset, DatasetError

from aquatint.data.sources import ConversationFiles, ImageQuestions
from aquatint.features.cache import FeatureCache
from aquatint.io.artefact import ArtefactDataset
from aquatint.io.folders import FolderDataset, folder_state
from aquatint.io.world import world_folder, write_once
from aquatint.models.teacher_source import TeacherSource
from aquatint.storage import file_digest, publish_file

if TYPE_CHECKING:
    from aquatint.features.anchors import AnchorTargets

logger = logging.getLogger(__name__)

ANCHORS = ("sam", "depth", "dino", "pidinet", "metaclip", "siglip")


class ConversationsDataset(FolderDataset):
    """A user's own conversations in LLaVA's layout: the source's DATA_PATH and IMAGE_FOLDER.

    Args:
        data_path: ``.json``, ``.jsonl`` or ``.parquet`` file, or several with commas between.
        image_folder: Folder that image paths are relative to.
        metadata: Kedro-Viz layer and other notes; not used here.
    """

    def __init__(
        self, *, data_path: str, image_folder: str, metadata: dict[str, Any] | None = None
    ) -> None:
        super().__init__(filepath=image_folder, metadata=metadata)
        self._files = tuple(path.strip() for path in data_path.split(",") if path.strip())

    def load(self) -> ConversationFiles:
        """Hand out the files after a look at them.

        Raises:
            DatasetError: If a file or the image folder is missing.
        """
        missing = [path for path in (*self._files, str(self.folder)) if not Path(path).exists()]
        if missing or not self._files:
            raise DatasetError(
                f"covt.data_path and covt.image_folder name what is not there: "
                f"{', '.join(missing) or 'no file'}. Give --params=covt.data_path=/path/data.json,"
                "covt.image_folder=/path/images (docs/recipes/covt.md)."
            )
        return ConversationFiles(self._files, str(self.folder))

    @property
    def content_digest(self) -> str:
        """Digest of the files' content and of names, sizes and times of the images."""
        total = hashlib.sha256()
        for path in self._files:
            total.update(file_digest(Path(path)).encode() if Path(path).is_file() else b"missing")
        return hashlib.sha256(
            f"{total.hexdigest()}{folder_state(self.folder, (), '.')}".encode()
        ).hexdigest()


def _world_folder(filepath: str, world: dict[str, Any]) -> tuple[str, Any]:
    """Folder of a world and its specification."""
    from aquatint.world.visual_records import FORMAT_VERSION, VisualWorldSpec

    spec = VisualWorldSpec(**world)
    return world_folder(filepath, spec, FORMAT_VERSION), spec


def _ensure_world(folder: Path, spec: Any) -> None:  # noqa: ANN401 - imported late
    from aquatint.world.visual_records import is_complete, write_visual_world

    write_once(folder, spec, is_complete, write_visual_world)


class VisualWorldDataset(FolderDataset):
    """Conversations about rendered scenes that write themselves once, on first load.

    Args:
        filepath: Folder below which the world is written.
        world: Arguments of ``aquatint.world.visual_records.VisualWorldSpec``.
        data_path: A user's own file or files, which then take the world's place.
        image_folder: Folder of their images.
        metadata: Kedro-Viz layer and other notes; not used here.
    """

    def __init__(
        self,
        *,
        filepath: str,
        world: dict[str, Any],
        data_path: str = "",
        image_folder: str = "",
        metadata: dict[str, Any] | None = None,
    ) -> None:
        folder, self._spec = _world_folder(filepath, world)
        super().__init__(filepath=folder, metadata=metadata)
        self._own = (
            ConversationsDataset(data_path=data_path, image_folder=image_folder)
            if data_path or image_folder
            else None
        )

    def load(self) -> ConversationFiles:
        """Render the world unless it is there, then hand out its files."""
        if self._own is not None:
            return self._own.load()
        from aquatint.world.visual_records import JSON_FILE, LINES_FILE, PARQUET_FILE

        _ensure_world(self.folder, self._spec)
        files = tuple(str(self.folder / name) for name in (JSON_FILE, LINES_FILE, PARQUET_FILE))
        return ConversationFiles(files, str(self.folder / "images"), str(self.folder / "truth"))

    @property
    def content_digest(self) -> str:
        """The specification stands for what it writes."""
        return self.folder.name if self._own is None else self._own.content_digest

    def _exists(self) -> bool:
        return True


class VisualWorldQuestionsDataset(VisualWorldDataset):
    """The world's images with questions that nobody has answered."""

    def load(self) -> ImageQuestions:  # type: ignore[override]
        """Render the world unless it is there, then hand out its new images."""
        from aquatint.world.visual_records import QUESTIONS_FILE

        _ensure_world(self.folder, self._spec)
        new = self.folder / "new"
        return ImageQuestions(str(new / "images"), str(new / QUESTIONS_FILE))


class ImageQuestionsDataset(FolderDataset):
    """A user's own images with questions.

    Args:
        filepath: Folder with ``images/`` and the file of questions.
        questions_file: JSON list or JSON lines of ``{"image": path, "question": text}``.
        metadata: Kedro-Viz layer and other notes; not used here.
    """

    def __init__(
        self,
        *,
        filepath: str,
        questions_file: str = "questions.json",
        metadata: dict[str, Any] | None = None,
    ) -> None:
        super().__init__(filepath=filepath, metadata=metadata)
        self._questions = questions_file

    def load(self) -> ImageQuestions:
        """Hand out the folder after a look at its files.

        Raises:
            DatasetError: If the images or the questions are missing.
        """
        images, questions = self.folder / "images", self.folder / self._questions
        missing = [str(path) for path in (images, questions) if not path.exists()]
        if missing:
            raise DatasetError(
                f"Prediction needs {images} and {questions}; missing: {', '.join(missing)}. Point "
                "covt_predict.answers.raw at your folder (docs/recipes/covt.md)."
            )
        return ImageQuestions(str(images), str(questions))

    @property
    def content_digest(self) -> str:
        """Digest of the questions' content and of names, sizes and times of the images."""
        return folder_state(self.folder, (self._questions,), "images")


class TeachersDataset(AbstractDataset[Any, dict[str, TeacherSource]]):
    """The frozen vision models behind the anchors, as light handles.

    Args:
        teachers: By anchor: ``{source: world}``, ``{source: folder, filepath: ...}``, or
            ``{source: hub, repo_id: ..., revision: ...}``; each may have an ``image_px``.
        metadata: Kedro-Viz layer and other notes; not used here.
    """

    def __init__(
        self, *, teachers: dict[str, dict[str, Any]], metadata: dict[str, Any] | None = None
    ) -> None:
        unknown = sorted(set(teachers) - set(ANCHORS))
        if unknown:
            raise DatasetError(
                f"Teachers must be of {', '.join(ANCHORS)}, got {', '.join(unknown)}."
            )
        self._teachers = teachers
        self.metadata = metadata

    def load(self) -> dict[str, TeacherSource]:
        """Find or download each teacher's folder and hand out handles.

        Raises:
            DatasetError: If a folder is missing or a hub cannot be reached.
        """
        return {name: find_teacher(name, entry) for name, entry in self._teachers.items()}

    def save(self, data: Any) -> None:  # noqa: ANN401 - Kedro's signature
        """Refuse: teachers are an input.

        Raises:
            DatasetError: Always.
        """
        raise DatasetError("Teachers are an input; no node saves them.")

    @property
    def content_digest(self) -> str:
        """What targets depend on: where each teacher comes from."""
        return hashlib.sha256(json.dumps(self._teachers, sort_keys=True).encode()).hexdigest()

    def _exists(self) -> bool:
        return True

    def _describe(self) -> dict[str, Any]:
        return {"teachers": self._teachers}


def find_teacher(name: str, entry: dict[str, Any]) -> TeacherSource:
    """Return a handle on a frozen vision model, after a download where it lies on a hub.

    Args:
        name: Anchor whose kind of model it is.
        entry: ``source`` and what it needs, as in ``TeachersDataset``.

    Raises:
        DatasetError: If the source is unknown, or its folder missing.
    """
    from aquatint.io.backbones import download_folder
    from aquatint.models.backbone import folder_digest

    image_px = int(entry.get("image_px", 0))
    match entry.get("source"):
        case "world":
            return TeacherSource(name, "world", image_px=image_px)
        case "hub":
            folder = download_folder(entry["repo_id"], entry["revision"])
        case "folder":
            folder = Path(entry["filepath"])
        case other:
            raise DatasetError(f"source of {name} must be world, folder or hub, got {other!r}.")
    if not folder.exists():
        raise DatasetError(
            f"The {name} teacher needs {folder}, which is missing. Point its catalog entry at "
            "its folder (docs/recipes/covt.md)."
        )
    digest = file_digest(folder) if folder.is_file() else folder_digest(folder)
    return TeacherSource(name, "folder", str(folder), digest, image_px)


class AnchorTargetsDataset(ArtefactDataset[Any]):
    """Which caches below a feature store hold the targets of anchors, with their costs."""

    def _read(self, path: Path) -> AnchorTargets:
        from aquatint.features.anchors import AnchorTargets

        content = json.loads(path.read_text())
        caches = {
            part: {name: FeatureCache(**value) for name, value in content[part].items()}
            for part in ("targets", "contexts")
        }
        teachers = {name: TeacherSource(**value) for name, value in content["teachers"].items()}
        return AnchorTargets(
            **caches, shapes=content["shapes"], costs=content["costs"], teachers=teachers
        )

    def _write(self, path: Path, data: AnchorTargets) -> None:
        publish_file(path, json.dumps(asdict(data), indent=1).encode())
