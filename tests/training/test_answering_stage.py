"""The stage: it learns, it resumes, it weights as written, and what it leaves can be used."""

import numpy as np
import pandas as pd
import pytest
import torch

from aquatint.models.answering import LORA_TARGETS, AnsweringModel
from aquatint.models.low_rank import inject_lora
from aquatint.params import OptimizerParams, StageParams
from aquatint.training.answering_export import export_adapter, merge_answering
from aquatint.training.answering_inference import Decoding, predict, predict_without_images
from aquatint.training.answering_losses import AnswerLosses
from aquatint.training.answering_stage import (
    AnsweringPlan,
    restore_answering,
    train_answering,
)
from aquatint.training.balance import Balance
from aquatint.training.checkpoint import Checkpoint, CheckpointMismatchError
from aquatint.training.dialogues import AnswerSamples, Dialogues
from aquatint.training.image_use import evaluate_image_use
from aquatint.training.inspection_evaluation import evaluate_answers
from aquatint.training.objective import Objective
from aquatint.training.state import TrainingStateFolder
from inspection_fixture import CLASS_MAP, NAMES, toy_data
from killed import killed_after

DECODING = Decoding("score", "mean", 8, 8)
LORA = {"r": 8, "lora_alpha": 16, "lora_dropout": 0.0}
NONE = Balance(False, False, False, "inverse_frequency", 0.999, None, None, "shuffled")


def plan(epochs=2, batch_size=4, accumulation=1, rate=5e-3, **changes):
    params = StageParams(
        epochs=epochs,
        batch_size=batch_size,
        gradient_accumulation_steps=accumulation,
        optimizer=OptimizerParams(learning_rate=rate, weight_decay=0.0, warmup_fraction=0.0),
        loss_weights={"answer": 1.0},
    )
    style = {"discloses_type": True, "allowed": "of_type", "position_encoding": True,
             "spatial_reasoning": True}  # fmt: skip
    views = {"kind": "crop", "margin": 1.2, "min_pixels": 2304, "max_pixels": 2304,
             "dtype": "float32"}  # fmt: skip
    values = {"lora": LORA, "balance": NONE, "losses": AnswerLosses(), "decoding": DECODING,
              "num_val": 100, "has_head": False,
              "class_map": CLASS_MAP, "style": style, "views": views}  # fmt: skip
    return AnsweringPlan(params=params, **{**values, **changes})


def train(data, run, folder, **options):
    return train_answering(plan(**options), data, run, TrainingStateFolder(str(folder)))


def accuracy(model, data, split="train", mode="own"):
    found = predict(model, Dialogues(data.rows(split), data, mode), DECODING, NAMES)
    return (found["predicted"] == found["target"]).mean()


@pytest.fixture(scope="module")
def strong_data(tmp_path_factory):
    """The toy task on a wider model: a random one of 32 has next to no room to learn in."""
    from aquatint.models.backbone import Backbone, folder_digest
    from inspection_fixture import write_qwen

    folder = tmp_path_factory.mktemp("wide")
    write_qwen(folder, width=96)
    backbone = Backbone(str(folder), folder_digest(folder), "pocket")
    return toy_data(backbone, tmp_path_factory.mktemp("toy"), num_photos=64)


@pytest.mark.slow
def test_it_learns_what_only_the_picture_tells_and_grey_pictures_undo_it(
    strong_data, run_params, tmp_path
):
    """With a head: a random language model cannot be taught to write by attention alone."""
    checkpoint, history = train(
        strong_data, run_params, tmp_path, epochs=10, rate=1e-2, has_head=True
    )
    assert history["loss_answer"].iloc[-4:].mean() < 0.5 * history["loss_answer"].iloc[0]
    model = restore_answering(strong_data.backbone, checkpoint, run_params)
    found = predict_without_images(model, strong_data, DECODING, NAMES)
    use = evaluate_image_use(found, strong_data.instances)
    assert use["modes"]["own"]["accuracy"] > 0.8
    assert use["modes"]["grey"]["accuracy"] < 0.6
    assert use["modes"]["shuffled"]["accuracy"] < 0.6
    assert use["modes"]["own"]["n"] == 16


@pytest.mark.slow
def test_shuffled_labels_give_chance(strong_data, run_params, tmp_path, tmp_path_factory):
    """Where labels say nothing about pictures, no better than knowing the type."""
    shuffled = toy_data(
        strong_data.backbone, tmp_path_factory.mktemp("shuffled"), num_photos=64,
        shuffled_labels=True,
    )  # fmt: skip
    checkpoint, _ = train(shuffled, run_params, tmp_path, epochs=8, rate=1e-2)
    model = restore_answering(shuffled.backbone, checkpoint, run_params)
    found = predict(model, Dialogues(shuffled.rows("test"), shuffled), DECODING, NAMES)
    metrics = evaluate_answers(found, shuffled.instances, CLASS_MAP)
    low, high = metrics["accuracy_interval"]
    assert low <= 1 / 3 <= high
    assert metrics["lift_over_type_only"]["p_value"] > 0.05


def test_the_same_seed_gives_the_same_weights(inspection_data, run_params, tmp_path):
    first, _ = train(inspection_data, run_params, tmp_path / "a", epochs=1)
    second, _ = train(inspection_data, run_params, tmp_path / "b", epochs=1)
    assert first.digest == second.digest


@pytest.mark.parametrize("stop_after", [1, 3, 4, 5])
def test_a_killed_training_ends_like_one_that_nobody_touched(
    stop_after, inspection_data, run_params, tmp_path
):
    """With dropout: the generators go on too."""
    lora = {**LORA, "lora_dropout": 0.1}
    run = run_params.model_copy(update={"save_state_every_steps": 1})
    whole, history = train(inspection_data, run, tmp_path / "whole", lora=lora)
    with killed_after(stop_after):
        train(inspection_data, run, tmp_path / "parts", lora=lora)
    resumed, again = train(inspection_data, run, tmp_path / "parts", lora=lora)
    assert resumed.digest == whole.digest
    pd.testing.assert_frame_equal(again, history)


def window_gradients(data, batch_size, accumulation, weights):
    """Gradients of one window of eight samples, as the loop adds them up."""
    torch.manual_seed(0)
    backbone = data.backbone.load()
    names = inject_lora(backbone, LORA, LORA_TARGETS)
    model = AnsweringModel(backbone).train()
    parameters = dict(backbone.named_parameters())
    for name in names:
        parameters[name].requires_grad_(True)
    dialogues = Dialogues(data.rows("train"), data)
    ids = dialogues.rows["class_id"].to_numpy()
    samples = AnswerSamples(dialogues, np.arange(len(dialogues)), weights, ids)
    losses = AnswerLosses()
    objective = Objective(samples, losses, sample_weights=samples.sample_weights)
    window = torch.arange(batch_size * accumulation)
    total = 0.0
    for micro in window.split(batch_size):
        loss = losses(model, samples.batch(micro))["answer"] * objective.share(micro, window)
        loss.backward()
        total += float(loss.detach())
    return total, {name: parameters[name].grad.clone() for name in names}


@pytest.mark.parametrize(("batch_size", "accumulation"), [(1, 8), (2, 4), (4, 2)])
def test_a_window_is_one_weighted_mean_however_it_is_cut(inspection_data, batch_size, accumulation):
    """With weights, and with answers of different length."""
    weights = np.linspace(0.5, 7.0, len(inspection_data.rows("train")))
    whole, expected = window_gradients(inspection_data, 8, 1, weights)
    total, found = window_gradients(inspection_data, batch_size, accumulation, weights)
    assert total == pytest.approx(whole, rel=1e-5)
    for name, gradient in expected.items():
        assert torch.allclose(found[name], gradient, atol=1e-6), name
    flat, _ = window_gradients(inspection_data, 1, 8, np.ones(len(weights)))
    assert abs(flat - whole) > 1e-4, "weights matter also in micro-batches of one"


def test_truth_is_nowhere_in_what_is_predicted_from(inspection_data, run_params):
    """Other classes and conditions in the table, the same answers."""
    backbone = inspection_data.backbone.load()
    model = AnsweringModel(backbone)
    rows = inspection_data.rows("test")
    blind = rows.assign(class_name="vegetation", condition="normal", class_id=8)
    first, second = (
        predict(model, Dialogues(table, inspection_data), DECODING, NAMES)
        for table in (rows, blind)
    )
    assert first["probabilities"].tolist() == second["probabilities"].tolist()
    batch = Dialogues(rows, inspection_data).batch([0, 1])
    assert (batch["labels"] == -100).all()


@pytest.fixture(scope="module")
def trained(inspection_data, tmp_path_factory):
    from aquatint.params import RunParams

    run = RunParams(seed=0, device="cpu", precision="float32", num_threads=1,
                    save_state_every_steps=1000, save_state_every_minutes=60)  # fmt: skip
    folder = tmp_path_factory.mktemp("trained")
    return train(inspection_data, run, folder, epochs=1, rate=2e-2)[0], run


def logits_of(model, data):
    dialogues = Dialogues(data.rows("test"), data)
    with torch.inference_mode():
        return model.answer_logits(model.read(dialogues.batch([0, 1])))


def test_merged_weights_answer_like_unmerged_ones_and_load_with_plain_transformers(
    trained, inspection_data, tmp_path
):
    from transformers import AutoModelForImageTextToText, AutoTokenizer

    checkpoint, run = trained
    folder = tmp_path / "merged"
    merge_answering(inspection_data.backbone, checkpoint, run).save_pretrained(folder)
    loaded = AutoModelForImageTextToText.from_pretrained(folder).eval()
    assert type(loaded).__name__ == "Qwen2VLForConditionalGeneration"
    assert len(AutoTokenizer.from_pretrained(folder)) > 200
    merged = logits_of(AnsweringModel(loaded), inspection_data)
    tuned = logits_of(restore_answering(inspection_data.backbone, checkpoint, run), inspection_data)
    plain = logits_of(AnsweringModel(inspection_data.backbone.load()), inspection_data)
    assert (merged - tuned).abs().max() < 1e-4
    assert (merged - plain).abs().max() > 1e-3


def test_the_adapter_is_one_that_peft_loads(trained, inspection_data, tmp_path):
    from peft import PeftModel

    checkpoint, run = trained
    adapter = export_adapter(inspection_data.backbone, checkpoint)
    adapter.save_pretrained(tmp_path)
    wrapped = PeftModel.from_pretrained(inspection_data.backbone.load(), tmp_path).eval()
    found = logits_of(AnsweringModel(wrapped.get_base_model()), inspection_data)
    tuned = logits_of(restore_answering(inspection_data.backbone, checkpoint, run), inspection_data)
    # Ours are added to the weights first (models/low_rank.py): sums of another order.
    assert torch.allclose(found, tuned, rtol=1e-5, atol=1e-5)


def test_a_checkpoint_that_lacks_a_tensor_is_refused(trained, inspection_data):
    checkpoint, run = trained
    weights = dict(checkpoint.weights)
    weights.pop(sorted(weights)[0])
    with pytest.raises(CheckpointMismatchError, match="1 tensors differ"):
        restore_answering(inspection_data.backbone, Checkpoint(weights, checkpoint.spec), run)


@pytest.mark.parametrize("losses", [AnswerLosses(), AnswerLosses("focal", 2.0, 0.25)])
def test_a_linear_head_names_classes_too(inspection_data, run_params, tmp_path, losses):
    checkpoint, history = train(
        inspection_data, run_params, tmp_path, epochs=4, has_head=True, losses=losses, rate=1e-2
    )
    assert {"head.weight", "head.bias"} <= set(checkpoint.weights)
    assert history["loss_answer"].iloc[-1] < history["loss_answer"].iloc[0]
    model = restore_answering(inspection_data.backbone, checkpoint, run_params)
    found = predict(
        model, Dialogues(inspection_data.rows("test"), inspection_data), DECODING, NAMES
    )
    assert found["probabilities"].map(sum).tolist() == pytest.approx([1.0] * len(found))
    merged = merge_answering(inspection_data.backbone, checkpoint, run_params)
    assert not any(name.startswith("head") for name in merged.weights)


def test_written_answers_have_no_probabilities_and_count_as_wrong_when_unreadable(inspection_data):
    model = AnsweringModel(inspection_data.backbone.load())
    decoding = Decoding("generate", "mean", 3, 8)
    found = predict(
        model, Dialogues(inspection_data.rows("test"), inspection_data), decoding, NAMES
    )
    assert found["answer"].notna().all()
    assert found["probabilities"].map(len).eq(0).all()
    metrics = evaluate_answers(found, inspection_data.instances, CLASS_MAP)
    assert metrics["invalid"]["count"] == int(found["predicted"].isna().sum())
    assert metrics["n"] == len(found)
    assert metrics["calibration"] is None


@pytest.mark.slow
@pytest.mark.parametrize(("batch_size", "accumulation"), [(5, 1), (1, 5)])
def test_two_processes_tune_as_one_does(
    batch_size, accumulation, inspection_data, run_params, tmp_path, launch_on_pair
):
    """With unequal shares of each batch, and with batches of less than a sample for each rank."""
    balance = Balance(True, False, False, "inverse_frequency", 0.999, None, None, "shuffled")
    chosen = plan(
        batch_size=batch_size,
        accumulation=accumulation,
        balance=balance,
        lora={"r": 4, "lora_alpha": 8, "lora_dropout": 0.0},
    )
    histories = []
    for processes in (1, 2):
        run = run_params.model_copy(update={"num_processes": processes})
        folder = tmp_path / str(processes)
        arguments = (chosen, inspection_data, run, TrainingStateFolder(str(folder)))
        histories.append(launch_on_pair(train_answering, arguments, run, folder)[1])
    for column in ("loss", "grad_norm", "val_macro_f1"):
        one, two = (history[column].to_numpy() for history in histories)
        assert two == pytest.approx(one, rel=1e-5, nan_ok=True), column
