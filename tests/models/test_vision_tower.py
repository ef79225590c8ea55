"""A Qwen's vision tower without the detours: transformers' own numbers, and fewer calls."""

import pytest
import torch
from torch.nn import functional

from aquatint.models.architectures import require_architecture
from aquatint.models.backbone import Backbone, folder_digest
from aquatint.models.vision_tower import (
    GroupedAttention,
    PatchProjection,
    image_features,
    quicken_tower,
)
from inspection_fixture import write_qwen

# Of several sizes, out of order, one of them with windows that are cut at its edge.
GRIDS = torch.tensor([[1, 4, 4], [1, 8, 6], [1, 4, 4], [1, 6, 10], [1, 8, 6]])


@pytest.fixture(scope="module", params=["qwen2_vl", "qwen2_5_vl"])
def kind(request):
    return request.param


@pytest.fixture(scope="module")
def folder(kind, tmp_path_factory):
    folder = tmp_path_factory.mktemp(kind)
    write_qwen(folder, kind)
    return folder


@pytest.fixture
def ours(folder, kind):
    return Backbone(str(folder), folder_digest(folder), kind).load().requires_grad_(True)


def load_theirs(folder, kind, attention):
    return (
        require_architecture(kind)
        .load_class()
        .from_pretrained(
            folder, dtype=torch.float32, local_files_only=True, attn_implementation=attention
        )
    )


@pytest.fixture
def theirs(folder, kind):
    """As transformers builds it, but for the patches, whose sums have another order."""
    model = load_theirs(folder, kind, "sdpa")
    model.model.visual.patch_embed = PatchProjection(model.model.visual.patch_embed.proj)
    return model


@pytest.fixture
def patches(ours):
    edge = ours.config.vision_config.patch_size
    rows = int(GRIDS.prod(1).sum())
    return torch.randn(rows, 3 * 2 * edge**2, generator=torch.Generator().manual_seed(0))


@pytest.mark.reference
def test_features_and_gradients_are_those_of_transformers(ours, theirs, patches):
    assert list(ours.state_dict()) == list(theirs.state_dict())
    found = image_features(ours, patches, GRIDS)
    expected = theirs.model.get_image_features(pixel_values=patches, image_grid_thw=GRIDS)
    torch.testing.assert_close(found, torch.cat(list(expected.pooler_output)))
    for features in (found, torch.cat(list(expected.pooler_output))):
        features.square().sum().backward()
    for mine, other in zip(
        ours.model.visual.parameters(), theirs.model.visual.parameters(), strict=True
    ):
        torch.testing.assert_close(mine.grad, other.grad)


def test_attention_is_called_once_for_each_length(ours, patches, monkeypatch):
    lengths = []
    attend = functional.scaled_dot_product_attention

    def counted(queries, keys, values):
        lengths.append(queries.shape[2])
        return attend(queries, keys, values)

    monkeypatch.setattr(functional, "scaled_dot_product_attention", counted)
    image_features(ours, patches, GRIDS)
    # Five images of three sizes; over windows of four by four patches, three lengths too.
    assert len(lengths) == 3 * len(ours.model.visual.blocks)


def test_an_image_is_not_changed_by_its_neighbours(ours, patches):
    together = image_features(ours, patches, GRIDS)
    per_token = ours.config.vision_config.spatial_merge_size**2
    sizes = GRIDS.prod(1).tolist()
    parts = zip(patches.split(sizes), GRIDS, strict=True)
    alone = [image_features(ours, part, grid[None]) for part, grid in parts]
    assert [len(part) for part in alone] == [size // per_token for size in sizes]
    torch.testing.assert_close(together, torch.cat(alone))


def test_the_tower_is_quickened_wherever_a_backbone_is_loaded(ours):
    assert all(isinstance(block.attn, GroupedAttention) for block in ours.model.visual.blocks)


def test_another_attention_that_is_asked_for_stays(folder, kind):
    model = load_theirs(folder, kind, "eager")
    quicken_tower(model)
    assert not any(isinstance(block.attn, GroupedAttention) for block in model.model.visual.blocks)


def test_patches_by_a_product_are_those_of_the_convolution(ours):
    visual = ours.model.visual
    edge = visual.config.patch_size
    patches = torch.randn(6, 3 * 2 * edge**2, generator=torch.Generator().manual_seed(0))
    assert isinstance(visual.patch_embed, PatchProjection)
    convolution = visual.patch_embed.proj
    expected = convolution(patches.view(-1, 3, 2, edge, edge)).flatten(1)
    assert torch.allclose(visual.patch_embed(patches), expected, atol=1e-5)
