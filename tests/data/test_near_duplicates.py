"""Pictures that stand, nearly the same, in two splits."""

import io

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from aquatint.data.near_duplicates import difference_hash, near_duplicates


def picture(seed, edge=64):
    rng = np.random.default_rng(seed)
    small = rng.integers(0, 255, (8, 9, 3), dtype=np.uint8)
    return np.asarray(Image.fromarray(small).resize((edge, edge), Image.Resampling.BICUBIC))


def bits_apart(first, second):
    return int(np.bitwise_count(first ^ second))


def hash_of(pixels):
    return difference_hash(pixels[None])[0]


def test_by_hand():
    """Brighter to the right in every row: all bits set; to the left: none."""
    rising = np.repeat(np.arange(0, 180, 20, dtype=np.uint8)[None], 8, axis=0)
    image = np.repeat(rising[..., None], 3, axis=2)
    assert hash_of(image) == np.uint64(2**64 - 1)
    assert hash_of(image[:, ::-1]) == 0


def jpeg(image):
    stream = io.BytesIO()
    Image.fromarray(image).save(stream, "JPEG", quality=60)
    return np.asarray(Image.open(io.BytesIO(stream.getvalue())))


@pytest.mark.parametrize(
    "change",
    [
        jpeg,
        lambda image: (image * 0.8).astype(np.uint8),
        lambda image: np.asarray(Image.fromarray(image).resize((48, 48))),
    ],
    ids=["re-encoded", "darker", "resized"],
)
def test_a_changed_copy_keeps_its_hash(change):
    for seed in range(5):
        assert bits_apart(hash_of(picture(seed)), hash_of(change(picture(seed)))) <= 2


def test_other_pictures_differ_in_many_bits():
    hashes = difference_hash(np.stack([picture(seed) for seed in range(20)]))
    apart = [bits_apart(a, b) for i, a in enumerate(hashes) for b in hashes[:i]]
    assert min(apart) > 10


def table(*splits):
    return pd.DataFrame({"image_id": [f"i{n}" for n in range(len(splits))], "split": splits})


def test_pairs_across_splits_are_counted_with_n_and_ids():
    pictures = [picture(0), picture(1), jpeg(picture(0)), picture(2), picture(0)]
    images = table("train", "train", "test", "test", "train")
    found = near_duplicates(images, difference_hash(np.stack(pictures)))
    assert found["splits"] == {
        "test-train": {
            "num_pairs": 2,
            "num_images": 1,
            "n": 2,
            "examples": [["i2", "i0"], ["i2", "i4"]],
        }
    }


def test_copies_within_a_split_are_not_leaks():
    found = near_duplicates(table("train", "train", "val"), np.array([7, 7, 2**63], np.uint64))
    assert found["splits"]["train-val"]["num_pairs"] == 0


def test_one_split_has_no_pairs():
    assert near_duplicates(table("train"), np.array([1], np.uint64))["splits"] == {}


def test_blocks_find_the_same_as_all_at_once(monkeypatch):
    rng = np.random.default_rng(0)
    hashes = rng.integers(0, 4, 40).astype(np.uint64)
    images = table(*rng.choice(["train", "test"], 40))
    from aquatint.data import near_duplicates as module

    whole = near_duplicates(images, hashes, max_distance=0)
    original = module._pairs_within
    monkeypatch.setattr(
        module,
        "_pairs_within",
        lambda a, b, d: np.concatenate(
            [original(a[i : i + 1], b, d) + np.array([i, 0]) for i in range(len(a))]
        ),
    )
    assert near_duplicates(images, hashes, max_distance=0) == whole
    expected = sum(
        int(hashes[i] == hashes[j])
        for i in range(40) for j in range(40)
        if images["split"][i] == "test" and images["split"][j] == "train"
    )  # fmt: skip
    assert whole["splits"]["test-train"]["num_pairs"] == expected
