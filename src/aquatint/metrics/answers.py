"""Answers in words against annotated ones, as VQA and multiple-choice benchmarks compare them."""

from __future__ import annotations

import re

_ARTICLES = re.compile(r"\b(a|an|the)\b")
_PUNCTUATION = re.compile(r"[^\w\s%.\-]|(?<!\d)\.|\.(?!\d)")
_LETTER = re.compile(r"^\(?([A-Ha-h])\)?(?:[.:)\s]|$)")
_BOOLEANS = {"yes": "yes", "true": "yes", "no": "no", "false": "no"}


def normalise_answer(text: str) -> str:
    """Return an answer in lower case, without articles, punctuation and extra spaces."""
    plain = _PUNCTUATION.sub(" ", text.lower())
    return " ".join(_ARTICLES.sub(" ", plain).split())


def is_same_answer(predicted: str, target: str) -> bool:
    """Whether an answer counts as the annotated one.

    Yes and no are compared by the first word, a letter of a multiple choice by itself (``B``,
    ``(B)`` and ``B. red`` are one), all else as normalised text as a whole.
    """
    wanted = normalise_answer(target)
    if wanted in _BOOLEANS:
        first = normalise_answer(predicted).partition(" ")[0]
        return _BOOLEANS.get(first) == _BOOLEANS[wanted]
    if re.fullmatch(r"\(?[A-H]\)?\.?", target.strip()):
        letter = _LETTER.match(predicted.strip())
        return letter is not None and letter.group(1).upper() == target.strip("(). \n").upper()
    return normalise_answer(predicted) == wanted
