"""Answers are read back as they were written, and what is no answer is called so."""

import itertools

import numpy as np
import pytest

from aquatint.data.navigation_prompts import (
    CONJUNCTIONS,
    FORWARD,
    IMAGE,
    LEFT,
    LOOK_DOWN,
    RIGHT,
    STOP,
    Answer,
    ask,
    conjunctions_of,
    parse_answer,
    write_actions,
    write_pixel,
)


def test_every_answer_is_read_back_as_it_was_written():
    rng = np.random.default_rng(0)
    for row, column in rng.integers(0, 640, (50, 2)).tolist():
        assert parse_answer(write_pixel(row, column)) == Answer("pixel", (), row, column)
    turns = [t for n in range(1, 5) for t in itertools.product((FORWARD, LEFT, RIGHT), repeat=n)]
    assert len(turns) == 3 + 9 + 27 + 81
    for actions in turns:
        assert parse_answer(write_actions(actions)) == Answer("turn", actions)
    assert parse_answer(write_actions([STOP])) == Answer("stop", (STOP,))
    assert parse_answer(write_actions([LOOK_DOWN])).kind == "look_down"


def test_the_row_comes_first():
    assert write_pixel(3, 40) == "3 40"
    swapped = parse_answer("40 3")
    assert (swapped.row, swapped.column) == (40, 3)


@pytest.mark.parametrize(
    "text", ["", "7", "1 2 3", "row 1 column 2", "←x", "←↓", "stop", "STOP STOP", "1.5 2", "-1 2"]
)
def test_what_is_no_answer_is_invalid(text):
    assert parse_answer(text).kind == "invalid"


@pytest.mark.parametrize("actions", [[], [STOP, LEFT], [4]])
def test_actions_that_have_no_words_are_refused(actions):
    with pytest.raises(ValueError, match="STOP alone or arrows"):
        write_actions(actions)


def test_a_question_has_a_place_for_every_image_and_the_instruction_before_them():
    text = ask("Fly to the red pad.", 3, CONJUNCTIONS[0])
    assert text.count(IMAGE) == 4
    assert text.index("Seen before") < text.index("red pad") < text.rindex(IMAGE)
    assert "Seen before" not in ask("Go.", 0, CONJUNCTIONS[0])
    with pytest.raises(ValueError, match="needs words"):
        ask(f"Fly {IMAGE}", 0, CONJUNCTIONS[0])


def test_conjunctions_depend_on_sample_and_seed_alone():
    drawn = {conjunctions_of(f"sample {n}", 0) for n in range(200)}
    assert len(drawn) > 40, "all pairs of seven occur"
    assert conjunctions_of("a", 0) == conjunctions_of("a", 0)
    assert any(conjunctions_of(str(n), 0) != conjunctions_of(str(n), 1) for n in range(5))
