"""PLY files as text and binary, and those that cannot be read."""

import numpy as np
import pytest

from aquatint.data.point_cloud import PointCloud, read_ply, write_ply
from aquatint.data.rejects import RuleViolation

CLOUD = PointCloud(
    np.array([[0.0, 1.0, 2.0], [-3.5, 4.25, 0.0], [9.0, 9.0, 9.0]]),
    np.array([[0.0, 0.0, 0.5], [0.6, 0.6, 0.6], [0.0, 0.05, 0.55]]),
)


def test_what_is_written_is_read_again(tmp_path):
    write_ply(tmp_path / "a.ply", CLOUD)
    again = read_ply(tmp_path / "a.ply")
    assert np.allclose(again.points, CLOUD.points)
    assert np.abs(again.colors - CLOUD.colors).max() < 1 / 255
    assert np.allclose(again.obstacles, CLOUD.points[[0, 2]])


def test_text_and_other_byte_orders_say_the_same(tmp_path):
    head = (
        "element vertex 2\nproperty double x\nproperty double y\nproperty double z\n"
        "property float red\nproperty float green\nproperty float blue\n"
        "property uchar alpha\nelement face 0\nend_header\n"
    )
    rows = "1 2 3 0 0 0.5 255\n4 5 6 1 1 1 255\n"
    (tmp_path / "a.ply").write_text(f"ply\nformat ascii 1.0\ncomment any\n{head}{rows}")
    kind = np.dtype([(n, ">f8") for n in "xyz"] + [(n, ">f4") for n in "rgb"] + [("a", "u1")])
    table = np.array([(1, 2, 3, 0, 0, 0.5, 255), (4, 5, 6, 1, 1, 1, 255)], kind)
    (tmp_path / "b.ply").write_bytes(
        f"ply\nformat binary_big_endian 1.0\n{head}".encode() + table.tobytes()
    )
    text, binary = read_ply(tmp_path / "a.ply"), read_ply(tmp_path / "b.ply")
    assert np.array_equal(text.points, binary.points)
    assert np.allclose(text.colors, binary.colors)
    assert text.obstacles.tolist() == [[1.0, 2.0, 3.0]]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda b: b[:-5], "2 of 3 points"),
        (lambda b: b.replace(b"property uchar blue\n", b""), "lacks blue"),
        (lambda b: b.replace(b"binary_little_endian", b"binary_middle"), "binary_middle"),
        (lambda b: b[3:], "no header"),
        (lambda b: b.replace(b"property float x", b"property list uchar int x"), "property list"),
        (lambda b: b"", "no header"),
    ],
)
def test_a_broken_file_is_named_with_what_is_wrong(tmp_path, change, words):
    path = tmp_path / "cloud.ply"
    write_ply(path, CLOUD)
    path.write_bytes(change(path.read_bytes()))
    with pytest.raises(RuleViolation, match="cloud.ply") as found:
        read_ply(path)
    assert words in str(found.value)


def test_points_that_are_no_numbers_and_missing_files_are_named(tmp_path):
    write_ply(tmp_path / "a.ply", CLOUD._replace(points=CLOUD.points * np.nan))
    with pytest.raises(RuleViolation, match="finite"):
        read_ply(tmp_path / "a.ply")
    with pytest.raises(RuleViolation, match="complete PLY"):
        read_ply(tmp_path / "none.ply")
