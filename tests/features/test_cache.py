"""The content-addressed cache: computed once, resumable, bounded, checked."""

import threading
from pathlib import Path

import numpy as np
import pytest

from aquatint.features import cache as cache_module
from aquatint.features.cache import STORED_AXES, FeatureStore, build_cache
from aquatint.storage import DamagedArtefactError


@pytest.fixture
def store(tmp_path):
    return FeatureStore(str(tmp_path / "store"), max_gigabytes=1)


class Squares:
    """Computes i squared and remembers what it was asked for."""

    def __init__(self, fail_at=None):
        self.asked, self.fail_at = [], fail_at

    def __call__(self, positions):
        self.asked += list(positions)
        if self.fail_at in positions:
            raise KeyboardInterrupt
        return np.array([[i * i] for i in positions], dtype=np.float32)


def keys(count):
    return [f"key{i}" for i in range(count)]


def test_values_come_back_by_key_in_any_order(store):
    cache = build_cache(store, {"a": 1}, keys(10), Squares(), shard_size=3)
    reader = cache.open()
    values = reader.read(reader.places(["key7", "key0", "key7", "key3"]))
    assert values[:, 0].tolist() == [49, 0, 49, 9]
    assert cache.num_keys == 10


def test_rows_may_lie_in_another_order_of_axes_than_they_are_read_in(store):
    images = np.arange(4 * 5 * 6 * 3, dtype=np.uint8).reshape(4, 5, 6, 3)

    def channels_first(positions):
        return images[list(positions)].transpose(0, 3, 1, 2)

    cache = build_cache(store, {STORED_AXES: (2, 0, 1)}, keys(4), channels_first)
    reader = cache.open()
    read = reader.read(reader.places(["key2", "key0"]))
    assert np.array_equal(read, images[[2, 0]])
    assert read.transpose(0, 3, 1, 2).flags.c_contiguous, "as it lies on the disk"


def test_nothing_is_computed_twice(store):
    build_cache(store, {"a": 1}, keys(10), Squares(), shard_size=4)
    again = Squares()
    build_cache(store, {"a": 1}, keys(12), again, shard_size=4)
    assert again.asked == [10, 11]


def test_equal_contents_are_computed_once(store):
    squares = Squares()
    cache = build_cache(store, {"a": 1}, ["x", "y", "x", "x"], squares)
    assert squares.asked == [0, 1]
    assert cache.num_keys == 2


def test_an_interrupted_run_goes_on_where_it_stopped(store):
    with pytest.raises(KeyboardInterrupt):
        build_cache(store, {"a": 1}, keys(10), Squares(fail_at=7), shard_size=3)
    resumed = Squares()
    cache = build_cache(store, {"a": 1}, keys(10), resumed, shard_size=3)
    assert resumed.asked == [6, 7, 8, 9]
    reader = cache.open()
    assert reader.read(reader.places(keys(10)))[:, 0].tolist() == [i * i for i in range(10)]


@pytest.mark.parametrize("recipe", [{"a": 2}, {"a": 1, "dtype": "float16"}, {"b": 1}])
def test_another_recipe_is_another_cache(store, recipe):
    first = build_cache(store, {"a": 1}, keys(2), Squares())
    squares = Squares()
    second = build_cache(store, recipe, keys(2), squares)
    assert squares.asked == [0, 1]
    assert first.digest != second.digest


def test_a_cache_beyond_its_limit_is_refused_before_the_rest_is_computed(tmp_path):
    squares = Squares()
    small = FeatureStore(str(tmp_path), max_gigabytes=1e-9)
    with pytest.raises(ValueError, match="max_gigabytes"):
        build_cache(small, {"a": 1}, keys(10), squares, shard_size=2)
    assert squares.asked == [0, 1]


def test_an_altered_shard_is_named(store):
    cache = build_cache(store, {"a": 1}, keys(4), Squares())
    from pathlib import Path

    shard = next(Path(cache.folder).glob("shard-*"))
    (shard / "data.npy").write_bytes(b"short")
    with pytest.raises(DamagedArtefactError, match="shard-"):
        build_cache(store, {"a": 1}, keys(4), Squares())


def test_a_missing_sample_is_counted(store):
    reader = build_cache(store, {"a": 1}, keys(2), Squares()).open()
    with pytest.raises(DamagedArtefactError, match="1 of 2 samples"):
        reader.places(["key0", "nowhere"])


def test_a_shard_is_written_while_the_next_is_computed_and_no_more_than_one(store, monkeypatch):
    second_begun, done, publish = threading.Event(), [], cache_module.publish_folder

    def publish_late(*arguments):
        overlapped = second_begun.wait(10)
        publish(*arguments)
        done.append(overlapped)

    done_before = {}

    def compute(positions):
        done_before[positions[0]] = len(done)
        if positions[0] == 2:
            second_begun.set()
        return np.array(positions, dtype=np.float32)[:, None]

    monkeypatch.setattr(cache_module, "publish_folder", publish_late)
    reader = build_cache(store, {"a": 1}, keys(8), compute, shard_size=2).open()
    assert done == [True] * 4
    assert done_before[4] >= 1
    assert done_before[6] >= 2
    assert reader.read(reader.places(keys(8)))[:, 0].tolist() == list(range(8))


@pytest.mark.parametrize("failing", [0, 3], ids=["first", "last"])
def test_a_shard_that_cannot_be_written_stops_the_building(store, monkeypatch, failing):
    publish, calls = cache_module.publish_folder, []

    def fail_once(*arguments):
        calls.append(arguments)
        if len(calls) == failing + 1:
            raise OSError(28, "the disk is full")
        publish(*arguments)

    monkeypatch.setattr(cache_module, "publish_folder", fail_once)
    with pytest.raises(OSError, match="the disk is full"):
        build_cache(store, {"a": 1}, keys(8), Squares(), shard_size=2)
    again = Squares()
    build_cache(store, {"a": 1}, keys(8), again, shard_size=2)
    assert again.asked[0] == 2 * failing


def test_rows_without_axes_are_read_too(store):
    cache = build_cache(store, {"a": 1}, keys(3), lambda rows: np.array(rows, dtype=np.int64))
    reader = cache.open()
    assert reader.read(reader.places(["key2", "key1"])).tolist() == [2, 1]


def test_wrong_row_counts_are_refused(store):
    with pytest.raises(ValueError, match="1 rows for 2 samples"):
        build_cache(store, {"a": 1}, keys(2), lambda positions: np.zeros((1, 1)))


def test_one_flipped_bit_is_found_when_the_cache_is_opened(store):
    cache = build_cache(store, {"a": 1}, keys(4), Squares())
    cache.open()
    (data,) = Path(cache.folder).glob("shard-*/data.npy")
    content = bytearray(data.read_bytes())
    content[-1] ^= 1
    data.write_bytes(bytes(content))
    with pytest.raises(DamagedArtefactError, match=r"data.npy was altered .* once .* is deleted"):
        cache.open()
