import numpy as np
import pandas as pd
import pytest

from aquatint.data.inspection_prompts import (
    PromptStyle,
    build_prompts,
    chat_text,
    check_prompts,
    parse_answer,
    spatial_rules,
)
from inspection_fixture import CLASS_MAP, NAMES

STYLE = PromptStyle(True, "of_type", position_encoding=True, spatial_reasoning=True)


def instances(num=40, seed=0):
    rng = np.random.default_rng(seed)
    rows = []
    for number in range(num):
        name = NAMES[int(rng.integers(len(NAMES)))]
        low = rng.uniform(0, 0.6, 2)
        x2, y2 = low + rng.uniform(0.1, 0.4, 2)
        others = [
            {"object_type": CLASS_MAP[NAMES[int(rng.integers(9))]]["object_type"],
             "relation": "above", "distance": 0.2}
            for _ in range(3)
        ]  # fmt: skip
        rows.append({"instance_id": f"i{number}", "class_name": name, **CLASS_MAP[name],
                     "x1": low[0], "y1": low[1], "x2": x2, "y2": y2, "cy": (low[1] + y2) / 2,
                     "neighbours": others})  # fmt: skip
    return pd.DataFrame(rows)


def test_no_prompt_names_a_class():
    table = instances()
    prompts = build_prompts(table, CLASS_MAP, STYLE, spatial_rules(table))
    check_prompts(prompts, CLASS_MAP)
    assert len(prompts) == 40


def test_a_prompt_depends_on_type_and_place_alone():
    """Whatever the condition and class of an object: the same question."""
    table = instances()
    rules = spatial_rules(table)
    other = table.assign(
        class_name=table["class_name"].sample(frac=1, random_state=0).to_numpy(),
        condition="damaged",
    )
    first, second = (build_prompts(rows, CLASS_MAP, STYLE, rules) for rows in (table, other))
    assert first["question"].tolist() == second["question"].tolist()
    assert first["options"].tolist() == second["options"].tolist()


@pytest.mark.parametrize(
    "leak", ["It is a {}.", "Classify as: {}", "Near a {} and more.", "({})", "{}"]
)
@pytest.mark.parametrize("name", [name for name in NAMES if name != "vegetation"])
def test_the_guard_sees_a_prompt_that_leaks(leak, name):
    prompts = build_prompts(instances(3), CLASS_MAP, STYLE, {})
    leaking = prompts.assign(
        question=[*prompts["question"][:2], prompts["question"][2] + " " + leak.format(name)]
    )
    with pytest.raises(ValueError, match="must not name a class.*i2"):
        check_prompts(leaking, CLASS_MAP)


def test_options_are_those_of_the_type_or_all():
    table = instances(12)
    by_type = build_prompts(table, CLASS_MAP, STYLE, {})
    for kind, options in zip(table["object_type"], by_type["options"], strict=True):
        assert options == [name for name in NAMES if CLASS_MAP[name]["object_type"] == kind]
    style = PromptStyle(False, "all", position_encoding=False, spatial_reasoning=False)
    plain = build_prompts(table, CLASS_MAP, style, {})
    assert all(options == NAMES for options in plain["options"])
    assert not plain["question"].str.contains("drain|toe|vegetation").any()


def test_each_text_enhancement_is_a_toggle():
    table = instances(5)
    texts = {
        (position, spatial): build_prompts(
            table, CLASS_MAP, PromptStyle(True, "of_type", position, spatial), spatial_rules(table)
        )["question"].tolist()
        for position in (True, False)
        for spatial in (True, False)
    }
    assert all("It lies at y 0." in text for text in texts[True, False])
    assert not any("lies" in text or "Around" in text for text in texts[False, False])
    assert all("Around it" in text for text in texts[False, True])


def test_rules_come_from_pairs_in_both_directions():
    table = pd.DataFrame(
        {
            "object_type": ["a"] * 5,
            "cy": [0.5] * 5,
            "neighbours": [[{"object_type": "b", "relation": relation}] for relation in
                           ("above", "above", "above", "below", "left")],
        }
    )  # fmt: skip
    assert spatial_rules(table) == {"a": "A a has a mean y of 0.50, with b above it in 60 %."}


@pytest.mark.parametrize("name", NAMES)
def test_every_name_is_read_as_itself(name):
    """A perfect model scores 100 %, which the source's matcher could not give."""
    assert parse_answer(name, NAMES) == name
    assert parse_answer(f"  {name.upper()}. ", NAMES) == name
    assert parse_answer(f"This is a {name}, I think.", NAMES) == name


@pytest.mark.parametrize("text", ["", "blocked", "drain", "nothing", "slopedrain", "a rock"])
def test_an_answer_that_names_no_class_is_none(text):
    assert parse_answer(text, NAMES) is None


def test_the_longest_name_wins():
    assert parse_answer("The drain is slope drain blocked.", NAMES) == "slope drain blocked"
    assert parse_answer("toe drain - blocked", NAMES) == "Toe drain- Blocked"


def test_label_to_text_to_label_on_random_cases():
    rng = np.random.default_rng(0)
    words = ["it", "looks", "like", "a", "The", "answer:", "clearly"]
    for _ in range(300):
        name = NAMES[int(rng.integers(len(NAMES)))]
        before, after = (" ".join(rng.choice(words, int(rng.integers(4)))) for _ in range(2))
        assert parse_answer(f"{before} {name} {after}", NAMES) == name


def test_the_dialogue_is_qwens_own():
    text = chat_text("Q.", ["a", "b"], "<|vision_start|><|image_pad|><|vision_end|>")
    assert text == (
        "<|im_start|>system\nYou are a helpful assistant.<|im_end|>\n<|im_start|>user\n"
        "<|vision_start|><|image_pad|><|vision_end|>Q. Which is it: a, b?<|im_end|>\n"
        "<|im_start|>assistant\n"
    )
