import pytest

from aquatint.data.text import normalize_caption


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("In the Center, there's a TOWER.", "in the center theres a tower"),
        ("A two-storey house/garage", "a two storey house garage"),
        ('(a) *b* #c: d; e~ "f" g! h?', "a b c d e f g h"),
        ("  many \n  spaces\t", "many spaces"),
        ("one two three four", "one two three"),
        ("well-known tall tower", "well known tall"),
    ],
)
def test_by_hand(text, expected):
    limit = 3 if text in ("one two three four", "well-known tall tower") else 50
    assert normalize_caption(text, max_words=limit) == expected


def test_normalizing_twice_changes_nothing():
    once = normalize_caption("A well-known, OLD tower (left).", 50)
    assert normalize_caption(once, 50) == once


@pytest.mark.parametrize("text", ["", "  ", "?!", "-"])
def test_a_caption_of_which_nothing_is_left_is_refused(text):
    with pytest.raises(ValueError, match="must keep at least one word"):
        normalize_caption(text, 30)


def test_max_words_must_be_positive():
    with pytest.raises(ValueError, match="max_words must be at least 1, got 0"):
        normalize_caption("a", 0)
