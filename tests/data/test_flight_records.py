"""One flight of 25 steps in the published layout, and every fault that it can have."""

import gzip
import json

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from aquatint.data.flight_records import (
    RecordRule,
    check_instructions,
    check_records,
    check_steps,
    read_records,
)
from aquatint.data.flight_summary import read_vectors, summarise_records

TEXTS = ("Go to the red house.", "Look for it.")


def rule(mode="strict", limit=0.0, **changes):
    values = {"keeps_failed": True, "min_failed_steps": 15, "num_stuck_steps": 25, "max_steps": 200}
    return RecordRule(mode, limit, **{**values, **changes})


def write(root, scan_set="train", index=0, size=25, status="success", tokens=((3, 4), (5,)),
          actions=None, position=0.0, progress=None, columns=None):  # fmt: skip
    scene = root / scan_set / "house"
    (scene / "meta").mkdir(parents=True, exist_ok=True)
    first = index * len(TEXTS)
    with (scene / "meta/tasks.jsonl").open("a") as file:
        for number, (text, row) in enumerate(zip(TEXTS, tokens, strict=True), start=first):
            task = {"task_index": number, "task": text, "instruction_tokens": list(row),
                    "finish_status": status, "fail_reason": ""}  # fmt: skip
            file.write(json.dumps(task) + "\n")
    bounds = {"min": [first], "max": [first + len(TEXTS) - 1]}
    with (scene / "meta/episodes_stats.jsonl").open("a") as file:
        row = {"episode_index": index, "stats": {"task_index": bounds}}
        file.write(json.dumps(row) + "\n")
    steps = range(size)
    table = {
        "observation.robot_position": [[float(i), position, 1.0] for i in steps],
        "observation.robot_yaw": [4.0] * size,
        "observation.progress": progress or [i / max(1, size - 1) for i in steps],
        "observation.step": list(steps),
        "observation.action": actions or [1] * (size - 1) + [0],
    }
    chosen = {name: table[name] for name in columns or table}
    for folder in ("data/chunk-000", "videos/chunk-000/observation.images.rgb",
                   "videos/chunk-000/observation.images.depth"):  # fmt: skip
        (scene / folder).mkdir(parents=True, exist_ok=True)
    name = f"episode_{index:06d}"
    pq.write_table(pa.table(chosen), scene / "data/chunk-000" / f"{name}.parquet")
    videos = scene / "videos/chunk-000"
    np.save(videos / "observation.images.rgb" / f"{name}.npy", np.zeros((size, 8, 8, 3), np.uint8))
    np.save(videos / "observation.images.depth" / f"{name}.npy",
            np.ones((size, 8, 8, 1), np.float32))  # fmt: skip
    return scene


@pytest.fixture
def root(tmp_path):
    for scan_set in ("val_seen", "val_unseen"):
        write(tmp_path, scan_set)
    return tmp_path


def test_the_golden_flight_is_read(root):
    write(root)
    found = read_records(root, rule())
    check_records(found.records)
    check_steps(found.steps)
    check_instructions(found.instructions)
    assert found.records["split"].tolist() == ["train", "val", "test"]
    flight = found.steps[found.steps["flight_id"] == "train/house/000000"]
    assert len(flight) == 25
    assert flight["action"].tolist() == [1] * 24 + [0]
    assert flight["yaw_rad"].iloc[0] == pytest.approx(4.0 - 2 * np.pi)
    own = found.instructions[found.instructions["split"] == "train"]
    assert own["text"].tolist() == list(TEXTS)
    assert [list(row) for row in own["tokens"]] == [[3, 4], [5]]
    counts = summarise_records(found)
    assert counts["steps"] == {"train": 25, "val": 25, "test": 25}
    assert counts["instructions"]["train"] == 2
    assert counts["actions"]["train"] == {"0": 1, "1": 24}


def test_failed_flights_are_cut_or_dropped_as_the_rule_says(root):
    write(root, index=0)
    write(root, index=1, size=40, status="stuck")
    write(root, index=2, size=10, status="fall")
    write(root, index=3, size=20, status="stuck")
    write(root, index=4, size=30)
    found = read_records(root, rule(max_steps=28))
    train = found.records[found.records["split"] == "train"].set_index("flight_id")
    assert train["num_steps"].tolist() == [25, 15, 28]
    assert found.dropped == {"fall": 1, "stuck": 1}
    assert summarise_records(found)["cut_steps"] == 25 + 2
    only = read_records(root, rule(keeps_failed=False))
    assert set(only.records["finish_status"]) == {"success"}
    assert only.dropped == {"fall": 1, "stuck": 2}


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"tokens": ((3, 0, 4), (5,))}, "instruction_tokens of whole numbers above 0"),
        ({"tokens": ((), (5,))}, "instruction_tokens of whole numbers above 0"),
        ({"actions": [1] * 24 + [4]}, "actions from 0 to 3"),
        ({"progress": [2.0] * 25}, r"progress in \[0, 1\]"),
        ({"position": float("nan")}, r"finite positions and yaws.*steps \[0, 1"),
    ],
)
def test_a_faulty_flight_stops_or_is_left_out_with_its_reason(root, options, words):
    write(root)
    write(root, index=1, **options)
    with pytest.raises(ValueError, match=rf"record 1 \(train/house/000001\): flight .*{words}"):
        read_records(root, rule())
    found = read_records(root, rule("tolerant", 0.3))
    assert found.rejects["image_id"].tolist() == ["train/house/000001"]
    assert "train/house/000001" not in set(found.records["flight_id"])
    with pytest.raises(ValueError, match="1 of 4 records have a finding"):
        read_records(root, rule("tolerant", 0.2))


def cut(path):
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def pickled(path):
    np.save(path, np.array([{"a": 1}], dtype=object), allow_pickle=True)


def short(path):
    np.save(path, np.load(path)[:-1])


@pytest.mark.parametrize(
    ("kind", "spoil", "words"),
    [
        ("rgb", cut, "complete and not pickled"),
        ("depth", pickled, "complete and not pickled"),
        ("rgb", short, "one frame for each step.*24 for 25"),
        ("rgb", lambda path: np.save(path, np.zeros((25, 8, 8, 3))), "complete and not pickled"),
        ("depth", lambda path: path.unlink(), "complete and not pickled"),
    ],
)
def test_a_broken_array_is_named(root, kind, spoil, words):
    scene = write(root)
    spoil(scene / f"videos/chunk-000/observation.images.{kind}/episode_000000.npy")
    with pytest.raises(ValueError, match=rf"flight .*{words}"):
        read_records(root, rule())


def test_missing_columns_scan_sets_and_lists_are_named(root):
    with pytest.raises(FileNotFoundError, match="needs the folder .*train|need the folder .*train"):
        read_records(root, rule())
    scene = write(root, columns=["observation.action", "observation.step"])
    with pytest.raises(ValueError, match=r"it lacks observation\.robot_position, .*progress"):
        read_records(root, rule("tolerant", 1.0))
    (scene / "meta/tasks.jsonl").unlink()
    with pytest.raises(FileNotFoundError, match=r"tasks\.jsonl"):
        read_records(root, rule())


def test_published_instructions_are_padded_and_a_malformed_list_is_named(root):
    scene = write(root, tokens=((3, 4, 0, 0, 0), (5, 0)))
    own = read_records(root, rule()).instructions
    own = own[own["split"] == "train"]
    assert [list(row) for row in own["tokens"]] == [[3, 4], [5]]
    path = scene / "meta/episodes_stats.jsonl"
    for line, words in (("{}", "must be an object with episode_index"), ("{,}", "must be JSON")):
        path.write_text(f"{line}\n")
        with pytest.raises(ValueError, match=rf"episodes_stats\.jsonl:1 {words}"):
            read_records(root, rule("tolerant", 1.0))


def test_nothing_left_to_train_on_is_an_error(root):
    write(root, size=5, status="fall")
    with pytest.raises(ValueError, match="leaves no flight for train"):
        read_records(root, rule())


def test_vectors_must_cover_every_token(tmp_path):
    path = tmp_path / "embeddings.json.gz"
    path.write_bytes(gzip.compress(json.dumps([[1.0, 2.0]] * 5).encode()))
    table = pd.DataFrame({"tokens": [[1, 4], [2]]})
    vectors = read_vectors(path, table)
    assert vectors.shape == (5, 2)
    assert (vectors[0] == 0).all()
    with pytest.raises(ValueError, match="5 vectors, but an instruction has the token 5"):
        read_vectors(path, pd.DataFrame({"tokens": [[5]]}))
    path.write_bytes(b"nothing")
    with pytest.raises(ValueError, match="gzipped JSON list"):
        read_vectors(path, table)
