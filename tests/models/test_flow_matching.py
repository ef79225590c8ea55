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


@pytest.mark.parametrize("num_steps", [1, 10])
def test_true_clean_samples_lead_back_as_the_velocity_does(num_steps):
    flow = FlowMatching(1000, num_steps, prediction_type="sample")
    clean, noise = torch.randn(2, 3, 8, 3).unbind(0)
    assert torch.equal(flow.target(clean, noise), clean)
    found = flow.sample(lambda noisy, timesteps: clean, noise)
    assert torch.allclose(found, clean, atol=1e-5)


def test_a_clean_sample_and_its_velocity_are_the_same_step():
    """What a network says at one noise level moves the sample alike, said either way."""
    clean, noise = torch.randn(2, 3, 8, 3).unbind(0)
    by_sample = FlowMatching(1000, 10, prediction_type="sample")

    def say(noisy, timesteps):
        return clean + 0.1 * noisy  # depends on the noise, as a network does

    def velocity(noisy, timesteps):
        share = ((timesteps + 1) / 1000).reshape(-1, 1, 1)
        return (noisy - say(noisy, timesteps)) / share

    assert torch.allclose(by_sample.sample(say, noise), FLOW.sample(velocity, noise), atol=1e-5)
