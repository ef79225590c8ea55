"""Metrics of answers against cases that were worked out by hand."""

import numpy as np
import pandas as pd
import pytest

from aquatint.metrics.navigation_answers import (
    answer_metrics,
    constant_pixel_metrics,
    kind_metrics,
    pixel_errors,
    pixel_metrics,
)

TABLE = pd.DataFrame(
    {
        "kind": ["pixel", "pixel", "turn", "turn", "stop", "stop"],
        "predicted_kind": ["pixel", "turn", "turn", "stop", "stop", "invalid"],
        "first_answer": ["↓", "←", "←←", "STOP", "STOP", "?"],
        "answer": ["10 20", "30 40", "←←", "→", "STOP", "STOP"],
        "goal_row": [10, 30, -1, -1, -1, -1],
        "goal_column": [20, 40, -1, -1, -1, -1],
        "predicted_row": [13, -1, -1, -1, -1, -1],
        "predicted_column": [24, -1, -1, -1, -1, -1],
        "image_width": [60, 60, 0, 0, 0, 0],
        "image_height": [80, 80, 0, 0, 0, 0],
        "scene": list("aabbcc"),
    }
)


def test_kinds_turns_and_pixels_by_hand():
    found = answer_metrics(TABLE)
    kinds = found["kinds"]
    assert kinds["accuracy"] == pytest.approx(3 / 6)
    assert kinds["balanced_accuracy"] == pytest.approx(1 / 2)
    assert (kinds["stop_precision"], kinds["stop_recall"]) == (1 / 2, 1 / 2)
    assert kinds["invalid_rate"] == pytest.approx(1 / 6)
    assert kinds["confusion"]["turn"] == {"pixel": 0, "turn": 1, "stop": 1, "invalid": 0}
    assert found["turns"]["exact_match"] == 1 / 2
    pixels = found["pixels"]
    assert pixels["mean_px_error"] == 5.0
    assert pixels["mean_diagonal_error"] == pytest.approx(5 / 100)
    assert (pixels["hit_at_0.05"], pixels["hit_at_0.1"]) == (0.0, 0.5)
    assert (pixels["answered"], pixels["n"]) == (1, 2)


def test_the_order_of_rows_decides_nothing():
    again = answer_metrics(TABLE.iloc[::-1].reset_index(drop=True))
    assert again == answer_metrics(TABLE)


def test_row_and_column_are_not_interchangeable():
    swapped = TABLE.assign(predicted_row=TABLE["predicted_column"],
                           predicted_column=TABLE["predicted_row"])  # fmt: skip
    assert answer_metrics(swapped)["pixels"]["mean_px_error"] > 12


def test_nothing_is_none_not_zero():
    none = kind_metrics(pd.Series([], dtype=str), pd.Series([], dtype=str))
    assert none["accuracy"] is None
    assert none["stop_precision"] is None
    empty = pixel_metrics(np.zeros(0), np.zeros(0), np.zeros(0, str))
    assert empty["mean_px_error"] is None
    assert empty["hit_at_0.1"] is None
    assert empty["n"] == 0
    never = kind_metrics(TABLE["kind"], pd.Series(["pixel"] * 6))
    assert never["stop_precision"] is None
    assert never["stop_recall"] == 0.0


def test_one_pixel_for_all_images_is_judged_like_any_other():
    found = constant_pixel_metrics(TABLE, 10 / 80, 20 / 60)
    assert found["n"] == found["answered"] == 2
    assert found["mean_px_error"] == pytest.approx(np.hypot(20, 20) / 2)


def test_a_pixel_that_was_not_named_has_no_error():
    errors = pixel_errors(np.array([-1, 0]), np.array([-1, 3]), np.array([5, 0]), np.array([5, 0]))
    assert np.isnan(errors[0])
    assert errors[1] == 3
