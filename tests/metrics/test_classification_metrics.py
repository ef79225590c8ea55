import numpy as np
import pytest

from aquatint.metrics.classification import classification_metrics, confusion_matrix
from aquatint.metrics.intervals import confidence_interval

NAMES = ("intact", "damaged", "flooded", "burnt")


def random_labels(n: int = 80, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    return rng.integers(-1, 4, n), rng.integers(0, 4, n)


def scores_by_definition(predicted, target, label):
    pairs = list(zip(predicted.tolist(), target.tolist(), strict=True))
    hits = sum(p == t == label for p, t in pairs)
    precision = hits / sum(p == label for p, _ in pairs)
    recall = hits / sum(t == label for _, t in pairs)
    return precision, recall, 2 * precision * recall / (precision + recall)


def test_matches_the_definition():
    predicted, target = random_labels()
    metrics = classification_metrics(predicted, target, NAMES)
    num_correct = sum(p == t for p, t in zip(predicted, target, strict=True))
    assert metrics["accuracy"] == num_correct / 80
    assert metrics["accuracy_interval"] == confidence_interval(int(num_correct), 80)
    f1_scores = []
    for label, name in enumerate(NAMES):
        expected = scores_by_definition(predicted, target, label)
        scores = metrics["per_class"][name]
        assert (scores["precision"], scores["recall"], scores["f1"]) == pytest.approx(expected)
        assert scores["n"] == (target == label).sum()
        f1_scores.append(expected[2])
    assert metrics["macro_f1"] == pytest.approx(sum(f1_scores) / 4)
    assert metrics["num_without_prediction"] == (predicted == -1).sum() > 0
    assert metrics["n"] == 80


def test_by_hand():
    metrics = classification_metrics([0, 0, 1, 1], [0, 1, 1, 1], ("no", "yes"))
    assert metrics["accuracy"] == 0.75
    assert metrics["confusion"] == [[1, 0], [1, 2]]
    assert metrics["per_class"]["no"] == {"precision": 0.5, "recall": 1, "f1": 2 / 3, "n": 1}
    assert metrics["per_class"]["yes"] == {"precision": 1, "recall": 2 / 3, "f1": 0.8, "n": 3}
    assert metrics["macro_f1"] == pytest.approx((2 / 3 + 0.8) / 2)
    assert metrics["majority_baseline"] == 0.75


def test_a_perfect_model_gets_everything():
    _, target = random_labels()
    metrics = classification_metrics(target, target, NAMES)
    assert metrics["accuracy"] == metrics["macro_f1"] == 1


def test_shuffled_targets_fall_to_chance():
    rng = np.random.default_rng(0)
    target = rng.integers(0, 4, 2000)
    metrics = classification_metrics(rng.permutation(target), target, NAMES)
    low, high = metrics["accuracy_interval"]
    assert low < 0.25 < high


def test_order_does_not_matter():
    predicted, target = random_labels()
    assert classification_metrics(predicted[::-1], target[::-1], NAMES) == classification_metrics(
        predicted, target, NAMES
    )


def test_a_missing_prediction_is_wrong():
    metrics = classification_metrics([-1, 0], [0, 0], NAMES)
    assert metrics["accuracy"] == 0.5
    assert metrics["per_class"]["intact"]["recall"] == 0.5
    assert metrics["num_without_prediction"] == 1


def test_a_class_that_never_occurs_is_null_and_does_not_count():
    metrics = classification_metrics([0, 1], [0, 1], NAMES)
    assert metrics["per_class"]["burnt"] == {"precision": None, "recall": None, "f1": None, "n": 0}
    assert metrics["macro_f1"] == 1


def test_a_class_predicted_but_absent_counts_as_zero():
    metrics = classification_metrics([0, 1], [0, 0], ("a", "b"))
    assert metrics["per_class"]["b"] == {"precision": 0, "recall": None, "f1": 0, "n": 0}
    assert metrics["macro_f1"] == pytest.approx((2 / 3 + 0) / 2)


def test_no_samples_give_none_not_zero():
    metrics = classification_metrics([], [], NAMES)
    assert metrics["n"] == 0
    assert metrics["confusion"] == np.zeros((4, 4)).tolist()
    for key in ("accuracy", "accuracy_interval", "macro_f1", "majority_baseline"):
        assert metrics[key] is None


def test_confusion_has_a_row_for_each_target():
    confusion = confusion_matrix(np.array([2, 2, 0]), np.array([1, 1, 1]), 3)
    assert confusion.tolist() == [[0, 0, 0], [1, 0, 2], [0, 0, 0]]


@pytest.mark.parametrize(
    ("predicted", "target", "message"),
    [
        ([4], [0], "predicted must be between -1 and 3, got 4"),
        ([0], [-1], "target must be between 0 and 3, got -1"),
        ([0, 1], [0], r"one length, got shapes \(2,\) and \(1,\)"),
    ],
)
def test_labels_out_of_range_are_refused(predicted, target, message):
    with pytest.raises(ValueError, match=message):
        classification_metrics(predicted, target, NAMES)
