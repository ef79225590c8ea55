import numpy as np
import pandas as pd

from aquatint.features.flights import depth_grid, frame_keys, resized


def test_a_field_holds_its_nearest_and_its_mean_distance():
    depth = np.full((1, 4, 4), 30.0)
    depth[0, 0, 0] = 6.0
    depth[0, 3, 3] = 0.0  # not measured
    depth[0, 2, 0] = 100.0
    grid = depth_grid(depth, 2, 60.0)
    assert grid.shape == (1, 4, 2)
    assert np.allclose(grid[0, 0], [0.1, (0.1 + 3 * 0.5) / 4])
    assert np.allclose(grid[0, 2], [0.5, (1 + 3 * 0.5) / 4])
    assert np.allclose(grid[0, 3], [0.5, (1 + 3 * 0.5) / 4])


def test_pictures_of_another_size_are_resized():
    pixels = np.random.default_rng(0).integers(0, 255, (2, 8, 10, 3), dtype=np.uint8)
    assert resized(pixels, 4).shape == (2, 4, 4, 3)
    square = pixels[:, :, :8]
    assert resized(square, 8) is square


def test_keys_follow_content_and_step():
    records = pd.DataFrame({"flight_id": ["a", "b"], "sha256": ["x", "y"], "num_steps": [2, 1]})
    keys = frame_keys(records)
    assert keys[["flight_id", "step"]].to_numpy().tolist() == [["a", 0], ["a", 1], ["b", 0]]
    assert keys["key"].nunique() == 3
    again = frame_keys(records.assign(sha256=["x", "z"]))
    assert (keys["key"] == again["key"]).tolist() == [True, True, False]
