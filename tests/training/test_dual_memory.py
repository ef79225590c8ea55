"""Dialogues are remembered once, their images are seen once, and ways are learned from them."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from aquatint.data.trajectory_targets import TargetRule
from aquatint.features.cache import FeatureStore
from aquatint.models.dual_system import remember
from aquatint.training.checkpoint import Checkpoint, CheckpointMismatchError
from aquatint.training.dual_memory import (
    MemoryStyle,
    cache_memories,
    compared_samples,
    remember_turns,
)
from aquatint.training.dual_stage import restore_dual
from aquatint.training.navigation_dialogues import DialogueWriter, FrameStyle
from aquatint.training.navigation_samples import NavigationData, NavigationDialogues
from aquatint.training.system2_stage import restore_system2
from aquatint.training.trajectory_samples import PictureStyle, TrajectorySamples, Ways, bundle

STYLE = FrameStyle(frame_edge_px=48, history_edge_px=24, min_pixels=576, max_pixels=9216)
RULE = TargetRule(8, 4.0, 1.0, 0.4, 1, 4, includes_goal=True)


@pytest.fixture(scope="module")
def pixels(navigation_data):
    chosen = navigation_data.samples[navigation_data.samples["kind"] == "pixel"]
    return NavigationData(navigation_data.root, navigation_data.frames, chosen)


@pytest.fixture
def data(pixels, navigation_backbone, run_params, tmp_path):
    tuned = {"tuned": ["mlp"], "style": STYLE.__dict__, "num_history": 3}
    model = restore_system2(navigation_backbone, None, run_params)
    weights = {name: value for name, value in model.named_parameters() if "merger" in name}
    system2 = Checkpoint(weights, tuned)
    cached = cache_memories(
        FeatureStore(str(tmp_path), 1.0), pixels, navigation_backbone, system2,
        MemoryStyle(288, "float32", 4), run_params,
    )  # fmt: skip
    return bundle(pixels.root, pixels.frames, pixels.samples, *cached, navigation_backbone,
                  RULE, PictureStyle(16, 60.0, 1000))  # fmt: skip


def test_an_image_that_several_dialogues_show_is_seen_once(pixels, navigation_backbone, run_params):
    model = restore_system2(navigation_backbone, None, run_params)
    writer = DialogueWriter(navigation_backbone, STYLE)
    train = pixels.of_split("train")
    same_flight = train.samples.sort_values("frame").groupby("flight_id").tail(2)
    dialogues = NavigationDialogues(
        NavigationData(train.root, train.frames, same_flight.sort_values("flight_id").head(6)),
        writer, 3, 0,
    )  # fmt: skip
    turns = [dialogues.turns(i, has_answers=True) for i in range(len(dialogues))]
    whole = writer.write(turns)
    shown, which = writer.distinct_images(turns)
    assert len(shown["patches"]) < len(whole["patches"])
    assert torch.equal(shown["grids"][which], whole["grids"])
    once, each = remember_turns(model, writer, turns), remember(model, whole)
    for found, expected in zip(once, each, strict=True):
        assert torch.allclose(found, expected, atol=1e-5)


def test_a_step_shows_the_goals_frame_and_others_drawn_anew(data):
    samples = TrajectorySamples(data, "train", True, 20, 0, num_frames=2)
    ways = Ways(data.samples, "train", RULE, on_the_way=True)
    first = [samples.frames_of(i) for i in range(len(samples))]
    samples.begin_epoch(1)
    second = [samples.frames_of(i) for i in range(len(samples))]
    assert first != second
    samples.begin_epoch(0)
    assert first == [samples.frames_of(i) for i in range(len(samples))]
    for position, frames in enumerate(second):
        every, row = ways.frames_of(position), ways.rows[position]
        assert len(frames) == 2
        assert frames[0] == every[0] == row["frame"]
        assert every[-1] == row["frame"] + row["goal_offset"]
        assert set(frames) <= set(every)
        assert not np.any(ways.actions_of(position, every[-1])), "no way is left"
    batch = samples.batch(torch.arange(3))
    assert batch["pictures"].shape[:3] == (3, 2, 2)
    assert batch["is_target"].all()


def test_drift_is_measured_on_the_samples_that_are_remembered_for_it(data):
    kept = compared_samples(data.samples.samples, 1)
    looked_at = TrajectorySamples(data, "test", False, 1, 0, most=4)
    assert kept["sample_id"].to_list() == [row["sample_id"] for row in looked_at.rows]
    assert len(kept) <= 4


def test_a_sample_that_is_not_remembered_is_an_error(data):
    without = replace(data, keys=data.keys.assign(key="0" * 64))
    with pytest.raises(ValueError, match="not in the feature cache"):
        TrajectorySamples(without, "train", False, 1, 0)


def test_a_system_1_of_an_earlier_version_is_refused(navigation_backbone, run_params):
    """Its tensors would fit, and mean something else."""
    earlier = Checkpoint({}, {"backend": "nextdit", "system2": ""})
    with pytest.raises(CheckpointMismatchError, match="version 2, got 1"):
        restore_dual(navigation_backbone, Checkpoint({}, {}), earlier, run_params)
