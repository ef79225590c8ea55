"""Names and places of LeRobot data sets, versions 2.1 and 3.0."""

from __future__ import annotations

from typing import Literal

LeRobotLayout = Literal["v2.1", "v3.0"]
STATE, ACTION, IMAGES = "observation.state", "action", "observation.images."
INFO = "meta/info.json"
V21_EPISODES, V21_TASKS = "meta/episodes.jsonl", "meta/tasks.jsonl"
V21_STATS, V3_STATS = "meta/episodes_stats.jsonl", "meta/stats.json"
V3_TASKS, V3_EPISODES = "meta/tasks.parquet", "meta/episodes"
DATA_PATHS = {
    "v2.1": "data/chunk-{episode_chunk:03d}/episode_{episode_index:06d}.parquet",
    "v3.0": "data/chunk-{chunk_index:03d}/file-{file_index:03d}.parquet",
}
CHUNK_SIZE = 1000
