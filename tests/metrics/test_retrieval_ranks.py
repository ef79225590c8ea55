import math

import pytest
import torch
import torch.nn.functional as F

from aquatint.metrics.ranks import ranks_after_reranking, retrieval_ranks, top_candidates

D = 16


def unit_rows(n: int, seed: int, width: int = D) -> torch.Tensor:
    return F.normalize(torch.randn(n, width, generator=torch.Generator().manual_seed(seed)), dim=1)


def random_groups(n: int, num_groups: int, seed: int) -> torch.Tensor:
    return torch.randint(0, num_groups, (n,), generator=torch.Generator().manual_seed(seed))


def ranks_by_argsort(queries, candidates, query_groups, candidate_groups):
    """Rank of the first positive in the full sorted list, one query at a time."""
    ranks = []
    for query, group in zip(queries.double(), query_groups.tolist(), strict=True):
        order = (candidates.double() @ query).argsort(descending=True)
        found = [rank for rank, i in enumerate(order) if candidate_groups[i] == group]
        ranks.append(found[0] if found else -1)
    return ranks


def ranks_by_definition(similarity, query_groups, candidate_groups):
    """Negatives above the best positive plus half of those equal to it, rounded up."""
    ranks = []
    for row, group in zip(similarity.tolist(), query_groups.tolist(), strict=True):
        pairs = list(zip(row, candidate_groups.tolist(), strict=True))
        positives = [value for value, other in pairs if other == group]
        if not positives:
            ranks.append(-1)
            continue
        negatives = [value for value, other in pairs if other != group]
        above = sum(value > max(positives) for value in negatives)
        ranks.append(above + math.ceil(sum(v == max(positives) for v in negatives) / 2))
    return ranks


@pytest.mark.parametrize("block_size", [1, 7, 64, 1024])
@pytest.mark.parametrize("num_groups", [1, 3, 40, 200])
def test_ranks_equal_a_full_argsort_in_both_directions(block_size, num_groups):
    images, texts = unit_rows(45, seed=0), unit_rows(83, seed=1)
    image_groups, text_groups = random_groups(45, num_groups, 2), random_groups(83, num_groups, 3)
    ranks = retrieval_ranks(images, texts, image_groups, text_groups, block_size)
    assert ranks.image_to_text.dtype == ranks.text_to_image.dtype == torch.int64
    assert ranks.image_to_text.tolist() == ranks_by_argsort(
        images, texts, image_groups, text_groups
    )
    assert ranks.text_to_image.tolist() == ranks_by_argsort(
        texts, images, text_groups, image_groups
    )


def test_ties_match_the_definition():
    # Small integers: sums are exact and ties are frequent.
    generator = torch.Generator().manual_seed(0)
    images = torch.randint(-1, 2, (30, 3), generator=generator).float()
    texts = torch.randint(-1, 2, (50, 3), generator=generator).float()
    image_groups, text_groups = random_groups(30, 8, 1), random_groups(50, 8, 2)
    similarity = images @ texts.T
    ranks = retrieval_ranks(images, texts, image_groups, text_groups, block_size=8)
    assert ranks.image_to_text.tolist() == ranks_by_definition(
        similarity, image_groups, text_groups
    )
    assert ranks.text_to_image.tolist() == ranks_by_definition(
        similarity.T, text_groups, image_groups
    )


def test_by_hand():
    images = torch.eye(3)
    texts = torch.tensor([[0.9, 0.1, 0.0], [0.8, 0.6, 0.0], [0.0, 0.8, 0.6]])
    ranks = retrieval_ranks(images, texts, torch.arange(3), torch.arange(3))
    # Text 1 prefers image 0 (0.8 > 0.6), text 2 prefers image 1.
    assert ranks.text_to_image.tolist() == [0, 1, 1]
    # Image 1: texts give 0.1, 0.6, 0.8, its own is second.
    assert ranks.image_to_text.tolist() == [0, 1, 0]


@pytest.mark.parametrize("block_size", [3, 50, 1024])
@pytest.mark.parametrize("width", [8, 300, 1024])
def test_equal_embeddings_rank_in_the_middle_not_at_the_top(block_size, width):
    """A collapsed model must not look perfect, however a matrix product rounds its sums."""
    same = unit_rows(1, seed=0, width=width).expand(101, width).contiguous()
    ranks = retrieval_ranks(same, same, torch.arange(101), torch.arange(101), block_size)
    assert set(ranks.text_to_image.tolist()) == {50}
    assert set(ranks.image_to_text.tolist()) == {50}


def test_equal_texts_only_rank_in_the_middle_too():
    images = unit_rows(101, seed=0, width=512)
    texts = unit_rows(1, seed=1, width=512).expand(101, 512).contiguous()
    ranks = retrieval_ranks(images, texts, torch.arange(101), torch.arange(101), block_size=13)
    assert set(ranks.image_to_text.tolist()) == {50}


def test_a_single_tie_is_not_found_first():
    images = torch.tensor([[1.0, 0.0], [1.0, 0.0]])
    ranks = retrieval_ranks(images, images, torch.arange(2), torch.arange(2))
    assert ranks.text_to_image.tolist() == [1, 1]


def test_the_best_of_several_positives_counts():
    images = torch.tensor([[1.0, 0.0]])
    texts = F.normalize(torch.tensor([[0.0, 1.0], [1.0, 0.1], [1.0, 0.5]]), dim=1)
    ranks = retrieval_ranks(images, texts, torch.tensor([4]), torch.tensor([4, 4, 9]))
    assert ranks.image_to_text.tolist() == [0]
    assert ranks.text_to_image.tolist() == [0, 0, -1]


def test_positives_do_not_push_each_other_down():
    images = torch.eye(2)
    texts = F.normalize(torch.tensor([[1.0, 0.0], [1.0, 0.0], [1.0, 0.2], [0.0, 1.0]]), dim=1)
    ranks = retrieval_ranks(images, texts, torch.tensor([0, 1]), torch.tensor([0, 0, 0, 1]))
    assert ranks.image_to_text.tolist() == [0, 0]


def test_ranks_follow_a_permutation_of_queries_and_candidates():
    images, texts = unit_rows(20, seed=0), unit_rows(31, seed=1)
    image_groups, text_groups = random_groups(20, 6, 2), random_groups(31, 6, 3)
    expected = retrieval_ranks(images, texts, image_groups, text_groups)
    rows = torch.randperm(20, generator=torch.Generator().manual_seed(0))
    columns = torch.randperm(31, generator=torch.Generator().manual_seed(1))
    shuffled = retrieval_ranks(
        images[rows], texts[columns], image_groups[rows], text_groups[columns], block_size=4
    )
    assert torch.equal(shuffled.image_to_text, expected.image_to_text[rows])
    assert torch.equal(shuffled.text_to_image, expected.text_to_image[columns])


def test_shuffled_targets_fall_to_chance():
    images = unit_rows(400, seed=0)
    order = torch.randperm(400, generator=torch.Generator().manual_seed(9))
    told = retrieval_ranks(images, images, torch.arange(400), torch.arange(400))
    shuffled = retrieval_ranks(images, images, torch.arange(400), order)
    assert (told.text_to_image == 0).all()
    assert (shuffled.text_to_image < 10).float().mean() == pytest.approx(10 / 400, abs=0.025)


@pytest.mark.parametrize(("n", "m"), [(0, 3), (3, 0), (0, 0)])
def test_an_empty_side_leaves_no_positive(n, m):
    ranks = retrieval_ranks(unit_rows(n, 0), unit_rows(m, 1), torch.arange(n), torch.arange(m))
    assert ranks.image_to_text.tolist() == [-1] * n
    assert ranks.text_to_image.tolist() == [-1] * m


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_an_embedding_that_is_not_finite_is_refused(bad):
    """NaN compares false with everything, so it would count as rank 0."""
    texts = unit_rows(3, seed=1)
    texts[1, 2] = bad
    with pytest.raises(ValueError, match="1 of 3 embeddings are not finite"):
        retrieval_ranks(unit_rows(3, seed=0), texts, torch.arange(3), torch.arange(3))


def test_finite_embeddings_whose_sum_is_not_are_ranked():
    images = torch.full((200, 1024), 0.5, dtype=torch.float16)
    assert torch.isinf(images.sum())
    ranks = retrieval_ranks(images, images, torch.arange(200), torch.arange(200))
    assert ranks.image_to_text.tolist() == [100] * 200


def test_blocks_counted_without_a_look_do_not_change_what_is_counted():
    # Good and bad rows in turns of several blocks, so that a look is left out before either.
    images, noise = unit_rows(320, seed=0), unit_rows(320, seed=1)
    is_good = (torch.arange(320) // 80) % 2 == 0
    texts = F.normalize(images + torch.where(is_good, 0.01, 5.0)[:, None] * noise, dim=1)
    groups = torch.arange(320)
    ranks = retrieval_ranks(images, texts, groups, groups, block_size=8)
    assert ranks.image_to_text.tolist() == ranks_by_argsort(images, texts, groups, groups)
    assert ranks.text_to_image.tolist() == ranks_by_argsort(texts, images, groups, groups)


def test_ranks_do_not_depend_on_autocast_or_the_matmul_precision():
    images, texts = unit_rows(60, seed=0), unit_rows(90, seed=1)
    groups = random_groups(60, 20, 2), random_groups(90, 20, 3)
    expected = retrieval_ranks(images, texts, *groups)
    previous = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("medium")
    try:
        with torch.autocast("cpu", dtype=torch.bfloat16):
            ranks = retrieval_ranks(images, texts, *groups)
            top = top_candidates(texts, images, 5)
        assert torch.get_float32_matmul_precision() == "medium"
    finally:
        torch.set_float32_matmul_precision(previous)
    assert torch.equal(ranks.text_to_image, expected.text_to_image)
    assert torch.equal(ranks.image_to_text, expected.image_to_text)
    assert torch.equal(top, top_candidates(texts, images, 5))


def test_embeddings_keep_their_gradient_and_their_values():
    images = unit_rows(5, seed=0).requires_grad_()
    before = images.detach().clone()
    retrieval_ranks(images, images, torch.arange(5), torch.arange(5))
    assert images.grad is None
    assert torch.equal(images.detach(), before)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_equal_embeddings_rank_in_the_middle_on_a_gpu_with_tf32():
    previous = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("high")
    try:
        images = unit_rows(301, seed=0, width=512).cuda()
        texts = unit_rows(1, seed=1, width=512).expand(301, 512).contiguous().cuda()
        ranks = retrieval_ranks(images, texts, torch.arange(301), torch.arange(301), 37)
    finally:
        torch.set_float32_matmul_precision(previous)
    assert set(ranks.image_to_text.tolist()) == {150}


def test_inputs_that_do_not_fit_are_refused():
    images, ids = unit_rows(3, seed=0), torch.arange(3)
    with pytest.raises(ValueError, match=r"one width, got shapes \(3, 16\) and \(3, 8\)"):
        retrieval_ranks(images, unit_rows(3, 0, width=8), ids, ids)
    with pytest.raises(ValueError, match="text_groups must hold one integer for each of 3"):
        retrieval_ranks(images, images, ids, torch.arange(2))
    with pytest.raises(ValueError, match="image_groups must hold one integer"):
        retrieval_ranks(images, images, ids.float(), ids)
    with pytest.raises(ValueError, match="block_size must be at least 1, got 0"):
        retrieval_ranks(images, images, ids, ids, block_size=0)


def test_reranking_by_hand():
    candidate_groups = torch.arange(6)
    indices = torch.tensor([[3, 0, 2], [4, 5, 0], [1, 2, 3], [0, 2, 1]])
    scores = torch.tensor([[0.1, 0.9, 0.5], [0.1, 0.9, 0.5], [0.5, 0.5, 0.5], [9.0, 8.0, 7.0]])
    ranks = ranks_after_reranking(
        torch.tensor([1, 5, 0, -1]), indices, scores, torch.tensor([0, 1, 1, 77]), candidate_groups
    )
    # Found and moved up; not among the three; two ties; no positive anywhere.
    assert ranks.tolist() == [0, 5, 1, -1]


def test_reranking_matches_the_definition_on_the_candidates():
    images, texts = unit_rows(25, seed=0), unit_rows(40, seed=1)
    image_groups, text_groups = random_groups(25, 9, 2), random_groups(40, 9, 3)
    base = retrieval_ranks(images, texts, image_groups, text_groups).text_to_image
    indices = top_candidates(texts, images, k=6)
    scores = torch.randn(40, 6, generator=torch.Generator().manual_seed(5))
    ranks = ranks_after_reranking(base, indices, scores, text_groups, image_groups)
    num_moved = 0
    for query in range(40):
        order = scores[query].argsort(descending=True)
        groups = image_groups[indices[query][order]].tolist()
        if text_groups[query] in groups:
            assert ranks[query] == groups.index(text_groups[query])
            num_moved += int(ranks[query] != base[query])
        else:
            assert ranks[query] == base[query]
    assert num_moved > 5


def test_reranking_by_the_old_order_changes_nothing():
    images, texts = unit_rows(25, seed=0), unit_rows(40, seed=1)
    image_groups, text_groups = random_groups(25, 9, 2), random_groups(40, 9, 3)
    base = retrieval_ranks(images, texts, image_groups, text_groups).text_to_image
    scores = torch.arange(6, 0, -1).float().expand(40, 6)
    indices = top_candidates(texts, images, k=6)
    assert torch.equal(
        ranks_after_reranking(base, indices, scores, text_groups, image_groups), base
    )


def test_a_positive_that_was_not_picked_ranks_behind_the_picked():
    # All candidates tie, so the base rank 2 lies inside the three that happened to be picked.
    ranks = ranks_after_reranking(
        torch.tensor([2]),
        torch.tensor([[0, 1, 2]]),
        torch.zeros(1, 3),
        torch.tensor([4]),
        torch.arange(5),
    )
    assert ranks.tolist() == [3]


def test_reranking_scores_must_be_finite_and_fit():
    ids = torch.arange(2)
    with pytest.raises(ValueError, match="candidate_scores must be finite"):
        ranks_after_reranking(ids, ids[:, None], torch.tensor([[1.0], [math.nan]]), ids, ids)
    with pytest.raises(ValueError, match="one row for each query"):
        ranks_after_reranking(ids, ids[:, None], torch.zeros(2, 3), ids, ids)


@pytest.mark.parametrize("block_size", [3, 1024])
def test_top_candidates_are_the_head_of_the_sorted_list(block_size):
    queries, candidates = unit_rows(10, seed=0), unit_rows(30, seed=1)
    expected = (queries @ candidates.T).argsort(dim=1, descending=True)[:, :4]
    assert torch.equal(top_candidates(queries, candidates, 4, block_size), expected)
    assert top_candidates(queries, candidates, 99).shape == (10, 30)
