"""Which words lie in which cells of a picture."""

import numpy as np
import pytest

from aquatint.world.visual_views import CELL_WORDS, ask_about_scenes
from aquatint.world.word_cells import find_word_cells

IDS = np.array([[0, 0, 1, 1], [0, 0, 1, 1], [2, 0, 1, 0], [0, 0, 0, 0]])
WORDS = ("red", "tower", "blue")


def test_a_word_lies_where_enough_of_a_cell_shows_its_object():
    words_of = {1: ("red", "tower"), 2: ("blue", "tower")}
    found = find_word_cells(IDS, words_of, WORDS, num_cells=2, min_share=0.25)
    assert found.tolist() == [[0, 0, 0], [1, 1, 0], [0, 1, 1], [1, 1, 0]]
    stricter = find_word_cells(IDS, words_of, WORDS, num_cells=2, min_share=0.5)
    assert stricter.tolist() == [[0, 0, 0], [1, 1, 0], [0, 0, 0], [0, 0, 0]]


def test_a_grid_that_does_not_divide_the_picture_is_refused():
    with pytest.raises(ValueError, match="4 px has no 3 whole cells"):
        find_word_cells(IDS, {}, WORDS, num_cells=3, min_share=0.5)


def test_words_of_a_scene_lie_where_its_boxes_say():
    for view in ask_about_scenes(4, 48, 7, 4):
        assert view.word_cells.shape == (16, len(CELL_WORDS))
        asked = [question for question in view.questions if question.kind == "color"]
        for question in asked:
            column = CELL_WORDS.index(question.answer)
            assert view.word_cells[:, column].any()
        for word in ("road", "river"):
            if any(q.text == f"Is there a {word}?" and q.answer == "no" for q in view.questions):
                assert not view.word_cells[:, CELL_WORDS.index(word)].any()
