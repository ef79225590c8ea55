"""Words that image tokens learn to hold."""

import numpy as np
import pytest
import torch
from transformers import AutoTokenizer

from aquatint.io.pocket_recipe import PocketRecipe
from aquatint.models.architectures import ARCHITECTURES
from aquatint.models.pocket import qwen_config, random_qwen, train_tokenizer
from aquatint.training.captioning import (
    IGNORE_INDEX,
    CaptionedImages,
    CaptioningModel,
    CaptioningSamples,
    Dialogue,
    captioning_losses,
)
from aquatint.training.image_words import (
    UNKNOWN,
    AskedReader,
    ImageWords,
    WordReader,
    first_token_ids,
)

ARCHITECTURE = ARCHITECTURES["qwen2_5_vl"]
WORDS = ("red", "blue")
TEXTS = [["a red field"], ["a blue field"], ["a field"]]


@pytest.fixture(scope="module")
def tokenizer():
    return train_tokenizer([text for of in TEXTS for text in of] * 5, 400, ARCHITECTURE)


def targets() -> np.ndarray:
    """One token for each image: red, blue, nothing known."""
    return np.array([[[1, 0]], [[0, 1]], [[UNKNOWN, UNKNOWN]]], dtype=np.int8)


def test_the_loss_is_the_cross_entropy_of_known_tokens_alone():
    reader = WordReader([0, 2])
    table = torch.eye(3)
    features = torch.tensor([[[4.0, 0.0, 0.0]], [[0.0, 0.0, 4.0]], [[9.0, 9.0, 9.0]]])
    known = torch.from_numpy(targets())
    yes, no = torch.tensor(1.0), torch.tensor(-3.0)
    expected = torch.nn.functional.softplus(-yes) + torch.nn.functional.softplus(no)
    assert torch.allclose(reader.loss(features, table, known), expected)
    nothing = reader.loss(features[2:], table, known[2:])
    assert float(nothing.detach()) == 0
    assert nothing.requires_grad


def test_words_that_share_a_first_token_are_refused(tokenizer):
    with pytest.raises(ValueError, match="red, red share a first token"):
        first_token_ids(["red", "blue", "red"], tokenizer)


def test_a_model_learns_which_word_lies_where(tokenizer):
    colors = ((200, 30, 30), (30, 30, 200), (90, 90, 90))
    pixels = np.stack([np.full((24, 24, 3), color, dtype=np.uint8) for color in colors])
    images = CaptionedImages(pixels, TEXTS, words=ImageWords(WORDS, targets()))
    samples = CaptioningSamples(images, tokenizer, 1, 40, 0, ARCHITECTURE)
    sizes = {"width": 32, "num_blocks": 2, "image_size_px": 24, "patch_size_px": 12}
    model = random_qwen(ARCHITECTURE, qwen_config(ARCHITECTURE, **sizes, tokenizer=tokenizer), 0)
    ids = first_token_ids(WORDS, tokenizer)
    wrapper = CaptioningModel(model, *ARCHITECTURE.image_statistics, ids)
    optimizer = torch.optim.AdamW(wrapper.parameters(), lr=3e-3)
    positions = torch.tensor([0, 1, 2] * 4)
    first = None
    for _ in range(60):
        losses = captioning_losses(wrapper, samples.batch(positions))
        first = float(losses["words"].detach()) if first is None else first
        optimizer.zero_grad()
        sum(losses.values()).backward()
        optimizer.step()
    assert float(losses["words"].detach()) < 0.1 * first


def test_the_loss_of_what_is_asked_for_is_the_cross_entropy_over_image_tokens():
    reader = AskedReader(2)
    with torch.no_grad():
        reader.head.weight[:] = torch.tensor([[1.0, 0.0]])
        reader.head.bias[:] = 0.0
    # Scaled to a mean square of 1: +-sqrt(2) in the first channel.
    states = torch.tensor([[[3.0, 0.0], [-5.0, 0.0]], [[0.0, 1.0], [0.0, 7.0]]])
    root, half = torch.tensor(2.0).sqrt(), torch.log(torch.tensor(2.0))
    expected = (2 * torch.nn.functional.softplus(-root) + 2 * half) / 2
    assert torch.allclose(reader.loss(states, torch.tensor([0, 1])), expected, atol=1e-4)


@pytest.fixture
def asking(tokenizer):
    """Two fields side by side in each image, and a question for one of them; four image tokens."""
    colors = {"red": (200, 30, 30), "blue": (30, 30, 200)}
    left_and_right = [("red", "blue"), ("blue", "red")]
    pixels = np.zeros((2, 24, 24, 3), dtype=np.uint8)
    for image, sides in zip(pixels, left_and_right, strict=True):
        image[:, :12], image[:, 12:] = colors[sides[0]], colors[sides[1]]
    kind = ARCHITECTURE
    marks = kind.image_start + kind.image_token + kind.image_end
    dialogues = [
        [Dialogue(f" {color} {marks}", "a", True, (), sides.index(color)) for color in colors]
        for sides in left_and_right
    ]
    images = CaptionedImages(pixels, [["a field"]] * 2, dialogues, dialogue_share=1.0)
    return CaptioningSamples(images, tokenizer, 4, 40, 0, ARCHITECTURE)


def test_a_model_learns_which_image_token_is_asked_for(tokenizer, asking):
    sizes = {"width": 32, "num_blocks": 2, "image_size_px": 24, "patch_size_px": 6}
    model = random_qwen(ARCHITECTURE, qwen_config(ARCHITECTURE, **sizes, tokenizer=tokenizer), 0)
    wrapper = CaptioningModel(model, *ARCHITECTURE.image_statistics, reads_asked=True)
    optimizer = torch.optim.AdamW(wrapper.parameters(), lr=3e-3)
    for step in range(200):
        # Another draw of questions in each step.
        batch = asking.batch(torch.tensor([0, 1] * (4 + step % 3)))
        loss = captioning_losses(wrapper, batch)["asked"]
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(wrapper.parameters(), 1.0)
        optimizer.step()
    # Without the question, one of two tokens at best: 2 ln 2.
    assert float(loss.detach()) < 1.0


def test_documents_that_ask_for_nothing_add_no_loss(tokenizer):
    pixels = np.zeros((2, 24, 24, 3), dtype=np.uint8)
    samples = CaptioningSamples(
        CaptionedImages(pixels, [["a field"]] * 2), tokenizer, 4, 40, 0, ARCHITECTURE
    )
    sizes = {"width": 32, "num_blocks": 1, "image_size_px": 24, "patch_size_px": 6}
    model = random_qwen(ARCHITECTURE, qwen_config(ARCHITECTURE, **sizes, tokenizer=tokenizer), 0)
    wrapper = CaptioningModel(model, *ARCHITECTURE.image_statistics, reads_asked=True)
    batch = samples.batch(torch.tensor([0, 1]))
    assert batch["asked"].tolist() == [UNKNOWN, UNKNOWN]
    loss = captioning_losses(wrapper, batch)["asked"]
    assert float(loss.detach()) == 0
    assert loss.requires_grad


def test_all_that_a_dialogue_answers_is_learned_and_nothing_it_gives(tokenizer):
    further = [("<|im_start|>user\nblue", " a field"), (" red", " a")]
    dialogue = Dialogue("a red", "field", True, further)
    pixels = np.zeros((1, 24, 24, 3), dtype=np.uint8)
    images = CaptionedImages(pixels, [["a field"]], [[dialogue]], dialogue_share=1.0)
    samples = CaptioningSamples(images, tokenizer, 1, 80, 0, ARCHITECTURE)
    batch = samples.batch(torch.tensor([0]))
    ids, labels = batch["input_ids"][0], batch["labels"][0]
    assert tokenizer.decode(ids) == "a redfield<|im_end|><|im_start|>user\nblue a field red a"
    is_learned = labels != IGNORE_INDEX
    assert (labels[is_learned] == ids[is_learned]).all()
    assert tokenizer.decode(ids[is_learned]) == "field<|im_end|> a field a"


def test_a_section_that_leaves_channels_out_is_refused(tokenizer):
    sizes = {"width": 32, "num_blocks": 1, "image_size_px": 24, "patch_size_px": 12}
    for section in ((4, 6, 5), (10, 6)):
        with pytest.raises(ValueError, match="mrope_section must have three numbers"):
            qwen_config(ARCHITECTURE, **sizes, tokenizer=tokenizer, mrope_section=section)


def test_rows_and_columns_turn_fast_where_the_section_says_so(tokenizer):
    """Channels of a longer section go around time, row and column again."""
    sizes = {"width": 32, "num_blocks": 1, "image_size_px": 24, "patch_size_px": 12}
    config = qwen_config(ARCHITECTURE, **sizes, tokenizer=tokenizer, rope_theta=1000.0,
                         mrope_section=(0, 2, 2, 0, 1, 1, 10, 0, 0))  # fmt: skip
    rope = random_qwen(ARCHITECTURE, config, 0).model.language_model.rotary_emb
    for axis, channels in ((1, {0, 1, 4}), (2, {2, 3, 5})):
        positions = torch.zeros(3, 1, 1)
        positions[axis] = 1
        cosines, _ = rope(torch.zeros(1), positions)
        assert set(torch.nonzero(cosines[0, 0, :16] != 1)[:, 0].tolist()) == channels


@pytest.mark.parametrize(("marks_turns", "num_tokens"), [(True, 1), (False, 4)])
def test_the_mark_of_a_turn_is_one_token_where_asked_for(tmp_path, marks_turns, num_tokens):
    text = "<|im_start|>user\nWhich?<|im_end|>\n<|im_start|>assistant\n"
    tokenizer = train_tokenizer([text] * 50, 400, ARCHITECTURE, marks_turns=marks_turns)
    tokenizer.save_pretrained(tmp_path)
    read = AutoTokenizer.from_pretrained(tmp_path)
    assert len(read.tokenize("<|im_start|>")) == num_tokens
    assert read.decode(read(text)["input_ids"]) == text


def test_words_of_instructions_and_answers_are_tokens_of_their_own(tmp_path):
    """What a navigator reads in every dialogue is not spelt out letter by letter."""
    from aquatint.data.navigation_prompts import ARROWS
    from aquatint.io.pocket_documents import captioned_images, tokenizer_texts
    from aquatint.world.pad_routes import example_instructions

    recipe = PocketRecipe(
        width=32, num_blocks=2, image_size_px=24, patch_size_px=12, vocab_size=640,
        num_buildings=1, views_per_building=1, epochs=1, batch_size=4, learning_rate=1e-3,
        max_tokens=40, seed=0, architecture="qwen2_5_vl", num_pointings=2,
    )  # fmt: skip
    texts = tokenizer_texts(captioned_images(recipe, tmp_path), recipe)
    tokenizer = train_tokenizer(texts, recipe.vocab_size, ARCHITECTURE)
    instructions = example_instructions()
    assert "It is behind you on the left. Go to the red pad and stop." in instructions
    for text in instructions:
        num_marks = text.count(".")
        assert len(tokenizer.tokenize(f" {text}")) == len(text.split()) + num_marks
    assert all(len(tokenizer.tokenize(arrow)) == 1 for arrow in (ARROWS[2], ARROWS[3], ARROWS[5]))


def test_a_weight_of_zero_leaves_the_address_as_it_was():
    from aquatint.io.pocket import pocket_digest

    sizes = dict(
        width=32, num_blocks=2, image_size_px=24, patch_size_px=12, vocab_size=400,
        num_buildings=1, views_per_building=1, epochs=1, batch_size=4, learning_rate=1e-3,
        max_tokens=40, seed=0, architecture="qwen2_5_vl", num_visual_questions=2,
    )  # fmt: skip
    plain = pocket_digest(PocketRecipe(**sizes))
    assert pocket_digest(PocketRecipe(**sizes, word_weight=0.0)) == plain
    assert pocket_digest(PocketRecipe(**sizes, asked_weight=0.0)) == plain
    assert pocket_digest(PocketRecipe(**sizes, marks_turns=False)) == plain
    assert pocket_digest(PocketRecipe(**sizes, marks_turns=True)) != plain
    assert pocket_digest(PocketRecipe(**sizes, word_weight=0.3)) != plain
    with pytest.raises(ValueError, match=r"asked_weight 0\.3 needs num_pointings, got 0"):
        PocketRecipe(**sizes, asked_weight=0.3)
    pointing = {**sizes, "num_visual_questions": 0, "num_pointings": 2}
    asked, not_asked = (PocketRecipe(**pointing, asked_weight=weight) for weight in (0.3, 0.0))
    assert pocket_digest(asked) != pocket_digest(not_asked)


def test_words_of_aerial_scenes_are_learned_where_nothing_else_is_read(tmp_path, monkeypatch):
    from aquatint.io.pocket import pocket_digest
    from aquatint.io.pocket_documents import captioned_images
    from aquatint.world import aerial_views

    sizes = dict(
        width=32, num_blocks=2, image_size_px=48, patch_size_px=12, vocab_size=512,
        num_buildings=2, views_per_building=2, epochs=1, batch_size=4, learning_rate=1e-3,
        max_tokens=40, seed=0,
    )  # fmt: skip
    recipe = PocketRecipe(**sizes, word_weight=0.8)
    images = captioned_images(recipe, tmp_path)
    assert images.words.words == aerial_views.CELL_WORDS
    assert images.words.targets.shape == (4, 4, len(aerial_views.CELL_WORDS))
    assert set(np.unique(images.words.targets)) == {0, 1}
    plain = captioned_images(PocketRecipe(**sizes), tmp_path)
    assert plain.words is None
    assert plain.texts == images.texts, "the same world, with words or not"
    before = pocket_digest(recipe)
    monkeypatch.setattr(aerial_views, "FORMAT_VERSION", aerial_views.FORMAT_VERSION + 1)
    assert pocket_digest(recipe) != before, "other cells are another backbone"
    with_flights = PocketRecipe(**sizes, word_weight=0.8, num_flights=2)
    assert not with_flights.reads_aerial_words
