"""The records that the source document names, with its keys."""

from __future__ import annotations

import json
from typing import Any

import pandas as pd

_MAX_ERRORS = 50
_ENHANCEMENTS = {
    "class_weighting": "Class weighting: rare classes count more in the loss",
    "spatial_reasoning": "Spatial reasoning: neighbours and how types lie, in the prompt",
    "oversampling": "Oversampling: samples of rare classes are repeated",
    "position_encoding": "Position encoding: the height in the image, in the prompt",
    "condition_weighting": "Condition weighting: rare conditions count more in the loss",
}


def zeroshot_results(predictions: pd.DataFrame, metrics: dict[str, Any]) -> dict[str, Any]:
    """Return the zero-shot record of the validation split, as the source names its keys.

    Args:
        predictions: Predictions of the untouched model.
        metrics: Its metrics, with those of the validation split under ``val``.

    Returns:
        The source's keys, and besides them what it computed and did not save: confusion,
        intervals, baselines and n.
    """
    val = metrics["val"]
    rows = predictions[predictions["split"] == "val"]
    wrong = rows[rows["predicted"] != rows["target"]]
    return {
        "overall_accuracy": val["accuracy"],
        "correct": val["correct"],
        "total": val["n"],
        "per_class": _counts(val["per_class"]),
        "per_condition": _counts(val["per_condition"]),
        "per_object_type": _counts(val["per_object_type"]),
        "avg_inference_time": val["seconds_per_object"],
        "total_inference_time": float(rows["seconds"].sum()),
        "errors": [
            {
                "image": row["image_id"],
                "gt": row["target"],
                "predicted": row["answer"] or row["predicted"],
                "matched": row["predicted"],
            }
            for row in wrong.head(_MAX_ERRORS).to_dict(orient="records")
        ],
        "overall_accuracy_interval": val["accuracy_interval"],
        "confusion": val["confusion"]["class"],
        "baselines": val["baselines"],
        "num_images": val["num_images"],
    }


def _counts(groups: dict[str, Any]) -> dict[str, Any]:
    return {
        name: {"correct": values["correct"], "total": values["n"]}
        for name, values in groups.items()
    }


def training_info(
    lineage: dict[str, Any], enhancements: dict[str, bool], num_val: int
) -> dict[str, Any]:
    """Return the training record, as the source names its keys.

    Args:
        lineage: Lineage of the tuned checkpoint.
        enhancements: The toggles.
        num_val: Validation instances.
    """
    plan, params = lineage["plan"], lineage["params"]
    return {
        "model": lineage["backbone"]["name"],
        "fine_tuning_method": "LoRA on q_proj, k_proj, v_proj, o_proj of the language model",
        "enhancements": [text for name, text in _ENHANCEMENTS.items() if enhancements[name]],
        "lora_r": plan["lora"]["r"],
        "lora_alpha": plan["lora"]["lora_alpha"],
        "learning_rate": params["optimizer"]["learning_rate"],
        "epochs": params["epochs"],
        "train_samples": lineage["num_samples_per_epoch"],
        "train_instances": lineage["num_train_instances"],
        "val_samples": num_val,
        "final_model_path": f"qwen2vl_lora_enhanced_final, version {lineage['version']}",
        "class_weights": lineage["weighing"]["class_weights"],
        "condition_weights": lineage["weighing"]["condition_weights"],
        "loss_weights": lineage["weighing"]["loss_weights"],
        "loss_shares": lineage["weighing"]["loss_shares"],
        "efficiency": lineage["efficiency"],
    }


def training_log(history: pd.DataFrame) -> str:
    """Return a history as one JSON object a line; values that were not measured are left out."""
    rows = history.to_dict(orient="records")
    kept = [{key: value for key, value in row.items() if value == value} for row in rows]
    return "".join(json.dumps(row) + "\n" for row in kept)
