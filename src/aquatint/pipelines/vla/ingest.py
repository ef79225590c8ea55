"""Nodes that turn recordings into checked steps, scales and frozen features."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd

from aquatint.data.sources import RobotRecordings
from aquatint.features.cache import FeatureCache, FeatureStore
from aquatint.models.backbone import Backbone
from aquatint.params import RunParams
from aquatint.pipelines.vla.params import (
    AlignmentParams,
    ExportParams,
    FrameParams,
    IngestParams,
    NormaliserParams,
    SplitParams,
)
from aquatint.remote import local_path


def ingest_recordings(
    recordings: RobotRecordings, params: IngestParams, alignment: AlignmentParams
) -> tuple[pd.DataFrame, pd.DataFrame, pd.DataFrame]:
    """Read episodes of all formats; return steps on one clock, what was dropped, and rejects."""
    from aquatint.data.episode_tables import ReadingRules, read_episodes
    from aquatint.data.time_alignment import AlignmentRules

    reading = ReadingRules(
        params.mode, params.max_rejected_fraction, params.max_pixels, params.instruction_template
    )
    rules = AlignmentRules(**alignment.model_dump(exclude={"sensor_hz"}))
    return read_episodes(Path(recordings.root), reading, rules)


def split_recordings(
    steps: pd.DataFrame, alignment: pd.DataFrame, rejects: pd.DataFrame, params: SplitParams
) -> tuple[pd.DataFrame, dict[str, Any]]:
    """Put whole episodes into train, val and test, and report what came in."""
    from aquatint.data.episode_tables import report_episodes, split_episodes

    episodes = split_episodes(steps, params.val, params.test, params.seed)
    return episodes, report_episodes(episodes, alignment, rejects)


def export_lerobot(
    recordings: RobotRecordings,
    episodes: pd.DataFrame,
    alignment: AlignmentParams,
    params: ExportParams,
) -> Any:  # noqa: ANN401 - LeRobotExport, imported late
    """Write all episodes as one LeRobot data set."""
    from aquatint.training.vla_export import LeRobotExport

    fps = round(alignment.action_hz)
    return LeRobotExport(recordings.root, episodes, fps, params.layout, {"episodes": len(episodes)})


def cache_sensor_windows(
    recordings: RobotRecordings,
    episodes: pd.DataFrame,
    store: FeatureStore,
    alignment: AlignmentParams,
) -> FeatureCache:
    """Cut the window of the sensor before every step, once."""
    from aquatint.features.robot_frames import cache_windows

    root = Path(recordings.root)
    return cache_windows(store, episodes, root, alignment.sensor_window, alignment.sensor_hz)


def fit_normaliser(
    episodes: pd.DataFrame, windows: FeatureCache, params: NormaliserParams
) -> dict[str, Any]:
    """Fit scales of actions, states and sensor on the train split."""
    from aquatint.features.robot_scales import fit_scales

    return fit_scales(episodes, windows, params.action, params.num_sensor_windows, params.seed)


def encode_frames(
    recordings: RobotRecordings,
    episodes: pd.DataFrame,
    store: FeatureStore,
    backbone: Backbone,
    params: FrameParams,
    run: RunParams,
) -> FeatureCache:
    """Run the frozen vision tower once over every picture."""
    from aquatint.features.robot_frames import cache_frames
    from aquatint.training.launch import launch

    encoding = _encoding(params, run)
    arguments = (store, backbone, episodes, recordings.root, frame_style(params), encoding)
    return launch(cache_frames, arguments, run, local_path(store.root))


def encode_prompts(
    episodes: pd.DataFrame,
    frames: FeatureCache,
    store: FeatureStore,
    backbone: Backbone,
    params: FrameParams,
    run: RunParams,
) -> FeatureCache:
    """Run the frozen language model once over every picture with its instruction."""
    from aquatint.features.robot_frames import cache_prompts
    from aquatint.training.launch import launch

    arguments = (store, backbone, episodes, frames, frame_style(params), _encoding(params, run))
    return launch(cache_prompts, arguments, run, local_path(store.root))


def frame_style(params: FrameParams) -> Any:  # noqa: ANN401 - FrameStyle, whose module imports torch
    """What the policy sees, as the library takes it."""
    from aquatint.features.robot_frames import FrameStyle

    return FrameStyle(**params.model_dump(exclude={"batch_size", "dtype"}))


def _encoding(params: FrameParams, run: RunParams) -> Any:  # noqa: ANN401 - Encoding, imported late
    from aquatint.features.frozen import Encoding
    from aquatint.training.precision import prepare_device

    return Encoding(params.batch_size, params.dtype, str(prepare_device(run)))
