"""Caption preprocessing of X-VLM, for models trained with it."""

import re

REMOVED_CHARACTERS = re.compile(r"[,.'!?\"()*#:;~]")
SPACED_CHARACTERS = re.compile(r"[-/]")


def normalize_caption(text: str, max_words: int) -> str:
    """Return a caption in lower case, without punctuation, cut to its first words.

    Args:
        text: Caption as annotated.
        max_words: Number of words kept; X-VLM trains with 30 and evaluates with 50.

    Returns:
        Words separated by single spaces.

    Raises:
        ValueError: If nothing is left, or ``max_words`` is below 1.

    References:
        Zeng et al., "Multi-Grained Vision Language Pre-Training" (X-VLM), ICML 2022,
        https://arxiv.org/abs/2111.08276; ``pre_caption`` of its published code.
    """
    if max_words < 1:
        raise ValueError(f"max_words must be at least 1, got {max_words}.")
    plain = SPACED_CHARACTERS.sub(" ", REMOVED_CHARACTERS.sub("", text.lower()))
    words = plain.split()
    if not words:
        raise ValueError(f"a caption must keep at least one word, got {text!r}.")
    return " ".join(words[:max_words])
