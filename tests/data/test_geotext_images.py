import numpy as np
import pytest
from geotext_fixture import record, records_of_train_layout, write_data_set, write_image
from PIL import Image

from aquatint.data.geotext import read_geotext
from aquatint.data.image_files import inspect_image

BAD_PATH = "train/0009/image.jpeg"


def make_missing(path, _root):
    path.unlink()


def make_truncated(path, _root):
    path.write_bytes(path.read_bytes()[:-200])


def make_without_end(path, _root):
    path.write_bytes(path.read_bytes()[:-2])


def make_empty(path, _root):
    path.write_bytes(b"")


def make_text(path, _root):
    path.write_text("no image at all")


def make_png_named_jpeg(path, _root):
    write_image(path, format="PNG")


def make_gif(path, _root):
    write_image(path, format="GIF")


def make_folder(path, _root):
    path.unlink()
    path.mkdir()


def make_escaping_link(path, root):
    outside = write_image(root.parent / "outside.jpeg")
    path.unlink()
    path.symlink_to(outside)


def make_large(path, _root):
    write_image(path, size=(200, 200))


def make_cmyk(path, _root):
    Image.new("CMYK", (8, 8)).save(path)


def make_rotated(path, _root):
    exif = Image.Exif()
    exif[0x0112] = 6
    write_image(path, exif=exif)


BAD_IMAGES = {
    make_missing: ("must exist", BAD_PATH),
    make_truncated: ("must decode completely", "truncated"),
    make_without_end: ("must decode completely", "truncated"),
    make_empty: ("must not be a file of 0 bytes", BAD_PATH),
    make_text: ("must be a JPEG, PNG or WEBP named as such", BAD_PATH),
    make_png_named_jpeg: ("must be a JPEG, PNG or WEBP named as such", "PNG"),
    make_gif: ("must be a JPEG, PNG or WEBP named as such", BAD_PATH),
    make_folder: ("must exist", BAD_PATH),
    make_escaping_link: ("must stay below image_root", BAD_PATH),
    make_large: ("must not exceed max_pixels", "200 x 200 > 10000"),
    make_cmyk: ("must be one upright picture", "mode CMYK"),
    make_rotated: ("must be one upright picture", "EXIF orientation 6"),
}


@pytest.mark.parametrize(
    ("spoil", "rule", "value"),
    [(spoil, *expected) for spoil, expected in BAD_IMAGES.items()],
    ids=[spoil.__name__ for spoil in BAD_IMAGES],
)
def test_an_unusable_image_costs_its_records(tmp_path, spoil, rule, value):
    records = [*records_of_train_layout(), record("0009/image.jpeg", "a")]
    records.append(record("0009/image.jpeg", "b"))
    file, root = write_data_set(tmp_path, records)
    spoil(root / BAD_PATH, root)

    with pytest.raises(ValueError, match=r"train\.json, record 12 \(0009/image\.jpeg\): ") as error:
        read_geotext(file, root, "train", "strict", max_pixels=10_000)
    for part in (f"image {rule}", value, "Correct the record, or read with mode 'tolerant'"):
        assert part in str(error.value)

    tables = read_geotext(
        file, root, "train", "tolerant", max_rejected_fraction=0.2, max_pixels=10_000
    )
    assert tables.rejects["record"].tolist() == [12, 13]
    assert set(tables.rejects["field"]) == {"image"}
    assert rule in tables.rejects["rule"][0]
    assert value in tables.rejects["value"][0]
    for table in (tables.images, tables.captions, tables.regions):
        assert "0009/image.jpeg" not in set(table["image_id"])
        assert table["image_id"].nunique() == 6


def test_all_bad_images_were_tried():
    assert len(BAD_IMAGES) == 12


def test_findings_are_listed_in_the_order_of_the_records(tmp_path):
    records = records_of_train_layout()
    records[5]["caption"] = ""
    file, root = write_data_set(tmp_path, records)
    (root / records[0]["image"]).unlink()
    rejects = read_geotext(file, root, "train", "tolerant", max_rejected_fraction=1).rejects
    assert rejects["record"].tolist() == [0, 1, 5]


@pytest.mark.parametrize("suffix", [".jpg", ".JPG", ".jpeg", ".png", ".webp"])
def test_supported_formats(tmp_path, suffix):
    write_image(tmp_path / f"a{suffix}", size=(20, 10))
    facts = inspect_image(tmp_path, f"a{suffix}", 200)
    assert (facts.width, facts.height) == (20, 10)


@pytest.mark.parametrize("suffix", [".gif", ".bmp", ".tiff"])
def test_other_formats_are_refused_by_name(tmp_path, suffix):
    write_image(tmp_path / f"a{suffix}")
    with pytest.raises(ValueError, match="must be a JPEG, PNG or WEBP"):
        inspect_image(tmp_path, f"a{suffix}", 1000)


def test_other_formats_are_not_even_recognised(tmp_path):
    """Only three of Pillow's decoders ever see the file, whatever its content."""
    write_image(tmp_path / "a.png", format="GIF")
    with pytest.raises(ValueError, match=r"named as such, got 'a\.png'$"):
        inspect_image(tmp_path, "a.png", 1000)


def test_a_link_that_stays_inside_is_followed(tmp_path):
    write_image(tmp_path / "real" / "a.jpeg")
    (tmp_path / "alias").symlink_to(tmp_path / "real")
    assert inspect_image(tmp_path, "alias/a.jpeg", 1000).width == 24


def test_a_linked_folder_that_leads_outside_is_refused(tmp_path):
    write_image(tmp_path / "outside" / "a.jpeg")
    (tmp_path / "root").mkdir()
    (tmp_path / "root" / "alias").symlink_to(tmp_path / "outside")
    with pytest.raises(ValueError, match="must stay below image_root"):
        inspect_image(tmp_path / "root", "alias/a.jpeg", 1000)


def test_names_that_lead_nowhere_do_not_exist(tmp_path):
    (tmp_path / "loop.jpeg").symlink_to(tmp_path / "loop.jpeg")
    for path in ("loop.jpeg", "a" * 5000 + ".jpeg", "file.jpeg/inside.jpeg"):
        write_image(tmp_path / "file.jpeg")
        with pytest.raises(ValueError, match="must exist"):
            inspect_image(tmp_path, path, 1000)


def test_the_header_is_enough_to_refuse_a_bomb(tmp_path, monkeypatch):
    Image.new("L", (5000, 5000)).save(tmp_path / "bomb.png")

    def refuse(_image):
        raise AssertionError("the pixels were decoded")

    monkeypatch.setattr(Image.Image, "load", refuse)
    with pytest.raises(ValueError, match=r"must not exceed max_pixels.*5000 x 5000"):
        inspect_image(tmp_path, "bomb.png", 1_000_000)


def test_a_bomb_beyond_what_pillow_opens_is_refused_in_the_same_way(tmp_path, monkeypatch):
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 100)
    write_image(tmp_path / "a.png", size=(30, 30))
    with pytest.raises(ValueError, match="must not exceed max_pixels"):
        inspect_image(tmp_path, "a.png", 1000)


def test_a_file_too_long_for_its_pixels_is_not_read(tmp_path):
    path = write_image(tmp_path / "a.jpeg")
    path.write_bytes(path.read_bytes() + bytes(2**20 + 8 * 1000))
    with pytest.raises(ValueError, match="must not exceed max_pixels"):
        inspect_image(tmp_path, "a.jpeg", 1000)


def test_animated_and_deep_images_are_refused(tmp_path):
    frames = [Image.new("RGB", (8, 8), color) for color in ("red", "blue")]
    frames[0].save(tmp_path / "a.webp", save_all=True, append_images=frames[1:])
    with pytest.raises(ValueError, match=r"one upright picture.*animated"):
        inspect_image(tmp_path, "a.webp", 1000)
    Image.fromarray(np.zeros((8, 8), dtype=np.uint16)).save(tmp_path / "deep.png")
    with pytest.raises(ValueError, match=r"8 bits per channel.*mode I;16"):
        inspect_image(tmp_path, "deep.png", 1000)


def test_equal_files_have_equal_digests(tmp_path):
    for name, seed in (("a", 0), ("b", 0), ("c", 1)):
        write_image(tmp_path / f"{name}.png", seed)
    a, b, c = (inspect_image(tmp_path, f"{name}.png", 1000).sha256 for name in "abc")
    assert a == b != c
