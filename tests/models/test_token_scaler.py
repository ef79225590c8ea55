"""Scales of cached tokens: place by place, of real tokens alone."""

import pytest
import torch

from aquatint.models.token_scaler import TokenScaler


def test_every_place_is_centred_and_scaled_by_its_own_tokens():
    generator = torch.Generator().manual_seed(0)
    tokens = torch.randn(400, 3, 5, generator=generator) * torch.tensor([0.01, 1.0, 100.0])[:, None]
    tokens = tokens + torch.tensor([10.0, 0.0, -50.0])[:, None]
    is_pad = torch.zeros(400, 3, dtype=torch.bool)
    is_pad[::2, 2] = True
    tokens[::2, 2] = 1e6
    scaler = TokenScaler(3, 5)
    scaler.fit(tokens, is_pad)
    scaled = scaler(tokens)
    for place, rows in ((0, slice(None)), (1, slice(None)), (2, slice(1, None, 2))):
        values = scaled[rows, place]
        assert values.mean(0).abs().max() < 1e-3, place
        # A twentieth of the mean deviation is added: channels of pure noise are not magnified.
        assert values.std(0).sub(1 / 1.05).abs().max() < 0.03, place


def test_a_channel_that_never_varies_and_a_place_hardly_seen_stay_finite():
    tokens = torch.randn(50, 2, 4, generator=torch.Generator().manual_seed(1))
    tokens[..., 0] = 7.0
    is_pad = torch.zeros(50, 2, dtype=torch.bool)
    is_pad[2:, 1] = True
    scaler = TokenScaler(3, 4)
    scaler.fit(tokens, is_pad)
    fresh = torch.cat([tokens, tokens[:, :1]], 1)
    assert scaler(fresh).isfinite().all()
    assert scaler(fresh)[:, 1:].abs().max() < 10, "scaled as tokens of all places are"


def test_more_tokens_than_places_are_refused():
    with pytest.raises(ValueError, match="knows 2 places of tokens, got 3"):
        TokenScaler(2, 4)(torch.zeros(1, 3, 4))
