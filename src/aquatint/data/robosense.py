"""Queries, images and submission of the RoboSense 2025 challenge, track 4 (drone retrieval)."""

import re
from collections.abc import Collection, Sequence
from pathlib import Path

import pandas as pd

QUERY_ID = re.compile(r"q_(\d+)")
IMAGE_NAME = re.compile(r"image_[0-9a-f]+\.jpeg")
NUM_RANKED = 10
NUM_FIELDS = NUM_RANKED + 1


def read_queries(path: Path) -> pd.DataFrame:
    """Return the text queries of a file, in its order.

    Args:
        path: UTF-8 text, one "q_00001<TAB>text" on each line.

    Returns:
        query_id, text.

    Raises:
        ValueError: With the line number, counted from 1, if a line breaks the format, repeats an
            id or has no text; or if there is no query.
    """
    queries: dict[str, str] = {}
    for number, line in enumerate(path.read_text(encoding="utf-8-sig").splitlines(), start=1):
        query_id, separator, text = line.partition("\t")
        if not separator or QUERY_ID.fullmatch(query_id) is None:
            raise ValueError(f"{path}, line {number} must be q_<digits><TAB>text, got {line!r}.")
        if query_id in queries:
            raise ValueError(f"{path}, line {number} must not repeat a query, got {query_id}.")
        if not text.strip():
            raise ValueError(f"{path}, line {number}: query {query_id} must not be empty.")
        queries[query_id] = text.strip()
    if not queries:
        raise ValueError(f"{path} holds no queries.")
    return pd.DataFrame({"query_id": list(queries), "text": list(queries.values())}, dtype="str")


def list_images(folder: Path) -> pd.DataFrame:
    """Return the images of the flat folder to retrieve from.

    Args:
        folder: Folder with files named image_<hex digits>.jpeg; hidden files are left out.

    Returns:
        image_id (the name without extension) and path (relative to ``folder``), sorted.

    Raises:
        FileNotFoundError: If the folder does not exist.
        ValueError: If another file lies in it, or none.
    """
    if not folder.is_dir():
        raise FileNotFoundError(f"{folder} does not exist; it must hold the gallery images.")
    names = sorted(path.name for path in folder.iterdir() if not path.name.startswith("."))
    foreign = [name for name in names if IMAGE_NAME.fullmatch(name) is None]
    if foreign:
        raise ValueError(
            f"every file in {folder} must be named image_<hex>.jpeg; {len(foreign)} are not, "
            f"the first: {foreign[0]!r}."
        )
    if not names:
        raise ValueError(f"{folder} holds no images.")
    return pd.DataFrame(
        {"image_id": [Path(name).stem for name in names], "path": names}, dtype="str"
    )


def format_submission(query_ids: Sequence[str], ranked_image_ids: Sequence[Sequence[str]]) -> str:
    """Return the text of a submission file.

    Args:
        query_ids: Queries in the order of their file, such as "q_00001".
        ranked_image_ids: The ten images of each query without extension, best first.

    Returns:
        One line for each query: "q1" and ten image ids, separated by single spaces.

    Raises:
        ValueError: If a query does not have ten different images.
    """
    lines = []
    for query_id, ranked in zip(query_ids, ranked_image_ids, strict=True):
        if len(ranked) != NUM_RANKED or len(set(ranked)) != NUM_RANKED:
            raise ValueError(
                f"{query_id} needs {NUM_RANKED} different images, got {len(ranked)} of which "
                f"{len(set(ranked))} differ."
            )
        lines.append(" ".join((_submitted_id(query_id), *ranked)))
    return "".join(f"{line}\n" for line in lines)


def validate_submission(text: str, query_ids: Sequence[str], image_ids: Collection[str]) -> None:
    """Check a submission against its queries and images.

    Args:
        text: Content of the submission file.
        query_ids: Queries in the order of their file, such as "q_00001".
        image_ids: All images that may be named, without extension.

    Raises:
        ValueError: With the line number, counted from 1, and the rule that is broken.
    """
    known = set(image_ids)
    lines = text.splitlines()
    for number, (line, query_id) in enumerate(zip(lines, query_ids, strict=False), start=1):
        fields = line.split(" ")
        if len(fields) != NUM_FIELDS:
            raise ValueError(
                f"line {number} must have {NUM_FIELDS} fields separated by single spaces, got "
                f"{len(fields)}."
            )
        if fields[0] != _submitted_id(query_id):
            raise ValueError(
                f"line {number} must answer {_submitted_id(query_id)}, in the order of the "
                f"queries, got {fields[0]!r}."
            )
        unknown = [image_id for image_id in fields[1:] if image_id not in known]
        if unknown:
            raise ValueError(
                f"line {number} must name images of the gallery without extension, got "
                f"{unknown[0]!r}."
            )
        if len(set(fields[1:])) != NUM_RANKED:
            raise ValueError(f"line {number} must not name an image twice.")
    if len(lines) != len(query_ids):
        raise ValueError(
            f"line {min(len(lines), len(query_ids)) + 1}: there must be one line for each of "
            f"{len(query_ids)} queries, got {len(lines)} lines."
        )


def _submitted_id(query_id: str) -> str:
    found = QUERY_ID.fullmatch(query_id)
    if found is None:
        raise ValueError(f"a query id must be q_<digits>, got {query_id!r}.")
    return f"q{int(found[1])}"
