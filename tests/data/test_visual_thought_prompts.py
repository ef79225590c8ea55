"""Four formats, their mixture, and the way back from text to what was meant."""

import numpy as np
import pytest

from aquatint.data.visual_thought_prompts import (
    ANCHOR_LABELS,
    PLAIN_SHARE,
    ThoughtFormat,
    anchor_tokens,
    chat_prompt,
    format_exchange,
    read_thought,
    reason,
)

STYLE = ThoughtFormat({"sam": 8, "depth": 4, "dino": 4})


def exchange(stage, rng=None):
    return format_exchange(stage, STYLE, "How many?", "two", rng or np.random.default_rng(0))


def test_understanding_gives_spans_to_the_user_and_asks_for_a_plain_answer():
    found = exchange(1)
    assert found.response == "two"
    assert found.request.endswith("\nHow many?")
    assert found.request.count("<|sam_pad|>") == 8
    assert found.request.count("<|depth_pad|>") == found.request.count("<|dino_pad|>") == 4
    assert found.anchors == ("sam", "depth", "dino")


def test_generation_asks_for_the_anchors_and_nothing_else_is_written():
    found = exchange(2)
    assert found.request == (
        "\nWhat is the segmentation, depth map and perception feature of the image?"
    )
    assert found.response == STYLE.spans(STYLE.names)
    single = format_exchange(2, ThoughtFormat({"depth": 4}), "q", "a", np.random.default_rng(0))
    assert single.request == "\nWhat is the depth map of the image?"


def test_reasoning_thinks_in_every_anchor_and_then_answers():
    found = exchange(3)
    assert found.request == "\nHow many?"
    assert found.response.startswith("<think> The segmentation of the image is <|anchor_start|>")
    assert found.response.endswith("</think> <answer> two </answer>")


def test_efficient_reasoning_is_plain_once_in_six_and_else_any_subset_in_order():
    rng = np.random.default_rng(1)
    drawn = [exchange(4, rng) for _ in range(6000)]
    plain = sum(found.anchors == () for found in drawn) / len(drawn)
    assert plain == pytest.approx(PLAIN_SHARE, abs=0.015)
    assert all(found.response == "two" for found in drawn if not found.anchors)
    sizes = np.bincount([len(found.anchors) for found in drawn if found.anchors])[1:]
    assert sizes / sizes.sum() == pytest.approx(np.full(3, 1 / 3), abs=0.02)
    order = list(STYLE.names)
    for found in drawn:
        assert sorted(found.anchors, key=order.index) == list(found.anchors)
    assert len({found.anchors for found in drawn}) == 8, "all subsets, and none"


def test_what_was_written_is_read_back():
    rng = np.random.default_rng(0)
    names = list(ANCHOR_LABELS)
    for _ in range(200):
        chosen = [n for n in names if rng.random() < 0.6] or ["sam"]
        style = ThoughtFormat({name: int(rng.integers(1, 9)) for name in chosen})
        subset = [name for name in chosen if rng.random() < 0.7] or chosen[:1]
        answer = str(rng.choice(["two", "a red bus", "left", "3.5 m"]))
        found = read_thought(reason(style, "q", answer, subset).response, style)
        assert (found.answer, found.anchors) == (answer, tuple(subset))
        assert found.has_thought
        assert found.is_well_formed


@pytest.mark.parametrize(
    "change",
    [
        lambda text: text.replace("<|sam_pad|>", "", 1),
        lambda text: text.replace("<|depth_pad|>", "<|sam_pad|>", 1),
        lambda text: text.replace("<|anchor_end|>", "", 1),
        lambda text: text.replace("</think>", ""),
        lambda text: text.replace("<answer>", ""),
        lambda text: text + "<answer> three </answer>",
        lambda text: text + "<|sam_pad|>",
        lambda text: text.replace("sam", "x").replace("depth", "sam").replace("x", "depth"),
    ],
)
def test_what_is_not_whole_is_not_well_formed(change):
    found = read_thought(change(exchange(3).response), STYLE)
    assert found.has_thought
    assert not found.is_well_formed


def test_a_plain_answer_is_well_formed_and_no_thought():
    found = read_thought("two", STYLE)
    assert (found.answer, found.has_thought, found.is_well_formed) == ("two", False, True)


def test_the_chat_is_laid_out_as_the_published_template_does():
    text = chat_prompt("\nHow many?", "<I>")
    assert text == (
        "<|im_start|>system\nYou are a helpful assistant.<|im_end|>\n"
        "<|im_start|>user\n<I>\nHow many?<|im_end|>\n<|im_start|>assistant\n"
    )
    later = chat_prompt("\nAnd now?", "<I>", [("First?", "1")])
    assert later.count("<I>") == 1
    assert "<I>\nFirst?<|im_end|>\n<|im_start|>assistant\n1<|im_end|>" in later
    assert later.endswith("user\nAnd now?<|im_end|>\n<|im_start|>assistant\n")


def test_an_unknown_anchor_is_refused():
    with pytest.raises(ValueError, match="must be of sam.*got sd"):
        ThoughtFormat({"sd": 4})


def test_every_mark_is_one_token_of_its_own():
    assert len(set(anchor_tokens())) == 2 + 6 + 4
