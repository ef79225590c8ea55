import base64
import io
import re
from html import escape

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from aquatint.reports.gallery import place_rectangles, render_gallery
from aquatint.reports.samples import (
    ImageShelf,
    LocatedSentence,
    choose_boxes,
    choose_by_quantile,
    choose_captions,
    gather_retrievals,
    pack_image,
)

SCRIPT = "<script>alert(1)</script>"
COLORS = {"a": (200, 30, 30), "b": (30, 200, 30), "c": (30, 30, 200)}
WIDTH, HEIGHT = 200, 100


@pytest.fixture
def root(tmp_path):
    for name, color in COLORS.items():
        for view in range(2):
            folder = tmp_path / name
            folder.mkdir(exist_ok=True)
            Image.new("RGB", (WIDTH, HEIGHT), color).save(folder / f"{view}.png")
    return tmp_path


@pytest.fixture
def images():
    ids = [f"{name}/{view}" for name in COLORS for view in range(2)]
    return pd.DataFrame(
        {
            "image_id": ids,
            "path": [f"{name}.png" for name in ids],
            "building_id": [name[0] for name in ids],
            "width": WIDTH,
            "height": HEIGHT,
        }
    )


def make_retrieval(images, similar_to):
    """Captions of a/0, b/0 and c/0; each is nearest to the images of ``similar_to`` its own."""
    image_embeds = images[["image_id", "building_id"]].copy()
    vectors = np.eye(3, dtype=np.float32).repeat(2, axis=0)
    vectors[1::2] *= 0.9  # the second view is a little less alike
    captions = pd.DataFrame(
        {
            "caption_id": ["a/0#c0", "b/0#c0", "c/0#c0"],
            "image_id": ["a/0", "b/0", "c/0"],
            "text": ["a red field", f"blue {SCRIPT}", "a\ncaption of  two lines"],
        }
    )
    text_embeds = captions[["caption_id"]].copy()
    texts = np.eye(3, dtype=np.float32)[["abc".index(name) for name in similar_to]]
    for index in range(3):
        image_embeds[f"e{index:03d}"] = vectors[:, index]
        text_embeds[f"e{index:03d}"] = texts[:, index]
    ranks = pd.DataFrame(
        {
            "direction": "text_to_image",
            "query_id": captions["caption_id"],
            "rank": [0 if own == near else 20 for own, near in zip("abc", similar_to, strict=True)],
            "level": "building",
        }
    )
    return captions, (image_embeds, text_embeds), ranks


def gather(root, images, similar_to):
    captions, embeds, ranks = make_retrieval(images, similar_to)
    shelf = ImageShelf(str(root), images)
    parts = {"stage1": ranks.assign(rank=7), "stage2": ranks}
    return gather_retrievals(shelf, captions, embeds, parts, captions["caption_id"].tolist())


def pixel(uri):
    content = base64.b64decode(uri.removeprefix("data:image/jpeg;base64,"))
    return np.asarray(Image.open(io.BytesIO(content)))[5, 5].astype(int)


def test_found_images_are_the_nearest_and_show_the_right_picture(root, images):
    sample = gather(root, images, "bbc")[0]
    assert sample.target.image_id == "a/0"
    assert [image.image_id for image in sample.found[:2]] == ["b/0", "b/1"]
    assert len(sample.found) == 5
    assert np.abs(pixel(sample.target.uri) - COLORS["a"]).max() < 8
    assert np.abs(pixel(sample.found[0].uri) - COLORS["b"]).max() < 8


def test_hits_and_misses_are_both_shown_and_told_apart(root, images):
    html = render_gallery(gather(root, images, "bbc"), [], "stage2")
    assert html.count('<span class="ag-rank">rank 21</span>') == 1
    assert html.count('<span class="ag-rank ag-hit">rank 1</span>') == 2
    assert html.count("miss: not among the five") == 1
    assert html.count("stage 1: 8") == 3


def test_the_true_image_and_its_building_are_framed(root, images):
    samples = gather(root, images, "abc")
    html = render_gallery(samples[:1], [], "stage2")
    shots = re.findall(r'class="ag-shot([^"]*)"', html)
    assert shots[:3] == [" ag-first", " ag-right ag-own", " ag-right"]
    assert len(shots) == 6
    assert not any(shots[3:])


def test_text_is_escaped_and_on_one_line(root, images):
    html = render_gallery(gather(root, images, "abc"), [], "stage2")
    assert SCRIPT not in html
    assert escape(f"blue {SCRIPT}") in html
    assert "a caption of two lines" in html


def test_nothing_but_the_text_could_be_read_as_markdown(root, images):
    """Kedro-Viz turns line breaks, underscores, stars and backticks of a preview into tags."""
    boxes = choose_boxes(ImageShelf(str(root), images), make_boxes(), 2, 0)
    html = render_gallery(gather(root, images, "abc"), boxes, "stage2")
    for character in "\n_*`|":
        assert character not in html


@pytest.mark.parametrize("share_missed", [0.0, 0.5, 1.0])
def test_captions_are_chosen_in_proportion(share_missed):
    num_missed = int(100 * share_missed)
    ranks = pd.DataFrame(
        {
            "direction": "text_to_image",
            "query_id": [f"q{i}" for i in range(100)],
            "rank": [0] * (100 - num_missed) + [50] * num_missed,
            "level": "building",
        }
    )
    chosen = choose_captions(ranks, 6, seed=0)
    missed = [name for name in chosen if int(name[1:]) >= 100 - num_missed]
    assert len(set(chosen)) == 6
    assert len(missed) == 6 * share_missed


def test_captions_without_a_positive_and_other_queries_are_not_chosen():
    rows = [("text_to_image", "own", 3, "building"), ("text_to_image", "lost", -1, "building")]
    rows += [("image_to_text", "image", 0, "building"), ("text_to_image", "strict", 0, "image")]
    ranks = pd.DataFrame(rows, columns=["direction", "query_id", "rank", "level"])
    assert choose_captions(ranks, 6, seed=0) == ["own"]


def test_quantiles_by_hand():
    values = pd.Series({name: rank for rank, name in enumerate("abcdefgh")})
    assert choose_by_quantile(values, 4, seed=0) == ["b", "d", "f", "h"]
    assert choose_by_quantile(values, 20, seed=3) == list("abcdefgh")
    assert choose_by_quantile(values.iloc[:0], 4, seed=0) == []


def test_the_seed_decides_among_equals_and_nothing_else():
    equal = pd.Series(dict.fromkeys("abcdefgh", 1))
    assert choose_by_quantile(equal, 3, seed=1) == choose_by_quantile(equal, 3, seed=1)
    assert len({tuple(choose_by_quantile(equal, 3, seed=seed)) for seed in range(9)}) > 1


def make_boxes():
    rows = [
        # Predicted in place, half off, and nowhere near.
        ("a/0", f"exact {SCRIPT}", (0.5, 0.5, 0.2, 0.4), (0.5, 0.5, 0.2, 0.4)),
        ("b/0", "half", (0.5, 0.5, 0.2, 0.4), (0.6, 0.5, 0.2, 0.4)),
        ("c/0", "lost", (0.1, 0.1, 0.1, 0.1), (0.8, 0.8, 0.1, 0.1)),
    ]
    return pd.DataFrame(
        [
            {"image_id": image, "sentence": text}
            | {f"predicted_{n}": v for n, v in zip(("cx", "cy", "w", "h"), predicted, strict=True)}
            | {f"target_{n}": v for n, v in zip(("cx", "cy", "w", "h"), target, strict=True)}
            for image, text, predicted, target in rows
        ]
    )


def test_rectangles_in_pixels_by_hand():
    sentence = LocatedSentence("s", (0.25, 0.5, 0.5, 1.0), (0.5, 0.5, 0.2, 0.4), 0.0)
    target, predicted = place_rectangles(sentence, WIDTH, HEIGHT)
    assert target == {"x": "80.0", "y": "30.0", "width": "40.0", "height": "40.0"} | {
        "is_predicted": False
    }
    assert predicted == {"x": "0.0", "y": "0.0", "width": "100.0", "height": "100.0"} | {
        "is_predicted": True
    }


def test_boxes_are_drawn_solid_for_targets_and_dashed_for_predictions(root, images):
    samples = choose_boxes(ImageShelf(str(root), images), make_boxes(), 3, 0)
    html = render_gallery([], samples[1:2], "stage2")
    assert f'viewBox="0 0 {WIDTH} {HEIGHT}"' in html
    colored = [r for r in re.findall(r"<rect [^>]*>", html) if 'stroke="#FFD500"' in r]
    assert len(colored) == 2
    solid, dashed = colored
    assert 'x="100.0" y="30.0" width="40.0" height="40.0"' in solid
    assert "dasharray" not in solid
    assert 'x="80.0" y="30.0" width="40.0" height="40.0"' in dashed
    assert "stroke-dasharray" in dashed


def test_box_samples_run_from_the_best_to_the_worst(root, images):
    samples = choose_boxes(ImageShelf(str(root), images), make_boxes(), 3, 0)
    assert [sample.image.image_id for sample in samples] == ["a/0", "b/0", "c/0"]
    assert [s.sentences[0].iou for s in samples] == pytest.approx([1, 1 / 3, 0])
    html = render_gallery([], samples, "stage2")
    assert SCRIPT not in html
    assert escape(f"exact {SCRIPT}") in html


def test_a_part_without_boxes_has_no_gallery_of_boxes(root, images):
    samples = choose_boxes(ImageShelf(str(root), images), pd.DataFrame(), 3, 0)
    assert samples == []
    assert "their boxes" not in render_gallery([], samples, "stage1")


def test_a_large_image_becomes_small_and_keeps_its_shape(tmp_path):
    Image.effect_noise((1600, 800), 80).save(tmp_path / "large.jpeg")
    uri = pack_image(tmp_path / "large.jpeg")
    content = base64.b64decode(uri.removeprefix("data:image/jpeg;base64,"))
    assert Image.open(io.BytesIO(content)).size == (256, 128)
    assert len(uri) < 60_000


def test_a_path_out_of_the_folder_is_refused(root, images):
    images.loc[0, "path"] = "../secret.png"
    with pytest.raises(ValueError, match="must stay below image_root"):
        ImageShelf(str(root), images).show("a/0")


def test_a_file_that_is_gone_is_not_replaced(root, images):
    (root / "a" / "0.png").unlink()
    with pytest.raises(FileNotFoundError, match=r"a/0\.png"):
        ImageShelf(str(root), images).show("a/0")
