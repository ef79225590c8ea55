import json

import numpy as np
import pytest
from report_fixture import ROBUSTNESS, make_results, make_trainings

from aquatint.reports.curves import draw_losses, draw_progress
from aquatint.reports.figures import draw_confusion, draw_recalls, draw_robustness
from aquatint.reports.theme import spread_labels
from aquatint.reports.wording import PART_COLORS, label_part


@pytest.fixture(scope="module")
def metrics():
    return make_results()["metrics"]


def traces(figure, **wanted):
    return [t for t in figure.data if all(getattr(t, name) == v for name, v in wanted.items())]


def test_losses_show_every_term_and_stage2_after_stage1():
    figure = draw_losses(make_trainings())
    titles = [annotation.text for annotation in figure.layout.annotations]
    assert [title.split(":")[0] for title in titles] == [
        "loss ITC",
        "loss ITM",
        "loss bbox",
        "loss spatial",
        "validation",
    ]
    lines = {
        part: [t for t in traces(figure, name=label_part(part)) if t.line.width > 1]
        for part in ("stage1", "stage2", "baseline")
    }
    # Stage 1 has two losses, the others four; each has its validation.
    assert {part: len(found) for part, found in lines.items()} == {
        "stage1": 3,
        "stage2": 5,
        "baseline": 5,
    }
    assert (lines["stage1"][0].x[0], lines["stage1"][0].x[-1]) == (1, 8)
    assert (lines["stage2"][0].x[0], lines["stage2"][0].x[-1]) == (9, 16)
    assert (lines["baseline"][0].x[0], lines["baseline"][0].x[-1]) == (1, 16)


def test_validation_in_percent_at_the_end_of_each_epoch():
    figure = draw_losses(make_trainings(stage1=(0.1, 0.2)))
    validation = traces(figure, name="stage 1")[-1]
    assert list(validation.x) == [4, 8]
    assert list(validation.y) == pytest.approx([10, 20])


def test_progress_starts_stage2_where_stage1_ends():
    figure = draw_progress(make_trainings(stage1=(0.1, 0.2), stage2=(0.3, 0.5)), 0.3)
    first, second, single = figure.data[:3]
    assert list(first.x) == [4, 8]
    assert list(second.x) == [8, 12, 16]
    assert list(second.y) == pytest.approx([20, 30, 50])
    assert list(single.x) == [4, 8, 12, 16]


def test_buttons_exchange_the_axis_of_every_line():
    figure = draw_progress(make_trainings(), 0.3)
    buttons = figure.layout.updatemenus[0].buttons
    assert [button.label for button in buttons] == ["steps", "samples", "seconds"]
    for button in buttons:
        lines = button.args[0]["x"]
        assert [len(line) for line in lines] == [len(trace.x) for trace in figure.data]
    seconds = buttons[2].args[0]["x"]
    assert seconds[1] == pytest.approx([8, 16, 24])
    assert seconds[2] == pytest.approx([16, 32, 48, 64])


def test_recall_bars_have_the_height_and_the_interval_of_the_metrics(metrics):
    figure = draw_recalls(metrics)
    bars = [trace for trace in figure.data if trace.type == "bar"]
    assert len(bars) == 8
    bar = next(b for b in bars if b.name == "stage 2" and b.yaxis == "y")
    recall = metrics["stage2"]["text_to_image"]
    assert list(bar.y) == pytest.approx([100 * recall[f"recall_at_{k}"] for k in (1, 5, 10)])
    for index, k in enumerate((1, 5, 10)):
        low, high = recall[f"recall_at_{k}_interval"]
        assert bar.y[index] + bar.error_y.array[index] == pytest.approx(100 * high)
        assert bar.y[index] - bar.error_y.arrayminus[index] == pytest.approx(100 * low)
    assert bar.marker.color == PART_COLORS["stage2"]


def test_chance_is_drawn_across_each_group_in_both_directions(metrics):
    chance = traces(draw_recalls(metrics), name="chance")
    assert len(chance) == 2
    assert [y for y in chance[0].y if y is not None] == [4, 4, 20, 20, 40, 40]


def test_a_recall_of_no_query_is_left_out_instead_of_drawn_as_zero(metrics):
    empty = {**metrics["stage1"]["text_to_image"], "recall_at_5": None}
    changed = {**metrics, "stage1": {**metrics["stage1"], "text_to_image": empty}}
    bars = [t for t in draw_recalls(changed).data if t.type == "bar" and t.name == "stage 1"]
    assert [len(bar.y) for bar in bars] == [2, 3]


def test_bars_of_a_group_do_not_overlap(metrics):
    bars = [t for t in draw_recalls(metrics).data if t.type == "bar" and t.yaxis == "y"]
    spans = sorted((x - bar.width / 2, x + bar.width / 2) for bar in bars for x in bar.x)
    assert len(spans) == 12
    assert all(left[1] < right[0] for left, right in zip(spans, spans[1:], strict=False))


def test_confusion_shows_counts_and_shares_of_the_row():
    names = ["left", "center", "right"]
    axis = {"confusion": [[3, 1, 0], [0, 0, 0], [0, 2, 2]], "class_names": names}
    joint = {"confusion": np.eye(9, dtype=int).tolist(), "class_names": [str(i) for i in range(9)]}
    figure = draw_confusion({**joint, "horizontal": axis, "vertical": axis})
    assert [len(trace.z) for trace in figure.data] == [9, 3, 3]
    shown = figure.data[1]
    assert shown.z[0] == pytest.approx((75, 25, 0))
    # No target of this class: unknown, not 0 %.
    assert list(shown.z[1]) == [None, None, None]
    assert [list(row) for row in shown.text] == axis["confusion"]


def test_robustness_lines_start_at_the_clean_images():
    figure = draw_robustness(ROBUSTNESS, 0.4)
    assert [trace.name for trace in figure.data] == ["blur", "jpeg"]
    for trace in figure.data:
        assert list(trace.x) == [0, 1, 5]
        assert list(trace.y) == pytest.approx([60, 50, 10])
    texts = [annotation.text for annotation in figure.layout.annotations]
    assert texts == ["blur", "jpeg", "chance"]


def test_robustness_without_corruptions_or_chance():
    assert len(draw_robustness(ROBUSTNESS.iloc[:1], None).data) == 0


@pytest.mark.parametrize("seed", range(20))
def test_labels_are_apart_and_in_order(seed):
    positions = np.random.default_rng(seed).uniform(0, 30, 6).tolist()
    spread = spread_labels(positions, 4.0)
    order = np.argsort(positions)
    assert (np.diff(np.array(spread)[order]) > 4.0 - 1e-9).all()
    assert sum(spread) == pytest.approx(sum(positions))


def test_labels_with_room_stay():
    assert spread_labels([10.0, 30.0, 20.0], 4.0) == [10.0, 30.0, 20.0]
    assert spread_labels([], 4.0) == []


def test_figures_are_plain_json(metrics):
    trainings = make_trainings()
    figures = [
        draw_losses(trainings),
        draw_progress(trainings, 0.3),
        draw_recalls(metrics),
        draw_confusion(metrics["stage2"]["spatial"]),
        draw_robustness(ROBUSTNESS, 0.4),
    ]
    for figure in figures:
        assert "NaN" not in figure.to_json()
        assert json.loads(figure.to_json())["layout"]["height"] >= 380
