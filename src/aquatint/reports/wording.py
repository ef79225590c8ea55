"""Words, colors and number formats that all figures and pages share."""

from __future__ import annotations

from typing import Any

PART_LABELS = {
    "zero_shot": "zero-shot",
    "stage1": "stage 1",
    "stage2": "stage 2",
    "baseline": "single stage",
}
# Told apart by color-blind readers, and at least 3:1 on white and on near-black.
PART_COLORS = {
    "zero_shot": "#8C8C8C",
    "stage1": "#3D8BCD",
    "stage2": "#D9601A",
    "baseline": "#8B6FC0",
}
SERIES_COLORS = ("#3D8BCD", "#D9601A", "#2E9E7B", "#B8860B", "#C2579A", "#6B7A8F")
DIRECTION_LABELS = {"text_to_image": "text → image", "image_to_text": "image → text"}
LOSS_LABELS = {
    "itc": "ITC: contrastive",
    "itm": "ITM: matching",
    "bbox": "bbox: L1 + GIoU",
    "spatial": "spatial: relations",
}
NOTHING = "–"
# A space that neither breaks nor widens, between number and unit.
THIN_SPACE = "\u202f"


def label_part(name: str) -> str:
    """Return what a reader calls a part: ``stage 1``."""
    return PART_LABELS.get(name, name.replace("_", " "))


def format_percent(share: float | None, digits: int = 1) -> str:
    """Return a share in [0, 1] in percent."""
    return NOTHING if share is None else f"{100 * share:.{digits}f}{THIN_SPACE}%"


def format_points(difference: float | None) -> str:
    """Return a difference of shares in percentage points, with its sign."""
    return NOTHING if difference is None else _signed(100 * difference, 1)


def format_p_value(p_value: float) -> str:
    """Return a test's p with four digits; none is 0."""
    return "p < 0.0001" if p_value < 1e-4 else f"p = {p_value:.4f}"


def format_interval(interval: list[float] | None) -> str:
    """Return both ends of an interval of shares, in percent."""
    if interval is None:
        return ""
    return f"{100 * interval[0]:.1f} to {100 * interval[1]:.1f}".replace("-", "−")


def format_value(value: float | None, is_share: bool = True) -> str:
    """Return a metric: a share in percent, anything else with three decimals."""
    if value is None:
        return NOTHING
    return format_percent(value) if is_share else f"{value:.3f}".replace("-", "−")


def format_relative(change: float | None) -> str:
    """Return a relative change in percent, with its sign."""
    return NOTHING if change is None else f"{_signed(100 * change, 0)}{THIN_SPACE}%"


def format_difference(difference: float) -> str:
    """Return a difference of values that are no shares, with its sign."""
    return _signed(difference, 3)


def _signed(value: float, digits: int) -> str:
    # Zero has no sign, also where it is zero only once rounded.
    rounded = round(value, digits)
    return f"{rounded:+.{digits}f}".replace("-", "−") if rounded else f"{0:.{digits}f}"


def format_count(count: float | None) -> str:
    """Return a count with its thousands apart."""
    return NOTHING if count is None else f"{count:,.0f}".replace(",", THIN_SPACE)


def format_milliseconds(seconds: float | None) -> str:
    """Return a short duration in milliseconds, a longer one as ``format_seconds`` does."""
    if seconds is None or seconds >= 1:
        return format_seconds(seconds)
    return f"{1000 * seconds:.0f}{THIN_SPACE}ms"


def format_seconds(seconds: float | None) -> str:
    """Return a duration in the unit a reader would choose."""
    if seconds is None:
        return NOTHING
    if seconds < 120:
        return f"{seconds:.1f}{THIN_SPACE}s"
    if seconds < 2 * 3600:
        return f"{seconds / 60:.1f}{THIN_SPACE}min"
    return f"{seconds / 3600:.1f}{THIN_SPACE}h"


def pick(values: dict[str, Any] | None, path: tuple[str, ...]) -> Any:  # noqa: ANN401 - JSON
    """Follow ``path`` through nested dicts; None where it ends."""
    for name in path:
        values = None if values is None else values.get(name)
    return values
