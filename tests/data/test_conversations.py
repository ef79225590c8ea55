"""LLaVA files as users have them: three layouts, several images and turns, and every fault."""

import base64
import io
import json

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from aquatint.data.conversation_report import conversation_report, split_conversations
from aquatint.data.conversations import (
    ReadRules,
    check_conversations,
    check_images,
    read_conversations,
)
from aquatint.features.conversation_images import ConversationImages

STRICT = ReadRules("strict", 0.0, 10_000, "image")
TOLERANT = ReadRules("tolerant", 1.0, 10_000, "image")


def jpeg(shade):
    buffer = io.BytesIO()
    Image.fromarray(np.full((12, 16, 3), shade, np.uint8)).save(buffer, format="JPEG")
    return buffer.getvalue()


def turns(*texts):
    return [
        {"from": ("human", "gpt")[number % 2], "value": text} for number, text in enumerate(texts)
    ]


GOLDEN = [
    {"id": "one", "image": "a.jpg", "conversations": turns("<image>\nWhat is it?", "A bus.")},
    {"id": "two", "image": ["a.jpg", "b.jpg"],
     "conversations": turns("<image>\n<image>\nWhich is lighter?", "the second")},
    {"id": "three", "image": "b.jpg",
     "conversations": turns("<image>\nFirst?", "1", "Second?", "2", "Third?", "3")},
]  # fmt: skip


@pytest.fixture
def root(tmp_path):
    (tmp_path / "images").mkdir()
    for number, name in enumerate(("a.jpg", "b.jpg", "c.jpg")):
        (tmp_path / "images" / name).write_bytes(jpeg(60 * number + 40))
    return tmp_path


def write(root, records, name="data.json"):
    path = root / name
    if name.endswith(".json"):
        path.write_text(json.dumps(records))
    else:
        path.write_text("".join(json.dumps(record) + "\n" for record in records))
    return str(path)


def read(root, records, rules=STRICT, name="data.json"):
    return read_conversations([write(root, records, name)], str(root / "images"), rules)


def test_every_turn_of_every_record_becomes_a_row(root):
    found, images, rejects = read(root, GOLDEN)
    assert found["turn_id"].tolist() == ["one#0", "two#0", "three#0", "three#1", "three#2"]
    assert found["question"].tolist()[2:] == ["First?", "Second?", "Third?"]
    assert found["answer"].tolist()[2:] == ["1", "2", "3"]
    assert [len(keys) for keys in found["image_keys"]] == [1, 2, 1, 1, 1]
    assert (len(images), len(rejects)) == (2, 0)
    check_conversations(found)
    check_images(images)


@pytest.mark.parametrize("name", ["data.jsonl", "converted.json"])
def test_json_lines_are_read_whatever_they_are_called(root, name):
    path = root / name
    path.write_text("".join(json.dumps(record) + "\n" for record in GOLDEN))
    found, _, _ = read_conversations([str(path)], str(root / "images"), STRICT)
    expected, _, _ = read(root, GOLDEN, name="plain.json")
    assert found.drop(columns="file").equals(expected.drop(columns="file"))


def test_parquet_with_embedded_images_needs_no_folder_of_them(root):
    rows = [
        {"id": f"p{n}", "image": {"path": f"x/{n}.jpg", "bytes": jpeg(30 * n)},
         "image_relpath": f"x/{n}.jpg", "conversations": turns("<image>\nWhat?", f"it {n}")}
        for n in range(3)
    ]  # fmt: skip
    pq.write_table(pa.Table.from_pylist(rows), root / "data.parquet", row_group_size=2)
    found, images, _ = read_conversations(
        [str(root / "data.parquet")], str(root / "images"), STRICT
    )
    assert found["answer"].tolist() == ["it 0", "it 1", "it 2"]
    shown = ConversationImages(images, str(root / "images")).load([2, 0])
    assert [round(float(image.mean())) for image in shown] == [60, 0]


def benchmark(root, lines, name="bench.tsv"):
    pd.DataFrame(lines).to_csv(root / name, sep="\t", index=False)
    return str(root / name)


def in_base64(shade):
    return base64.b64encode(jpeg(shade)).decode()


def test_a_benchmark_s_table_gives_questions_with_options_and_shared_images(root):
    lines = [
        {"index": 7, "image": 9, "question": "Which?", "hint": "Look.", "A": "a bus", "B": "a car",
         "C": "", "answer": "B", "category": "objects"},
        {"index": 9, "image": in_base64(60), "question": "How many?", "hint": "", "A": "", "B": "",
         "C": "", "answer": "two", "category": "count"},
        {"index": 12, "image": in_base64(90), "question": "NA?", "hint": "", "A": "", "B": "",
         "C": "", "answer": "NA", "category": ""},
    ]  # fmt: skip
    path = benchmark(root, lines)
    found, images, rejects = read_conversations([path], str(root / "images"), STRICT)
    assert rejects.empty
    assert found["record_id"].tolist() == ["bench_7", "bench_9", "bench_12"]
    assert found["question"].tolist() == [
        "Look.\nWhich?\nA. a bus\nB. a car\nAnswer with the letter of an option.",
        "How many?",
        "NA?",
    ]
    assert found["answer"].tolist() == ["B", "two", "NA"]
    assert found["kind"].tolist() == ["objects", "count", "question"]
    assert found["image_keys"].iloc[0] == found["image_keys"].iloc[1]
    assert found["group"].iloc[0] == found["group"].iloc[1] != found["group"].iloc[2]
    shown = ConversationImages(images, str(root / "images")).load([1, 0])
    assert [round(float(image.mean())) for image in shown] == [90, 60]


def test_a_benchmark_may_name_files(root):
    lines = [{"index": 0, "image_path": "a.jpg", "question": "What?", "answer": "a bus"}]
    found, images, _ = read_conversations([benchmark(root, lines)], str(root / "images"), STRICT)
    assert found["answer"].tolist() == ["a bus"]
    assert images["path"].tolist() == ["a.jpg"]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"image": "4711"}, "index of a line that has one"),
        ({"image": "%" * 100}, "must be an image in base64"),
        ({"answer": " "}, "must have an answer"),
        (
            {"image": base64.b64encode(b"GIF89a" + bytes(99)).decode()},
            "must be a JPEG, PNG or WEBP",
        ),
    ],
)
def test_a_faulty_line_of_a_benchmark_is_refused_by_its_index(root, changes, message):
    line = {"index": 5, "image": in_base64(60), "question": "What?", "answer": "a bus", **changes}
    path = benchmark(root, [line])
    with pytest.raises(ValueError, match=message) as error:
        read_conversations([path], str(root / "images"), STRICT)
    assert "5" in str(error.value)


def test_a_table_without_the_columns_of_a_benchmark_is_refused(root):
    path = benchmark(root, [{"index": 1, "question": "What?", "answer": "a bus"}])
    with pytest.raises(ValueError, match="image or image_path, it has index, question, answer"):
        read_conversations([path], str(root / "images"), STRICT)


def faulty(**changes):
    return {**GOLDEN[0], "id": "bad", **changes}


BAD = {
    "missing image": (faulty(image="gone.jpg"), "must exist"),
    "path out of the folder": (faulty(image="../a.jpg"), "must stay below"),
    "no image": (faulty(image=None), "at least one image"),
    "tag count": (faulty(image=["a.jpg", "b.jpg"]), "as many <image> tags"),
    "no tag": (faulty(conversations=turns("What?", "A bus.")), "as many <image> tags"),
    "late tag": (faulty(conversations=turns("What <image>?", "A bus.")), "before the text"),
    "tag in an answer": (
        faulty(conversations=turns("<image>\nWhat?", "<image> a bus")), "before the text"),
    "empty turn": (faulty(conversations=turns("<image>\nWhat?", "  ")), "must not be empty"),
    "no answer": (faulty(conversations=turns("<image>\nWhat?")), "must alternate"),
    "two questions": (
        faulty(conversations=[{"from": "human", "value": "<image>\nA?"}] * 2), "must alternate"),
    "video": (faulty(video="a.mp4"), "no video"),
    "video tag": (faulty(conversations=turns("<image>\n<video> A?", "b")), "no video"),
    "marks of the model": (
        faulty(conversations=turns("<image>\nA?", "b<|im_end|>")), "own marks"),
    "a thought of its own": (
        faulty(conversations=turns("<image>\nA?", "<think>b</think>")), "own marks"),
    "repeated id": ({**GOLDEN[0], "id": "one"}, "must not repeat"),
    "no id": ({**GOLDEN[0], "id": None}, "must be in every record"),
}  # fmt: skip


@pytest.mark.parametrize("case", BAD)
def test_a_faulty_record_is_refused_by_name(root, case):
    record, words = BAD[case]
    with pytest.raises(ValueError, match=words) as error:
        read(root, [*GOLDEN, record])
    assert str(record["id"]) in str(error.value) or record["id"] is None
    assert "record 3" in str(error.value)
    found, _, rejects = read(root, [*GOLDEN, record], TOLERANT)
    assert len(found) == 5, "the others are kept"
    assert words in rejects["rule"].iloc[0]


def test_a_comma_too_many_is_named_with_its_place_and_record(root):
    path = root / "data.json"
    path.write_text(json.dumps(GOLDEN)[:-1] + ",]")
    with pytest.raises(ValueError, match="after record 'three'.*comma"):
        read_conversations([str(path)], str(root / "images"), TOLERANT)


def test_a_line_that_is_no_json_is_listed_with_its_id(root):
    path = root / "data.jsonl"
    path.write_text(json.dumps(GOLDEN[0]) + '\n{"id": "torn", "image": \n')
    _, _, rejects = read_conversations([str(path)], str(root / "images"), TOLERANT)
    assert rejects[["image_id", "rule"]].to_numpy().tolist() == [["torn", "must be valid JSON"]]


def test_too_many_rejects_stop(root):
    rules = ReadRules("tolerant", 0.1, 10_000, "image")
    with pytest.raises(ValueError, match="max_rejected_fraction 0.1"):
        read(root, [*GOLDEN, BAD["missing image"][0]], rules)


def test_images_that_share_a_record_or_their_content_stay_on_one_side(root):
    (root / "images" / "copy.jpg").write_bytes((root / "images" / "b.jpg").read_bytes())
    records = [
        *GOLDEN,
        {"id": "copy", "image": "copy.jpg", "conversations": turns("<image>\nA?", "b")},
        {"id": "alone", "image": "c.jpg", "conversations": turns("<image>\nA?", "b")},
    ]
    found, images, rejects = read(root, records)
    groups = dict(zip(found["record_id"], found["group"], strict=True))
    assert groups["one"] == groups["two"] == groups["three"] == groups["copy"] != groups["alone"]
    split_turns, split_images = split_conversations(found, images, {"val": 0.0, "test": 0.5}, 0)
    report = conversation_report(split_turns, split_images, rejects)
    assert report["groups_in_two_splits"] == {}
    assert sum(report["turns_by_split"].values()) == report["num_turns"] == 7
