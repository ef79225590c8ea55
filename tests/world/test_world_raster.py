"""The rasteriser agrees with one that loops over triangles and pixels."""

import numpy as np

from aquatint.world.raster import rasterize

SIZE_PX = 20


def rasterize_slowly(corners, size_px):
    nearness = np.zeros((size_px, size_px))
    index = np.full((size_px, size_px), -1)
    for number, triangle in enumerate(corners.astype(np.float64)):
        matrix = np.vstack([triangle[:, :2].T, np.ones(3)])
        if abs(np.linalg.det(matrix)) < 1e-6:
            continue
        for row in range(size_px):
            for column in range(size_px):
                weights = np.linalg.solve(matrix, [column + 0.5, row + 0.5, 1])
                near = weights @ triangle[:, 2]
                if (weights >= 0).all() and near > nearness[row, column]:
                    nearness[row, column], index[row, column] = near, number
    return nearness, index


def test_matches_the_definition_on_random_triangles():
    rng = np.random.default_rng(0)
    corners = rng.uniform(-8, 28, (14, 3, 3)).astype(np.float32)
    corners[..., 2] = rng.uniform(0.1, 1.0, (14, 3))

    buffers = rasterize(corners, SIZE_PX)

    nearness, index = rasterize_slowly(corners, SIZE_PX)
    # Rounding may move a pixel centre that lies exactly on an edge.
    assert (buffers.triangles == index).mean() > 0.99
    is_same = buffers.triangles == index
    np.testing.assert_allclose(buffers.nearness[is_same], nearness[is_same], atol=1e-5)


def test_result_does_not_depend_on_the_order_of_triangles():
    rng = np.random.default_rng(1)
    corners = rng.uniform(0, SIZE_PX, (60, 3, 3)).astype(np.float32)
    corners[..., 2] = rng.uniform(0.1, 1.0, (60, 3))
    order = rng.permutation(60)

    first, second = rasterize(corners, SIZE_PX), rasterize(corners[order], SIZE_PX)

    np.testing.assert_array_equal(first.nearness, second.nearness)
    is_hit = second.triangles >= 0
    np.testing.assert_array_equal(first.triangles[is_hit], order[second.triangles[is_hit]])


def test_nothing_to_draw_leaves_nothing():
    behind = np.array([[[0, 0, -1], [9, 0, -1], [0, 9, -1]]], np.float32)

    for corners in (np.zeros((0, 3, 3), np.float32), behind):
        buffers = rasterize(corners, SIZE_PX)
        assert (buffers.triangles == -1).all()
        assert (buffers.nearness == 0).all()
