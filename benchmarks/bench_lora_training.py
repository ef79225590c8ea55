"""LoRA tuning of a Qwen2-VL: this project's loop against transformers.Trainer with peft.

Same model, same low-rank start, same pictures and answers, same batch, same rate and epochs, one
process. What differs: the frozen vision tower runs once instead of in every epoch, and logits are
computed where labels are instead of everywhere. Answers of one length only, so that the Trainer's
mean over tokens is the same loss as ours over samples.
"""

import tempfile
import time
from pathlib import Path

import numpy as np
import torch
from peft import LoraConfig, get_peft_model
from transformers import Trainer, TrainingArguments

from aquatint.data.inspection_prompts import example_dialogues
from aquatint.features.cache import FeatureStore, build_cache
from aquatint.models.answering import LORA_TARGETS, AnsweringModel, add_lora
from aquatint.models.architectures import ARCHITECTURES
from aquatint.models.backbone import Backbone, folder_digest
from aquatint.models.pixels import PixelNormalizer
from aquatint.models.pocket import qwen_config, random_qwen, train_tokenizer
from aquatint.models.qwen_vl import encode_views, patchify
from aquatint.params import OptimizerParams, RunParams, StageParams
from aquatint.training.answering_losses import AnswerLosses
from aquatint.training.dialogues import encoder_of
from aquatint.training.fit import fit
from aquatint.training.objective import Objective, Opening

NUM, EPOCHS, BATCH, RATE = 96, 3, 4, 1e-3
EDGE_PX, PATCH_PX, VOCAB = 96, 12, 8000
LORA = {"r": 16, "lora_alpha": 32, "lora_dropout": 0.0}
ANSWERS = ["red mark", "blue mark", "grey mark"]
QUESTION = "This is the slope_drain at [120, 340, 560, 780]. It lies at y 0.56 (middle)."


def build(folder):
    """Blocks of a pocket model with a vocabulary nearer to a real one's 152,000."""
    kind = ARCHITECTURES["qwen2_vl"]
    tokenizer = train_tokenizer([*example_dialogues(), *ANSWERS * 50], 700, kind)
    config = qwen_config(kind, width=192, num_blocks=3, image_size_px=EDGE_PX,
                         patch_size_px=PATCH_PX, tokenizer=tokenizer)  # fmt: skip
    config.text_config.vocab_size = VOCAB
    random_qwen(kind, config, seed=0).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return Backbone(str(folder), folder_digest(folder), "bench")


def make_data():
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 3, NUM)
    images = rng.integers(90, 120, (NUM, EDGE_PX, EDGE_PX, 3), dtype=np.uint8)
    colors = np.array([(210, 40, 30), (40, 60, 210), (128, 128, 128)], np.uint8)
    images[:, 30:66, 30:66] = colors[labels][:, None, None]
    return images, labels


class CachedSamples:
    """Dialogues with features from a cache, as the recipe's own samples."""

    sample_weights = None

    def __init__(self, backbone, labels, cache):
        encoder = encoder_of(backbone)
        self._reader = cache.open()
        self._places = self._reader.places([str(i) for i in range(NUM)])
        num_tokens = (EDGE_PX // PATCH_PX // 2) ** 2
        prompt = encoder.prompt(QUESTION, ANSWERS, num_tokens)
        answers = [encoder.answer(text) for text in ANSWERS]
        self.ids = torch.tensor([[*prompt, *answers[label]] for label in labels])
        self.labels = self.ids.clone()
        self.labels[:, : len(prompt)] = -100

    def __len__(self):
        return NUM

    def batch(self, positions):
        """Tensors of a batch, as the recipe's samples give them."""
        grid = EDGE_PX // PATCH_PX
        features = torch.from_numpy(self._reader.read(self._places[positions.numpy()]))
        return {
            "input_ids": self.ids[positions],
            "attention_mask": torch.ones_like(self.ids[positions]),
            "labels": self.labels[positions],
            "features": features.flatten(0, 1),
            "grids": torch.tensor([[1, grid, grid]] * len(positions)),
            "weights": torch.ones(len(positions)),
            "is_counted": True,
        }

    def identify(self, positions):
        """Numbers of the samples."""
        return [str(i) for i in positions.tolist()]


def train_here(backbone, images, labels, folder):
    """Encode once, then train; returns CPU seconds and the mean loss of the last epoch."""
    started = time.process_time()
    torch.manual_seed(0)
    model = backbone.load()
    normalize = PixelNormalizer(*backbone.image_statistics)

    @torch.inference_mode()
    def compute(positions):
        parts = [encode_views(model, normalize(torch.from_numpy(images[positions[i : i + 32]])))
                 for i in range(0, len(positions), 32)]  # fmt: skip
        return torch.cat(parts).numpy()

    keys = [str(i) for i in range(NUM)]
    cache = build_cache(FeatureStore(str(folder / "store"), 1), {"bench": 1}, keys, compute)
    samples = CachedSamples(backbone, labels, cache)
    names = [f"backbone.{name}" for name in add_lora(model, LORA)]
    params = StageParams(
        epochs=EPOCHS,
        batch_size=BATCH,
        optimizer=OptimizerParams(
            learning_rate=RATE, weight_decay=0.0, betas=(0.9, 0.999), warmup_fraction=0.0
        ),
        loss_weights={"answer": 1.0},
    )
    run = RunParams(seed=0, device="cpu", precision="float32", num_threads=1,
                    save_state_every_steps=10_000, save_state_every_minutes=60)  # fmt: skip
    opening = Opening({"lora": names}, lambda epoch: {"lora"})
    result = fit(AnsweringModel(model), Objective(samples, AnswerLosses()), opening, params, run,
                 folder / "fit")  # fmt: skip
    last = [row["loss"] for row in result.history if row["epoch"] == EPOCHS - 1]
    return time.process_time() - started, float(np.mean(last))


def train_there(backbone, images, labels, folder):
    """The same with Trainer and peft, from pixels."""
    started = time.process_time()
    torch.manual_seed(0)
    config = LoraConfig(target_modules=LORA_TARGETS, bias="none", **LORA)
    model = get_peft_model(backbone.load(), config)
    patches, grids = patchify(
        PixelNormalizer(*backbone.image_statistics)(torch.from_numpy(images)), PATCH_PX, 2
    )
    patches = patches.reshape(NUM, -1, patches.shape[-1])
    encoder = encoder_of(backbone)
    prompt = encoder.prompt(QUESTION, ANSWERS, (EDGE_PX // PATCH_PX // 2) ** 2)
    answers = [encoder.answer(text) for text in ANSWERS]
    ids = torch.tensor([[*prompt, *answers[label]] for label in labels])

    def collate(rows):
        chosen = torch.tensor([row["index"] for row in rows])
        wanted = ids[chosen].clone()
        wanted[:, : len(prompt)] = -100
        image = ids[chosen] == model.base_model.model.config.image_token_id
        return {"input_ids": ids[chosen], "attention_mask": torch.ones_like(ids[chosen]),
                "labels": wanted, "pixel_values": patches[chosen].flatten(0, 1),
                "image_grid_thw": grids[chosen], "mm_token_type_ids": image.int()}  # fmt: skip

    arguments = TrainingArguments(
        output_dir=str(folder / "trainer"), per_device_train_batch_size=BATCH,
        num_train_epochs=EPOCHS, learning_rate=RATE, lr_scheduler_type="cosine", weight_decay=0.0,
        max_grad_norm=1.0, use_cpu=True, report_to="none", remove_unused_columns=False,
        save_strategy="no", logging_steps=1, logging_strategy="steps", disable_tqdm=True, seed=0,
    )  # fmt: skip
    rows = [{"index": i} for i in range(NUM)]
    trainer = Trainer(model=model, args=arguments, train_dataset=rows, data_collator=collate)
    trainer.train()
    losses = [entry["loss"] for entry in trainer.state.log_history if "loss" in entry]
    last = losses[-(len(losses) // EPOCHS) :]
    return time.process_time() - started, float(np.mean(last))


def main():
    torch.set_num_threads(1)
    images, labels = make_data()
    with tempfile.TemporaryDirectory() as root:
        folder = Path(root)
        backbone = build(folder / "model")
        there, loss_there = train_there(backbone, images, labels, folder)
        here, loss_here = train_here(backbone, images, labels, folder)
    shown = NUM * EPOCHS
    print(f"{NUM} samples, {EPOCHS} epochs, batch {BATCH}, vocabulary {VOCAB}")
    print(
        f"Trainer + peft   {shown / there:7.1f} samples/CPU-s   last epoch's loss {loss_there:.4f}"
    )
    print(f"this project     {shown / here:7.1f} samples/CPU-s   last epoch's loss {loss_here:.4f}")
    print(f"ratio            {there / here:7.2f} x, the one pass of the vision tower included")


if __name__ == "__main__":
    main()
