"""The shortcuts of a Qwen: cached features, packed candidates, one's own writing, all exact."""

import numpy as np
import pytest
import torch
from PIL import Image
from transformers import Qwen2VLImageProcessorPil

from aquatint.features.views import ViewStyle, fit_size
from aquatint.models.answering import (
    LORA_TARGETS,
    AnsweringModel,
    pack_candidates,
    score_candidates,
)
from aquatint.models.architectures import require_architecture
from aquatint.models.backbone import Backbone, folder_digest
from aquatint.models.low_rank import inject_lora
from aquatint.models.pixels import PixelNormalizer
from aquatint.models.qwen_vl import embed_with_images, encode_views, patchify, rope_positions
from aquatint.training.answering_inference import generate_answers
from aquatint.training.dialogues import Dialogues, encoder_of
from inspection_fixture import write_qwen


@pytest.fixture(scope="module", params=["qwen2_vl", "qwen2_5_vl"])
def any_qwen(request, tmp_path_factory):
    folder = tmp_path_factory.mktemp(request.param)
    write_qwen(folder, request.param)
    return Backbone(str(folder), folder_digest(folder), request.param)


@pytest.fixture(scope="module")
def images():
    return torch.from_numpy(np.random.default_rng(0).integers(0, 255, (2, 48, 72, 3), np.uint8))


def normalised(backbone, images):
    return PixelNormalizer(*backbone.image_statistics)(images)


def dialogue(backbone, num_tokens, texts=("What is it?", "And this one, at the right?")):
    encoder = encoder_of(backbone)
    rows = [encoder.prompt(text, ["rock toe", "vegetation"], num_tokens) for text in texts]
    width = max(map(len, rows))
    ids = torch.full((len(rows), width), encoder.pad)
    mask = torch.zeros(len(rows), width, dtype=torch.long)
    for i, row in enumerate(rows):
        ids[i, : len(row)] = torch.tensor(row)
        mask[i, : len(row)] = 1
    return ids, mask


@pytest.mark.reference
def test_patches_are_those_of_the_image_processor(images, any_qwen):
    processor = Qwen2VLImageProcessorPil.from_pretrained(any_qwen.folder)
    reference = processor([Image.fromarray(image.numpy()) for image in images], return_tensors="pt")
    patches, grid = patchify(normalised(any_qwen, images), 12, 2)
    assert torch.equal(grid, reference["image_grid_thw"])
    assert torch.allclose(patches, reference["pixel_values"], atol=1e-5)


def test_a_side_that_is_no_multiple_is_refused():
    with pytest.raises(ValueError, match="24 divides, got 48 x 60"):
        patchify(torch.zeros(1, 3, 48, 60), 12, 2)


@pytest.mark.reference
@torch.inference_mode()
def test_cached_features_give_the_logits_of_the_plain_forward(images, any_qwen):
    """Positions in three dimensions survive inputs_embeds; batches with padding too."""
    model = any_qwen.load()
    features = encode_views(model, normalised(any_qwen, images))
    ids, mask = dialogue(any_qwen, features.shape[1])
    patches, grid = patchify(normalised(any_qwen, images), 12, 2)
    types = (ids == model.config.image_token_id).int()
    plain = model(input_ids=ids, attention_mask=mask, pixel_values=patches, image_grid_thw=grid,
                  mm_token_type_ids=types).logits  # fmt: skip
    positions = rope_positions(model, ids, mask, grid)
    assert (positions.amax(0) < mask.sum(1, keepdim=True)).all()
    states = model.model.language_model(
        inputs_embeds=embed_with_images(model, ids, features.flatten(0, 1)),
        attention_mask=mask,
        position_ids=positions,
    ).last_hidden_state
    ours = model.lm_head(states)
    assert torch.allclose(ours[mask.bool()], plain[mask.bool()], atol=1e-5)
    flat = model.model.language_model(
        inputs_embeds=embed_with_images(model, ids, features.flatten(0, 1)), attention_mask=mask
    ).last_hidden_state
    assert not torch.allclose(model.lm_head(flat)[mask.bool()], plain[mask.bool()], atol=1e-4)


@pytest.mark.reference
@pytest.mark.parametrize("seed", range(8))
def test_positions_are_those_that_the_model_itself_would_give(any_qwen, seed):
    """Several images of several sizes in a row or none, rows of several lengths."""
    model, rng = any_qwen.load(), np.random.default_rng(seed)
    image = model.config.image_token_id
    rows, grids = [], []
    for _ in range(4):
        row = [20] * int(rng.integers(1, 4))
        for height, width in 2 * rng.integers(1, 5, (int(rng.integers(4)), 2)):
            grids.append((1, height, width))
            row += [image] * int(height * width // 4) + [21] * int(rng.integers(1, 3))
        rows.append(row)
    longest = max(map(len, rows))
    ids = torch.tensor([row + [0] * (longest - len(row)) for row in rows])
    mask = torch.tensor([[1] * len(row) + [0] * (longest - len(row)) for row in rows])
    grid = torch.tensor(np.array(grids, np.int64).reshape(-1, 3))
    expected, _ = model.model.get_rope_index(
        ids,
        mm_token_type_ids=(ids == image).int(),
        image_grid_thw=grid if len(grid) else None,
        attention_mask=mask,
    )
    assert torch.equal(rope_positions(model, ids, mask, grid), expected)


def test_positions_of_images_that_are_not_there_are_refused(qwen_backbone):
    model = qwen_backbone.load()
    ids, mask = dialogue(qwen_backbone, 6)
    with pytest.raises(ValueError, match="12 image tokens need as many features, got 6"):
        rope_positions(model, ids, mask, torch.tensor([[1, 4, 6]]))


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_positions_lie_where_their_tokens_are(any_qwen):
    model = any_qwen.load()
    ids, mask = dialogue(any_qwen, 6)
    grid = torch.tensor([[1, 4, 6]]).expand(len(ids), 3)
    here = rope_positions(model, ids, mask, grid)
    there = rope_positions(model.to("cuda"), ids.cuda(), mask.cuda(), grid.cuda())
    assert there.is_cuda
    assert torch.equal(there.cpu(), here)


def test_features_must_fill_their_places(qwen_backbone):
    model = qwen_backbone.load()
    ids, _ = dialogue(qwen_backbone, 6)
    with pytest.raises(ValueError, match="12 image tokens need as many features, got 7"):
        embed_with_images(model, ids, torch.zeros(7, 32))


@pytest.fixture(scope="module")
def prompts(qwen_backbone, images):
    model = AnsweringModel(qwen_backbone.load()).eval()
    with torch.inference_mode():
        features = encode_views(model.backbone, normalised(qwen_backbone, images))
    ids, mask = dialogue(qwen_backbone, features.shape[1])
    grids = torch.tensor([[1, 4, 6]] * 2)
    batch = {"input_ids": ids, "attention_mask": mask, "features": features.flatten(0, 1),
             "grids": grids}  # fmt: skip
    return model, batch


@pytest.mark.reference
@torch.inference_mode()
def test_one_pass_scores_all_candidates_as_one_pass_for_each_does(qwen_backbone, prompts):
    model, batch = prompts
    encoder = encoder_of(qwen_backbone)
    names = [["rock toe", "rock toe damaged", "vegetation"], ["slope drain blocked", "Toe drain"]]
    candidates = [[encoder.answer(name) for name in row] for row in names]
    found = score_candidates(model, batch, candidates)
    places = batch["input_ids"] == model.backbone.config.image_token_id
    per_row = int(places[0].sum())
    for row, of_row in enumerate(candidates):
        length = int(batch["attention_mask"][row].sum())
        prompt = batch["input_ids"][row, :length]
        features = batch["features"][row * per_row : (row + 1) * per_row]
        for column, answer in enumerate(of_row):
            ids = torch.cat([prompt, torch.tensor(answer)])[None]
            alone = {
                "input_ids": ids,
                "attention_mask": torch.ones_like(ids),
                "features": features,
                "grids": batch["grids"][row : row + 1],
            }
            states = model.read(alone)
            logits = model.answer_logits(states[0, length - 1 : -1]).log_softmax(-1)
            total = logits.gather(1, torch.tensor(answer)[:, None]).sum().item()
            assert found[row][0][column] == pytest.approx(total, abs=1e-4)
            assert found[row][1][column] == pytest.approx(total / len(answer), abs=1e-4)


def test_candidates_do_not_see_each_other():
    ids, mask = torch.arange(6)[None], torch.tensor([[1, 1, 1, 1, 0, 0]])
    positions = torch.arange(6).expand(3, 1, 6)
    packed = pack_candidates(ids, mask, positions, [[[7, 8], [9]]])
    seen = packed["mask"][0, 0]
    assert seen[6].nonzero().flatten().tolist() == [0, 1, 2, 3, 6]
    assert seen[7].nonzero().flatten().tolist() == [0, 1, 2, 3, 6, 7]
    assert seen[8].nonzero().flatten().tolist() == [0, 1, 2, 3, 8]
    assert packed["position_ids"][0, 0, 6:].tolist() == [4, 5, 4]
    assert packed["sources"].tolist() == [[3, 6, 3]]
    assert packed["targets"].tolist() == [[7, 8, 9]]


@pytest.mark.reference
@torch.inference_mode()
def test_what_is_written_is_what_generate_writes(qwen_backbone, prompts, images):
    model, batch = prompts
    encoder = encoder_of(qwen_backbone)
    ours = generate_answers(model, batch, encoder.eos, 8)
    patches, grid = patchify(normalised(qwen_backbone, images), 12, 2)
    rows = len(patches) // 2
    for row in range(2):
        ids = batch["input_ids"][row, : int(batch["attention_mask"][row].sum())][None]
        model.backbone.model.rope_deltas = None
        written = model.backbone.generate(
            input_ids=ids, attention_mask=torch.ones_like(ids), image_grid_thw=grid[row : row + 1],
            pixel_values=patches[row * rows : (row + 1) * rows], do_sample=False, max_new_tokens=8,
            mm_token_type_ids=(ids == model.backbone.config.image_token_id).int(),
            eos_token_id=encoder.eos, pad_token_id=encoder.pad,
        )[0, ids.shape[1] :].tolist()  # fmt: skip
        wanted = written[: written.index(encoder.eos)] if encoder.eos in written else written
        assert ours[row] == wanted


def test_low_rank_weights_stand_beside_q_k_v_and_o_of_the_language_model_alone(qwen_backbone):
    model = qwen_backbone.load()
    names = inject_lora(model, {"r": 4, "lora_alpha": 8, "lora_dropout": 0.0}, LORA_TARGETS)
    assert len(names) == 2 * 4 * 2
    assert all("language_model.layers" in name for name in names)
    trained = sum(p.numel() for n, p in model.named_parameters() if n in names)
    assert trained == 2 * 4 * ((32 + 32) * 4)


def test_recomputed_activations_give_the_same_gradients(qwen_backbone, inspection_data):
    """Frozen inputs and checkpointing together still train."""
    from aquatint.training.answering_losses import AnswerLosses

    def gradients(has_checkpointing):
        torch.manual_seed(0)
        loaded = qwen_backbone.load()
        names = inject_lora(loaded, {"r": 4, "lora_alpha": 8, "lora_dropout": 0.0}, LORA_TARGETS)
        model = AnsweringModel(loaded, has_checkpointing=has_checkpointing).train()
        parameters = dict(loaded.named_parameters())
        for name in names:
            parameters[name].requires_grad_(True)
        dialogues = Dialogues(inspection_data.rows("train"), inspection_data)
        answers = [dialogues.encoder.answer("rock toe")] * 2
        batch = {**dialogues.batch([0, 1], answers), "weights": torch.ones(2), "is_counted": True}
        AnswerLosses()(model, batch)["answer"].backward()
        return {name: parameters[name].grad for name in names}

    plain, recomputed = gradients(False), gradients(True)
    assert any(grad.abs().sum() > 0 for grad in plain.values())
    assert all(torch.allclose(plain[name], recomputed[name], atol=1e-6) for name in plain)


@pytest.mark.parametrize(
    ("size", "expected"), [((60, 60), (48, 48)), ((24, 240), (24, 96)), ((500, 100), (96, 24))]
)
def test_a_view_keeps_its_shape_as_far_as_tokens_allow(size, expected):
    assert fit_size(*size, 24, ViewStyle("crop", 1.2, 576, 2304)) == expected


def test_limits_without_a_size_are_refused():
    with pytest.raises(ValueError, match="leave no view"):
        fit_size(48, 48, 24, ViewStyle("crop", 1.2, 100, 200))


def test_an_unknown_architecture_is_refused():
    with pytest.raises(ValueError, match="must be one of .*qwen2_vl.*, got 'llava'"):
        require_architecture("llava")


def test_its_card_says_what_the_model_is(any_qwen):
    """Qwen2-VL and Qwen2.5-VL name the width and the depth of their towers in different ways."""
    card, model = any_qwen.card, any_qwen.load()
    visual = model.model.visual
    assert card["num_vision_blocks"] == len(visual.blocks)
    assert card["vision_width"] == visual.patch_embed.proj.out_channels
    assert card["text_width"] == model.config.text_config.hidden_size
    assert card["num_parameters"] == sum(p.numel() for p in model.parameters())
