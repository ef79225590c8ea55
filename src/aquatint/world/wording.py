"""Words for places in an image, counts and articles."""

BoxXyxy = tuple[float, float, float, float]

_POSITIONS = (
    ("in the upper left corner", "at the top", "in the upper right corner"),
    ("on the left side", "in the centre", "on the right side"),
    ("in the lower left corner", "at the bottom", "in the lower right corner"),
)
POSITION_WORDS = tuple(words for row in _POSITIONS for words in row)
_NUMBERS = ("no", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
_IRREGULAR_PLURALS = {"church": "churches", "bus": "buses"}
MAX_COUNT = len(_NUMBERS) - 1
# The longer offset must exceed the shorter one by this factor, or the relation is ambiguous.
_DOMINANCE = 1.8
_MIN_OFFSET = 0.06


def third(value: float) -> int:
    """Return in which third of [0, 1] a coordinate lies, counted from 0."""
    return 0 if value < 1 / 3 else 2 if value > 2 / 3 else 1


def name_position(x: float, y: float) -> str:
    """Return the words for a point in the image, x to the right and y down in [0, 1]."""
    return _POSITIONS[third(y)][third(x)]


def box_center(box: BoxXyxy) -> tuple[float, float]:
    """Return x and y of the middle of a box."""
    return (box[0] + box[2]) / 2, (box[1] + box[3]) / 2


def to_cxcywh(box: BoxXyxy) -> tuple[float, float, float, float]:
    """Return the middle and the size of a box given by its corners."""
    return (*box_center(box), box[2] - box[0], box[3] - box[1])


def name_relation(subject: BoxXyxy, other: BoxXyxy) -> str | None:
    """Return where the subject lies as seen from the other box in the image, if that is clear."""
    subject_x, subject_y = box_center(subject)
    other_x, other_y = box_center(other)
    dx, dy = subject_x - other_x, subject_y - other_y
    longer, shorter = max(abs(dx), abs(dy)), min(abs(dx), abs(dy))
    if longer < _MIN_OFFSET or longer <= _DOMINANCE * shorter:
        return None
    if abs(dx) > abs(dy):
        return "left of" if dx < 0 else "right of"
    return "above" if dy < 0 else "below"


def with_article(name: str) -> str:
    """Put ``a`` or ``an`` before a name."""
    return ("an " if name[0] in "aeio" else "a ") + name


def with_count(name: str, count: int) -> str:
    """Put a number in words before a name, in the plural if it is not one."""
    if count == 1:
        return f"one {name}"
    head, _, last = name.rpartition(" ")
    plural = _IRREGULAR_PLURALS.get(last, last + "s")
    return f"{_NUMBERS[count]} {head} {plural}".replace("  ", " ")


def join_words(parts: list[str]) -> str:
    """Join phrases with commas and a final ``and``."""
    if len(parts) < 2:
        return "".join(parts)
    return f"{', '.join(parts[:-1])} and {parts[-1]}"


def to_sentence(text: str) -> str:
    """Begin with a capital letter and end with a full stop."""
    return text[0].upper() + text[1:] + "."
