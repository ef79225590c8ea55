"""Recordings in LMDB give the same tables as those in files, and broken ones are named."""

import gzip
import json
from pathlib import Path

import msgspec
import numpy as np
import pytest
from kedro.io.core import DatasetError

from aquatint.data.flight_records import RecordRule, read_records
from aquatint.io.trajectories import LmdbRecordingsDataset

lmdb = pytest.importorskip("lmdb")
ACTIONS = [1, 1, 2, 1, 3] * 4 + [1, 1, 1, 1, 0]
RULE = RecordRule("strict", 0.0, True, 3, 2, 200)
LENGTH = 25


def packed(array):
    """An array as msgpack_numpy writes it."""
    return {b"nd": True, b"type": array.dtype.str, b"kind": b"", b"shape": array.shape,
            b"data": array.tobytes()}  # fmt: skip


def record(seed=0, **changes):
    rng = np.random.default_rng(seed)
    data = {
        "camera_info": {"pano_camera_0": {
            "rgb": packed(rng.integers(0, 255, (LENGTH, 8, 8, 3), np.uint8)),
            "depth": packed(rng.random((LENGTH, 8, 8, 1), np.float32)),
        }},
        "robot_info": {"position": packed(rng.random((LENGTH, 3))),
                       "orientation": packed(rng.random((LENGTH, 4))),
                       "yaw": packed(np.linspace(0, 7, LENGTH))},
        "progress": packed(np.linspace(0, 1, LENGTH)),
        "step": packed(np.arange(LENGTH)),
        "action": packed(np.array(ACTIONS)),
    }  # fmt: skip
    told = {"scan": "house", "instruction": {"instruction_text": "Go on.",
                                             "instruction_tokens": [3, 4, 0, 0]}}  # fmt: skip
    return {"episode_data": {**data, **changes}, "finish_status": "success", "fail_reason": "",
            "episodes_in_json": [told, told]}  # fmt: skip


def write_lmdb(folder, records):
    folder.mkdir(parents=True)
    store = lmdb.open(str(folder), map_size=2**24)
    with store.begin(write=True) as transaction:
        for key, content in records.items():
            raw = content if isinstance(content, bytes) else msgspec.msgpack.encode(content)
            transaction.put(key.encode(), raw)
    store.close()


@pytest.fixture
def dataset(tmp_path):
    for seed, name in enumerate(("train", "val_seen", "val_unseen")):
        write_lmdb(tmp_path / "lmdb" / name, {"0001": record(seed), "0002": record(seed + 9)})
    vectors = gzip.compress(json.dumps([[0.0], [1.0], [1.0], [1.0], [1.0]]).encode())
    (tmp_path / "lmdb/embeddings.json.gz").write_bytes(vectors)
    return LmdbRecordingsDataset(filepath=str(tmp_path / "lmdb"), unpacked=str(tmp_path / "files"))


def test_records_are_read_as_files_are(dataset):
    handle = dataset.load()
    found = read_records(Path(handle.root), RULE)
    assert len(found.records) == 6
    assert len(found.instructions) == 12
    assert found.steps.groupby("flight_id")["action"].apply(list).iloc[0] == ACTIONS
    assert found.steps["yaw_rad"].abs().max() <= np.pi
    frames = np.load(f"{handle.root}/{found.records['rgb_path'].iloc[0]}")
    own = record(0)["episode_data"]["camera_info"]["pano_camera_0"]["rgb"][b"data"]
    assert frames.tobytes() == own
    assert dataset.load() == handle, "laid out once"


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"\xc1", "msgpack map"),
        ({"a": 1}, "msgpack map"),
        (record(progress=packed(np.zeros(2))), "different lengths"),
        (record(action=None), "lacks episode_data.action"),
        (record(action={**packed(np.zeros(25)), b"type": "|O"}), "plain numbers"),
    ],
)
def test_a_broken_record_is_named(dataset, tmp_path, content, words):
    folder = tmp_path / "lmdb" / "train"
    for path in folder.iterdir():
        path.unlink()
    folder.rmdir()
    write_lmdb(folder, {"bad": content})
    with pytest.raises(DatasetError, match=words) as found:
        dataset.load()
    assert "'bad'" in str(found.value)
    assert not list((tmp_path / "files").glob("lmdb_*")), "nothing half laid out"


def test_files_of_another_version_and_missing_ones_are_refused(dataset, tmp_path):
    path = tmp_path / "lmdb" / "train" / "data.mdb"
    content = bytearray(path.read_bytes())
    magic = content.find((0xBEEFC0DE).to_bytes(4, "little"))
    for start in (magic, magic + 4096):
        content[start + 4 : start + 8] = (7).to_bytes(4, "little")
    path.write_bytes(bytes(content))
    with pytest.raises(DatasetError, match="another version"):
        dataset.load()
    path.unlink()
    with pytest.raises(DatasetError, match="lack"):
        dataset.load()
