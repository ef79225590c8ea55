"""Tiny flights to pads in the published layout, their samples, and a random Qwen2.5-VL."""

import pytest

FRAME_PX = 48


def write_navigation_backbone(folder):
    from aquatint.data.navigation_prompts import example_texts
    from aquatint.models.architectures import require_architecture
    from aquatint.models.pocket import qwen_config, random_qwen, train_tokenizer

    kind = require_architecture("qwen2_5_vl")
    tokenizer = train_tokenizer(4 * example_texts(), 480, kind)
    config = qwen_config(
        kind, width=32, num_blocks=2, image_size_px=FRAME_PX, patch_size_px=12,
        tokenizer=tokenizer, rope_theta=5.0,
    )  # fmt: skip
    model = random_qwen(kind, config, seed=0)
    for parameter in model.parameters():
        if parameter.ndim == 2:
            # At the usual scale every block is nearly the identity.
            parameter.data *= 4
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


@pytest.fixture(scope="session")
def navigation_backbone(tmp_path_factory):
    from aquatint.models.backbone import Backbone, folder_digest

    folder = write_navigation_backbone(tmp_path_factory.mktemp("navigation_backbone"))
    return Backbone(str(folder), folder_digest(folder), "pocket")


@pytest.fixture(scope="session")
def pad_world(tmp_path_factory):
    """Folder and specification of a world with four pad towns."""
    from aquatint.world.town import TownWorldSpec, write_town

    spec = TownWorldSpec(4, 2, FRAME_PX, seed=0, landmarks="pads")
    folder = tmp_path_factory.mktemp("pads") / "world"
    write_town(folder, spec, num_processes=1)
    return folder, spec


@pytest.fixture(scope="session")
def navigation_data(pad_world):
    """Samples of all kinds over all splits."""
    from aquatint.data.goal_tables import DepthCamera
    from aquatint.data.navigation_samples import SampleRule, draw_samples
    from aquatint.data.navigation_sets import label_sets, parse_sets, read_sets
    from aquatint.data.pixel_goals import GoalRule
    from aquatint.data.trajectories import ReadRule
    from aquatint.training.navigation_samples import NavigationData

    folder, spec = pad_world
    root = folder / "traj_data"
    chosen = parse_sets([spec.token], [spec.token])
    flights, frames, _ = read_sets(root, chosen, ReadRule("strict", 0.0, "opencv", True))
    camera = DepthCamera(79.0, 1000)
    goals = label_sets(root, chosen, flights, frames, camera, GoalRule(0.8, 3, 60.0, 10.0, 2.5))
    rule = SampleRule(4, 3, 4, 3, 2)
    samples, _ = draw_samples(flights, frames, goals, chosen, rule, (0.25, 0.25), 0)
    return NavigationData(str(root), frames, samples)
