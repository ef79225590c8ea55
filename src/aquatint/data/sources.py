"""Light handles on raw data folders that the catalog hands out."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class GeoTextFolder:
    """A data set in GeoText-1652's own layout.

    Attributes:
        train_file: JSON list with one string caption a record.
        test_file: JSON list with a list of captions a record.
        image_root: Folder that the records' ``image`` paths are relative to.
    """

    train_file: str
    test_file: str
    image_root: str


@dataclass(frozen=True)
class RoboSenseFolder:
    """A challenge of RoboSense 2025, track 4: text queries and the images to rank for each.

    Attributes:
        query_file: One "q_00001<TAB>text" on each line.
        image_root: Flat folder with files named image_<hex digits>.jpeg.
    """

    query_file: str
    image_root: str


@dataclass(frozen=True)
class YoloExport:
    """A Roboflow export in YOLO's layout: data.yaml, images and label lines by split.

    Attributes:
        data_file: The export's data.yaml; paths of images are relative to its folder.
    """

    data_file: str

    @property
    def root(self) -> str:
        """Folder of the export."""
        return self.data_file.rpartition("/")[0]


@dataclass(frozen=True)
class DetectedPhotos:
    """Photographs with what a detector found in them.

    Attributes:
        image_root: Folder of the photographs; empty if there are none to predict on.
        detections_file: JSON list or Parquet table: image, object_type, confidence, box_xyxy_px.
        label_root: Folder of YOLO label files to compare with; empty for none.
    """

    image_root: str
    detections_file: str
    label_root: str


@dataclass(frozen=True)
class TrajectoryFolder:
    """Trajectories that follow instructions, in the layout of VLN-CE's.

    Attributes:
        root: Folder of the sets, ``traj_data`` as published; paths of frames are relative to it.
    """

    root: str


@dataclass(frozen=True)
class FlightRecordings:
    """Recordings in the layout of VLN-PE's.

    Attributes:
        root: Folder of the scan sets: train, val_seen, val_unseen.
        embeddings_file: Gzipped JSON with one vector for each word, in the order of the numbers.
    """

    root: str
    embeddings_file: str


@dataclass(frozen=True)
class PathRecordings:
    """Paths in the layout of NavDP's data.

    Attributes:
        root: Folder of the groups.
        index_file: Index of paths; only what it lists is read. Empty to read all that is there.
    """

    root: str
    index_file: str = ""


@dataclass(frozen=True)
class RobotRecordings:
    """Robot episodes in any of the raw formats that the readers know.

    Attributes:
        root: Folder with any number of data sets below it.
    """

    root: str


@dataclass(frozen=True)
class ConversationFiles:
    """Conversations about images in LLaVA's layouts.

    Attributes:
        files: JSON lists, JSON-lines files and Parquet tables with embedded images.
        image_root: Folder that image paths of the first two are relative to.
        truth_root: Folder of exact anchors by sha256 of the image; empty where nobody knows them.
    """

    files: tuple[str, ...]
    image_root: str
    truth_root: str = ""


@dataclass(frozen=True)
class ImageQuestions:
    """Images with questions that nobody has answered.

    Attributes:
        image_root: Folder of the images; empty if there are none.
        questions_file: JSON list or JSON lines of ``{"image": path, "question": text}``.
        truth_root: Folder of exact anchors by sha256 of the image; empty where nobody knows them.
    """

    image_root: str
    questions_file: str
    truth_root: str = ""
