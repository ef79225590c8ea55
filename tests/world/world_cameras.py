"""Cameras drawn at random, as the embedded data set draws them."""

import numpy as np

from aquatint.world.render import Camera


def sample_camera(seed):
    rng = np.random.default_rng(seed)
    return Camera(
        altitude_m=rng.uniform(80, 110),
        pitch_deg=rng.uniform(0, 30),
        yaw_deg=rng.uniform(0, 360),
        x_m=rng.uniform(-15, 15),
        y_m=rng.uniform(-15, 15),
    )
