"""Writing in every manner, and the way from a written span to its maps."""

import numpy as np
import pytest
import torch

from aquatint.data.visual_thought_prompts import read_thought
from aquatint.features.anchors import AnchorReader
from aquatint.training.checkpoint import Checkpoint
from aquatint.training.covt_decoding import decode_thoughts, open_heads
from aquatint.training.covt_inference import (
    Manner,
    ThoughtWriter,
    Writing,
    _forced,
    _shown_keys,
    write_answers,
)
from aquatint.training.covt_samples import ThoughtEncoder, style_from
from aquatint.training.covt_stage import build_thoughts
from covt_fixture import IMAGE_PX, NUM_TOKENS

WRITING = Writing(4, 4, 0)
STYLE = style_from(NUM_TOKENS)


@pytest.fixture(scope="module")
def writer(covt_data):
    encoder = ThoughtEncoder(covt_data.backbone, STYLE, IMAGE_PX)
    model = covt_data.backbone.load()
    torch.manual_seed(0)
    model.resize_token_embeddings(encoder.added_ids[-1] + 1, mean_resizing=False)
    return ThoughtWriter(model, covt_data.backbone, encoder, covt_data.pixels.open())


@pytest.fixture(scope="module")
def turns(covt_data):
    return covt_data.of_split("test")


def test_what_is_forced_is_a_whole_thought_or_the_end_of_it():
    whole = read_thought(_forced(STYLE, "spans", "a#0") + " two </answer>", STYLE)
    assert whole.is_well_formed
    assert whole.anchors == STYLE.names
    exchanged = _forced(STYLE, "exchanged", "a#0")
    assert sorted(exchanged) != sorted(_forced(STYLE, "spans", "a#0"))
    assert not read_thought(exchanged + " two </answer>", STYLE).is_well_formed
    assert exchanged == _forced(STYLE, "exchanged", "a#0"), "drawn by the turn's id"
    for name in STYLE.names:
        assert f"<|{name}_pad|>" in exchanged
    assert _forced(STYLE, "nothing", "a#0") == ""


@pytest.mark.parametrize(
    "manner",
    [
        Manner("free"), Manner("thinking", "think"), Manner("spans", "spans"),
        Manner("stage 1", has_spans_in_request=True), Manner("grey", images="grey"),
        Manner("other", images="shuffled"), Manner("blind", images="none"),
    ],
    ids=lambda manner: manner.name,
)  # fmt: skip
def test_every_turn_is_answered_in_every_manner(manner, writer, turns):
    found = write_answers(writer, turns, manner, WRITING)
    assert found["turn_id"].tolist() == turns["turn_id"].tolist()
    assert found["target"].tolist() == turns["answer"].tolist()
    assert (found["num_tokens"] <= 4).all()
    assert found["has_thought"].tolist() == [manner.force == "spans"] * len(turns) or (
        manner.force != "spans"
    )


def test_what_is_written_does_not_depend_on_the_batch(writer, turns):
    one = write_answers(writer, turns, Manner("thinking", "think"), Writing(4, 1, 0))
    many = write_answers(writer, turns, Manner("thinking", "think"), Writing(4, 8, 0))
    assert one["text"].tolist() == many["text"].tolist()


def test_no_answer_reaches_the_model(writer, turns):
    other = write_answers(writer, turns.assign(answer="nothing"), Manner("free"), WRITING)
    assert (
        other["text"].tolist()
        == write_answers(writer, turns, Manner("free"), WRITING)["text"].tolist()
    )


def test_another_image_is_never_one_of_the_same_scene(turns):
    owner = {key: g for keys, g in zip(turns["image_keys"], turns["group"], strict=True)
             for key in keys}  # fmt: skip
    shown = _shown_keys(turns, "shuffled")
    for keys, group, own in zip(shown, turns["group"], turns["image_keys"], strict=True):
        assert len(keys) == len(own)
        assert all(owner[key] != group for key in keys)


def test_given_spans_decode_to_maps_of_every_anchor(writer, turns, covt_data, run_params):
    encoder = writer.encoder
    spec = {
        "lora": {"r": 2, "lora_alpha": 2, "lora_dropout": 0.0},
        "num_tokens": [list(pair) for pair in NUM_TOKENS], "image_px": IMAGE_PX,
        "sees_images": True, "first_id": encoder.added_ids[0], "norm_axis": "features",
        "shapes": covt_data.anchors.shapes, "mask_teacher": {"name": "sam", "source": "world"},
    }  # fmt: skip
    model, groups = build_thoughts(covt_data.backbone, spec, run_params)
    held = dict(model.named_parameters())
    checkpoint = Checkpoint({n: held[n].detach() for n in groups["heads"]}, spec)
    heads = open_heads(checkpoint, 32, "cpu")
    reader = AnchorReader(covt_data.anchors, STYLE.names)
    written = write_answers(writer, turns, Manner("spans", "spans"), WRITING)

    def contexts(name, keys):
        return reader.read(name, keys)[1]

    found = list(decode_thoughts(writer, heads, turns, written, contexts, WRITING))
    assert [item.row for item in found] == list(range(len(turns)))
    for name, count in NUM_TOKENS:
        shape = covt_data.anchors.shape_of([name])[name].target
        assert {item.maps[name].shape for item in found} == {shape}
        assert {item.states[name].shape for item in found} == {(count, 32)}
    assert not np.allclose(found[0].maps["depth"], found[-1].maps["depth"])
    silent = written.assign(anchors=[[] for _ in range(len(written))])
    assert list(decode_thoughts(writer, heads, turns, silent, contexts, WRITING)) == []
