"""Parts of vision-language-action policies: shapes, published sizes, every input counts."""

import numpy as np
import pytest
import torch

from aquatint.models.action_expert import (
    DiffusionExpert,
    PrefixBlock,
    RegressionExpert,
    sinusoidal_code,
)
from aquatint.models.diffusion import Diffusion
from aquatint.models.fusion import Condition, Fusion
from aquatint.models.sensor_encoder import SensorEncoder, StateEncoder, fill_missing, resample
from aquatint.models.vla_policy import VlaPolicy

B, T, D, S, W = 3, 5, 8, 6, 16


def count(module):
    return sum(parameter.numel() for parameter in module.parameters())


def small_sensor(**options):
    sizes = {"num_channels": 10, "temporal_length": 16, "channels": (8, 8), "num_heads": 2,
             "feedforward_width": 16, "num_blocks": 1, "out_width": S, "dropout": 0.0}  # fmt: skip
    return {**sizes, **options}


def small_policy(kind="regression", strategy="cross_attention", **options):
    hears = strategy != "none"
    policy = {
        "kind": kind,
        "vl_width": D,
        "sensor": small_sensor() if hears else None,
        "state": {"num_values": 4, "widths": (8,), "num_heads": 2, "num_blocks": 0, "dropout": 0.0},
        "fusion": {"strategy": strategy, "num_heads": 2, "places": [T, 2]},
        "expert": {"width": W, "horizon": 4, "action_width": 7, "num_blocks": 2, "num_heads": 2,
                   "feedforward_width": 16, "dropout": 0.0},
        "diffusion": {"num_train_timesteps": 20} if kind == "diffusion" else None,
    }  # fmt: skip
    torch.manual_seed(0)
    return VlaPolicy(**{**policy, **options}).eval()


def small_batch(has_sensor=(True, False, True)):
    generator = torch.Generator().manual_seed(1)

    def noise(*shape):
        return torch.randn(*shape, generator=generator)

    has = torch.tensor(has_sensor)
    is_pad = torch.zeros(B, T, dtype=torch.bool)
    is_pad[0, 3:] = True
    return {
        "tokens": noise(B, T, D), "token_is_pad": is_pad, "has_sensor": has,
        "windows": noise(int(has.sum()), 16, 10), "states": noise(B, 1, 4),
        "prior": noise(B, 4, 7), "start_noise": noise(B, 4, 7),
    }  # fmt: skip


@pytest.mark.parametrize("length", [325, 650, 1300, 65])
def test_the_published_sensor_encoder_takes_windows_of_any_length(length):
    encoder = SensorEncoder(feedforward_width=64, channels=(16, 16, 16, 16)).eval()
    with torch.inference_mode():
        assert encoder(torch.randn(2, length, 1026)).shape == (2, 3072)
    assert encoder(torch.randn(0, length, 1026)).shape == (0, 3072), "no window at all"


def test_published_sizes_have_the_published_numbers_of_parameters():
    with torch.device("meta"):
        assert round(count(SensorEncoder()) / 1e6, 2) == 47.24
        # Without the fusion, and for diffusion with positions and a wider feed-forward of time.
        assert count(RegressionExpert()) / 1e6 == pytest.approx(72.4, rel=0.1)
        assert count(DiffusionExpert()) / 1e6 == pytest.approx(57.9, rel=0.1)


def test_650_moments_become_41_steps():
    encoder = SensorEncoder(channels=(8, 8, 8, 8), num_heads=2, out_width=8)
    assert encoder.convolutions(torch.randn(1, 1026, 650)).shape[2] == 41
    assert encoder.convolutions(torch.randn(1, 1026, 65)).shape[2] == 5


@pytest.mark.parametrize("interpolation", ["linear", "nearest", "cubic"])
def test_resampling_keeps_a_line_and_its_ends(interpolation):
    line = torch.linspace(0, 1, 20)[None, :, None].expand(1, 20, 3)
    found = resample(line, 50, interpolation)
    assert found.shape == (1, 50, 3)
    assert found[0, 0, 0] == pytest.approx(0, abs=0.03)
    assert found[0, -1, 0] == pytest.approx(1, abs=0.03)
    assert (found[0, 1:, 0] >= found[0, :-1, 0] - 1e-6).all()
    assert resample(line, 20, interpolation) is line


def test_checkpointing_of_the_sensor_encoder_changes_no_gradient():
    gradients = []
    for has_checkpointing in (False, True):
        torch.manual_seed(0)
        encoder = SensorEncoder(**small_sensor(), has_checkpointing=has_checkpointing).train()
        encoder(torch.ones(2, 16, 10)).square().sum().backward()
        gradients.append(torch.cat([p.grad.flatten() for p in encoder.parameters()]))
    assert torch.equal(*gradients)


def test_missing_sensors_get_the_token_and_leave_others_alone():
    encoded = torch.arange(4.0).reshape(2, 2)
    token = torch.tensor([9.0, 9.0])
    found = fill_missing(encoded, torch.tensor([True, False, True]), token)
    assert found.tolist() == [[0, 1], [9, 9], [2, 3]]


def test_statistics_of_a_batch_do_not_leak_between_samples():
    """A window next to silent ones is encoded as it would be alone."""
    encoder = SensorEncoder(**small_sensor()).train()
    windows = torch.randn(2, 16, 10)
    alone = encoder(windows[:1])
    beside = encoder(torch.cat([windows[:1], torch.zeros(1, 16, 10)]))[:1]
    assert torch.allclose(alone, beside, atol=1e-5)


@pytest.mark.parametrize("strategy", ["concat", "cross_attention", "gated"])
@pytest.mark.parametrize("kind", ["regression", "diffusion"])
def test_every_input_changes_the_actions(strategy, kind):
    policy = small_policy(kind, strategy)
    batch = small_batch()
    shift = torch.Generator().manual_seed(5)

    def answer(batch):
        # Before it is sampled: an untrained diffusion clips every sample to -1 or 1.
        if kind == "regression":
            return policy.act(batch)
        condition = policy.condition(batch)
        return policy.action_expert.expert(condition, batch["start_noise"], torch.tensor([3] * B))

    with torch.inference_mode():
        before = answer(batch)
        assert policy.act(batch).shape == before.shape == (B, 4, 7)
        start = "prior" if kind == "regression" else "start_noise"
        for name in ("tokens", "windows", "states", start):
            noise = torch.randn(batch[name].shape, generator=shift)
            after = answer({**batch, name: batch[name] + noise})
            rows = [0, 2] if name == "windows" else [0, 1, 2]
            for row in rows:
                assert (after[row] - before[row]).abs().max() > 1e-4, f"{name} reaches row {row}"
        # Row 1 has no sensor: what others hear is nothing to it.
        deaf = answer({**batch, "windows": batch["windows"] + 5})[1]
        assert torch.allclose(deaf, before[1], atol=1e-5)
        heard = answer(small_batch((True, True, True)))
        assert heard.shape == before.shape


def test_padding_tokens_change_nothing():
    policy, batch = small_policy(), small_batch()
    with torch.inference_mode():
        before = policy.act(batch)
        tokens = batch["tokens"].clone()
        tokens[0, 3:] += 100
        assert torch.allclose(policy.act({**batch, "tokens": tokens}), before, atol=1e-5)


def test_where_a_token_lies_is_told():
    """Rotary positions leave no trace in hidden states: swapped places must not look alike."""
    policy, batch = small_policy(), small_batch()
    batch["token_is_pad"][:] = False
    with torch.inference_mode():
        straight = policy.act(batch)
        swapped = policy.act({**batch, "tokens": batch["tokens"][:, [1, 0, 2, 3, 4]]})
        assert (straight - swapped).abs().max() > 1e-4
    twice = {name: torch.cat([batch[name]] * 2, 1) for name in ("tokens", "token_is_pad")}
    with pytest.raises(ValueError, match="knows 5 places of tokens, got 10"):
        policy.act({**batch, **twice})


def test_a_policy_without_sensor_hears_nothing_and_one_without_eyes_sees_nothing():
    deaf = small_policy(strategy="none")
    assert deaf.sensor_encoder is None
    assert deaf.action_expert.missing_sensor is None
    batch = small_batch()
    with torch.inference_mode():
        assert torch.equal(deaf.act(batch), deaf.act({**batch, "windows": batch["windows"] + 1}))
        blind = small_policy(strategy="none", vl_width=0)
        assert torch.equal(blind.act(batch), blind.act({**batch, "tokens": batch["tokens"] + 1}))
        assert not torch.equal(
            blind.act(batch), blind.act({**batch, "states": batch["states"] + 1})
        )


@pytest.mark.parametrize("strategy", ["concat", "cross_attention", "gated"])
def test_a_fusion_without_a_sensor_is_refused(strategy):
    with pytest.raises(ValueError, match="Take none"):
        Fusion(strategy, vl_width=8, sensor_width=0, width=8, num_heads=2)


def test_names_of_tensors_begin_as_the_published_checkpoints_do():
    for kind in ("regression", "diffusion"):
        names = {name.partition(".")[0] for name, _ in small_policy(kind).named_parameters()}
        assert names == {"sensor_encoder", "action_expert"}


def condition_of(batch_size):
    summary = torch.zeros(batch_size, W)
    is_pad = torch.zeros(batch_size, 1, dtype=torch.bool)
    return Condition(summary, summary[:, None], is_pad)


def test_the_diffusion_expert_tells_the_steps_of_a_chunk_apart():
    torch.manual_seed(0)
    expert = DiffusionExpert(width=W, horizon=4, num_heads=2, feedforward_width=16).eval()
    noisy, steps = torch.randn(2, 4, 7), torch.tensor([3, 3])
    order = [2, 0, 3, 1]
    with torch.inference_mode():
        straight = expert(condition_of(2), noisy, steps)[:, order]
        mixed = expert(condition_of(2), noisy[:, order], steps)
    assert (straight - mixed).abs().max() > 1e-3


def test_timesteps_have_different_codes():
    codes = sinusoidal_code(torch.arange(100), 128)
    assert codes.shape == (100, 128)
    assert torch.cdist(codes, codes).fill_diagonal_(1).min() > 0.1


@pytest.mark.parametrize("sampler", ["ddim", "ddpm"])
def test_the_sampler_starts_at_the_last_timestep_it_was_trained_on(sampler):
    steps = Diffusion(100, sampler, 10).timesteps
    assert steps[0] == 99
    assert len(steps) == (10 if sampler == "ddim" else 100)
    assert steps == sorted(steps, reverse=True)


@pytest.mark.parametrize("sampler", ["ddim", "ddpm"])
def test_with_the_true_noise_the_sampler_returns_the_clean_sample(sampler):
    diffusion = Diffusion(100, sampler, 10)
    clean = torch.rand(4, 3, 2) * 1.6 - 0.8
    bars = diffusion.scheduler().alphas_cumprod

    def true_noise(noisy, timesteps):
        bar = bars[timesteps][:, None, None]
        return (noisy - bar.sqrt() * clean) / (1 - bar).sqrt()

    start = torch.randn(4, 3, 2)
    found = diffusion.sample(true_noise, start, torch.Generator().manual_seed(0))
    assert (found - clean).abs().max() < 2e-3


def test_the_schedule_is_the_published_cosine():
    """By its formula: alpha bar = cos^2 of ((t + s) / (1 + s)) quarter turns, s = 0.008."""
    bars = Diffusion(100).scheduler().alphas_cumprod.numpy()
    times = np.arange(101) / 100
    curve = np.cos((times + 0.008) / 1.008 * np.pi / 2) ** 2
    betas = np.minimum(1 - curve[1:] / curve[:-1], 0.999)
    assert np.allclose(bars, np.cumprod(1 - betas), atol=1e-5)


def test_noise_is_added_as_the_process_says():
    diffusion = Diffusion(100)
    clean, noise = torch.ones(2, 3), torch.full((2, 3), 2.0)
    bars = diffusion.scheduler().alphas_cumprod
    found = diffusion.add_noise(clean, noise, torch.tensor([0, 99]))
    for row, step in enumerate((0, 99)):
        expected = bars[step].sqrt() + 2 * (1 - bars[step]).sqrt()
        assert found[row, 0].item() == pytest.approx(expected.item(), rel=1e-5)


@pytest.mark.parametrize("sampler", ["ddim", "ddpm"])
def test_a_gaussian_is_recovered(sampler):
    """The exact noise predictor of a normal distribution gives samples of that distribution."""
    mean, spread = 0.3, 0.2
    diffusion = Diffusion(100, sampler, 100)
    bars = diffusion.scheduler().alphas_cumprod

    def expected_noise(noisy, timesteps):
        bar = bars[timesteps][:, None]
        total = bar * spread**2 + 1 - bar
        return (1 - bar).sqrt() * (noisy - bar.sqrt() * mean) / total

    generator = torch.Generator().manual_seed(0)
    start = torch.randn(4000, 1, generator=generator)
    found = diffusion.sample(expected_noise, start, generator)
    assert found.mean().item() == pytest.approx(mean, abs=0.02)
    assert found.std().item() == pytest.approx(spread, abs=0.03)


def test_acting_twice_on_the_same_start_gives_the_same_chunk():
    policy = small_policy("diffusion", diffusion={"num_train_timesteps": 20, "sampler": "ddpm"})
    batch = small_batch()
    with torch.inference_mode():
        assert torch.equal(policy.act(batch), policy.act(batch))


def test_a_policy_acts_on_the_mean_of_its_samples():
    sizes = {"num_train_timesteps": 20, "num_inference_steps": 3, "prediction_type": "sample"}
    one = small_policy("diffusion", diffusion=sizes)
    many = small_policy("diffusion", diffusion={**sizes, "num_averaged": 64})
    many.load_state_dict(one.state_dict())
    batch, draws = small_batch(), []
    with torch.inference_mode():
        for seed in range(64):
            noise = torch.randn(
                batch["start_noise"].shape, generator=torch.Generator().manual_seed(seed)
            )
            draws.append(one.act({**batch, "start_noise": noise}))
        found, expected = many.act(batch), torch.stack(draws).mean(0)
    spread = torch.stack(draws).std(0).mean()
    assert spread > 0
    assert (found - expected).abs().mean() < 0.4 * spread


def test_the_state_encoder_reads_every_moment():
    encoder = StateEncoder(4, widths=(8,), num_heads=2, num_blocks=1, out_width=5).eval()
    states = torch.randn(2, 3, 4)
    before = encoder(states)
    assert before.shape == (2, 5)
    for moment in range(3):
        changed = states.clone()
        changed[:, moment] += 1
        assert (encoder(changed) - before).abs().max() > 1e-4


def test_levels_with_little_noise_count_less():
    diffusion = Diffusion(num_train_timesteps=100, min_snr_gamma=2.0)
    weights = diffusion.loss_weights(torch.arange(100))
    kept = diffusion.scheduler().alphas_cumprod
    ratio = kept / (1 - kept)
    assert torch.allclose(weights * ratio, ratio.clamp(max=2.0)), "min(SNR, gamma) / SNR"
    assert (Diffusion().loss_weights(torch.arange(100)) == 1).all()


@pytest.mark.parametrize("num_tokens", [0, 5])
def test_chunks_of_a_sample_share_its_condition_and_nothing_else(num_tokens):
    """Several draws at once are each what it would be alone, with a condition of its own."""
    torch.manual_seed(0)
    expert = DiffusionExpert(width=W, horizon=4, num_heads=2, feedforward_width=16).eval()
    memory = torch.randn(2, 1 + num_tokens, W)
    is_pad = torch.zeros(2, 1 + num_tokens, dtype=torch.bool)
    is_pad[1, 4:] = True
    condition = Condition(memory[:, 0], memory, is_pad)
    noisy, steps = torch.randn(6, 4, 7), torch.tensor([3, 50, 7, 99, 0, 20])
    with torch.inference_mode():
        together = expert(condition, noisy, steps)
        for row in range(6):
            sample = slice(row // 3, row // 3 + 1)
            own = Condition(memory[sample, 0], memory[sample], is_pad[sample])
            alone = expert(own, noisy[row : row + 1], steps[row : row + 1])
            assert torch.allclose(together[row], alone[0], atol=1e-6), row
        without = Condition(memory[1:, 0], memory[1:, :4], is_pad[1:, :4])
        assert torch.allclose(together[3], expert(without, noisy[3:4], steps[3:4])[0], atol=1e-6)


def test_blocks_compute_what_torch_s_own_do():
    """On tokens that all see each other."""
    torch.manual_seed(0)
    arguments = (W, 2, 16, 0.0, "gelu")
    ours = PrefixBlock(*arguments, batch_first=True, norm_first=True).eval()
    theirs = torch.nn.TransformerEncoderLayer(*arguments, batch_first=True, norm_first=True).eval()
    theirs.load_state_dict(ours.state_dict())
    states = torch.randn(2, 5, W)
    visible = torch.ones(2, 1, 1, 5, dtype=torch.bool)
    assert torch.allclose(ours(states, visible)[0], theirs(states), atol=1e-6)
