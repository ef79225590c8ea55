import pytest
from report_fixture import BUILDINGS, PARTS, make_results, make_trainings

from aquatint.reports.comparison import compare_parts
from aquatint.reports.progress import cost_to_reach


def compare(results, **changes):
    given = {"metrics": results["metrics"], "ranks": results["ranks"]}
    given |= {"trainings": results["trainings"], **changes}
    return compare_parts(**given, buildings=BUILDINGS, target_r_mean=0.3, seed=0)


@pytest.fixture(scope="module")
def results():
    return make_results()


def with_r_mean(metrics, part, value):
    return {**metrics, part: {**metrics[part], "r_mean": value}}


def test_deltas_by_hand(results):
    metrics = with_r_mean(with_r_mean(results["metrics"], "stage1", 0.2), "stage2", 0.5)
    change = compare(results, metrics=metrics)["deltas"]["stage2_vs_stage1"]["changes"]["r_mean"]
    assert change["absolute"] == pytest.approx(0.3)
    assert change["relative"] == pytest.approx(1.5)


def test_a_relative_change_from_zero_is_unknown(results):
    metrics = with_r_mean(results["metrics"], "zero_shot", 0.0)
    change = compare(results, metrics=metrics)["deltas"]["stage1_vs_zero_shot"]["changes"]["r_mean"]
    assert change["relative"] is None
    assert change["absolute"] == results["metrics"]["stage1"]["r_mean"]


def test_a_metric_that_only_one_side_has_is_left_out(results):
    deltas = results["comparison"]["deltas"]
    assert "bbox.mean_iou" in deltas["stage2_vs_baseline"]["changes"]
    assert "bbox.mean_iou" not in deltas["stage2_vs_stage1"]["changes"]
    assert results["comparison"]["headline"]["stage1"]["bbox.mean_iou"] is None


def test_a_metric_of_nothing_is_left_out(results):
    metrics = with_r_mean(results["metrics"], "stage1", None)
    compared = compare(results, metrics=metrics)
    assert "r_mean" not in compared["deltas"]["stage2_vs_stage1"]["changes"]
    assert any("no mean recall" in verdict["text"] for verdict in compared["verdicts"])


def test_trainable_parameters_by_hand(results):
    deltas = results["comparison"]["deltas"]
    assert deltas["stage2_vs_stage1"]["trainable_parameters"] == {"absolute": 1500, "relative": 1.5}
    assert deltas["stage1_vs_zero_shot"]["trainable_parameters"] is None


# Epochs of 4 steps of 8 samples. Stage 1 takes 8 steps in 8 s, stage 2 8 steps in 16 s, the
# single stage 16 steps in 64 s.
def test_cost_of_a_target_that_stage1_reaches():
    curve = make_trainings(stage1=(0.1, 0.35)).two_stage_curve()
    assert cost_to_reach(curve, 0.3) == {"steps": 8, "samples": 64, "seconds": 8}


def test_cost_of_a_target_that_only_stage2_reaches_contains_all_of_stage1():
    curve = make_trainings(stage1=(0.1, 0.2), stage2=(0.1, 0.3)).two_stage_curve()
    assert cost_to_reach(curve, 0.3) == {"steps": 16, "samples": 128, "seconds": 24}


def test_a_target_counts_at_its_first_crossing():
    curve = make_trainings(baseline=(0.1, 0.4, 0.2, 0.5)).curve("baseline")
    assert cost_to_reach(curve, 0.3) == {"steps": 8, "samples": 64, "seconds": 32}


def test_a_target_that_is_never_reached_costs_nothing_known(results):
    trainings = make_trainings(stage1=(0.1, 0.1), stage2=(0.1, 0.2), baseline=(0.1, 0.2, 0.2, 0.4))
    compared = compare(results, trainings=trainings)
    given = compared["time_to_target"][0]
    assert given["two_stage"] is None
    assert given["baseline"]["steps"] == 16
    assert given["ratio"] is None
    assert compared["two_stage_total"]["steps_to_target"] is None
    assert compared["efficiency"]["stage1"]["seconds_to_target"] is None


def test_ratio_at_the_best_score_that_both_reach(results):
    trainings = make_trainings(stage2=(0.3, 0.5), baseline=(0.1, 0.2, 0.3, 0.4))
    row = compare(results, trainings=trainings)["time_to_target"][1]
    # Two stages pass 0.4 at their last step, the single stage at its own.
    assert row["target"] == 0.4
    assert row["ratio"] == pytest.approx({"steps": 1.0, "samples": 1.0, "seconds": 64 / 24})


def test_two_stage_total_by_hand(results):
    total = results["comparison"]["two_stage_total"]
    assert (total["num_steps"], total["num_samples_seen"], total["train_seconds"]) == (16, 128, 24)


def verdict_of_two_stages(compared):
    found = [v for v in compared["verdicts"] if v["text"].startswith("Two stages")]
    assert len(found) == 1
    return found[0]


def test_identical_parts_cannot_be_told_apart(results):
    same = {part: results["ranks"]["stage1"] for part in PARTS}
    metrics = {part: results["metrics"]["stage2"] for part in PARTS}
    compared = compare(results, ranks=same, metrics=metrics)
    for delta in compared["deltas"].values():
        assert delta["outcome"] == "unclear"
        assert not delta["intervals_apart"]
        assert delta["changes"]["r_mean"] == {
            "absolute": 0.0,
            "relative": 0.0,
            "interval": [0.0, 0.0],
        }
    verdict = verdict_of_two_stages(compared)
    assert verdict["text"].startswith("Two stages do not beat one: the test set cannot tell")
    assert verdict["outcome"] == "unclear"


@pytest.mark.parametrize(
    ("skills", "start", "outcome"),
    [
        ({"stage2": 1.0, "baseline": 20.0}, "Two stages beat one;", "better"),
        ({"stage2": 20.0, "baseline": 1.0}, "Two stages do not beat one: the single", "worse"),
    ],
)
def test_the_verdict_follows_the_numbers(skills, start, outcome):
    compared = make_results(skills)["comparison"]
    assert compared["deltas"]["stage2_vs_baseline"]["outcome"] == outcome
    assert compared["deltas"]["stage2_vs_baseline"]["intervals_apart"] == (outcome == "better")
    verdict = verdict_of_two_stages(compared)
    assert verdict["text"].startswith(start)
    assert verdict["outcome"] == outcome


def test_an_untrained_head_is_called_so(results):
    metrics = {**results["metrics"]}
    metrics["stage2"] = {
        **metrics["stage2"],
        "bbox": {**metrics["stage2"]["bbox"], "mean_iou": 0.05},
    }
    texts = [verdict["text"] for verdict in compare(results, metrics=metrics)["verdicts"]]
    assert any("0.050, no more than the 0.110 of the same mean box" in text for text in texts)


def test_parts_of_one_run_raise_no_doubt(results):
    assert not any("belong together" in v["text"] for v in results["comparison"]["verdicts"])


@pytest.mark.parametrize(
    ("part", "change", "doubt"),
    [
        ("stage1", {"version": "V2"}, "stage 2 was trained from stage 1 @ V1, not from @ V2"),
        ("baseline", {"backbone": {"digest": "other"}}, "trained on different backbones"),
        ("baseline", {"data": {"images": "other"}}, "trained on different data"),
    ],
)
def test_mixed_runs_are_named(results, part, change, doubt):
    trainings = make_trainings()
    trainings.lineages[part].update(change)
    last = compare(results, trainings=trainings)["verdicts"][-1]
    assert doubt in last["text"]
    assert last["outcome"] == "worse"
