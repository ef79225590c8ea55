"""The flow: its ends, and that the true velocity leads back to the sample."""

import pytest
import torch

from aquatint.models.flow_matching import FlowMatching

FLOW = FlowMatching(1000, 10)


def test_the_last_timestep_is_pure_noise_and_the_first_nearly_none():
    clean, noise = torch.randn(2, 2, 8, 3).unbind(0)
    mixed = FLOW.add_noise(clean, noise, torch.tensor([999, 0]))
    assert torch.allclose(mixed[0], noise[0])
    assert (mixed[1] - clean[1]).abs().max() < 0.01


def test_noise_is_added_as_the_scheduler_does():
    clean, noise = torch.randn(2, 4, 8, 3).unbind(0)
    timesteps = torch.tensor([999, 500, 3, 250])
    scheduler = FLOW.scheduler()
    expected = scheduler.scale_noise(clean, scheduler.timesteps[999 - timesteps], noise)
    assert torch.allclose(FLOW.add_noise(clean, noise, timesteps), expected, atol=1e-6)


def test_the_true_velocity_leads_back_to_the_sample():
    clean, noise = torch.randn(2, 3, 8, 3).unbind(0)
    asked = []

    def velocity(noisy, timesteps):
        asked.append(float(timesteps[0]))
        return FLOW.target(clean, noise)

    found = FLOW.sample(velocity, noise)
    assert torch.allclose(found, clean, atol=1e-5)
    assert asked[0] == pytest.approx(999), "begins where training sees pure noise"
    assert len(asked) == 10
